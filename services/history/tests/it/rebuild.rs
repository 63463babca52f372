//! The projection is built anew while it serves.

use plazo_history::Config;
use plazo_local::TestServers;
use plazo_proto::history::v1::RebuildProjectionRequest;
use plazo_proto::history::v1::projection_service_client::ProjectionServiceClient;
use plazo_proto::notification::v1::ActiveMessageKind;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Calendar, ContactChanged, MessageKind, OpenInterval, StageFired, TicketAssigned, TicketEvent,
    TicketReopened, TicketSnapshot, TicketState, WeeklyInterval,
};
use plazo_service::Actor;
use plazo_service::status::{REASON_RENEWAL_DUE, unavailable};
use tonic::Request;

use crate::events::{AGENT, CUSTOMER, SYSTEM, Writer, contact, second};
use crate::feed::{Feed, Manners};
use crate::running::{Running, database_name, eventually, fresh_config, viewer};

const DONE: &str = "plazo_history_rebuilds_total";

/// The snapshot of a ticket that had these events and, after them, `quiet` that say nothing.
pub(crate) fn snapshot_of(events: Vec<TicketEvent>, quiet: i64) -> TicketSnapshot {
    let last = events.last().expect("a ticket has events");
    TicketSnapshot {
        goes_on: false,
        tenant_id: last.tenant_id,
        ticket_id: last.ticket_id,
        ticket_seq: last.ticket_seq + quiet,
        events,
    }
}

pub(crate) async fn wish(history: &Running) {
    let actor = Actor::service("operator");
    let client = ProjectionServiceClient::connect(history.url()).await;
    let mut client = client.expect("it is reached");
    let request = actor.sign(Request::new(RebuildProjectionRequest {}));
    let answer = client.rebuild_projection(request);
    answer.await.expect("the wish is taken");
}

pub(crate) async fn sql(config: &Config, script: &str) -> String {
    let name = database_name(&config.database.url);
    let servers = TestServers::shared().await;
    let answer = servers.postgres().sql(&name, script).await;
    answer.expect("the script runs")
}

/// All rows of all tables that are built from the feed.
async fn all_rows(config: &Config) -> String {
    let mut rows = String::new();
    for table in [
        "tickets",
        "conversation_entries",
        "stage_firings",
        "dealings",
        "contacts",
        "contact_texts",
        "forgotten_tickets",
    ] {
        // Only a snapshot leaves its mark.
        let query = format!(
            "SELECT to_jsonb(t) - 'snapshot_seq' FROM {table} AS t ORDER BY (to_jsonb(t) - 'snapshot_seq')::text"
        );
        rows.push_str(&sql(config, &query).await);
        rows.push('\n');
    }
    rows
}

pub(crate) async fn rebuilt(history: &Running, times: f64) {
    eventually("the projection is built anew", async || {
        history.metric(DONE).await.filter(|count| *count >= times)
    })
    .await;
}

#[tokio::test]
async fn an_expired_position_leads_to_a_rebuild_while_requests_are_answered() {
    let feed = Feed::start().await;
    let config = fresh_config(&feed).await;
    let history = Running::start(config.clone()).await;
    let mut ticket = Writer::new(1, 3, 7);
    let mut other = Writer::new(1, 3, 8);
    let first = vec![
        ticket.opened(12),
        ticket.written(CUSTOMER, MessageKind::Chat, "one"),
    ];
    feed.send(first.clone());
    history.ticket_at(&viewer(1), 7, 2).await;
    history.stop().await;

    // While it was away, the feed lost what follows its position.
    let second = vec![
        ticket.written(AGENT, MessageKind::Chat, "two"),
        other.opened(12),
    ];
    feed.send(second.clone());
    let third = vec![ticket.written(CUSTOMER, MessageKind::Chat, "three")];
    feed.send(third.clone());
    feed.behave(Manners {
        expired_positions: vec!["1".to_owned()],
        ..Manners::default()
    });
    {
        let mut snapshot = feed.snapshot();
        snapshot.position = "2".to_owned();
        snapshot.part = 1;
        // The snapshot has more than its position says: the third batch comes once more.
        snapshot.tickets = vec![
            snapshot_of([first, vec![second[0].clone()], third].concat(), 0),
            snapshot_of(vec![second[1].clone()], 0),
        ];
    }
    feed.allow_parts(1);
    let history = Running::start(config.clone()).await;
    eventually("one part is taken in", async || {
        let rows = sql(
            &config,
            "SELECT count(*) FROM pg_namespace WHERE nspname = 'projection_next'",
        );
        (rows.await.trim() == "1").then_some(())
    })
    .await;
    let meanwhile = history.ticket(&viewer(1), 7).await.expect("it is shown");
    assert_eq!(meanwhile.ticket_seq, 2, "as it was before");

    feed.allow_parts(usize::MAX);
    history.ticket_at(&viewer(1), 7, 4).await;
    history.ticket_at(&viewer(1), 8, 1).await;
    feed.send(vec![ticket.written(AGENT, MessageKind::Chat, "four")]);
    history.ticket_at(&viewer(1), 7, 5).await;
    let texts: Vec<_> = history
        .conversation(&viewer(1), 7)
        .await
        .into_iter()
        .filter_map(|entry| entry.message)
        .map(|message| message.text)
        .collect();
    assert_eq!(texts, ["one", "two", "three", "four"]);
    let left =
        "SELECT count(*) FROM pg_namespace WHERE nspname IN ('projection_next', 'projection_old')";
    eventually("nothing is left of the old tables", async || {
        (sql(&config, left).await.trim() == "0").then_some(())
    })
    .await;
}

