//! The WhatsApp channel against a stand-in that keeps the provider's rules.

use std::time::Duration;

use jiff::Timestamp;
use plazo_proto::notification::v1::{
    ActiveMessageKind, ActiveMessageState as State, ListChannelAccountsRequest,
    SetChannelAccountEnabledRequest, WhatsAppTemplate,
};

use crate::support::whatsapp::{CREDENTIAL, Fault, TOKEN, WhatsApp, by_whatsapp, create_whatsapp};
use crate::support::{TENANT, World, administrator, eventually, warning};

const ANA: &str = "5511987654321";

fn template() -> WhatsAppTemplate {
    WhatsAppTemplate {
        name: "still_there".to_owned(),
        language_code: "pt_BR".to_owned(),
        body_parameters: vec!["Plazo".to_owned(), "{{text}}".to_owned()],
        ..WhatsAppTemplate::default()
    }
}

/// A stand-in, and a world that sends to it without waiting long.
async fn quick_world(folder: &tempfile::TempDir) -> (WhatsApp, World) {
    let provider = WhatsApp::start().await;
    let world = provider
        .world(folder.path())
        .await
        .with("whatsapp.recipient_interval_ms", "1")
        .with_provider_delays_ms("20");
    (provider, world)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[tokio::test]
async fn text_and_image_go_out_within_the_window() {
    let folder = folder();
    let (provider, world) = quick_world(&folder).await;
    let service = world.start().await;
    let account = create_whatsapp(service.api, vec![]).await;
    provider.open_window(ANA);
    let message = by_whatsapp(warning(1, 1), account, ANA);
    let key = message.idempotency_key.clone();
    let text = service.api.send_one(message).await.message_id;
    let sent = service.api.until(text, State::Sent).await;
    assert_eq!(sent.provider_message_id, format!("wamid.msg_{text}"));
    assert_eq!(sent.attempts[0].outcome, "OK");
    let request = provider.until_taken(text).await;
    assert_eq!(request["to"], ANA);
    assert_eq!(request["text"]["body"], "Are you still there?");
    world.ticketing.until_reported(&key, State::Sent).await;

    let mut message = by_whatsapp(warning(2, 1), account, ANA);
    message.image_url = "https://example.com/clock.png".to_owned();
    let image = service.api.send_one(message).await.message_id;
    let request = provider.until_taken(image).await;
    assert_eq!(request["image"]["link"], "https://example.com/clock.png");
    assert_eq!(request["image"]["caption"], "Are you still there?");
    assert_eq!((provider.copies(), provider.taken_count()), (0, 2));
    service.stop().await;
}

#[tokio::test]
async fn outside_the_window_the_template_goes_out_or_the_message_fails() {
    let folder = folder();
    let (provider, world) = quick_world(&folder).await;
    let service = world.start().await;
    let mut closing = template();
    closing.name = "closed".to_owned();
    closing.kinds = vec![ActiveMessageKind::ClosingText.into()];
    let with = create_whatsapp(service.api, vec![closing.clone(), template()]).await;
    let without = create_whatsapp(service.api, vec![closing]).await;
    let long_ago = Some(prost_types::Timestamp {
        seconds: Timestamp::now().as_second() - 24 * 3_600,
        nanos: 0,
    });
    for last in [None, long_ago] {
        let ticket = i64::from(last.is_some());
        let mut message = by_whatsapp(warning(10 + ticket, 1), with, ANA);
        message.text = "Are you\nstill there?".to_owned();
        message.last_customer_message_time = last;
        let id = service.api.send_one(message).await.message_id;
        service.api.until(id, State::Sent).await;
        let request = provider.until_taken(id).await;
        assert_eq!(request["template"]["name"], "still_there");
        assert_eq!(request["template"]["language"]["code"], "pt_BR");
        let values = &request["template"]["components"][0]["parameters"];
        assert_eq!(values[0]["text"], "Plazo");
        assert_eq!(values[1]["text"], "Are you still there?");

        let mut message = by_whatsapp(warning(20 + ticket, 1), without, ANA);
        message.last_customer_message_time = last;
        let id = service.api.send_one(message).await.message_id;
        let failed = service.api.until(id, State::Failed).await;
        assert_eq!(failed.failure_reason, "OUTSIDE_WINDOW");
    }
    assert_eq!(provider.requests(), 2, "no free text was tried");
    // We take the window for open, and the provider does not.
    let before = provider.requests();
    let id = service
        .api
        .send_one(by_whatsapp(warning(30, 1), with, ANA))
        .await
        .message_id;
    service.api.until(id, State::Sent).await;
    assert_eq!(provider.until_taken(id).await["type"], "template");
    assert_eq!(provider.requests(), before + 2);
    let id = service
        .api
        .send_one(by_whatsapp(warning(31, 1), without, ANA))
        .await
        .message_id;
    let failed = service.api.until(id, State::Failed).await;
    assert_eq!(failed.failure_reason, "OUTSIDE_WINDOW");
    assert_eq!(provider.copies(), 0);
    service.stop().await;
}

#[tokio::test]
async fn what_the_provider_did_not_take_is_tried_again_and_what_it_refuses_is_not() {
    let folder = folder();
    let (provider, world) = quick_world(&folder).await;
    let service = world.start().await;
    let account = create_whatsapp(service.api, vec![]).await;
    provider.open_window(ANA);
    provider.meet(&[
        Fault::Error(500, 131_000, None),
        Fault::Error(429, 130_429, None),
        Fault::Status(503),
    ]);
    let id = service
        .api
        .send_one(by_whatsapp(warning(1, 1), account, ANA))
        .await
        .message_id;
    let sent = service.api.until(id, State::Sent).await;
    let outcomes: Vec<_> = sent
        .attempts
        .iter()
        .map(|one| one.outcome.as_str())
        .collect();
    assert_eq!(
        outcomes,
        ["WHATSAPP_131000", "WHATSAPP_130429", "HTTP_503", "OK"]
    );

    provider.meet(&[Fault::Error(400, 131_026, None)]);
    let id = service
        .api
        .send_one(by_whatsapp(warning(2, 1), account, ANA))
        .await
        .message_id;
    let failed = service.api.until(id, State::Failed).await;
    assert_eq!(failed.failure_reason, "WHATSAPP_131026");
    assert_eq!(failed.attempts.len(), 1);

    provider.meet(&[Fault::Error(400, 2, Some(3_600))]);
    let id = service
        .api
        .send_one(by_whatsapp(warning(3, 1), account, ANA))
        .await
        .message_id;
    let next = eventually("the next attempt is set", || async {
        let message = service.api.get(id).await;
        message
            .next_attempt_time
            .filter(|_| message.attempts.len() == 1)
    })
    .await;
    let wait = next.seconds - Timestamp::now().as_second();
    assert!((3_500..=3_600).contains(&wait), "{wait} s");
    assert_eq!((provider.copies(), provider.taken_count()), (0, 1));
    service.stop().await;
}

#[tokio::test]
async fn a_refused_number_stops_and_its_messages_wait_until_it_is_enabled_again() {
    let folder = folder();
    let (provider, world) = quick_world(&folder).await;
    let service = world.start().await;
    let account = create_whatsapp(service.api, vec![]).await;
    provider.open_window(ANA);
    let credential = folder.path().join(TENANT.to_string()).join(CREDENTIAL);
    std::fs::write(&credential, "an old token").expect("the folder is ours");
    let first = service
        .api
        .send_one(by_whatsapp(warning(1, 1), account, ANA))
        .await
        .message_id;
    let mut accounts = service.api.accounts(administrator());
    let stopped = eventually("the account stops", || {
        let mut accounts = accounts.clone();
        async move {
            let list = accounts
                .list_channel_accounts(ListChannelAccountsRequest::default())
                .await;
            let account = list.expect("a list").into_inner().accounts.remove(0);
            (!account.stopped_reason.is_empty()).then_some(account)
        }
    })
    .await;
    assert_eq!(stopped.stopped_reason, "WHATSAPP_190");
    assert!(stopped.enabled && stopped.stop_time.is_some());
    eventually("the alert is raised", || async {
        let metrics = service.metrics().await;
        metrics
            .contains("plazo_notification_accounts_stopped 1")
            .then_some(())
    })
    .await;
    let requests = provider.requests();
    let second = service
        .api
        .send_one(by_whatsapp(warning(2, 1), account, ANA))
        .await
        .message_id;
    for id in [first, second] {
        assert_eq!(service.api.get(id).await.state(), State::Accepted);
    }
    assert_eq!(provider.requests(), requests);

    std::fs::write(&credential, TOKEN).expect("the folder is ours");
    let on = SetChannelAccountEnabledRequest {
        channel_account_id: account,
        enabled: true,
    };
    let after = accounts
        .set_channel_account_enabled(on)
        .await
        .expect("the account is there");
    let after = after.into_inner().account.expect("it is set");
    assert_eq!((after.stopped_reason.as_str(), after.stop_time), ("", None));
    for id in [first, second] {
        service.api.until(id, State::Sent).await;
    }
    assert_eq!((provider.copies(), provider.taken_count()), (0, 2));
    service.stop().await;
}

#[tokio::test]
async fn the_limits_of_number_and_recipient_are_kept() {
    let folder = folder();
    let provider = WhatsApp::start().await;
    let world = provider
        .world(folder.path())
        .await
        .with("whatsapp.messages_per_second", "40")
        .with("whatsapp.recipient_interval_ms", "1500");
    // The provider counts from its own instants, which jitter against ours.
    provider.limit(Duration::from_millis(1_300), 45);
    let service = world.start().await;
    let account = create_whatsapp(service.api, vec![]).await;
    let numbers: Vec<_> = (0..100)
        .map(|n| (ANA.parse::<u64>().expect("a number") + n).to_string())
        .collect();
    let mut messages = Vec::new();
    for (ticket, number) in (1..).zip(&numbers) {
        provider.open_window(number);
        messages.push(by_whatsapp(warning(ticket, 1), account, number));
    }
    for cycle in 2..=3 {
        messages.push(by_whatsapp(warning(1, cycle), account, ANA));
    }
    for sent in service.api.send(messages).await {
        let message = service.api.until(sent.message_id, State::Sent).await;
        let outcomes: Vec<_> = message
            .attempts
            .iter()
            .map(|one| one.outcome.as_str())
            .collect();
        assert_eq!(outcomes, ["OK"], "the provider had to slow none down");
        assert_eq!(message.attempts[0].attempt, 1);
    }
    assert_eq!(
        (
            provider.copies(),
            provider.taken_count(),
            provider.requests()
        ),
        (0, 102, 102)
    );
    service.stop().await;
}

#[tokio::test]
async fn accounts_of_one_number_share_its_limits() {
    let folder = folder();
    let provider = WhatsApp::start().await;
    let world = provider
        .world(folder.path())
        .await
        .with("whatsapp.messages_per_second", "20")
        .with("whatsapp.recipient_interval_ms", "1500");
    provider.limit(Duration::from_millis(1_300), 23);
    let service = world.start().await;
    let one = create_whatsapp(service.api, vec![]).await;
    let other = create_whatsapp(service.api, vec![]).await;
    let mut messages = Vec::new();
    for ticket in 1..=60 {
        let number = (ANA.parse::<i64>().expect("a number") + ticket / 2).to_string();
        provider.open_window(&number);
        // Two by two to one recipient.
        let account = if ticket % 2 == 0 { one } else { other };
        messages.push(by_whatsapp(warning(ticket, 1), account, &number));
    }
    for sent in service.api.send(messages).await {
        let message = service.api.until(sent.message_id, State::Sent).await;
        assert_eq!(message.attempts.len(), 1, "the provider slowed it down");
    }
    assert_eq!((provider.taken_count(), provider.requests()), (60, 60));
    service.stop().await;
}

#[tokio::test]
async fn a_dead_number_costs_few_attempts_and_harms_no_other() {
    let folder = folder();
    let (provider, world) = quick_world(&folder).await;
    let world = world
        .with("providers.breaker_failures", "3")
        .with("providers.breaker_first_ms", "60000")
        .with("sender.max_in_flight_per_account", "2");
    let service = world.start().await;
    let dead = create_whatsapp(service.api, vec![]).await;
    let fine = create_whatsapp(service.api, vec![]).await;
    provider.open_window(ANA);
    provider.meet(&vec![Fault::Error(500, 131_000, None); 20]);
    let messages = (1..=50).map(|ticket| by_whatsapp(warning(ticket, 1), dead, ANA));
    service.api.send(messages.collect()).await;
    eventually("the breaker opens", || async {
        let metrics = service.metrics().await;
        metrics
            .contains("plazo_notification_accounts_resting 1")
            .then_some(())
    })
    .await;
    let requests = provider.requests();
    assert!((3..=5).contains(&requests), "{requests}");
    provider.clear();
    let id = service
        .api
        .send_one(by_whatsapp(warning(99, 1), fine, ANA))
        .await
        .message_id;
    service.api.until(id, State::Sent).await;
    assert!(provider.requests() <= requests + 3);
    service.stop().await;
}

#[tokio::test]
async fn a_message_is_given_up_after_its_horizon() {
    let folder = folder();
    let (provider, world) = quick_world(&folder).await;
    let world = world
        .with("providers.give_up_after_s", "1")
        .with_provider_delays_ms("100")
        .with("providers.breaker_failures", "1000");
    let service = world.start().await;
    let account = create_whatsapp(service.api, vec![]).await;
    provider.open_window(ANA);
    provider.meet(&vec![Fault::Error(500, 131_000, None); 100]);
    let id = service
        .api
        .send_one(by_whatsapp(warning(1, 1), account, ANA))
        .await
        .message_id;
    let failed = service.api.until(id, State::Failed).await;
    // Given up after its last attempt, or before the next one when that came late.
    let reasons = ["WHATSAPP_131000", "GIVEN_UP"];
    assert!(
        reasons.contains(&failed.failure_reason.as_str()),
        "{failed:?}"
    );
    assert!(failed.attempts.len() > 2, "{}", failed.attempts.len());
    service.stop().await;
}
