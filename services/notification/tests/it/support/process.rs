//! The service as a process that can die.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::{Api, World, eventually};

/// The service as a process of its own.
pub(crate) struct Process {
    pub(crate) api: Api,
    child: Child,
}

/// Starts it.
pub(crate) async fn start_process(world: &World) -> Process {
    // A port that was free a moment ago: the process can't tell which one it took.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address: SocketAddr = listener.local_addr().expect("it is bound");
    drop(listener);
    let child = Command::new(env!("CARGO_BIN_EXE_plazo-notification"))
        .arg("--config")
        .arg(world.file())
        .envs(world.environment())
        .env("PLAZO_NOTIFICATION__SERVER__LISTEN", address.to_string())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary is built");
    eventually("the process listens", || async {
        tokio::net::TcpStream::connect(address).await.ok()
    })
    .await;
    Process {
        api: Api { address },
        child,
    }
}

impl Process {
    /// Waits until a fault point has ended it.
    pub(crate) async fn until_dead(mut self) {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        let status = ended.expect("it dies in time").expect("it was started");
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(6),
            "{status:?}"
        );
    }

    /// Ends it as kill -9 does.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it was started");
    }
}