/// Events of all kinds in some tickets, and the calendar that one counts by.
fn a_busy_day(feed: &Feed) -> Vec<Vec<TicketEvent>> {
    let week = (1..=7).map(|weekday| WeeklyInterval {
        weekday,
        open: Some(OpenInterval {
            start_minute: 0,
            end_minute: 1_440,
        }),
    });
    let calendar = Calendar {
        time_zone: "UTC".to_owned(),
        week: week.collect(),
        ..Calendar::default()
    };
    feed.snapshot().calendars.insert((1, 77), calendar);

    let mut one = Writer::new(1, 3, 7);
    let mut opened = one.opened(12);
    if let Some(Payload::Opened(opened)) = &mut opened.payload {
        opened.calendar_version = 77;
    }
    let assigned = Payload::Assigned(TicketAssigned {
        agent_id: 15,
        previous_agent_id: 12,
    });
    let fired = Payload::StageFired(StageFired {
        stage: 1,
        kind: 1,
        could_act_time: Some(second(2)),
        ..StageFired::default()
    });
    let reopened = Payload::Reopened(TicketReopened {
        state: TicketState::Open.into(),
        agent_id: 15,
        tags: vec!["again".to_owned()],
        contact: Some(contact()),
        ..TicketReopened::default()
    });
    let first = vec![
        opened,
        one.written(CUSTOMER, MessageKind::Chat, "hello?"),
        one.written(AGENT, MessageKind::Chat, "hello!"),
        one.event(SYSTEM, Some(fired)),
        one.event(AGENT, Some(assigned)),
        one.written(CUSTOMER, MessageKind::Chat, "and?"),
        one.requested(ActiveMessageKind::Warning, "still there?"),
        one.written(AGENT, MessageKind::Chat, "so"),
        one.closed(),
        one.event(CUSTOMER, Some(reopened)),
        one.written(AGENT, MessageKind::Note, "odd"),
        one.closed(),
    ];
    // Its contact is merged into that of the first.
    let mut two = Writer::new(1, 3, 1_000_008);
    let mut opened = two.opened(14);
    if let Some(Payload::Opened(opened)) = &mut opened.payload
        && let Some(contact) = &mut opened.contact
    {
        contact.contact_id = 6;
        "Ana M.".clone_into(&mut contact.name);
    }
    let merged = Payload::ContactChanged(ContactChanged {
        contact: Some(contact()),
        previous_contact_id: 6,
    });
    let second_ticket = vec![
        opened,
        two.written(CUSTOMER, MessageKind::Chat, "it is me"),
        two.event(SYSTEM, Some(merged)),
        two.event(SYSTEM, None),
    ];
    vec![first, second_ticket]
}

