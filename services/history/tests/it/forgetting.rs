//! What is taken away: by retention, and on a contact's request.

use plazo_history::Config;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{MessageKind, PersonalDataErased, TicketEvent};
use prost_types::Timestamp;
use sqlx::{Connection as _, PgConnection};
use std::time::Duration;

use crate::events::{AGENT, CUSTOMER, SYSTEM, Writer};
use crate::feed::Feed;
use crate::rebuild::{rebuilt, snapshot_of, sql, wish};
use crate::running::{Running, eventually, fresh_config, viewer};

const DAY: i64 = 86_400;

/// So many days ago.
fn days_ago(days: i64) -> Timestamp {
    Timestamp {
        seconds: jiff::Timestamp::now().as_second() - days * DAY,
        nanos: 0,
    }
}

/// A ticket of a contact of its own with a conversation, opened and closed so long ago.
fn old_ticket(tenant_id: i64, ticket_id: i64, days: i64) -> Vec<TicketEvent> {
    let mut ticket = Writer::new(tenant_id, 3, ticket_id);
    let mut events = vec![
        ticket.opened(12),
        ticket.written(CUSTOMER, MessageKind::Chat, "hello?"),
        ticket.closed_at(days_ago(days)),
    ];
    for event in &mut events {
        event.event_time = Some(days_ago(days));
        match &mut event.payload {
            Some(Payload::Opened(opened)) => {
                if let Some(contact) = &mut opened.contact {
                    contact.contact_id = ticket_id;
                }
            }
            Some(Payload::MessageRecorded(recorded)) => {
                if let Some(message) = &mut recorded.message {
                    message.record_time = Some(days_ago(days));
                }
            }
            _ => {}
        }
    }
    events
}

async fn tickets(config: &Config) -> String {
    let answer = sql(
        config,
        "SELECT string_agg(ticket_id::text, ' ' ORDER BY ticket_id) FROM tickets",
    );
    answer.await.trim().to_owned()
}

async fn keeping(feed: &Feed) -> Config {
    let mut config = fresh_config(feed).await;
    config.retention.days = 30;
    config.retention.period_ms = 50;
    config.retention.batch_tickets = 2;
    config
}

#[tokio::test]
async fn tickets_go_after_their_time_and_their_late_events_do_no_harm() {
    let feed = Feed::start().await;
    let config = keeping(&feed).await;
    let mut open = old_ticket(1, 9, 90);
    open.pop();
    let batches = vec![
        old_ticket(1, 1, 40),
        old_ticket(1, 2, 35),
        old_ticket(1, 3, 31),
        old_ticket(1, 4, 29),
        // Tenant 2 keeps for 50 days, tenant 3 for 10.
        old_ticket(2, 5, 40),
        old_ticket(2, 6, 51),
        old_ticket(3, 7, 11),
        old_ticket(3, 8, 9),
        open,
    ];
    for batch in &batches {
        feed.send(batch.clone());
    }
    let quiet = Config {
        retention: fresh_config(&feed).await.retention,
        ..config.clone()
    };
    let history = Running::start(quiet).await;
    history.ticket_at(&viewer(1), 9, 2).await;
    history.stop().await;
    sql(
        &config,
        "INSERT INTO tenant_settings (tenant_id, retention_days) VALUES (2, 50), (3, 10)",
    )
    .await;

    let history = Running::start(config.clone()).await;
    eventually("what is too old goes", async || {
        (tickets(&config).await == "4 5 8 9").then_some(())
    })
    .await;
    for (table, key) in [
        ("conversation_entries", "ticket_id"),
        ("dealings", "ticket_id"),
        ("contacts", "contact_id"),
        ("contact_texts", "contact_id"),
    ] {
        let query = format!(
            "SELECT string_agg(DISTINCT {key}::text, ' ' ORDER BY {key}::text) FROM {table}"
        );
        eventually("all that belongs to them goes", async || {
            (sql(&config, &query).await.trim() == "4 5 8 9").then_some(())
        })
        .await;
    }
    // The first of them is opened again by somebody.
    let mut late = Writer::new(1, 3, 1);
    late.next_seq = 4;
    let mut next = Writer::new(1, 3, 10);
    feed.send(vec![
        late.written(AGENT, MessageKind::Chat, "one more thing"),
        next.opened(12),
    ]);
    history.ticket_at(&viewer(1), 10, 1).await;
    assert!(history.ticket(&viewer(1), 1).await.is_err());

    // A rebuild does not bring them back, not even for a moment.
    {
        let mut snapshot = feed.snapshot();
        snapshot.position = "10".to_owned();
        snapshot.part = 3;
        snapshot.tickets = batches.into_iter().map(|it| snapshot_of(it, 1)).collect();
    }
    wish(&history).await;
    rebuilt(&history, 1.0).await;
    assert_eq!(tickets(&config).await, "4 5 8 9");
    let forgotten = "plazo_history_forgotten_tickets_total";
    assert_eq!(history.metric(forgotten).await, Some(10.0));
}

