//! Erasing the personal data of a customer: all of it goes, nothing else does, and ticketing is told.

use std::collections::BTreeSet;

use plazo_proto::notification::v1::replay_webhook_events_request::Start;
use plazo_proto::notification::v1::{
    ActiveMessage, ActiveMessageState, CancelActiveMessageRequest, ReplayWebhookEventsRequest,
    ResendActiveMessageRequest, WebhookSubscription,
};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Message, MessageRecorded, PersonalDataErased, TicketClosed, TicketEvent,
};
use sqlx::Connection as _;
use tonic::Code;

use crate::support::endpoint::Endpoint;
use crate::support::subscriptions::{subscription, until_taken};
use crate::support::ticketing::{event, requested};
use crate::support::{Service, TENANT, World, administrator, by_webhook, eventually, warning};

/// Stands in all that is to be erased.
const SECRET: &str = "Zuleika";
/// Stands in what somebody else said and is.
const OTHER: &str = "Quirino";

/// The tables of a database in which a text stands, in any column of any type.
async fn tables_with(world: &World, text: &str) -> BTreeSet<String> {
    let mut connection = sqlx::PgConnection::connect(&world.database_url)
        .await
        .expect("the database is there");
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'",
    )
    .fetch_all(&mut connection)
    .await
    .expect("listed");
    assert!(tables.len() > 15, "{tables:?}");
    let mut found = BTreeSet::new();
    for table in tables {
        // Bytes are written as hexadecimal digits.
        let query = format!(
            "SELECT EXISTS (SELECT FROM {table} AS it WHERE it::text LIKE '%' || $1 || '%'
                 OR it::text LIKE '%' || encode(convert_to($1, 'UTF8'), 'hex') || '%')"
        );
        let is_there: bool = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .bind(text)
            .fetch_one(&mut connection)
            .await
            .expect("searched");
        if is_there {
            found.insert(table);
        }
    }
    found
}

async fn execute(world: &World, statement: String) {
    let mut connection = sqlx::PgConnection::connect(&world.database_url)
        .await
        .expect("the database is there");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(&mut connection)
        .await
        .expect("the statement is right");
}

fn named(name: &str, ticket_id: i64, cycle: i32) -> ActiveMessage {
    let mut message = warning(ticket_id, cycle);
    message.text = format!("{name}, are you there?");
    message.image_url = format!("https://example.com/{name}.png");
    message.recipient.get_or_insert_default().address = format!("{name}-1");
    message
}

fn wrote(name: &str, ticket_id: i64, ticket_seq: i64) -> TicketEvent {
    let message = Message {
        ticket_id,
        text: format!("{name} here"),
        ..Message::default()
    };
    let payload = MessageRecorded {
        message: Some(message),
        ..MessageRecorded::default()
    };
    event(ticket_id, ticket_seq, Payload::MessageRecorded(payload))
}

fn erased(ticket_id: i64, ticket_seq: i64, erasure_id: i64, last: bool) -> TicketEvent {
    let payload = PersonalDataErased {
        erasure_id,
        contact_id: 5,
        last,
    };
    event(ticket_id, ticket_seq, Payload::PersonalDataErased(payload))
}

