//! What becomes of the servers when their owner ends.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};
use plazo_local::{PostgresOptions, PostgresServer, RedisOptions, RedisServer};

use crate::{GONE_BOUND, children, is_alive, parent_of, scratch, wait_for};

/// Another process that owns two servers.
struct Owner {
    process: Child,
    postgres: i32,
    redis: i32,
    /// All processes of both servers, and their supervisors.
    all: Vec<i32>,
}

impl Owner {
    /// Starts an owner, with temporary data unless a folder is given.
    fn start(folder: Option<&Path>) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_private-servers"))
            .args(folder)
            .stdout(Stdio::piped())
            // As a job of a terminal has it.
            .process_group(0)
            .spawn()
            .expect("the program was built");
        let stdout = process.stdout.take().expect("piped");
        let lines: HashMap<String, String> = BufReader::new(stdout)
            .lines()
            .take(4)
            .filter_map(|line| {
                let line = line.ok()?;
                let (name, value) = line.split_once('=')?;
                Some((name.to_owned(), value.to_owned()))
            })
            .collect();
        let pid = |name: &str| lines[name].parse::<i32>().expect("a process id");
        let (postgres, redis) = (pid("POSTGRES_PID"), pid("REDIS_PID"));
        let mut all = vec![postgres, redis];
        all.extend(children(postgres));
        for server in [postgres, redis] {
            let supervisor = parent_of(server).expect("running");
            all.push(supervisor);
            all.extend(children(supervisor));
        }
        Self {
            process,
            postgres,
            redis,
            all,
        }
    }

    /// The folders of the servers.
    fn folders(&self) -> [PathBuf; 2] {
        [self.postgres, self.redis].map(|pid| {
            let data = fs::read_link(format!("/proc/{pid}/cwd")).expect("running");
            data.parent().expect("has a parent").to_owned()
        })
    }

    fn kill(&mut self) {
        self.process.kill().expect("running");
        self.process.wait().expect("a child");
    }

    async fn wait_gone(&self) {
        wait_for("no process is left", GONE_BOUND, || {
            !self.all.iter().any(|&pid| is_alive(pid))
        })
        .await;
    }
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("a live process");
}

#[tokio::test]
async fn a_killed_owner_leaves_nothing_behind() {
    let mut owner = Owner::start(None);
    let folders = owner.folders();
    assert!(folders.iter().all(|folder| folder.exists()));
    owner.kill();
    owner.wait_gone().await;
    wait_for("the folders are removed", GONE_BOUND, || {
        !folders.iter().any(|folder| folder.exists())
    })
    .await;
}

#[tokio::test]
async fn a_killed_owner_leaves_no_paused_server_behind() {
    let mut owner = Owner::start(None);
    for pid in [owner.postgres, owner.redis] {
        send(pid, Signal::SIGSTOP);
    }
    owner.kill();
    owner.wait_gone().await;
}

#[tokio::test]
async fn ctrl_c_ends_the_servers_in_order() {
    let scratch = scratch();
    let mut owner = Owner::start(Some(&scratch.path().join("data")));
    // The terminal sends it to the whole process group, in which the servers must not be: they would end before the
    // services that still write to them.
    for pid in &owner.all {
        let group = getpgid(Some(Pid::from_raw(*pid))).expect("a live process");
        assert_ne!(group.as_raw().unsigned_abs(), owner.process.id());
    }
    let group = Pid::from_raw(i32::try_from(owner.process.id()).expect("a process id"));
    killpg(group, Signal::SIGINT).expect("a live group");
    let status = owner.process.wait().expect("a child");
    assert!(status.success(), "{status}");
    assert!(
        !is_alive(owner.postgres) && !is_alive(owner.redis),
        "ended before their owner"
    );
    owner.wait_gone().await;
    let log = fs::read_to_string(scratch.path().join("data/postgres/server.log")).expect("a log");
    assert!(
        log.contains("fast shutdown request") && log.contains("database system is shut down"),
        "{log}"
    );
}

#[tokio::test]
async fn the_next_owner_follows_a_killed_one_at_once() {
    let scratch = scratch();
    let mut owner = Owner::start(Some(scratch.path()));
    owner.kill();
    // The old servers may still be ending.
    start_both(scratch.path()).await;
    owner.wait_gone().await;
}

#[tokio::test]
async fn the_next_owner_ends_servers_without_a_supervisor() {
    let scratch = scratch();
    let mut owner = Owner::start(Some(scratch.path()));
    for server in [owner.postgres, owner.redis] {
        let supervisor = parent_of(server).expect("running");
        let watchers = children(supervisor)
            .into_iter()
            .filter(|&pid| pid != server);
        for pid in watchers.chain([supervisor]) {
            send(pid, Signal::SIGKILL);
        }
    }
    owner.kill();
    assert!(
        is_alive(owner.postgres) && is_alive(owner.redis),
        "nobody could end them"
    );
    start_both(scratch.path()).await;
    owner.wait_gone().await;
}

#[tokio::test]
async fn a_recycled_process_id_does_not_keep_the_server_from_starting() {
    let scratch = scratch();
    let redis = RedisServer::start(RedisOptions::temporary())
        .await
        .expect("starts");
    let options = PostgresOptions::persistent(scratch.path().join("postgres"));
    let mut postgres = PostgresServer::start(options).await.expect("starts");
    postgres.kill().await.expect("ends");
    let pid_file = postgres.data_folder().join("postmaster.pid");
    let text = fs::read_to_string(&pid_file).expect("left by the dead server");
    let rest = text.split_once('\n').expect("has lines").1;
    // PostgreSQL takes a live process of its own account for another server.
    let other = redis.pid().expect("running");
    fs::write(&pid_file, format!("{other}\n{rest}")).expect("own the file");
    postgres.restart().await.expect("starts nevertheless");
    assert!(is_alive(other), "the other process is left alone");
}

/// Starts both servers on the folders that an owner used, and stops them.
async fn start_both(folder: &Path) {
    let mut postgres = PostgresServer::start(PostgresOptions::persistent(folder.join("postgres")))
        .await
        .expect("PostgreSQL starts");
    let mut redis = RedisServer::start(RedisOptions::persistent(folder.join("redis")))
        .await
        .expect("Redis starts");
    postgres.stop().await.expect("ends");
    redis.stop().await.expect("ends");
}
