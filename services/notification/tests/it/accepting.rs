//! Accepted means stored, and the same key is one message.

use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::{ActiveMessageState as State, SendOutcome};

use crate::support::endpoint::Endpoint;
use crate::support::ticketing::requested;
use crate::support::{World, by_webhook, eventually, warning};

#[tokio::test]
async fn a_message_that_comes_by_both_ways_is_one() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (account, _) = service.api.create_account(&endpoint.url("/hook")).await;
    let (first, second) = (
        by_webhook(warning(1, 1), account),
        by_webhook(warning(2, 1), account),
    );

    // By the call first, twice in one batch, and then by the feed.
    let sent = service.api.send(vec![first.clone(), first.clone()]).await;
    assert_eq!(sent[0].outcome(), SendOutcome::Accepted);
    assert_eq!(sent[1].outcome(), SendOutcome::Duplicate);
    assert_eq!(sent[0].message_id, sent[1].message_id);
    world
        .ticketing
        .publish(vec![requested(1, &first), requested(1, &second)]);

    // By the feed first.
    world
        .ticketing
        .until_reported(&second.idempotency_key, State::Delivered)
        .await;
    let again = service.api.send(vec![second.clone(), first.clone()]).await;
    assert_eq!(again[0].outcome(), SendOutcome::Duplicate);
    assert_eq!(again[1].outcome(), SendOutcome::Duplicate);
    assert_eq!(again[1].message_id, sent[0].message_id);
    assert_eq!(again[1].accept_time, sent[0].accept_time);

    service
        .api
        .until(sent[0].message_id, State::Delivered)
        .await;
    let mut ids: Vec<_> = endpoint
        .calls("/hook")
        .into_iter()
        .map(|call| call.id)
        .collect();
    ids.sort();
    let mut expected = [sent[0].message_id, again[0].message_id].map(|id| format!("msg_{id}"));
    expected.sort();
    assert_eq!(ids, expected);
    assert_eq!(world.count("SELECT count(*) FROM active_messages").await, 2);
    service.stop().await;
}

#[tokio::test]
async fn many_callers_with_the_same_keys_agree() {
    let world = World::new().await;
    let service = world.start().await;
    let batch = |reverse: bool| {
        let mut messages: Vec<_> = (1..=200).map(|ticket| warning(ticket, 1)).collect();
        if reverse {
            messages.reverse();
        }
        messages
    };
    let calls = (0..8).map(|n| service.api.send(batch(n % 2 == 0)));
    let mut answers = futures::future::join_all(calls).await;
    for (n, answer) in answers.iter_mut().enumerate() {
        if n % 2 == 0 {
            answer.reverse();
        }
    }
    for ticket in 0..200 {
        let news = answers
            .iter()
            .filter(|a| a[ticket].outcome() == SendOutcome::Accepted)
            .count();
        assert_eq!(news, 1, "one caller stores it");
        let first = &answers[0][ticket];
        assert!(
            answers
                .iter()
                .all(|a| a[ticket].message_id == first.message_id)
        );
        assert!(
            answers
                .iter()
                .all(|a| a[ticket].accept_time == first.accept_time)
        );
    }
    service.stop().await;
}

#[tokio::test]
async fn what_cannot_be_delivered_is_accepted_and_fails_visibly() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (disabled, _) = service.api.create_account(&endpoint.url("/disabled")).await;
    let off = plazo_proto::notification::v1::SetChannelAccountEnabledRequest {
        channel_account_id: disabled,
        enabled: false,
    };
    let mut accounts = service.api.accounts(crate::support::administrator());
    accounts
        .set_channel_account_enabled(off)
        .await
        .expect("the account is there");

    let by_channel = |ticket, channel: Channel| {
        let mut message = warning(ticket, 1);
        message.recipient.get_or_insert_default().channel = channel.into();
        message
    };
    let mut bad_image = by_webhook(
        warning(6, 1),
        service.api.create_account(&endpoint.url("/x")).await.0,
    );
    bad_image.image_url = "http://example.com/cat.png".to_owned();
    let cases = [
        (by_channel(1, Channel::Whatsapp), "CHANNEL_ACCOUNT_UNKNOWN"),
        (by_channel(2, Channel::Blip), "CHANNEL_ACCOUNT_UNKNOWN"),
        (by_channel(3, Channel::Email), "CHANNEL_ACCOUNT_UNKNOWN"),
        (
            by_webhook(warning(4, 1), 999_999),
            "CHANNEL_ACCOUNT_UNKNOWN",
        ),
        (
            by_webhook(warning(5, 1), disabled),
            "CHANNEL_ACCOUNT_DISABLED",
        ),
        (bad_image, "IMAGE_URL_INVALID"),
    ];
    for (message, reason) in cases {
        let key = message.idempotency_key.clone();
        let sent = service.api.send_one(message).await;
        assert_eq!(sent.outcome(), SendOutcome::Accepted, "{key}");
        let failed = service.api.until(sent.message_id, State::Failed).await;
        assert_eq!(failed.failure_reason, reason, "{key}");
        assert_eq!(failed.attempts.len(), 1, "{key}");
        let accepted = world.ticketing.until_reported(&key, State::Accepted).await;
        assert_eq!(accepted.state_time, sent.accept_time, "{key}");
        let reported = world.ticketing.until_reported(&key, State::Failed).await;
        assert_eq!(reported.failure_reason, reason, "{key}");
    }
    assert_eq!(endpoint.calls("/disabled").len(), 0);
    service.stop().await;
}

#[tokio::test]
async fn an_empty_schema_is_refused_unless_it_may_be_migrated() {
    let world = World::new().await.with("database.migrate", "false");
    let Err(error) = world.build().await else {
        panic!("the schema is empty")
    };
    assert!(
        error.to_string().contains("run the migration job"),
        "{error}"
    );

    let world = world.with("database.migrate", "true");
    world.start().await.stop().await;
    let world = world.with("database.migrate", "false");
    world.start().await.stop().await;

    world.count("WITH newer AS (INSERT INTO _sqlx_migrations VALUES (9999, 'x', now(), true, '', 0) RETURNING 1)
        SELECT count(*) FROM newer").await;
    let Err(error) = world.build().await else {
        panic!("the schema is newer")
    };
    assert!(error.to_string().contains("9999"), "{error}");
}

#[tokio::test]
async fn metrics_tell_what_came_and_went() {
    let world = World::new().await;
    let service = world.start().await;
    let sent = service
        .api
        .send(vec![warning(1, 1), warning(1, 1), warning(0, 1)])
        .await;
    service
        .api
        .until(sent[0].message_id, State::Delivered)
        .await;
    eventually("the metrics are there", || async {
        let metrics = service.metrics().await;
        [
            r#"plazo_notification_accepted_total{source="call",outcome="accepted"} 1"#,
            r#"plazo_notification_accepted_total{source="call",outcome="duplicate"} 1"#,
            r#"plazo_notification_accepted_total{source="call",outcome="invalid"} 1"#,
            r#"plazo_notification_sent_total{channel="log",outcome="delivered"} 1"#,
            r#"plazo_notification_reports_total{outcome="taken"} 3"#,
            "plazo_notification_feed_stopped 0",
        ]
        .iter()
        .all(|line| metrics.contains(line))
        .then_some(())
    })
    .await;
    service.stop().await;
}
