//! Signed webhooks: retries, limits, and where they may go.

use std::time::Duration;

use jiff::Timestamp;
use plazo_proto::notification::v1::{
    ActiveMessageState as State, CreateChannelAccountRequest, ListChannelAccountsRequest,
    ResendActiveMessageRequest, SetChannelAccountEnabledRequest,
};
use plazo_service::status;
use tonic::Code;

use crate::support::endpoint::{Endpoint, is_signed};
use crate::support::{World, account, administrator, by_webhook, warning};

#[tokio::test]
async fn a_message_is_tried_again_under_the_same_id_and_signed_each_time() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (account, secret) = service.api.create_account(&endpoint.url("/hook")).await;
    endpoint.answer("/hook", &[(500, None), (404, None)]);

    let mut message = by_webhook(warning(3, 1), account);
    message.text = "\u{a1}Hola! \"¿Sigues ahí?\"".to_owned();
    let sent = service.api.send_one(message).await;
    let delivered = service.api.until(sent.message_id, State::Delivered).await;
    let outcomes: Vec<_> = delivered
        .attempts
        .iter()
        .map(|one| one.outcome.as_str())
        .collect();
    assert_eq!(outcomes, ["HTTP_500", "HTTP_404", "OK"]);

    let calls = endpoint.calls("/hook");
    assert_eq!(calls.len(), 3);
    for call in &calls {
        assert_eq!(call.id, format!("msg_{}", sent.message_id));
        assert!(is_signed(call, &secret), "{call:?}");
        assert!(!is_signed(
            call,
            "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        ));
        assert_eq!(call.body, calls[0].body);
        let at: i64 = call.timestamp.parse().expect("Unix seconds");
        assert!((Timestamp::now().as_second() - at).abs() < 60);
    }
    let body: serde_json::Value = serde_json::from_slice(&calls[0].body).expect("JSON");
    assert_eq!(body["type"], "active_message.warning");
    assert_eq!(body["data"]["ticket_id"], "3");
    assert_eq!(body["data"]["text"], "\u{a1}Hola! \"¿Sigues ahí?\"");
    assert_eq!(body["data"]["image_url"], serde_json::Value::Null);
    body["timestamp"]
        .as_str()
        .expect("text")
        .parse::<Timestamp>()
        .expect("a time");
    service.stop().await;
}

#[tokio::test]
async fn after_the_last_attempt_it_has_failed_and_can_be_sent_again() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (account, _) = service.api.create_account(&endpoint.url("/hook")).await;
    endpoint.answer("/hook", &vec![(500, None); 4]);
    let message = by_webhook(warning(1, 1), account);
    let key = message.idempotency_key.clone();
    let id = service.api.send_one(message).await.message_id;
    let failed = service.api.until(id, State::Failed).await;
    assert_eq!(
        (failed.failure_reason.as_str(), failed.attempts.len()),
        ("HTTP_500", 4)
    );
    world.ticketing.until_reported(&key, State::Failed).await;

    let mut client = service.api.messages(administrator());
    let request = ResendActiveMessageRequest {
        message_id: id,
        request_id: "0190a5c0-0000-7000-8000-000000000001".to_owned(),
    };
    let first = client
        .resend_active_message(request.clone())
        .await
        .expect("it has failed");
    let delivered = service.api.until(id, State::Delivered).await;
    assert_eq!(delivered.attempts.len(), 5);
    let again = client
        .resend_active_message(request.clone())
        .await
        .expect("the first answer");
    assert_eq!(first.into_inner(), again.into_inner());
    assert_eq!(endpoint.calls("/hook").len(), 5);

    let other = ResendActiveMessageRequest {
        message_id: id + 1,
        ..request
    };
    let error = client
        .resend_active_message(other)
        .await
        .expect_err("another body");
    assert_eq!(
        status::reason_of(&error).as_deref(),
        Some("REQUEST_ID_REUSED")
    );
    let plain = ResendActiveMessageRequest {
        message_id: id,
        request_id: String::new(),
    };
    let error = client
        .resend_active_message(plain)
        .await
        .expect_err("it is delivered");
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert_eq!(
        status::reason_of(&error).as_deref(),
        Some("MESSAGE_NOT_FAILED")
    );
    service.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_asks_for_time_gets_it() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (account, _) = service.api.create_account(&endpoint.url("/busy")).await;
    endpoint.answer("/busy", &[(429, Some(("retry-after", "3600".to_owned())))]);
    let sent = service
        .api
        .send_one(by_webhook(warning(1, 1), account))
        .await;
    let next = crate::support::eventually("the next attempt is set", || async {
        let message = service.api.get(sent.message_id).await;
        message
            .next_attempt_time
            .filter(|_| message.attempts.len() == 1)
    })
    .await;
    let wait = next.seconds - Timestamp::now().as_second();
    assert!((3_500..=3_600).contains(&wait), "{wait} s");
    service.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_switches_its_account_off() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (account, _) = service.api.create_account(&endpoint.url("/gone")).await;
    endpoint.answer("/gone", &[(410, None)]);
    let first = service
        .api
        .send_one(by_webhook(warning(1, 1), account))
        .await;
    let failed = service.api.until(first.message_id, State::Failed).await;
    assert_eq!(failed.failure_reason, "ENDPOINT_GONE");

    let second = service
        .api
        .send_one(by_webhook(warning(2, 1), account))
        .await;
    let failed = service.api.until(second.message_id, State::Failed).await;
    assert_eq!(failed.failure_reason, "CHANNEL_ACCOUNT_DISABLED");
    assert_eq!(endpoint.calls("/gone").len(), 1);
    let mut accounts = service.api.accounts(administrator());
    let list = accounts
        .list_channel_accounts(ListChannelAccountsRequest::default())
        .await;
    assert!(!list.expect("a list").into_inner().accounts[0].enabled);

    let on = SetChannelAccountEnabledRequest {
        channel_account_id: account,
        enabled: true,
    };
    accounts
        .set_channel_account_enabled(on)
        .await
        .expect("the account is there");
    let third = service
        .api
        .send_one(by_webhook(warning(3, 1), account))
        .await;
    service.api.until(third.message_id, State::Delivered).await;
    service.stop().await;
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let world = World::new().await.with_retry_delays_ms("");
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (account, _) = service.api.create_account(&endpoint.url("/moved")).await;
    for code in [301, 302, 307, 308] {
        endpoint.answer(
            "/moved",
            &[(code, Some(("location", endpoint.url("/inside"))))],
        );
        let sent = service
            .api
            .send_one(by_webhook(warning(i64::from(code), 1), account))
            .await;
        let failed = service.api.until(sent.message_id, State::Failed).await;
        assert_eq!(failed.failure_reason, format!("HTTP_{code}"));
    }
    assert_eq!(endpoint.calls("/inside").len(), 0);
    service.stop().await;
}