#[tokio::test]
async fn a_rebuild_makes_the_same_tables_and_leaves_the_settings() {
    let feed = Feed::start().await;
    let config = fresh_config(&feed).await;
    let tickets = a_busy_day(&feed);
    for ticket in &tickets {
        feed.send(ticket.clone());
    }
    let history = Running::start(config.clone()).await;
    history.ticket_at(&viewer(1), 1_000_008, 4).await;
    let facts = "SELECT wait, response, later, calendar_version FROM tickets,
        LATERAL (SELECT business_wait_ms AS wait, business_first_response_ms AS response,
            business_later_response_ms AS later) AS business WHERE ticket_id = 7";
    assert_eq!(sql(&config, facts).await.trim(), "0|2000|2000|77");
    let before = all_rows(&config).await;
    let indexes =
        "SELECT indexname AS name, regexp_replace(indexdef, 'ON ONLY', 'ON') FROM pg_indexes
        WHERE schemaname = 'projection' AND tablename !~ '_p[0-9]+$'
        UNION ALL
        SELECT tgname, translate(pg_get_triggerdef(pg_trigger.oid), '()', '')
        FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
        WHERE relnamespace = 'projection'::regnamespace AND NOT tgisinternal
        ORDER BY name";
    let indexes_before = sql(&config, indexes).await;
    sql(
        &config,
        "INSERT INTO history_bots (tenant_id, bot_id) VALUES (1, 33)",
    )
    .await;
    // What is wrong in the tables is right afterwards.
    sql(
        &config,
        "UPDATE tickets SET queue_id = 99; DELETE FROM contacts",
    )
    .await;
    {
        let mut snapshot = feed.snapshot();
        snapshot.position = "2".to_owned();
        snapshot.part = 1;
        let mut second = tickets[1].clone();
        // What says nothing is left out.
        second.pop();
        snapshot.tickets = vec![snapshot_of(tickets[0].clone(), 0), snapshot_of(second, 1)];
    }
    wish(&history).await;
    rebuilt(&history, 1.0).await;
    assert_eq!(all_rows(&config).await, before);
    assert_eq!(sql(&config, indexes).await, indexes_before);
    assert!(indexes_before.contains("contacts_tell_texts"));
    assert!(indexes_before.contains("contacts_tell_changes"));
    let kept = "SELECT count(*) FROM history_bots WHERE bot_id = 33";
    let bots = sql(&config, kept).await;
    assert_eq!(bots.trim(), "1");

    // Once more, and the feed goes on.
    wish(&history).await;
    rebuilt(&history, 2.0).await;
    let mut late = Writer::new(1, 3, 7);
    late.next_seq = 13;
    feed.send(vec![late.written(AGENT, MessageKind::Comment, "done")]);
    history.ticket_at(&viewer(1), 7, 13).await;
}

#[tokio::test]
async fn a_killed_builder_goes_on_where_it_was() {
    let feed = Feed::start().await;
    let config = fresh_config(&feed).await;
    let tickets: Vec<_> = (1..=6)
        .map(|ticket_id| vec![Writer::new(1, 3, ticket_id).opened(12)])
        .collect();
    for ticket in &tickets {
        feed.send(ticket.clone());
    }
    {
        let mut snapshot = feed.snapshot();
        snapshot.position = "6".to_owned();
        snapshot.part = 2;
        snapshot.tickets = tickets
            .into_iter()
            .map(|events| snapshot_of(events, 0))
            .collect();
    }
    feed.allow_parts(2);
    let history = Running::start(config.clone()).await;
    history.ticket_at(&viewer(1), 6, 1).await;
    wish(&history).await;
    let progress =
        "SELECT coalesce(max(snapshot_after_ticket_id), 0) FROM projection_next.feed_position";
    eventually("two parts are taken in", async || {
        let is_begun = sql(
            &config,
            "SELECT to_regclass('projection_next.feed_position') IS NOT NULL",
        );
        (is_begun.await.trim() == "t" && sql(&config, progress).await.trim() == "4").then_some(())
    })
    .await;
    history.kill().await;
    feed.allow_parts(usize::MAX);
    let history = Running::start(config.clone()).await;
    rebuilt(&history, 1.0).await;
    assert_eq!(feed.snapshot().asked_after, [0, 4]);
    let count = sql(&config, "SELECT count(*), sum(snapshot_seq) FROM tickets").await;
    assert_eq!(count.trim(), "6|6");
}

