//! The servers for real: started, stopped, killed, left behind.

mod groups;
mod owner;
mod postgres;
mod redis;
mod shared;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Within this time the servers of a killed owner must be gone, on a busy machine too.
const GONE_BOUND: Duration = Duration::from_secs(20);

/// A folder under the system's temporary one that other accounts can pass through.
fn scratch() -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("plazo-it-")
        .tempdir()
        .expect("a temporary folder");
    set_mode(folder.path(), 0o755);
    folder
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("own the folder");
}

/// Waits until the condition holds; panics after the bound.
async fn wait_for(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < bound, "not within {bound:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a process exists and is no zombie.
fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The processes that have this one as their parent.
fn children(parent: i32) -> Vec<i32> {
    let pids = fs::read_dir("/proc")
        .expect("Linux")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|&pid| parent_of(pid) == Some(parent)).collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// Sends one command to a Redis server and returns the last line of its answer: a value, or a status with its sign.
async fn redis_command(socket: &Path, command: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    stream
        .write_all(format!("{command}\r\nQUIT\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    // The last line but one; the last is the answer to QUIT.
    let line = answer.lines().rev().nth(1);
    line.map(str::to_owned)
        .ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

/// The system's folder for temporary files, without links.
fn temp_dir() -> PathBuf {
    fs::canonicalize(std::env::temp_dir()).expect("a temporary folder")
}
