//! What PostgreSQL and Redis have in common: a folder and a supervised process in it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::account::Account;
use crate::error::{LocalError, Result, file_error};
use crate::folder::ServerFolder;
use crate::process;

const SUPERVISOR: &str = include_str!("supervisor.sh");

/// The supervisor writes the process id as the first thing it does.
const PID_BOUND: Duration = Duration::from_secs(20);

/// The supervisor ends at once after its server.
const SUPERVISOR_BOUND: Duration = Duration::from_secs(5);

/// How often a running server is looked at, to see that it has ended by itself.
const WATCH_PERIOD: Duration = Duration::from_millis(200);

/// What differs between the servers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// The server's name in messages.
    pub(crate) name: &'static str,
    /// Asks the server to end in order, without waiting for its clients.
    pub(crate) first_signal: Signal,
    /// Urges it.
    pub(crate) second_signal: Signal,
}

/// One server: its folder, and its process while it runs.
#[derive(Debug)]
pub(crate) struct LocalServer {
    kind: Kind,
    folder: ServerFolder,
    stop_timeout: Duration,
    log_offset: u64,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    /// The supervising shell. Its standard input is the pipe whose closing ends the server.
    supervisor: Child,
    pid: Pid,
}

impl LocalServer {
    /// Takes over the folder; ends a server that a killed owner has left behind in it.
    pub(crate) async fn new(
        kind: Kind,
        folder: ServerFolder,
        stop_timeout: Duration,
    ) -> Result<Self> {
        let server = Self {
            kind,
            folder,
            stop_timeout,
            log_offset: 0,
            running: None,
        };
        server.end_orphan().await?;
        Ok(server)
    }

    pub(crate) fn folder(&self) -> &ServerFolder {
        &self.folder
    }

    /// The server's process id, while it runs.
    pub(crate) fn pid(&self) -> Result<Pid> {
        let running = self.running.as_ref().ok_or(LocalError::NotRunning {
            server: self.kind.name,
        })?;
        Ok(running.pid)
    }

    /// Starts the program under its supervisor, and returns when its process id is known.
    pub(crate) async fn launch(&mut self, program: &Path, arguments: &[OsString]) -> Result<()> {
        let pid_file = self.folder.pid_file();
        remove_file(&pid_file)?;
        let (log, offset) = self.folder.open_log()?;
        self.log_offset = offset;

        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(SUPERVISOR).arg("plazo-supervisor");
        for signal in [self.kind.first_signal, self.kind.second_signal] {
            command.arg(signal.as_str().trim_start_matches("SIG"));
        }
        command.arg(&pid_file);
        for n in 0..2 {
            let removed = self
                .folder
                .temporary()
                .get(n)
                .map(|folder| folder.as_os_str());
            command.arg(removed.unwrap_or_default());
        }
        command.arg(program).args(arguments);
        let stderr = log
            .try_clone()
            .map_err(file_error("open", &self.folder.log()))?;
        command.stdin(Stdio::piped()).stdout(log).stderr(stderr);
        // Ctrl-C at the terminal goes to the owner's group: the owner ends its servers in order.
        command.process_group(0);
        settle(&mut command, &self.folder);

        let mut supervisor = command.spawn().map_err(|source| LocalError::Spawn {
            program: "/bin/sh".into(),
            source,
        })?;
        let mut pid = None;
        let mut ended = None;
        process::until(PID_BOUND, || {
            pid = read_pid(&pid_file);
            ended = supervisor.try_wait().ok().flatten();
            pid.is_some() || ended.is_some()
        })
        .await;
        let Some(pid) = pid else {
            // Dropping the child closes the pipe, which ends whatever was started.
            return Err(self.start_error(&describe(ended)));
        };
        self.running = Some(Running { supervisor, pid });
        Ok(())
    }

    /// Waits until the server is ready, at most for the bound; ends it and reports its log when it isn't.
    pub(crate) async fn wait_ready(
        &mut self,
        bound: Duration,
        mut ready: impl AsyncFnMut(Pid) -> bool,
    ) -> Result<()> {
        let pid = self.pid()?;
        let started = std::time::Instant::now();
        let reason = loop {
            if let Some(status) = self.exit_status() {
                self.running = None;
                break describe(Some(status));
            }
            if ready(pid).await {
                return Ok(());
            }
            if started.elapsed() >= bound {
                break format!("it gave no answer within {} s", bound.as_secs_f32());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let error = self.start_error(&reason);
        self.kill().await?;
        Err(error)
    }

    /// Ends the server in order, and by force when it takes longer than the bound. No error when it has ended.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let urge = Duration::from_secs(8);
        let signals = [
            (self.kind.first_signal, self.stop_timeout),
            (self.kind.second_signal, urge),
        ];
        if let Some(pid) = self.live_pid()
            && !process::end(pid, &signals).await
        {
            return Err(self.still_running(pid));
        }
        self.reap().await
    }

    /// Ends the server by its second signal alone, and by force when it takes longer than the bound.
    pub(crate) async fn stop_at_once(&mut self) -> Result<()> {
        let signals = [(self.kind.second_signal, self.stop_timeout)];
        if let Some(pid) = self.live_pid()
            && !process::end(pid, &signals).await
        {
            return Err(self.still_running(pid));
        }
        self.reap().await
    }

    /// Ends the server and its children at once, as a crash would.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        if let Some(pid) = self.live_pid()
            && !process::kill_tree(pid).await
        {
            return Err(self.still_running(pid));
        }
        self.reap().await
    }

