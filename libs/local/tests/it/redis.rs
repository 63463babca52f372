//! One Redis server.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use plazo_local::{LocalError, RedisOptions, RedisServer, SOCKET_PATH_BYTES_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{GONE_BOUND, is_alive, redis_command, scratch, wait_for};

#[tokio::test]
async fn data_survive_a_stop_a_kill_and_a_new_owner() {
    let scratch = scratch();
    let options = || RedisOptions::persistent(scratch.path().join("odd \"ü\"").join("redis"));
    let mut first = RedisServer::start(options())
        .await
        .expect("starts on a new folder");
    let socket = first.socket_path();
    assert_eq!(
        redis_command(&socket, "SET a 1").await.expect("answers"),
        "+OK"
    );
    first.restart().await.expect("stops and starts");
    assert_eq!(redis_command(&socket, "GET a").await.expect("answers"), "1");
    assert_eq!(
        redis_command(&socket, "SET b 2").await.expect("answers"),
        "+OK"
    );
    let pid = first.pid().expect("running");
    first.kill().await.expect("ends");
    assert!(!is_alive(pid));
    redis_command(&socket, "PING")
        .await
        .expect_err("nobody is there");
    drop(first);

    let second = RedisServer::start(options())
        .await
        .expect("starts on old data");
    for (key, value) in [("a", "1"), ("b", "2")] {
        let command = format!("GET {key}");
        assert_eq!(
            redis_command(&second.socket_path(), &command)
                .await
                .expect("answers"),
            value
        );
    }
}

#[tokio::test]
async fn without_an_append_only_file_a_restart_is_empty() {
    let options = RedisOptions::temporary().append_only(false);
    let mut server = RedisServer::start(options).await.expect("starts");
    let socket = server.socket_path();
    assert_eq!(
        redis_command(&socket, "SET a 1").await.expect("answers"),
        "+OK"
    );
    server.restart().await.expect("starts again");
    assert_eq!(
        redis_command(&socket, "EXISTS a").await.expect("answers"),
        ":0"
    );
}

#[tokio::test]
async fn the_server_is_private_and_evicts_nothing() {
    let options = RedisOptions::temporary().setting("maxclients 123");
    let server = RedisServer::start(options).await.expect("starts");
    let socket = server.socket_path();
    assert_eq!(server.url(), format!("redis+unix://{}", socket.display()));
    assert_eq!(
        fs::metadata(&socket).expect("a socket").mode() & 0o777,
        0o700
    );
    assert_eq!(server.tcp_port(), None);
    for (name, value) in [
        ("port", "0"),
        ("maxmemory-policy", "noeviction"),
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("save", ""),
        ("maxclients", "123"),
    ] {
        let command = format!("CONFIG GET {name}");
        assert_eq!(
            redis_command(&socket, &command).await.expect("answers"),
            value,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_tcp_port_stays_over_restarts() {
    let mut server = RedisServer::start(RedisOptions::temporary().tcp(true))
        .await
        .expect("starts");
    let port = server.tcp_port().expect("was asked for");
    for _ in 0..2 {
        assert_eq!(ping(port).await.expect("answers"), "+PONG\r\n");
        server.kill().await.expect("ends");
        server.restart().await.expect("starts again");
    }
    assert_eq!(ping(port).await.expect("answers"), "+PONG\r\n");
}

#[tokio::test]
async fn a_paused_server_answers_nobody_until_it_is_resumed() {
    let server = RedisServer::start(RedisOptions::temporary())
        .await
        .expect("starts");
    let socket = server.socket_path();
    server.pause().expect("running");
    let answer = tokio::time::timeout(Duration::from_millis(300), redis_command(&socket, "PING"));
    answer.await.expect_err("a frozen server can't answer");
    server.resume().expect("running");
    assert_eq!(
        redis_command(&socket, "PING").await.expect("answers"),
        "+PONG"
    );
}

#[tokio::test]
async fn a_folder_has_one_owner() {
    let scratch = scratch();
    let options = || RedisOptions::persistent(scratch.path().join("redis"));
    let first = RedisServer::start(options()).await.expect("starts");
    let error = RedisServer::start(options())
        .await
        .expect_err("the folder is taken");
    assert!(matches!(error, LocalError::InUse { .. }), "{error}");
    drop(first);
    RedisServer::start(options())
        .await
        .expect("starts when the folder is free");
}

#[tokio::test]
async fn a_long_path_gets_a_short_socket() {
    let scratch = scratch();
    let folder = scratch.path().join("x".repeat(SOCKET_PATH_BYTES_MAX));
    let server = RedisServer::start(RedisOptions::persistent(&folder))
        .await
        .expect("starts");
    let socket = server.socket_path();
    assert!(!socket.starts_with(scratch.path()));
    assert_eq!(
        redis_command(&socket, "PING").await.expect("answers"),
        "+PONG"
    );
    drop(server);
    wait_for("the socket's folder is removed", GONE_BOUND, || {
        !socket.parent().expect("has a parent").exists()
    })
    .await;
}

#[tokio::test]
async fn a_start_that_fails_shows_the_log() {
    let options = RedisOptions::temporary().setting("no-such-setting 1");
    let error = RedisServer::start(options)
        .await
        .expect_err("a bad setting");
    assert!(error.to_string().contains("no-such-setting"), "{error}");
}

#[tokio::test]
async fn an_end_from_outside_is_noticed() {
    let mut server = RedisServer::start(RedisOptions::temporary())
        .await
        .expect("starts");
    // The connection may end before the answer.
    let _ = redis_command(&server.socket_path(), "SHUTDOWN").await;
    tokio::time::timeout(GONE_BOUND, server.ended())
        .await
        .expect("noticed");
    server.restart().await.expect("starts again");
}

async fn ping(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