/// Writes a name everywhere where notification keeps such things, for one ticket with two events. The id of a message
/// that waits.
async fn fill(
    world: &World,
    service: &Service,
    account_id: i64,
    name: &str,
    ticket_id: i64,
) -> i64 {
    let api = service.api;
    let sent = named(name, ticket_id, 1);
    let sent_id = api.send_one(sent.clone()).await.message_id;
    api.until(sent_id, ActiveMessageState::Delivered).await;
    // As of a provider that makes it of the address, and told of it.
    execute(
        world,
        format!(
            "UPDATE active_messages SET provider_message_id = 'wamid.{name}' WHERE message_id = {sent_id};
             INSERT INTO seen_callbacks VALUES ({TENANT}, 0, 'status/2/wamid.{name}');
             INSERT INTO inbound_messages
                 (tenant_id, channel_account_id, provider_message_id, channel, sender_address, sender_name, body_text,
                  attachment_urls, refusals, next_attempt_at)
             SELECT {TENANT}, 1, 'in.{name}', channel, recipient_address, '{name}', 'Oi, {name}', '{{}}', 1,
                 clock_timestamp() + interval '1 hour'
             FROM active_messages WHERE message_id = {sent_id};"
        ),
    )
    .await;
    world
        .ticketing
        .publish(vec![requested(1, &sent), wrote(name, ticket_id, 2)]);
    // Its answer is kept, whole.
    let cancelled = api
        .send_one(by_webhook(named(name, ticket_id, 2), account_id))
        .await;
    let cancel = CancelActiveMessageRequest {
        message_id: cancelled.message_id,
        request_id: "b8b6a1de-7f0e-4c43-9f5b-1f4f1c0a0001"
            .replace("0001", &format!("{ticket_id:04}")),
    };
    eventually("nobody has it", || async {
        api.messages(administrator())
            .cancel_active_message(cancel.clone())
            .await
            .ok()
    })
    .await;
    api.send_one(by_webhook(named(name, ticket_id, 3), account_id))
        .await
        .message_id
}

#[tokio::test]
async fn all_of_one_goes_and_all_of_others_stays() {
    let world = World::new().await.with_retry_delays_ms("3600000");
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    endpoint.rule("/down", |_| 503);
    let (account_id, _) = service.api.create_account(&endpoint.url("/down")).await;
    service
        .api
        .subscribe(WebhookSubscription {
            include_customer_data: true,
            ..subscription(&endpoint.url("/events"))
        })
        .await;
    let waiting_id = fill(&world, &service, account_id, SECRET, 21).await;
    let other_id = fill(&world, &service, account_id, OTHER, 22).await;
    until_taken(&endpoint, "/events", 4).await;
    let before = tables_with(&world, SECRET).await;
    for table in [
        "active_messages",
        "answered_requests",
        "event_deliveries",
        "inbound_messages",
        "seen_callbacks",
    ] {
        assert!(before.contains(table), "{table} is not tested: {before:?}");
    }
    assert_eq!(before, tables_with(&world, OTHER).await);
    assert_eq!(
        service.api.get(other_id).await.state(),
        ActiveMessageState::Accepted
    );

    world.ticketing.erasures.fail(2);
    world.ticketing.publish(vec![
        event(21, 3, Payload::Closed(TicketClosed::default())),
        erased(21, 4, 9, true),
    ]);
    let report = world.ticketing.erasures.until_reported(9).await;
    assert!(world.ticketing.erasures.calls() >= 3, "it is repeated");
    let done = report.done.expect("what was done");
    assert_eq!(
        (report.tenant_id, done.service.as_str()),
        (TENANT, "notification")
    );
    assert!(done.row_count >= 6, "{done:?}");

    assert_eq!(tables_with(&world, SECRET).await, BTreeSet::new());
    assert_eq!(tables_with(&world, OTHER).await, before);
    let waiting = service
        .api
        .until(waiting_id, ActiveMessageState::Cancelled)
        .await;
    assert!(!waiting.failure_reason.is_empty());
    assert_eq!(
        service.api.get(other_id).await.state(),
        ActiveMessageState::Accepted
    );
    eventually("the row of the erasure goes", || async {
        (world.count("SELECT count(*) FROM erasures").await == 0).then_some(())
    })
    .await;

    // What failed before is not sent again.
    execute(
        &world,
        format!("UPDATE active_messages SET state = 5 WHERE message_id = {waiting_id}"),
    )
    .await;
    let resend = ResendActiveMessageRequest {
        message_id: waiting_id,
        request_id: String::new(),
    };
    let refused = service
        .api
        .messages(administrator())
        .resend_active_message(resend)
        .await;
    assert_eq!(
        refused.expect_err("there is nothing to send").code(),
        Code::FailedPrecondition
    );
    service.stop().await;
}

