//! One service as a process.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// One of the four services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Owns the tickets.
    Ticketing,
    /// Reminds of deadlines.
    Timer,
    /// Sends active messages.
    Notification,
    /// Keeps what happened.
    History,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Ticketing,
        Self::Timer,
        Self::Notification,
        Self::History,
    ];

    /// The short name, as in `ticketing`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ticketing => "ticketing",
            Self::Timer => "timer",
            Self::Notification => "notification",
            Self::History => "history",
        }
    }

    /// The built program.
    fn program(self) -> PathBuf {
        program(&format!("plazo-{}", self.name()))
    }
}

/// A built program of this workspace, beside the test's own.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own program has a path");
    let folder = test
        .parent()
        .and_then(Path::parent)
        .expect("tests lie in a folder of the build folder");
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "no program {}: build all with `cargo build --workspace`",
        program.display()
    );
    program
}

/// A running service. It is killed when this value is dropped.
#[derive(Debug)]
pub(crate) struct ServiceProcess {
    child: Child,
    service: Service,
}

impl ServiceProcess {
    /// Starts the service with nothing in its environment but this, with this file for its configuration, if any, and what
    /// it says in the log.
    pub(crate) fn spawn(
        service: Service,
        environment: &[(String, String)],
        file: Option<&Path>,
        log: &Path,
    ) -> Self {
        let log = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log can be opened");
        let child = Command::new(service.program())
            .env_clear()
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .args(
                file.into_iter()
                    .flat_map(|file| [Path::new("--config"), file]),
            )
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log has a second handle"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the service's program starts");
        Self { child, service }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        let pid = self.child.id().expect("it has not been waited for");
        i32::try_from(pid).expect("a process id fits")
    }

    /// Kills it with SIGKILL.
    pub(crate) async fn kill(mut self) {
        let status = self.signal(Signal::SIGKILL, Duration::from_secs(10)).await;
        assert_eq!(
            status.signal(),
            Some(Signal::SIGKILL as i32),
            "{} was to die by SIGKILL: {status}",
            self.service.name()
        );
    }

    /// Asks it to end, and returns how it did; it has ten seconds.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM, Duration::from_secs(10)).await
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(mut self, bound: Duration) -> ExitStatus {
        self.wait(bound).await
    }

    /// How it ended, if it has.
    pub(crate) fn try_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    async fn signal(&mut self, signal: Signal, bound: Duration) -> ExitStatus {
        if let Some(status) = self.try_ended() {
            panic!("{} had ended by itself: {status}", self.service.name());
        }
        kill(Pid::from_raw(self.pid()), signal).expect("a child can be signalled");
        self.wait(bound).await
    }

    async fn wait(&mut self, bound: Duration) -> ExitStatus {
        let ended = tokio::time::timeout(bound, self.child.wait()).await;
        let Ok(status) = ended else {
            panic!("{} did not end within {bound:?}", self.service.name());
        };
        status.expect("a child can be waited for")
    }
}
