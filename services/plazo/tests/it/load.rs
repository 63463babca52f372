//! Small loads from beginning to end, fine ones and broken ones.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plazo_local::{RedisOptions, RedisServer};
use plazo_proto::timer::v1::GetTimerStatsRequest;
use plazo_proto::timer::v1::timer_service_client::TimerServiceClient;
use plazo_service::{Actor, ClientConfig, ServiceChannel, connect_lazy};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use crate::plazo::{command, free_base_port};

const BOUND: Duration = Duration::from_mins(2);

/// Runs a load to its end: its exit code, and its result.
async fn result_of(child: Child) -> (Option<i32>, Value) {
    let output = timeout(BOUND, child.wait_with_output()).await;
    let output = output.expect("it ends in time").expect("it ends");
    let text = String::from_utf8(output.stdout).expect("text");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let result = serde_json::from_str(&text);
    let result = result.unwrap_or_else(|error| panic!("{error}: {text}{stderr}"));
    (output.status.code(), result)
}

fn load(arguments: &[&str]) -> Child {
    let arguments = [&["load", "--output", "-"], arguments].concat();
    command(&arguments).spawn().expect("the command runs")
}

/// A timer whose handler is at this address, in a process that ends with its input, and its own address.
async fn timer_of(redis: &RedisServer, handler: &str) -> (Child, String) {
    let mut process = command(&["load", "timer"])
        .stdin(Stdio::piped())
        .stderr(Stdio::inherit())
        .env("PLAZO_TIMER__SERVER__LISTEN", "127.0.0.1:0")
        .env("PLAZO_TIMER__SERVER__METRICS_LISTEN", "127.0.0.1:0")
        .env("PLAZO_TIMER__TELEMETRY__LOG_FILTER", "off")
        .env("PLAZO_TIMER__REDIS__URL", redis.url())
        .env("PLAZO_TIMER__HANDLER__ENDPOINT", handler)
        .spawn()
        .expect("the command runs");
    let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
    let line = lines.next_line().await.expect("it can be read");
    let listening: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
    let endpoint = listening["timer"].as_str().expect("an address").to_owned();
    (process, endpoint)
}

fn timer_at(endpoint: &str) -> TimerServiceClient<ServiceChannel> {
    let channel = connect_lazy(&ClientConfig::new(endpoint), Actor::service("test"));
    TimerServiceClient::new(channel.expect("an address"))
}

async fn waiting_count(timer: &TimerServiceClient<ServiceChannel>) -> i64 {
    let stats = timer.clone().get_timer_stats(GetTimerStatsRequest {}).await;
    let stats = stats.expect("the timer answers").into_inner();
    stats.shards.iter().map(|shard| shard.waiting_count).sum()
}

async fn wait_until_waiting(timer: &TimerServiceClient<ServiceChannel>, least: i64) {
    let until = Instant::now() + BOUND;
    while waiting_count(timer).await < least {
        assert!(Instant::now() < until, "it was never armed");
        sleep(Duration::from_millis(20)).await;
    }
}

fn pid_of(child: &Child) -> Pid {
    let pid = child.id().expect("it runs");
    Pid::from_raw(pid.try_into().expect("a process id"))
}

#[tokio::test]
async fn a_small_load_passes_and_leaves_its_results() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("results");
    let child = command(&[
        "load",
        "--rate",
        "1000",
        "--duration",
        "2s",
        "--ahead",
        "500ms",
        "--shape",
        "churn",
        "--json",
        "--output",
        output.to_str().expect("a path in UTF-8"),
    ])
    .spawn()
    .expect("the command runs");
    let (code, result) = result_of(child).await;
    assert_eq!(code, Some(0), "{result}");
    assert_eq!(result["passed"], true, "{result}");
    assert_eq!(result["tickets"], 2_000, "{result}");
    for key in ["lost", "doubled", "early", "unarmed", "pending"] {
        assert_eq!(result[key], 0, "{key}: {result}");
    }
    let number = |key: &str| result[key].as_u64().expect("a number");
    assert_eq!(
        number("fired") + number("superseded"),
        number("tickets") + number("rearmed"),
        "{result}"
    );
    assert!(
        number("superseded") > 0 && number("postponed") > 0,
        "{result}"
    );
    assert_eq!(result["timer"]["shards"], 16, "{result}");
    assert!(
        result["lateness_ms"]["min"].as_f64() >= Some(0.0),
        "{result}"
    );

    let read = |name: &str| std::fs::read_to_string(output.join(name)).expect("it is there");
    let kept: Value = serde_json::from_str(&read("result.json")).expect("JSON");
    assert_eq!(kept, result);
    assert!(read("lateness.svg").ends_with("</svg>\n"));
    assert!(read("lateness.hlog").contains("HISTFAAAA"));
}

