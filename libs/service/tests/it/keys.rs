//! Keys that change while the server runs.

use std::time::Duration;

use futures::future::join_all;
use plazo_service::access::{AccessConfig, KeysConfig};
use plazo_service::status::{reason_of, retry_after_of};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use crate::access::{bearing, key_file, url_of};
use crate::calls::http_get;
use crate::echo::{Running, call, text};
use crate::signing::{KeyServer, Signer, claims, issuer, jwk_set};

/// Nothing happens by itself within a test.
const NEVER_MS: u64 = 3_600_000;

async fn start(keys: &str, signer: &Signer, change: impl FnOnce(&mut KeysConfig)) -> Running {
    let mut settings = KeysConfig {
        refresh_interval_ms: NEVER_MS,
        look_interval_ms: NEVER_MS,
        unknown_key_interval_ms: NEVER_MS,
        max_age_ms: 2 * NEVER_MS,
        ..KeysConfig::default()
    };
    change(&mut settings);
    let access = AccessConfig {
        issuers: vec![issuer(keys, &[signer])],
        keys: settings,
        ..AccessConfig::default()
    };
    let server = Running::start_with(|_| {}, &access).await;
    // It serves as soon as it has tried to fetch the keys.
    let answer = call(server.bare_channel(), "WhoAmI", text("")).await;
    assert_eq!(reason(answer).as_deref(), Some("TOKEN_MISSING"));
    server
}

async fn who_am_i(server: &Running, signer: &Signer) -> Result<String, Status> {
    let token = signer.token(&claims());
    call(server.bare_channel(), "WhoAmI", bearing(&token)).await
}

fn reason(answer: Result<String, Status>) -> Option<String> {
    answer.err().and_then(|refused| reason_of(&refused))
}

