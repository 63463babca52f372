//! New certificates, keys and roots while calls flow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use plazo_service::{Actor, ClientConfig, Deadline, Retry, Tls, TlsConfig};
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::calls::http_get;
use crate::certificates::{Authority, Folder, Issued};
use crate::echo::{Running, call, spawn, text, wait_until};
use crate::tls::{CLIENT, SERVER, config, endpoint};

/// A process with its files, which it reads again all the time.
pub(crate) struct Process {
    pub(crate) tls: Tls,
    pub(crate) folder: Folder,
    _reloading: AbortOnDropHandle<()>,
}

impl Process {
    pub(crate) fn new(issued: &Issued, roots: &[&str]) -> Self {
        let folder = Folder::new(issued, roots);
        let config = TlsConfig {
            reload_interval_ms: 20,
            ..config(&folder)
        };
        let tls = Tls::load(Some(&config)).expect("good files");
        let reloading = spawn({
            let tls = tls.clone();
            async move { tls.reload_until(CancellationToken::new()).await }
        });
        Self {
            tls,
            folder,
            _reloading: AbortOnDropHandle::new(reloading),
        }
    }
}

/// A figure of the page; 0 if it is not there.
pub(crate) async fn figure(server: &Running, name: &str) -> u64 {
    let page = http_get(server.metrics_address, "/metrics").await;
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().expect("a whole number"))
}

async fn wait_for_figure(server: &Running, name: &str, at_least: u64) {
    let bound = Instant::now() + Duration::from_secs(10);
    while figure(server, name).await < at_least {
        assert!(Instant::now() < bound, "{name} does not come to {at_least}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const REPLACED: &str = "plazo_tls_reloads_total{outcome=\"replaced\"} ";
const REFUSED: &str = "plazo_tls_reloads_total{outcome=\"refused\"} ";
const EXPIRY: &str = "plazo_tls_certificate_expiry_timestamp_seconds ";

/// Calls over connections old and new; counts them, and fails none.
struct Load {
    calls: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    ended: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(tls: &Tls, config: &ClientConfig) -> Self {
        let (calls, stop) = (
            Arc::new(AtomicU32::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let channel = {
            let (tls, config) = (tls.clone(), config.clone());
            move || {
                tls.connect_lazy(&config, Actor::service("test"))
                    .expect("a valid address")
            }
        };
        let ended = [false, true].map(|is_new_each_time| {
            let (calls, stop) = (Arc::clone(&calls), Arc::clone(&stop));
            let (channel, kept, retry) = (channel.clone(), channel(), Retry::new(config));
            spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let channel = if is_new_each_time {
                        channel()
                    } else {
                        kept.clone()
                    };
                    // A call may meet the end of a connection, and says that it may be sent again.
                    let answer = retry.unavailable(Deadline::NONE, || {
                        call(channel.clone(), "WhoIsThere", text(""))
                    });
                    answer.await.expect("no call fails");
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        Self {
            calls,
            stop,
            ended: ended.into(),
        }
    }

    async fn goes_on(&self) {
        let before = self.calls.load(Ordering::SeqCst);
        wait_until("calls go on", || {
            self.calls.load(Ordering::SeqCst) > before + 20
                || self.ended.iter().any(tokio::task::JoinHandle::is_finished)
        })
        .await;
    }

    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for ended in self.ended {
            ended.await.expect("no call failed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_roots_are_rotated_without_a_failed_call() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let old_client = old.issue(CLIENT);
    let server_process = Process::new(&old.issue(SERVER), &[old.pem()]);
    let client_process = Process::new(&old_client, &[old.pem()]);
    let server = Running::start_over(&server_process.tls, |config| {
        config.max_connection_age_ms = 100;
    })
    .await;
    // Shows what the client's process has done.
    let mirror = Running::start_over(&client_process.tls, |_| {}).await;
    let config = ClientConfig {
        server_identity: Some(SERVER.to_owned()),
        ..endpoint(&server)
    };
    let balanced = ClientConfig {
        balance: true,
        ..config.clone()
    };
    let loads = [&balanced, &config].map(|config| Load::start(&client_process.tls, config));

    // Both believe the new authority before anybody shows its certificates, and the old one until nobody shows its own.
    let both = [old.pem(), new.pem()];
    let steps = [
        (old.issue(SERVER), old.issue(CLIENT), &both[..]),
        (new.issue(SERVER), new.issue(CLIENT), &both[..]),
        (new.issue(SERVER), new.issue(CLIENT), &both[1..]),
    ];
    for (number, (server_issued, client_issued, roots)) in (1..).zip(steps) {
        server_process.folder.replace(&server_issued, roots);
        client_process.folder.replace(&client_issued, roots);
        wait_for_figure(&server, REPLACED, number).await;
        wait_for_figure(&mirror, REPLACED, number).await;
        for load in &loads {
            load.goes_on().await;
        }
    }
    for load in loads {
        load.end().await;
    }

    // It was not by leaving the old in use.
    let outdated = Process::new(&old_client, &[new.pem()]);
    let channel = outdated
        .tls
        .connect_lazy(&config, Actor::service("test"))
        .expect("a valid address");
    let refused = call(channel, "WhoIsThere", text("")).await;
    refused.expect_err("its authority is believed no more");
    assert_eq!(
        figure(&server, REFUSED).await,
        0,
        "none was seen half-swapped"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_leave_the_old_ones_in_use() {
    let ours = Authority::new("ours");
    let now_s = UnixTime::now().as_secs();
    let in_use = ours.issue_until(SERVER, Some(now_s + 7_000));
    let process = Process::new(&in_use, &[ours.pem()]);
    let server = Running::start_over(&process.tls, |_| {}).await;
    assert_eq!(figure(&server, EXPIRY).await, now_s + 7_000);
    let client = Process::new(&ours.issue(CLIENT), &[ours.pem()]);
    let call_anew = async || {
        let channel = client
            .tls
            .connect_lazy(&endpoint(&server), Actor::service("test"));
        call(channel.expect("a valid address"), "WhoIsThere", text("")).await
    };

    let with = |certificate: &str, key: &str| Issued {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    };
    let other = ours.issue(SERVER);
    for (what, issued, roots) in [
        ("no PEM", with("broken", &other.key), ours.pem()),
        (
            "another's key",
            with(&other.certificate, &in_use.key),
            ours.pem(),
        ),
        (
            "expired",
            ours.issue_until(SERVER, Some(now_s - 60)),
            ours.pem(),
        ),
        ("no roots", other.clone(), ""),
    ] {
        let before = figure(&server, REFUSED).await;
        process.folder.replace(&issued, &[roots]);
        // A look may have begun before: the second has seen these.
        wait_for_figure(&server, REFUSED, before + 2).await;
        call_anew().await.expect(what);
        assert_eq!(figure(&server, EXPIRY).await, now_s + 7_000, "{what}");
    }
    assert_eq!(figure(&server, REPLACED).await, 0);

    let good = ours.issue_until(SERVER, Some(now_s + 9_000));
    process.folder.replace(&good, &[ours.pem()]);
    wait_for_figure(&server, REPLACED, 1).await;
    assert_eq!(figure(&server, EXPIRY).await, now_s + 9_000);
    call_anew().await.expect("the new ones are good");
}