#[tokio::test]
async fn a_timer_that_dies_loses_tickets_and_the_load_fails() {
    let mut child = load(&[
        "--shape",
        "burst",
        "--tickets",
        "2000",
        "--rate",
        "4000",
        "--ahead",
        "5s",
        "--grace",
        "1s",
    ]);
    // It says where its timer is and which process; the process is then killed with all tickets armed.
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let line = loop {
        let line = lines.next_line().await.expect("it can be read");
        let line = line.expect("it says where its timer is");
        if line.starts_with("process ") {
            break line;
        }
    };
    let mut words = line.split([' ', ',']);
    let pid: i32 = words.nth(1).and_then(|pid| pid.parse().ok()).expect(&line);
    let endpoint = words.find(|word| word.starts_with("http://")).expect(&line);
    wait_until_waiting(&timer_at(endpoint), 2_000).await;
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");

    let (code, result) = result_of(child).await;
    assert_eq!(code, Some(1), "{result}");
    assert_eq!(result["passed"], false, "{result}");
    assert_eq!(result["lost"], 2_000, "{result}");
    assert_eq!(result["fired"], 0, "{result}");
    let notes = result["notes"].to_string();
    assert!(notes.contains("ended by itself"), "{notes}");
}

#[tokio::test]
async fn a_load_that_is_cut_short_takes_its_tickets_back() {
    let redis = RedisServer::start(RedisOptions::temporary());
    let redis = redis.await.expect("a Redis server");
    let handler = format!("127.0.0.1:{}", free_base_port());
    let (mut process, endpoint) = timer_of(&redis, &format!("http://{handler}")).await;

    let child = load(&[
        "--timer",
        &endpoint,
        "--serve-handler",
        &handler,
        "--duration",
        "10m",
        "--ahead",
        "10m",
    ]);
    let timer = timer_at(&endpoint);
    wait_until_waiting(&timer, 500).await;
    kill(pid_of(&child), Signal::SIGTERM).expect("it runs");
    let (code, result) = result_of(child).await;
    assert_eq!(code, Some(0), "{result}");
    assert_eq!(result["cut_short"], true, "{result}");
    assert!(result["armed"].as_u64() >= Some(500), "{result}");
    assert_eq!(result["notes"], serde_json::json!([]), "{result}");
    assert_eq!(waiting_count(&timer).await, 0);

    // The timer ends with whoever started it.
    drop(process.stdin.take());
    let status = timeout(BOUND, process.wait())
        .await
        .expect("it ends in time");
    assert!(status.expect("it ends").success());
}

#[tokio::test]
async fn real_tickets_fire_once_and_not_early() {
    let child = load(&[
        "--handler",
        "ticketing",
        "--rate",
        "50",
        "--duration",
        "2s",
        "--ahead",
        "1s",
        "--tenants",
        "3",
    ]);
    let (code, result) = result_of(child).await;
    assert_eq!(code, Some(0), "{result}");
    assert_eq!(result["fired"], 100, "{result}");
    assert_eq!(result["settings"]["handler"], "ticketing", "{result}");
    assert!(
        result["lateness_ms"]["min"].as_f64() >= Some(0.0),
        "{result}"
    );
}

#[tokio::test]
async fn real_customers_answer_and_agents_write_again() {
    let child = load(&[
        "--handler",
        "ticketing",
        "--shape",
        "churn",
        "--rate",
        "50",
        "--duration",
        "3s",
        "--ahead",
        "2s",
        "--tenants",
        "3",
    ]);
    let (code, result) = result_of(child).await;
    assert_eq!(code, Some(0), "{result}");
    let count = |name: &str| {
        result[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name}: {result}"))
    };
    assert!(count("rearmed") > 0, "{result}");
    assert!(count("postponed") > 0, "{result}");
    assert!(count("superseded") > 0, "{result}");
    assert_eq!(
        count("fired") + count("superseded"),
        count("armed"),
        "{result}"
    );
}

#[tokio::test]
async fn a_load_without_a_timer_says_what_to_do() {
    let endpoint = format!("http://127.0.0.1:{}", free_base_port());
    let child = command(&[
        "load",
        "--timer",
        &endpoint,
        "--serve-handler",
        "127.0.0.1:0",
    ]);
    let ended = crate::plazo::run(child).await;
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    let start = format!("plazo: no timer answers at {endpoint} ");
    assert!(ended.stderr.starts_with(&start), "{}", ended.stderr);
}

#[tokio::test]
async fn a_handler_that_nobody_may_reach_ends_the_load() {
    let redis = RedisServer::start(RedisOptions::temporary());
    let redis = redis.await.expect("a Redis server");
    let (mut process, endpoint) = timer_of(&redis, "http://127.0.0.1:1").await;
    // Others could reach it, in plain text.
    let child = command(&[
        "load",
        "--timer",
        &endpoint,
        "--serve-handler",
        "0.0.0.0:0",
        "--duration",
        "10m",
    ]);
    let ended = crate::plazo::run(child).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for part in ["the handler can't be served", "is not a loopback address"] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    drop(process.stdin.take());
    let status = timeout(BOUND, process.wait()).await;
    let status = status.expect("it ends in time").expect("it ends");
    assert!(status.success());
}