#[tokio::test]
async fn private_networks_are_refused_when_an_account_is_created() {
    let world = World::new()
        .await
        .with("webhook.allow_private_networks", "false")
        .with("webhook.allow_http", "false");
    let service = world.start().await;
    let mut accounts = service.api.accounts(administrator());
    for url in [
        "https://127.0.0.1/hook",
        "https://10.1.2.3/hook",
        "https://192.168.0.1/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/hook",
        "https://[::ffff:10.0.0.1]/hook",
        "https://localhost/hook",
        "https://2130706433/hook",
        "http://example.com/hook",
        "https://user:word@example.com/hook",
        "https://name.that.does.not.exist.invalid/hook",
        "not a url",
        "",
    ] {
        let request = CreateChannelAccountRequest {
            account: Some(account(url)),
            request_id: String::new(),
        };
        let error = accounts
            .create_channel_account(request)
            .await
            .expect_err(url);
        assert_eq!(error.code(), Code::InvalidArgument, "{url}");
        let fields: Vec<_> = status::violations_of(&error)
            .into_iter()
            .map(|(field, _)| field)
            .collect();
        assert_eq!(fields, ["account.webhook.url"], "{url}");
    }
    assert_eq!(
        world.count("SELECT count(*) FROM channel_accounts").await,
        0
    );
    service.stop().await;
}

