//! Runs the built command.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

/// The first start makes databases, on a machine that may be busy.
const UP_BOUND: Duration = Duration::from_mins(2);
const END_BOUND: Duration = Duration::from_mins(1);
/// The last line of the greeting.
const READY: &str = "Ctrl-C ends everything.";

/// What a command that ended has left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

/// A running `plazo up`.
pub(crate) struct Up {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    /// What it said until it was ready.
    pub(crate) greeting: String,
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plazo"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub(crate) async fn run(mut command: Command) -> Ended {
    let output = timeout(UP_BOUND, command.output())
        .await
        .expect("it ends in time");
    let output = output.expect("the command runs");
    Ended {
        code: output.status.code(),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

impl Up {
    /// Starts a cluster and waits until it says that it is up.
    pub(crate) async fn start(port: u16, data: &Path) -> Self {
        let port = port.to_string();
        let data = data.to_str().expect("a path in UTF-8");
        let mut child = command(&["up", "--port", &port, "--data", data])
            .spawn()
            .expect("the command runs");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut up = Self {
            child,
            stdout,
            greeting: String::new(),
        };
        let is_ready = timeout(UP_BOUND, up.read_greeting()).await.unwrap_or(false);
        let said = if is_ready {
            String::new()
        } else {
            up.read_stderr().await
        };
        assert!(is_ready, "it did not come up: {}{said}", up.greeting);
        up
    }

    async fn read_greeting(&mut self) -> bool {
        while let Ok(Some(line)) = self.stdout.next_line().await {
            self.greeting.push_str(&line);
            self.greeting.push('\n');
            if line == READY {
                return true;
            }
        }
        false
    }

    async fn read_stderr(&mut self) -> String {
        let _ = self.child.start_kill();
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut text).await;
        }
        text
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it runs");
        kill(Pid::from_raw(pid.try_into().expect("a process id")), signal).expect("it runs");
    }

    /// Waits until the command has ended.
    pub(crate) async fn ended(mut self) -> Ended {
        let status: ExitStatus = timeout(END_BOUND, self.child.wait())
            .await
            .expect("it ends in time")
            .expect("it can be waited for");
        Ended {
            code: status.code(),
            stderr: self.read_stderr().await,
        }
    }
}

/// A folder for data that the servers' account can enter, also when the tests run as root.
pub(crate) fn data_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), everybody).expect("the folder is ours");
    folder
}

/// A port such that it, the next three, and those 4000 above are free. Below the ports that systems hand out, so
/// that nobody gets one of them by chance before it is used.
pub(crate) fn free_base_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    // Test processes that run at the same time begin at different places.
    let first = u16::try_from(std::process::id() % 500).expect("it is small") * 8;
    (0..2_000)
        .map(|step| 11_000 + (first + step * 8) % 4_000)
        .find(|base| (0..4).all(|offset| is_free(base + offset) && is_free(base + 4_000 + offset)))
        .expect("some ports are free")
}

/// The process id of a private server, from its folder.
pub(crate) fn server_pid(data: &Path, server: &str) -> Pid {
    let text = std::fs::read_to_string(data.join(server).join("server.pid")).expect("it runs");
    let pid = text
        .lines()
        .next()
        .expect("a line")
        .trim()
        .parse()
        .expect("a process id");
    Pid::from_raw(pid)
}

/// Whether these processes have ended, or end within a bound.
pub(crate) async fn end_soon(pids: &[Pid]) -> bool {
    let until = Instant::now() + END_BOUND;
    while !pids.iter().all(|pid| kill(*pid, None) == Err(Errno::ESRCH)) {
        if Instant::now() > until {
            return false;
        }
        sleep(Duration::from_millis(20)).await;
    }
    true
}
