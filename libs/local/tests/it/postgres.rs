//! One PostgreSQL server.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use plazo_local::{LocalError, PostgresOptions, PostgresServer, SOCKET_PATH_BYTES_MAX};

use crate::{GONE_BOUND, children, is_alive, scratch, set_mode, temp_dir, wait_for};

#[tokio::test]
async fn data_survive_a_stop_and_a_new_owner() {
    let scratch = scratch();
    // An odd path must not end a list or an argument.
    let folder = scratch
        .path()
        .join("new parent, \"odd\" ü")
        .join("postgres");
    let options = || PostgresOptions::persistent(&folder);
    let mut first = PostgresServer::start(options())
        .await
        .expect("starts on a new folder");
    first.create_database("kept").await.expect("a new database");
    first
        .sql("kept", "CREATE TABLE t (n int); INSERT INTO t VALUES (42);")
        .await
        .expect("a row");
    let pid = first.pid().expect("running");
    first.stop().await.expect("ends in order");
    assert!(!is_alive(pid));
    assert!(matches!(first.pid(), Err(LocalError::NotRunning { .. })));
    drop(first);

    let second = PostgresServer::start(options())
        .await
        .expect("starts on old data");
    second
        .create_database("kept")
        .await
        .expect("it is there already");
    assert_eq!(
        second
            .sql("kept", "SELECT n FROM t;")
            .await
            .expect("the table"),
        "42\n"
    );
    let log = fs::read_to_string(second.log_path()).expect("a log");
    assert!(
        log.contains("database system was shut down"),
        "not in order: {log}"
    );
}

#[tokio::test]
async fn committed_rows_survive_a_kill() {
    let mut server = PostgresServer::start(PostgresOptions::temporary())
        .await
        .expect("starts");
    let url = server.database_url("postgres");
    server
        .sql(
            "postgres",
            "CREATE TABLE t (n int); INSERT INTO t VALUES (1);",
        )
        .await
        .expect("a row");
    // A busy session doesn't notice by itself that the server is gone, and would keep it from starting again.
    let endless = server.sql("postgres", "DO $$ BEGIN LOOP END LOOP; END $$;");
    let endless = tokio::time::timeout(Duration::from_millis(500), endless);
    endless.await.expect_err("it never ends");
    let busy =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %' AND state = 'active';";
    let busy = server.sql("postgres", busy).await.expect("a count");
    assert_eq!(busy, "1\n");
    let pid = server.pid().expect("running");
    let helpers = children(pid);
    assert!(!helpers.is_empty(), "PostgreSQL has processes of its own");
    server.kill().await.expect("ends");
    assert!(!is_alive(pid) && !helpers.into_iter().any(is_alive));
    assert!(server.sql("postgres", "SELECT 1;").await.is_err());

    server.restart().await.expect("recovers");
    assert_eq!(
        server
            .sql("postgres", "SELECT n FROM t;")
            .await
            .expect("the table"),
        "1\n"
    );
    assert_eq!(
        server.database_url("postgres"),
        url,
        "clients find it where it was"
    );
    let log = fs::read_to_string(server.log_path()).expect("a log");
    assert!(
        log.contains("not properly shut down"),
        "the kill was too kind: {log}"
    );
}

#[tokio::test]
async fn settings_reach_the_server() {
    let durable = PostgresOptions::temporary()
        .max_connections(77)
        .setting("work_mem", "9MB");
    let fast = PostgresOptions::temporary().durable(false);
    let (durable, fast) =
        tokio::try_join!(PostgresServer::start(durable), PostgresServer::start(fast))
            .expect("two servers at the same time");
    let show = "SHOW fsync; SHOW max_connections; SHOW work_mem; SHOW listen_addresses; SHOW server_encoding;";
    let shown = durable.sql("postgres", show).await.expect("shows");
    assert_eq!(shown, "on\n77\n9MB\n\nUTF8\n");
    assert!(
        fast.sql("postgres", show)
            .await
            .expect("shows")
            .starts_with("off\n200\n")
    );
    let collation =
        "SELECT lower('Ä'), datcollate LIKE 'C%' FROM pg_database WHERE datname = 'postgres';";
    assert_eq!(
        durable.sql("postgres", collation).await.expect("a row"),
        "ä|t\n"
    );
}

#[tokio::test]
async fn only_the_owner_can_enter() {
    let server = PostgresServer::start(PostgresOptions::temporary())
        .await
        .expect("starts");
    for folder in [server.socket_folder().to_owned(), server.data_folder()] {
        let mode = fs::metadata(&folder).expect("exists").mode() & 0o777;
        assert_eq!(mode, 0o700, "{folder:?}");
    }
    let pid = server.pid().expect("running");
    let uid = fs::metadata(format!("/proc/{pid}")).expect("running").uid();
    assert_ne!(uid, 0, "PostgreSQL must not run as root");
    let groups = fs::read_to_string(format!("/proc/{pid}/status")).expect("running");
    let groups = groups
        .lines()
        .find_map(|line| line.strip_prefix("Groups:"))
        .expect("a line");
    if nix::unistd::geteuid().is_root() {
        assert_eq!(groups.trim(), "", "root's groups must be dropped");
    }
}