/// Until a call of this signer is answered so, for ten seconds at most.
async fn until(server: &Running, signer: &Signer, expected: Option<&str>) {
    let bound = Instant::now() + Duration::from_secs(10);
    loop {
        let answered = reason(who_am_i(server, signer).await);
        if answered.as_deref() == expected {
            return;
        }
        assert!(Instant::now() < bound, "{answered:?} and not {expected:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_new_key_in_the_file_is_known_at_once_and_an_old_one_forgotten_at_the_next_look() {
    let (old, new) = (Signer::ec("old"), Signer::ec("new"));
    let file = key_file(&jwk_set(&[&old]));
    let server = start(&url_of(&file), &old, |keys| keys.look_interval_ms = 200).await;
    who_am_i(&server, &old).await.expect("it is known");

    std::fs::write(file.path(), jwk_set(&[&old, &new])).expect("written");
    who_am_i(&server, &new).await.expect("looked up at once");
    who_am_i(&server, &old).await.expect("still there");
    std::fs::write(file.path(), jwk_set(&[&new])).expect("written");
    until(&server, &old, Some("KEY_UNKNOWN")).await;
    who_am_i(&server, &new).await.expect("still there");
}

#[tokio::test]
async fn a_file_that_breaks_does_not_take_the_keys_away() {
    let signer = Signer::ec("ec");
    let file = key_file(&jwk_set(&[&signer]));
    let server = start(&url_of(&file), &signer, |keys| keys.look_interval_ms = 50).await;
    std::fs::write(file.path(), "{").expect("written");
    let failed =
        r#"plazo_access_key_refreshes_total{issuer="https://id.example",outcome="failed"}"#;
    let bound = Instant::now() + Duration::from_secs(10);
    while !http_get(server.metrics_address, "/metrics")
        .await
        .contains(failed)
    {
        assert!(Instant::now() < bound, "the failure is not counted");
        sleep(Duration::from_millis(10)).await;
    }
    who_am_i(&server, &signer).await.expect("the key is kept");
}

#[tokio::test]
async fn keys_at_an_address_are_fetched_again_and_again() {
    let (old, new) = (Signer::ec("key"), Signer::ec("key"));
    let source = KeyServer::start(Some(jwk_set(&[&old]))).await;
    let server = start(&source.url(), &old, |keys| keys.refresh_interval_ms = 100).await;
    who_am_i(&server, &old).await.expect("it is known");
    // Another key under the same name is no unknown key.
    source.set(Some(jwk_set(&[&new])));
    until(&server, &new, None).await;
    assert_eq!(
        reason(who_am_i(&server, &old).await).as_deref(),
        Some("SIGNATURE_WRONG")
    );
}

#[tokio::test]
async fn many_calls_with_unknown_keys_cause_one_fetch() {
    let (known, new, unknown) = (
        Signer::ec("known"),
        Signer::ec("new"),
        Signer::ec("unknown"),
    );
    let source = KeyServer::start(Some(jwk_set(&[&known]))).await;
    let server = start(&source.url(), &known, |_| {}).await;
    assert_eq!(source.hits(), 1, "fetched at the start");

    source.set(Some(jwk_set(&[&known, &new])));
    source.delay(Duration::from_millis(200));
    let storm = join_all((0..100).map(|_| who_am_i(&server, &unknown)));
    let waiting = join_all((0..20).map(|_| who_am_i(&server, &new)));
    let (storm, waiting) = futures::future::join(storm, waiting).await;
    for answer in storm {
        assert_eq!(reason(answer).as_deref(), Some("KEY_UNKNOWN"));
    }
    for answer in waiting {
        answer.expect("the one fetch brought the key");
    }
    assert_eq!(source.hits(), 2, "one fetch for all");
    // And no further one for a while, nor a wait.
    let begun = Instant::now();
    for _ in 0..20 {
        let answer = who_am_i(&server, &unknown).await;
        assert_eq!(reason(answer).as_deref(), Some("KEY_UNKNOWN"));
    }
    assert_eq!(source.hits(), 2, "limited");
    assert!(begun.elapsed() < Duration::from_secs(2), "nobody waits");
    who_am_i(&server, &known).await.expect("others go on");
}

#[tokio::test]
async fn callers_that_hang_up_do_not_end_the_fetch() {
    let (known, new) = (Signer::ec("known"), Signer::ec("new"));
    let source = KeyServer::start(Some(jwk_set(&[&known]))).await;
    let server = start(&source.url(), &known, |_| {}).await;
    source.set(Some(jwk_set(&[&known, &new])));
    source.delay(Duration::from_millis(300));
    let hanging_up = tokio::time::timeout(Duration::from_millis(50), who_am_i(&server, &new));
    hanging_up.await.expect_err("it hangs up");
    who_am_i(&server, &new).await.expect("the key is there");
    assert_eq!(source.hits(), 2);
}

#[tokio::test]
async fn keys_are_kept_while_their_source_is_away_but_not_for_ever() {
    let signer = Signer::ec("key");
    let source = KeyServer::start(Some(jwk_set(&[&signer]))).await;
    let server = start(&source.url(), &signer, |keys| {
        keys.refresh_interval_ms = 50;
        keys.look_interval_ms = 50;
        keys.max_age_ms = 1_500;
    })
    .await;
    source.set(None);
    let hits = source.hits();
    let bound = Instant::now() + Duration::from_secs(10);
    while source.hits() < hits + 2 {
        assert!(Instant::now() < bound, "it is not asked again");
        sleep(Duration::from_millis(5)).await;
    }
    who_am_i(&server, &signer).await.expect("the keys are kept");
    until(&server, &signer, Some("KEYS_UNAVAILABLE")).await;
    let refused = who_am_i(&server, &signer).await.expect_err("too old");
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(retry_after_of(&refused).is_some(), "{refused:?}");
    let page = http_get(server.metrics_address, "/metrics").await;
    for part in [
        r#"plazo_access_refused_total{reason="KEYS_UNAVAILABLE"}"#,
        r#"plazo_access_key_refreshes_total{issuer="https://id.example",outcome="failed"}"#,
        r#"plazo_access_keys_age_seconds{issuer="https://id.example"}"#,
    ] {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    source.set(Some(jwk_set(&[&signer])));
    until(&server, &signer, None).await;
}

#[tokio::test]
async fn a_server_starts_while_the_source_of_keys_is_away() {
    let signer = Signer::ec("key");
    let source = KeyServer::start(None).await;
    let server = start(&source.url(), &signer, |_| {}).await;
    assert_eq!(
        reason(who_am_i(&server, &signer).await).as_deref(),
        Some("KEYS_UNAVAILABLE")
    );
    source.set(Some(jwk_set(&[&signer])));
    until(&server, &signer, None).await;
}

#[tokio::test]
async fn a_source_that_is_slow_or_sends_too_much_counts_as_away() {
    let signer = Signer::ec("key");
    let source = KeyServer::start(Some(jwk_set(&[&signer]) + &" ".repeat(10_000))).await;
    let server = start(&source.url(), &signer, |keys| keys.max_bytes = 5_000).await;
    assert_eq!(
        reason(who_am_i(&server, &signer).await).as_deref(),
        Some("KEYS_UNAVAILABLE")
    );
    let source = KeyServer::start(Some(jwk_set(&[&signer]))).await;
    source.delay(Duration::from_secs(30));
    let begun = Instant::now();
    let server = start(&source.url(), &signer, |keys| keys.fetch_timeout_ms = 100).await;
    assert_eq!(
        reason(who_am_i(&server, &signer).await).as_deref(),
        Some("KEYS_UNAVAILABLE")
    );
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "the start has a bound"
    );
}