    /// Freezes the server and its children.
    pub(crate) fn pause(&self) -> Result<()> {
        process::pause_tree(self.pid()?);
        Ok(())
    }

    /// Lets the frozen server go on.
    pub(crate) fn resume(&self) -> Result<()> {
        process::resume_tree(self.pid()?);
        Ok(())
    }

    /// Waits until the server has ended, for whatever reason. Returns at once when it doesn't run.
    pub(crate) async fn ended(&mut self) {
        while self.live_pid().is_some() {
            tokio::time::sleep(WATCH_PERIOD).await;
        }
    }

    /// The process id of a server that has not ended by itself.
    fn live_pid(&mut self) -> Option<Pid> {
        if self.exit_status().is_some() {
            self.running = None;
        }
        self.running.as_ref().map(|running| running.pid)
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        let running = self.running.as_mut()?;
        running.supervisor.try_wait().ok().flatten()
    }

    /// Waits for the supervisor of a server that has ended.
    async fn reap(&mut self) -> Result<()> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let supervisor = &mut running.supervisor;
        if !process::until(SUPERVISOR_BOUND, || {
            !matches!(supervisor.try_wait(), Ok(None))
        })
        .await
        {
            let pid = running.pid;
            return Err(self.still_running(pid));
        }
        self.running = None;
        remove_file(&self.folder.pid_file())
    }

    /// The lock is ours, so nobody owns the server that may still run here: its owner was killed, and its supervisor
    /// is just ending it or was killed too.
    async fn end_orphan(&self) -> Result<()> {
        let Some(pid) = read_pid(&self.folder.pid_file()) else {
            return Ok(());
        };
        if !process::works_on(pid, &self.folder.data()) {
            return Ok(());
        }
        tracing::warn!(server = self.kind.name, %pid, "ending a server that was left behind");
        let signals = [
            (self.kind.first_signal, self.stop_timeout),
            (self.kind.second_signal, Duration::from_secs(8)),
        ];
        if process::end(pid, &signals).await {
            return Ok(());
        }
        Err(self.still_running(pid))
    }

    fn start_error(&self, reason: &str) -> LocalError {
        LocalError::Start {
            server: self.kind.name,
            reason: reason.to_owned(),
            log: self.folder.log(),
            tail: self.folder.log_tail(self.log_offset),
        }
    }

    fn still_running(&self, pid: Pid) -> LocalError {
        LocalError::StillRunning {
            server: self.kind.name,
            pid: pid.as_raw(),
        }
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        if self.live_pid().is_none() {
            return;
        }
        // The supervisor, which outlives this process, ends the server and removes the folders.
        self.folder.leave_temporary();
        if let Some(mut running) = self.running.take() {
            drop(running.supervisor.stdin.take());
            let reaper = std::thread::Builder::new().name("plazo-local-reaper".to_owned());
            // Without a thread the shell stays a zombie until this process ends: untidy, but harmless.
            let _ = reaper.spawn(move || running.supervisor.wait());
        }
    }
}

/// Gives a command what all of the servers' programs need: the account, a working folder that it can enter, and an
/// environment in which no variable of the owner (`PGDATA`, `PGOPTIONS`, `LC_ALL`) changes what they do.
pub(crate) fn settle(command: &mut Command, folder: &ServerFolder) {
    settle_for(command, folder.path(), folder.account());
}

fn settle_for(command: &mut Command, folder: &Path, account: Option<&Account>) {
    command.env_clear().env("LC_ALL", "C").current_dir(folder);
    for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if let Some(account) = account {
        account.apply(command);
    }
}

/// The process id in the first line of the file.
pub(crate) fn read_pid(path: &Path) -> Option<Pid> {
    let text = fs::read_to_string(path).ok()?;
    let pid = text.lines().next()?.trim().parse::<i32>().ok()?;
    (pid > 1).then(|| Pid::from_raw(pid))
}

/// Removes the file if it is there.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(file_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn describe(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) => format!("it ended with {status}"),
        None => "it gave no sign of life".to_owned(),
    }
}