#[tokio::test]
async fn private_networks_are_refused_at_each_attempt() {
    let mut world = World::new().await;
    let permissive = world.start().await;
    let endpoint = Endpoint::start().await;
    let port = endpoint.address.port();
    let mut accounts = Vec::new();
    for host in ["127.0.0.1", "localhost"] {
        accounts.push(
            permissive
                .api
                .create_account(&format!("http://{host}:{port}/hook"))
                .await
                .0,
        );
    }
    permissive.stop().await;

    // As if the names had changed their addresses since then.
    world.set("webhook.allow_private_networks", "false");
    let strict = world.start().await;
    for (ticket, account) in (1..).zip(accounts) {
        let sent = strict
            .api
            .send_one(by_webhook(warning(ticket, 1), account))
            .await;
        let failed = strict.api.until(sent.message_id, State::Failed).await;
        assert_eq!(failed.failure_reason, "ADDRESS_NOT_ALLOWED");
    }
    assert_eq!(endpoint.calls("/hook").len(), 0);
    strict.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_hangs_holds_up_nobody_else() {
    let world = World::new()
        .await
        .with("sender.max_in_flight", "6")
        .with("sender.max_in_flight_per_account", "2");
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (hanging, _) = service.api.create_account(&endpoint.url("/held")).await;
    let (fine, _) = service.api.create_account(&endpoint.url("/fine")).await;
    let stuck: Vec<_> = (1..=50)
        .map(|ticket| by_webhook(warning(ticket, 1), hanging))
        .collect();
    let stuck = service.api.send(stuck).await;
    endpoint.until_called("/held", 2).await;
    let good: Vec<_> = (101..=150)
        .map(|ticket| by_webhook(warning(ticket, 1), fine))
        .collect();
    for sent in service.api.send(good).await {
        service.api.until(sent.message_id, State::Delivered).await;
    }
    assert_eq!(
        endpoint.calls("/held").len(),
        2,
        "no more than an account may have"
    );
    endpoint.release.add_permits(50);
    for sent in stuck {
        service.api.until(sent.message_id, State::Delivered).await;
    }
    assert_eq!(endpoint.calls("/held").len(), 50);
    service.stop().await;
}

#[tokio::test]
async fn endpoints_that_hang_hold_up_nobody_else_when_they_have_more_places_than_there_are() {
    let world = World::new()
        .await
        .with("sender.max_in_flight", "4")
        .with("sender.max_in_flight_per_account", "2");
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let mut stuck = Vec::new();
    for account in 1..=5 {
        let url = endpoint.url(&format!("/held/{account}"));
        let (hanging, _) = service.api.create_account(&url).await;
        let messages = (1..=3).map(|cycle| by_webhook(warning(account, cycle), hanging));
        stuck.extend(service.api.send(messages.collect()).await);
    }
    let (fine, _) = service.api.create_account(&endpoint.url("/fine")).await;
    for account in 1..=5 {
        endpoint.until_called(&format!("/held/{account}"), 2).await;
    }
    let good: Vec<_> = (101..=110)
        .map(|ticket| by_webhook(warning(ticket, 1), fine))
        .collect();
    for sent in service.api.send(good).await {
        service.api.until(sent.message_id, State::Delivered).await;
    }
    for account in 1..=5 {
        let calls = endpoint.calls(&format!("/held/{account}")).len();
        assert_eq!(calls, 2, "no more than an account may have");
    }
    endpoint.release.add_permits(15);
    for sent in stuck {
        service.api.until(sent.message_id, State::Delivered).await;
    }
    service.stop().await;
}

#[tokio::test]
async fn a_slow_endpoint_runs_into_the_time_out_and_is_tried_again() {
    let world = World::new().await.with("webhook.request_timeout_ms", "200");
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (account, _) = service.api.create_account(&endpoint.url("/held")).await;
    let sent = service
        .api
        .send_one(by_webhook(warning(1, 1), account))
        .await;
    endpoint.until_called("/held", 2).await;
    // Enough for the attempts that were given up as well.
    endpoint.release.add_permits(100);
    let delivered = service.api.until(sent.message_id, State::Delivered).await;
    assert_eq!(delivered.attempts[0].outcome, "TIMEOUT");
    let calls = endpoint.calls("/held");
    assert!(calls.iter().all(|call| call.id == calls[0].id));
    tokio::time::timeout(Duration::from_secs(10), service.stop())
        .await
        .expect("nothing hangs");
}