#[tokio::test]
async fn a_partition_goes_whole_when_nothing_in_it_is_kept() {
    let feed = Feed::start().await;
    let config = keeping(&feed).await;
    let history = Running::start(config.clone()).await;
    feed.send(old_ticket(1, 1, 40));
    feed.send(old_ticket(1, 1_000_001, 20));
    feed.send(old_ticket(1, 2_000_001, 10));
    history.ticket_at(&viewer(1), 2_000_001, 3).await;
    let partitions = "SELECT count(*) FROM pg_tables
        WHERE schemaname = 'projection' AND tablename LIKE '%\\_p0'";
    eventually("the first partition goes", async || {
        (sql(&config, partitions).await.trim() == "0").then_some(())
    })
    .await;
    assert_eq!(tickets(&config).await, "1000001 2000001");
    let mut late = Writer::new(1, 3, 1);
    late.next_seq = 4;
    let mut known = Writer::new(1, 3, 1_000_001);
    known.next_seq = 4;
    feed.send(vec![
        late.written(AGENT, MessageKind::Chat, "nobody keeps it"),
        known.written(AGENT, MessageKind::Comment, "this is kept"),
    ]);
    history.ticket_at(&viewer(1), 1_000_001, 4).await;
}

async fn connection(config: &Config) -> PgConnection {
    let mut connection = PgConnection::connect(&config.database.url)
        .await
        .expect("the database is reached");
    run(&mut connection, "SET search_path = public, projection").await;
    connection
}

async fn run(connection: &mut PgConnection, statement: &'static str) {
    let ran = sqlx::raw_sql(statement).execute(connection).await;
    ran.expect("the statement runs");
}

/// The dropper locks `conversation_entries` first and `tickets` last. A reader who has read `tickets` and now wants
/// `conversation_entries` waits for the dropper, who then comes to wait for him.
#[tokio::test]
async fn whoever_drops_a_partition_gives_way_to_those_who_read() {
    let feed = Feed::start().await;
    let config = keeping(&feed).await;
    let quiet = Config {
        retention: fresh_config(&feed).await.retention,
        ..config.clone()
    };
    let history = Running::start(quiet).await;
    feed.send(old_ticket(1, 1, 40));
    feed.send(old_ticket(1, 1_000_001, 20));
    history.ticket_at(&viewer(1), 1_000_001, 3).await;
    history.stop().await;

    let (mut reader, mut holder) = (connection(&config).await, connection(&config).await);
    run(&mut reader, "BEGIN; SELECT FROM tickets;").await;
    // Keeps the dropper from `tickets` until the reader waits for him.
    run(&mut holder, "BEGIN; SELECT FROM dealings;").await;
    let history = Running::start(config.clone()).await;
    let dropper_waits = "SELECT count(*) FROM pg_locks
        WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation::regclass::text LIKE '%dealings%'";
    eventually("the dropper waits", async || {
        (sql(&config, dropper_waits).await.trim() != "0").then_some(())
    })
    .await;
    let reading = async {
        let read = sqlx::raw_sql("SELECT FROM conversation_entries").execute(&mut reader);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        read.expect("the reader does not wait for ever")
    };
    let releasing = async {
        // Time enough for the reader to wait, if he must; far less than the server's deadlock_timeout.
        run(&mut holder, "SELECT pg_sleep(0.3); ROLLBACK;").await;
    };
    let (read, ()) = tokio::join!(reading, releasing);
    read.expect("the reader is not ended");
    let first = "SELECT count(*) FROM pg_tables WHERE tablename = 'tickets_p0'";
    assert_eq!(sql(&config, first).await.trim(), "1", "it was read");
    run(&mut reader, "COMMIT").await;
    eventually("the partition goes", async || {
        (sql(&config, first).await.trim() == "0").then_some(())
    })
    .await;
    history.stop().await;
}

