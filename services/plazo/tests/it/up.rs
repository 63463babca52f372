//! `plazo up` from start to end.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plazo_proto::ticketing::v1::settings_service_client::SettingsServiceClient;
use plazo_proto::ticketing::v1::{Bot, CreateBotRequest, ListBotsRequest};
use plazo_service::{
    Actor, ActorKind, BotScope, ClientConfig, Permission, ServiceChannel, connect_lazy,
};
use tokio::time::{Instant, sleep};

use crate::plazo::{Up, command, data_folder, end_soon, free_base_port, run, server_pid};

fn settings(port: u16) -> SettingsServiceClient<ServiceChannel> {
    let actor = Actor {
        tenant_id: 1,
        kind: ActorKind::Administrator(1),
        permissions: [Permission::HelpdeskView, Permission::HelpdeskEdit]
            .into_iter()
            .collect(),
        bots: BotScope::All,
    };
    let config = ClientConfig::new(format!("http://127.0.0.1:{port}"));
    SettingsServiceClient::new(connect_lazy(&config, actor).expect("an address"))
}

async fn create_bot(port: u16, name: &str) {
    let bot = Bot {
        name: name.to_owned(),
        ..Bot::default()
    };
    let request = CreateBotRequest {
        bot: Some(bot),
        request_id: String::new(),
    };
    settings(port)
        .create_bot(request)
        .await
        .expect("the bot is made");
}

async fn bot_names(port: u16) -> Vec<String> {
    let answer = settings(port)
        .list_bots(ListBotsRequest::default())
        .await
        .expect("a list");
    answer
        .into_inner()
        .bots
        .into_iter()
        .map(|bot| bot.name)
        .collect()
}

fn server_pids(data: &Path) -> [Pid; 2] {
    ["postgres", "redis"].map(|server| server_pid(data, server))
}

#[tokio::test]
async fn a_cluster_lives_and_dies_and_its_data_stay() {
    let folder = data_folder();
    let data = folder.path();
    let port = free_base_port();

    let up = Up::start(port, data).await;
    for part in [
        &format!("127.0.0.1:{port}"),
        "grpcurl -plaintext",
        "buf curl",
    ] {
        assert!(
            up.greeting.contains(part),
            "{part} is missing: {}",
            up.greeting
        );
    }
    create_bot(port, "Padaria").await;

    // Somebody else on the same port is told so in one line, before anything is started.
    let other = data_folder();
    let port_text = port.to_string();
    let other_data = other.path().to_str().expect("a path in UTF-8");
    let refused = run(command(&["up", "--port", &port_text, "--data", other_data])).await;
    assert_eq!(refused.code, Some(1));
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    for part in [&port_text, "--port", "in use"] {
        assert!(
            refused.stderr.contains(part),
            "{part} is missing: {}",
            refused.stderr
        );
    }
    assert_eq!(other.path().read_dir().expect("a folder").count(), 0);

    // Ctrl-C ends it in order.
    let servers = server_pids(data);
    up.signal(Signal::SIGINT);
    let ended = up.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        ended.stderr, "",
        "an orderly end has nothing to complain of"
    );
    for pid in servers {
        assert!(kill(pid, None).is_err(), "a server is left behind");
    }

    // The data stay, and a kill leaves no server and hinders no start.
    let up = Up::start(port, data).await;
    assert_eq!(bot_names(port).await, ["Padaria"]);
    create_bot(port, "Oficina").await;
    let servers = server_pids(data);
    up.signal(Signal::SIGKILL);
    assert_eq!(up.ended().await.code, None);
    let up = Up::start(port, data).await;
    assert_eq!(bot_names(port).await, ["Padaria", "Oficina"]);
    assert!(end_soon(&servers).await, "a server is left behind");

    // A server that dies is named, and takes the rest with it.
    let [postgres, redis] = server_pids(data);
    kill(redis, Signal::SIGKILL).expect("Redis runs");
    let ended = up.ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("plazo: Redis has ended; its log "),
        "{}",
        ended.stderr
    );
    assert!(kill(postgres, None).is_err(), "PostgreSQL is left behind");
}

#[tokio::test]
async fn a_signal_during_the_start_leaves_nothing() {
    let folder = data_folder();
    let data = folder.path().to_str().expect("a path in UTF-8");
    let mut child = command(&["up", "--port", "0", "--data", data])
        .spawn()
        .expect("it runs");
    let pid_file = folder.path().join("postgres/server.pid");
    let until = Instant::now() + Duration::from_mins(1);
    while !pid_file.exists() {
        assert!(Instant::now() < until, "PostgreSQL is not started");
        sleep(Duration::from_millis(5)).await;
    }
    let id = child
        .id()
        .expect("it runs")
        .try_into()
        .expect("a process id");
    kill(Pid::from_raw(id), Signal::SIGTERM).expect("it runs");
    let status = child.wait().await.expect("it can be waited for");
    assert_eq!(status.code(), Some(0));
    if let Ok(text) = std::fs::read_to_string(&pid_file) {
        let pid = text
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok())
            .expect("an id");
        assert!(
            end_soon(&[Pid::from_raw(pid)]).await,
            "PostgreSQL is left behind"
        );
    }
}
