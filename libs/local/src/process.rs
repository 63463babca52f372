//! Looking at processes and sending them signals, by id.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often a condition is looked at while it is waited for.
const POLL: Duration = Duration::from_millis(10);

/// After SIGKILL a process is gone at once, unless it hangs in the kernel (a dead disk).
pub(crate) const KILL_BOUND: Duration = Duration::from_secs(10);

/// Waits until the condition holds, at most for the bound. Returns whether it holds.
///
/// Measured with the machine's clock, not the runtime's: a test that pauses tokio's clock still waits for a real
/// process.
pub(crate) async fn until(bound: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if started.elapsed() >= bound {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Sends the signal. A process that is gone already is no error: every caller goes on to wait for an effect.
pub(crate) fn send(pid: Pid, signal: Signal) {
    if let Err(errno) = kill(pid, signal)
        && errno != Errno::ESRCH
    {
        tracing::warn!(%pid, %signal, %errno, "can't send a signal");
    }
}

/// Whether the process exists and is not merely waiting to be reaped.
pub(crate) fn is_alive(pid: Pid) -> bool {
    if kill(pid, None) == Err(Errno::ESRCH) {
        return false;
    }
    // An orphan's new parent may never reap it (process 1 of a container).
    stat(pid).is_none_or(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// Sends the signals one after the other, each with its bound, SIGKILL to the process and its children at last.
/// Returns whether the process is gone.
pub(crate) async fn end(pid: Pid, signals: &[(Signal, Duration)]) -> bool {
    resume_tree(pid);
    for &(signal, bound) in signals {
        send(pid, signal);
        if until(bound, || !is_alive(pid)).await {
            return true;
        }
        tracing::warn!(%pid, %signal, "a server ignored a signal to end");
    }
    kill_tree(pid).await
}

/// SIGKILL for the process and its children, all at once: the nearest thing to a power cut. Returns whether they
/// are gone.
pub(crate) async fn kill_tree(pid: Pid) -> bool {
    let tree = pause_tree(pid);
    for &member in &tree {
        send(member, Signal::SIGKILL);
    }
    until(KILL_BOUND, || !tree.iter().any(|&member| is_alive(member))).await
}

/// Stops the process, so that it starts no more children, and then the children. Returns all of them.
pub(crate) fn pause_tree(pid: Pid) -> Vec<Pid> {
    send(pid, Signal::SIGSTOP);
    let children = children(pid);
    for &child in &children {
        send(child, Signal::SIGSTOP);
    }
    let mut tree = children;
    tree.push(pid);
    tree
}

/// Lets a paused process and its children go on.
pub(crate) fn resume_tree(pid: Pid) {
    for child in children(pid) {
        send(child, Signal::SIGCONT);
    }
    send(pid, Signal::SIGCONT);
}

/// Whether the live process is a server that works on the folder: one that a killed owner left behind. A recycled
/// process id fails this.
pub(crate) fn works_on(pid: Pid, folder: &Path) -> bool {
    if !is_alive(pid) {
        return false;
    }
    if has_proc() {
        // Both servers change to their data folder when they start.
        return fs::read_link(proc_path(pid, "cwd")).is_ok_and(|cwd| cwd == folder);
    }
    // Its arguments or its title name the data or the socket in the server's folder.
    let command = ps(&["-p", &pid.to_string(), "-o", "command="]);
    folder
        .parent()
        .is_some_and(|parent| command.contains(&*parent.to_string_lossy()))
}

/// Whether the live process may be a PostgreSQL server. True when that can't be told.
pub(crate) fn may_be_postgres(pid: Pid) -> bool {
    if !is_alive(pid) {
        return false;
    }
    let name = if has_proc() {
        fs::read_to_string(proc_path(pid, "comm")).unwrap_or_default()
    } else {
        ps(&["-p", &pid.to_string(), "-o", "comm="])
    };
    name.trim().is_empty() || name.contains("postgres") || name.contains("postmaster")
}

/// The ids of the process's children.
fn children(parent: Pid) -> Vec<Pid> {
    if !has_proc() {
        let table = ps(&["-A", "-o", "pid=,ppid="]);
        let pairs = table.lines().filter_map(|line| {
            let mut columns = line.split_whitespace().map(str::parse::<i32>);
            Some((columns.next()?.ok()?, columns.next()?.ok()?))
        });
        return pairs
            .filter(|&(_, ppid)| ppid == parent.as_raw())
            .map(|(pid, _)| Pid::from_raw(pid))
            .collect();
    }
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .map(Pid::from_raw)
        .filter(|&pid| stat(pid).is_some_and(|stat| stat.parent == parent.as_raw()))
        .collect()
}

struct Stat {
    state: char,
    parent: i32,
}

/// State and parent of a process; none where the system has no `/proc`, or when the process is gone.
fn stat(pid: Pid) -> Option<Stat> {
    let text = fs::read_to_string(proc_path(pid, "stat")).ok()?;
    // The name in parentheses may itself hold spaces and parentheses.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some(Stat {
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
    })
}

fn has_proc() -> bool {
    Path::new("/proc/self/stat").exists()
}

fn proc_path(pid: Pid, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// What `ps` prints; empty when it fails.
fn ps(arguments: &[&str]) -> String {
    Command::new("ps")
        .args(arguments)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}