/// What must not be found anywhere after the erasure.
const PERSONAL: [&str; 6] = ["Ana", "ana", "Müller", "muller", "5511987654321", "secret"];

/// All rows of all tables of the database as text, but for those that belong to the database itself.
async fn all_text(config: &Config) -> String {
    let tables = sql(
        config,
        "SELECT format('SELECT to_jsonb(t)::text FROM %I.%I AS t;', table_schema, table_name)
         FROM information_schema.tables
         WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_name <> '_sqlx_migrations'",
    )
    .await;
    sql(config, &tables).await
}

fn erased(ticket: &mut Writer) -> TicketEvent {
    let payload = Payload::PersonalDataErased(PersonalDataErased {
        last: true,
        erasure_id: 77,
        contact_id: 5,
    });
    ticket.event(SYSTEM, Some(payload))
}

#[tokio::test]
async fn erased_data_are_nowhere_and_counts_stay() {
    let feed = Feed::start().await;
    feed.erasures().refuses = true;
    let config = fresh_config(&feed).await;
    let history = Running::start(config.clone()).await;
    let (mut one, mut two) = (Writer::new(1, 3, 7), Writer::new(1, 3, 8));
    let mut closed = two.closed();
    if let Some(Payload::Closed(closed)) = &mut closed.payload
        && let Some(note) = closed.closure.as_mut().and_then(|it| it.note.as_mut())
    {
        note.summary = "a secret".to_owned();
    }
    let mut opened_two = Writer::new(1, 3, 8).opened(12);
    opened_two.ticket_seq = 1;
    closed.ticket_seq = 2;
    two.next_seq = 3;
    feed.send(vec![
        one.opened(12),
        one.written(CUSTOMER, MessageKind::Chat, "my secret is this"),
        opened_two,
        closed,
    ]);
    history.ticket_at(&viewer(1), 8, 2).await;
    let before = all_text(&config).await;
    for word in PERSONAL {
        assert!(before.contains(word), "{word} is there before");
    }

    // The batch writes more about the contact before it erases, and opens another ticket of it afterwards.
    let written = one.written(AGENT, MessageKind::Note, "another secret");
    feed.send(vec![written, erased(&mut one), erased(&mut two)]);
    history.ticket_at(&viewer(1), 8, 3).await;
    let after = all_text(&config).await;
    for word in PERSONAL {
        assert!(!after.contains(word), "{word} is gone");
    }
    let ticket = history.ticket(&viewer(1), 7).await.expect("it stays");
    assert_eq!((ticket.customer_message_count, ticket.ticket_seq), (1, 4));
    let category = "SELECT close_category, close_summary = '' FROM tickets WHERE ticket_id = 8";
    assert_eq!(sql(&config, category).await.trim(), "billing|t");

    // The report is repeated until it is taken, by whoever lives.
    eventually("it is tried again", async || {
        (feed.erasures().calls >= 2).then_some(())
    })
    .await;
    history.kill().await;
    feed.erasures().refuses = false;
    let history = Running::start(config.clone()).await;
    eventually("it is reported", async || {
        (!feed.erasures().reports.is_empty()).then_some(())
    })
    .await;
    let open = "SELECT count(*) FROM erasures WHERE reported_at IS NULL";
    eventually("the answer is noted", async || {
        (sql(&config, open).await.trim() == "0").then_some(())
    })
    .await;
    let report = feed.erasures().reports[0].clone();
    assert_eq!((report.tenant_id, report.erasure_id), (1, 77));
    let done = report.done.expect("it says what was done");
    // Two tickets, two entries, one contact.
    assert_eq!((done.service.as_str(), done.row_count), ("history", 5));

    // A new ticket of the contact, which is known by other data now, keeps them.
    let mut three = Writer::new(1, 3, 9);
    three.next_seq = 100;
    let mut opened = three.opened(12);
    opened.ticket_seq = 1;
    feed.send(vec![opened]);
    history.ticket_at(&viewer(1), 9, 1).await;
    let name = "SELECT name FROM contacts WHERE contact_id = 5";
    assert_eq!(sql(&config, name).await.trim(), "Ana Müller");
}