#[tokio::test]
async fn a_snapshot_that_is_due_is_opened_again_as_if_nothing_had_been() {
    let feed = Feed::start().await;
    let mut config = fresh_config(&feed).await;
    // Whoever takes it for a failure waits for longer than the test.
    config.feed.first_backoff_ms = 600_000;
    config.feed.max_backoff_ms = 600_000;
    let tickets: Vec<_> = (1..=6)
        .map(|ticket_id| vec![Writer::new(1, 3, ticket_id).opened(12)])
        .collect();
    for ticket in &tickets {
        feed.send(ticket.clone());
    }
    {
        let mut snapshot = feed.snapshot();
        snapshot.position = "6".to_owned();
        snapshot.part = 2;
        snapshot.tickets = tickets
            .into_iter()
            .map(|events| snapshot_of(events, 0))
            .collect();
    }
    let history = Running::start(config.clone()).await;
    history.ticket_at(&viewer(1), 6, 1).await;
    let wait = std::time::Duration::from_millis(1);
    feed.behave(Manners {
        break_after: Some(1),
        broken_by: Some(unavailable(REASON_RENEWAL_DUE, "open it again", wait)),
        ..Manners::default()
    });
    wish(&history).await;
    rebuilt(&history, 1.0).await;
    assert_eq!(feed.snapshot().asked_after, [0, 2, 4]);
    let failures = history.metric("plazo_history_rebuild_failures_total").await;
    assert_eq!(failures, Some(0.0));
    let count = sql(&config, "SELECT count(*), sum(snapshot_seq) FROM tickets").await;
    assert_eq!(count.trim(), "6|6");
}

#[tokio::test]
async fn one_replica_builds_and_all_go_on_with_the_new_tables() {
    let feed = Feed::start().await;
    let config = fresh_config(&feed).await;
    let mut ticket = Writer::new(1, 3, 7);
    let opened = vec![ticket.opened(12)];
    feed.send(opened.clone());
    {
        let mut snapshot = feed.snapshot();
        snapshot.position = "1".to_owned();
        snapshot.part = 1;
        snapshot.tickets = vec![snapshot_of(opened, 0)];
    }
    feed.allow_parts(0);
    let (one, other) = (
        Running::start(config.clone()).await,
        Running::start(config.clone()).await,
    );
    one.ticket_at(&viewer(1), 7, 1).await;
    wish(&other).await;
    let running = "plazo_history_rebuild_running";
    let builders = async || {
        one.metric(running).await.unwrap_or(0.0) + other.metric(running).await.unwrap_or(0.0)
    };
    eventually("one builds", async || {
        (builders().await > 0.5).then_some(())
    })
    .await;
    // Whoever looks for the wish meanwhile finds it taken.
    feed.send(vec![ticket.written(CUSTOMER, MessageKind::Chat, "hello?")]);
    one.ticket_at(&viewer(1), 7, 2).await;
    assert!(builders().await < 1.5);
    feed.allow_parts(usize::MAX);
    eventually("it is done once", async || {
        let done = one.metric(DONE).await.unwrap_or(0.0) + other.metric(DONE).await.unwrap_or(0.0);
        (done > 0.5).then_some(())
    })
    .await;
    assert_eq!(feed.snapshot().asked_after, [0]);
    feed.send(vec![ticket.written(AGENT, MessageKind::Chat, "hello!")]);
    let known = other.ticket_at(&viewer(1), 7, 3).await;
    assert_eq!(
        (known.customer_message_count, known.agent_message_count),
        (1, 1)
    );
}

#[tokio::test]
async fn a_projection_that_stopped_goes_on_after_a_rebuild() {
    let feed = Feed::start().await;
    let config = fresh_config(&feed).await;
    let history = Running::start(config.clone()).await;
    let mut ticket = Writer::new(1, 3, 7);
    let opened = ticket.opened(12);
    let lost = ticket.written(CUSTOMER, MessageKind::Chat, "lost");
    feed.send(vec![opened.clone()]);
    let after = ticket.written(CUSTOMER, MessageKind::Chat, "after it");
    feed.send(vec![after.clone()]);
    let stopped = "plazo_history_projection_state{state=\"stopped\"}";
    eventually("the projection stops", async || {
        history.metric(stopped).await.filter(|it| *it > 0.5)
    })
    .await;
    {
        let mut snapshot = feed.snapshot();
        snapshot.position = "2".to_owned();
        snapshot.part = 1;
        snapshot.tickets = vec![snapshot_of(vec![opened, lost, after], 0)];
    }
    wish(&history).await;
    history.ticket_at(&viewer(1), 7, 3).await;
    feed.send(vec![ticket.written(AGENT, MessageKind::Chat, "hello")]);
    history.ticket_at(&viewer(1), 7, 4).await;
    assert_eq!(history.metric(stopped).await, Some(0.0));
}