#[tokio::test]
async fn what_comes_later_of_an_erased_ticket_is_kept_without_its_data() {
    let world = World::new().await;
    let service = world.start().await;
    let endpoint = Endpoint::start().await;
    let (subscription_id, _) = service
        .api
        .subscribe(WebhookSubscription {
            include_customer_data: true,
            ..subscription(&endpoint.url("/events"))
        })
        .await;
    world
        .ticketing
        .publish(vec![wrote(SECRET, 21, 1), wrote(OTHER, 22, 1)]);
    until_taken(&endpoint, "/events", 2).await;
    world.ticketing.publish(vec![erased(21, 2, 9, false)]);
    world.ticketing.publish(vec![erased(22, 2, 9, true)]);
    world.ticketing.erasures.until_reported(9).await;

    // The call of a timer that was held up.
    let late = service.api.send_one(named(SECRET, 21, 1)).await;
    let late = service.api.get(late.message_id).await;
    assert_eq!(late.state(), ActiveMessageState::Cancelled);
    assert_eq!(late.failure_reason, "PERSONAL_DATA_ERASED");
    world
        .ticketing
        .until_reported("ticket/21/cycle/1/warning", ActiveMessageState::Cancelled)
        .await;
    // And old events, read again by a replay that had them before they were emptied.
    let replay = ReplayWebhookEventsRequest {
        subscription_id,
        start: Some(Start::Position(0)),
        ..ReplayWebhookEventsRequest::default()
    };
    let replay = service
        .api
        .subscriptions(administrator())
        .replay_webhook_events(replay)
        .await;
    replay.expect("it begins");
    until_taken(&endpoint, "/events", 8).await;
    assert_eq!(tables_with(&world, SECRET).await, BTreeSet::new());
    service.stop().await;
}

#[tokio::test]
async fn a_request_that_was_emptied_is_no_mistake() {
    let world = World::new().await;
    let service = world.start().await;
    let mut emptied = named(SECRET, 21, 1);
    emptied.text.clear();
    emptied.image_url.clear();
    emptied.recipient.get_or_insert_default().address.clear();
    world
        .ticketing
        .publish(vec![requested(1, &emptied), erased(21, 2, 9, true)]);
    world.ticketing.erasures.until_reported(9).await;
    world
        .ticketing
        .until_reported(&emptied.idempotency_key, ActiveMessageState::Failed)
        .await;
    assert_eq!(world.count("SELECT count(*) FROM active_messages").await, 0);
    service.stop().await;
}

#[tokio::test]
async fn what_others_store_at_that_moment_is_waited_for() {
    let world = World::new().await;
    let service = world.start().await;
    let mut other = sqlx::PgConnection::connect(&world.database_url)
        .await
        .expect("the database is there");
    let mut storing = other.begin().await.expect("a transaction");
    let insert = format!(
        "INSERT INTO active_messages
             (tenant_id, idempotency_key, kind, bot_id, ticket_id, contact_id, channel, recipient_address,
              channel_account_id, body_text, image_url, state, state_at, accepted_at, queued_at)
         SELECT {TENANT}, 'late', 1, 11, 21, 5, 1, '{SECRET}-1', 0, 'Oi, {SECRET}', '', 2, at, at, at
         FROM clock_timestamp() AS at"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(insert))
        .execute(&mut *storing)
        .await
        .expect("inserted");
    world.ticketing.publish(vec![erased(21, 1, 9, true)]);
    eventually("the erasure waits", || async {
        let fenced = "SELECT count(*) FROM erasures WHERE fence_at IS NOT NULL";
        (world.count(fenced).await == 1).then_some(())
    })
    .await;
    // Another one goes through all that the first one would.
    world.ticketing.publish(vec![erased(22, 1, 10, true)]);
    eventually("the other waits as well", || async {
        let fenced = "SELECT count(*) FROM erasures WHERE fence_at IS NOT NULL";
        (world.count(fenced).await == 2).then_some(())
    })
    .await;
    assert_eq!(world.ticketing.erasures.calls(), 0);
    storing.commit().await.expect("stored");
    let report = world.ticketing.erasures.until_reported(9).await;
    assert_eq!(report.done.expect("what was done").row_count, 1);
    assert_eq!(tables_with(&world, SECRET).await, BTreeSet::new());
    service.stop().await;
}