#[tokio::test]
async fn a_folder_has_one_owner() {
    let scratch = scratch();
    let options = || PostgresOptions::persistent(scratch.path().join("postgres")).durable(false);
    let first = PostgresServer::start(options()).await.expect("starts");
    let error = PostgresServer::start(options())
        .await
        .expect_err("the folder is taken");
    assert!(matches!(error, LocalError::InUse { .. }), "{error}");
    let own_pid = std::process::id().to_string();
    assert!(
        error.to_string().contains(&own_pid),
        "names the owner: {error}"
    );
    assert!(is_alive(first.pid().expect("running")));
    // Dropped, not stopped: the next owner waits for the end of the server.
    drop(first);
    PostgresServer::start(options())
        .await
        .expect("starts when the folder is free");
}

#[tokio::test]
async fn somebody_elses_folder_is_left_alone() {
    let scratch = scratch();
    fs::write(scratch.path().join("letter"), "dear").expect("a file");
    let before = fs::metadata(scratch.path()).expect("exists");
    let error = PostgresServer::start(PostgresOptions::persistent(scratch.path()))
        .await
        .expect_err("not a data folder");
    assert!(matches!(error, LocalError::NotOurs { .. }), "{error}");
    let after = fs::metadata(scratch.path()).expect("exists");
    assert_eq!((before.uid(), before.mode()), (after.uid(), after.mode()));
}

#[tokio::test]
async fn an_unreachable_folder_is_named() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("only root's servers run as another account");
        return;
    }
    let scratch = scratch();
    let blocked = scratch.path().join("home");
    fs::create_dir(&blocked).expect("a folder");
    set_mode(&blocked, 0o700);
    let error = PostgresServer::start(PostgresOptions::persistent(blocked.join("data/postgres")))
        .await
        .expect_err("the account can't get there");
    let LocalError::Unreachable { blocked: named, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(named, &blocked, "{error}");
}

#[tokio::test]
async fn a_long_path_gets_a_short_socket() {
    let scratch = scratch();
    let folder = scratch.path().join("x".repeat(SOCKET_PATH_BYTES_MAX));
    let server = PostgresServer::start(PostgresOptions::persistent(&folder).durable(false))
        .await
        .expect("starts");
    let socket_folder = server.socket_folder().to_owned();
    assert!(socket_folder.starts_with(temp_dir()) && !socket_folder.starts_with(scratch.path()));
    assert_eq!(
        server.sql("postgres", "SELECT 1;").await.expect("answers"),
        "1\n"
    );
    let mode = fs::metadata(&socket_folder).expect("exists").mode() & 0o777;
    assert_eq!(mode, 0o700, "nobody else can connect");
    let data = server.data_folder();
    drop(server);
    wait_for("the socket's folder is removed", GONE_BOUND, || {
        !socket_folder.exists()
    })
    .await;
    assert!(data.exists(), "the data stay");
}

#[tokio::test]
async fn temporary_data_go_with_the_handle() {
    for stop_first in [false, true] {
        let options = PostgresOptions::temporary().durable(false);
        let mut server = PostgresServer::start(options).await.expect("starts");
        let folder = server
            .data_folder()
            .parent()
            .expect("has a parent")
            .to_owned();
        let pid = server.pid().expect("running");
        if stop_first {
            server.stop().await.expect("ends");
            assert!(folder.exists(), "a stopped server can be started again");
        }
        drop(server);
        wait_for("the folder is removed", GONE_BOUND, || !folder.exists()).await;
        assert!(!is_alive(pid));
    }
}

#[tokio::test]
async fn a_paused_server_answers_nobody_until_it_is_resumed() {
    let mut server = PostgresServer::start(PostgresOptions::temporary().durable(false))
        .await
        .expect("starts");
    server.pause().expect("running");
    let answer = tokio::time::timeout(
        Duration::from_millis(300),
        server.sql("postgres", "SELECT 1;"),
    );
    answer.await.expect_err("a frozen server can't answer");
    server.resume().expect("running");
    assert_eq!(
        server
            .sql("postgres", "SELECT 1;")
            .await
            .expect("answers again"),
        "1\n"
    );
    server.pause().expect("running");
    server.stop().await.expect("a paused server can be stopped");
}

#[tokio::test]
async fn a_start_that_fails_shows_the_log() {
    let options = PostgresOptions::temporary().setting("no_such_setting", "1");
    let error = PostgresServer::start(options)
        .await
        .expect_err("a bad setting");
    assert!(
        error
            .to_string()
            .contains("unrecognized configuration parameter"),
        "{error}"
    );
}

#[tokio::test]
async fn failed_sql_says_why() {
    let server = PostgresServer::start(PostgresOptions::temporary().durable(false))
        .await
        .expect("starts");
    let error = server
        .sql("postgres", "SELECT no_such_column;")
        .await
        .expect_err("no column");
    assert!(error.to_string().contains("no_such_column"), "{error}");
    let error = server
        .create_database("Bad-Name")
        .await
        .expect_err("needs quotes");
    assert!(matches!(error, LocalError::InvalidName { .. }), "{error}");
}

#[tokio::test]
async fn a_database_is_copied_and_dropped() {
    let server = PostgresServer::start(PostgresOptions::temporary().durable(false))
        .await
        .expect("starts");
    server.create_database("template_a").await.expect("made");
    server
        .sql("template_a", "CREATE TABLE t (n int);")
        .await
        .expect("a table");
    server
        .copy_database("copy_a", "template_a")
        .await
        .expect("copied");
    assert_eq!(
        server
            .sql("copy_a", "SELECT count(*) FROM t;")
            .await
            .expect("the table"),
        "0\n"
    );
    server.drop_database("copy_a").await.expect("dropped");
    server
        .sql("copy_a", "SELECT 1;")
        .await
        .expect_err("it is gone");
}
