//! What customers write reaches ticketing: each message once, each sender's in order.

use plazo_proto::common::v1::Channel;
use reqwest::StatusCode;

use crate::support::callers::{CUSTOMER, call, create, said, world};
use crate::support::inbound::InboundFault;
use crate::support::{TENANT, eventually};

const OTHER: &str = "5511912345678";
const WAITING: &str = "SELECT count(*) FROM inbound_messages";

#[tokio::test]
async fn a_message_comes_with_all_that_is_known_of_it_and_once() {
    let (world, _folder) = world().await;
    let service = world.start().await;
    let account = create(&service, Channel::Whatsapp, "desk").await;
    let value = said("wamid.in.1", CUSTOMER, "Oi\u{0}, tudo bem?");
    for _ in 0..3 {
        let twice = [value.clone(), value.clone()];
        assert_eq!(call(&service, account, &twice).await, StatusCode::OK);
    }
    let last = said("wamid.in.2", CUSTOMER, "bye");
    assert_eq!(call(&service, account, &[last]).await, StatusCode::OK);
    let taken = world.ticketing.inbound.until_taken(2).await;
    assert_eq!(world.ticketing.inbound.texts(), ["Oi, tudo bem?", "bye"]);
    let first = &taken[0];
    let sender = first.sender.as_ref().expect("it is set");
    assert_eq!(
        (sender.channel(), &*sender.address, &*first.sender_name),
        (Channel::Whatsapp, "+5511987654321", "Ana")
    );
    assert_eq!(
        (first.tenant_id, first.channel_account_id, first.bot_id),
        (TENANT, account, 0)
    );
    assert_eq!(first.provider_message_id, "wamid.in.1");
    assert_eq!(first.sent_time.map(|at| at.seconds), Some(1_750_030_073));
    eventually("the rows go", || async {
        (world.count(WAITING).await == 0).then_some(())
    })
    .await;
    // Ticketing would take a copy for what it is; it never saw one.
    let metrics = service.metrics().await;
    assert!(
        metrics.contains(r#"inbound_total{outcome="duplicate"} 0"#),
        "{metrics}"
    );
    service.stop().await;
}

#[tokio::test]
async fn nothing_is_lost_while_ticketing_is_away() {
    let (world, _folder) = world().await;
    world.ticketing.inbound.fail(&[
        InboundFault::Unavailable,
        InboundFault::AnswerLost,
        InboundFault::Unavailable,
    ]);
    let service = world.start().await;
    let account = create(&service, Channel::Whatsapp, "desk").await;
    for n in 0..20 {
        let value = said(&format!("wamid.in.{n}"), CUSTOMER, &n.to_string());
        assert_eq!(call(&service, account, &[value]).await, StatusCode::OK);
    }
    world.ticketing.inbound.until_taken(20).await;
    let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(world.ticketing.inbound.texts(), expected);
    eventually("the rows go", || async {
        (world.count(WAITING).await == 0).then_some(())
    })
    .await;
    assert!(world.ticketing.inbound.calls() > 3);
    service.stop().await;
}

#[tokio::test]
async fn a_sender_keeps_his_order_and_holds_up_nobody_else() {
    let (world, _folder) = world().await;
    world.ticketing.inbound.not_now(&["first"]);
    let service = world.start().await;
    let account = create(&service, Channel::Whatsapp, "desk").await;
    let first = said("wamid.in.1", CUSTOMER, "first");
    assert_eq!(call(&service, account, &[first]).await, StatusCode::OK);
    eventually("the first is put off", || async {
        let refused = "SELECT count(*) FROM inbound_messages WHERE refusals > 2";
        (world.count(refused).await == 1).then_some(())
    })
    .await;
    // For so long that the others come in between.
    world
        .execute("UPDATE inbound_messages SET next_attempt_at = now() + interval '1 hour'")
        .await;
    let values = [
        said("wamid.in.2", CUSTOMER, "second"),
        said("wamid.in.3", OTHER, "somebody else"),
    ];
    assert_eq!(call(&service, account, &values).await, StatusCode::OK);
    world.ticketing.inbound.until_taken(1).await;
    assert_eq!(world.ticketing.inbound.texts(), ["somebody else"]);

    world.ticketing.inbound.not_now(&[]);
    world
        .execute("UPDATE inbound_messages SET next_attempt_at = now()")
        .await;
    world.ticketing.inbound.until_taken(3).await;
    assert_eq!(
        world.ticketing.inbound.texts(),
        ["somebody else", "first", "second"]
    );
    service.stop().await;
}

#[tokio::test]
async fn one_that_is_refused_holds_up_nobody_else() {
    let (world, _folder) = world().await;
    world
        .ticketing
        .inbound
        .fail(&[InboundFault::RefusesText("poison")]);
    let service = world.start().await;
    let account = create(&service, Channel::Whatsapp, "desk").await;
    let values = [
        said("wamid.in.1", CUSTOMER, "before"),
        said("wamid.in.2", CUSTOMER, "poison"),
        said("wamid.in.3", CUSTOMER, "after"),
    ];
    assert_eq!(call(&service, account, &values).await, StatusCode::OK);
    world.ticketing.inbound.until_taken(2).await;
    assert_eq!(world.ticketing.inbound.texts(), ["before", "after"]);
    let metrics = service.metrics().await;
    let line = r#"plazo_notification_inbound_total{outcome="invalid"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
    service.stop().await;
}

#[tokio::test]
async fn two_replicas_keep_each_senders_order() {
    let (world, _folder) = world().await;
    let (one, other) = (world.start().await, world.start().await);
    let account = create(&one, Channel::Whatsapp, "desk").await;
    for n in 0..40 {
        let service = if n % 2 == 0 { &one } else { &other };
        let value = said(&format!("wamid.in.{n}"), CUSTOMER, &n.to_string());
        assert_eq!(call(service, account, &[value]).await, StatusCode::OK);
    }
    world.ticketing.inbound.until_taken(40).await;
    let expected: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    assert_eq!(world.ticketing.inbound.texts(), expected);
    one.stop().await;
    other.stop().await;
}
