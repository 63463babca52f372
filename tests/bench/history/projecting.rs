//! How fast history takes what the feed has: a backlog of events, as after an outage.

use std::time::Duration;

use plazo_proto::common::v1::ChannelIdentity;
use plazo_proto::ticketing::v1::Contact;
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use crate::history::bed::Bed;
use crate::history::events::{EVENTS, Events};
use crate::history::goals::Goals;
use crate::history::{Size, TENANT, tell};
use crate::report::Report;

/// Events a second that history is to take.
const GOAL_PER_S: f64 = 5_000.0;
const LOOK: Duration = Duration::from_millis(20);
const BOUND: Duration = Duration::from_mins(10);
/// What a counter of events is called.
const METRIC: &str = "plazo_history_feed_events_total";

/// Lets history take a backlog into the tables with all the tickets.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) async fn run(bed: &mut Bed, size: &Size, goals: &mut Goals, report: &mut Report) {
    let mut connection = bed.connection().await;
    let first_ticket_id = 1 + last_ticket_id(&mut connection).await;
    let contacts = some_contacts(&mut connection, size.events).await;
    let now_us: i64 =
        sqlx::query_scalar("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
            .fetch_one(&mut connection)
            .await
            .expect("the database has a clock");
    let service = bed.history(&[]).await;
    let cpu_before = bed.cpu(&service);
    let began = Instant::now();
    bed.feed
        .send(Events::new(size.events, first_ticket_id, contacts, now_us));
    let wanted = size.events as f64;
    while service.metrics().await.sum(METRIC, "") < wanted {
        assert!(began.elapsed() < BOUND, "history takes the events in time");
        sleep(LOOK).await;
    }
    let took_s = began.elapsed().as_secs_f64();
    let cpu = bed.cpu(&service).since(cpu_before);
    let each_us = |seconds: f64| 1e6 * seconds / wanted;
    report.set("projected_events", size.events);
    tell(
        report,
        "projection_cpu_us_each.service",
        each_us(cpu.service),
    );
    tell(
        report,
        "projection_cpu_us_each.database",
        each_us(cpu.database),
    );
    tell(report, "projection_cpu_us_each.feed", each_us(cpu.callers));
    goals.at_least("projection, events/s", wanted / took_s, GOAL_PER_S);
    service.stop().await;

    let closed: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM tickets
         WHERE tenant_id = $1 AND ticket_id >= $2 AND ticket_seq = $3 AND closed_at IS NOT NULL",
    )
    .bind(TENANT)
    .bind(first_ticket_id)
    .bind(EVENTS)
    .fetch_one(&mut connection)
    .await
    .expect("tickets are counted");
    if closed == 0 {
        report.complain("no ticket of the projected events is closed".to_owned());
    }
    report.set("projected_closed_tickets", closed);
}

/// As many as the events have tickets, in no order.
async fn some_contacts(connection: &mut PgConnection, events: usize) -> Vec<Contact> {
    let rows: Vec<(i64, String, String, String, i32, String)> = sqlx::query_as(
        "SELECT contact_id, name, email, phone, channel, address FROM contacts
         WHERE tenant_id = $1 ORDER BY hashint8(contact_id) LIMIT $2",
    )
    .bind(TENANT)
    .bind(i64::try_from(events).expect("a small number") / EVENTS)
    .fetch_all(connection)
    .await
    .expect("contacts are there");
    let contacts =
        rows.into_iter().map(
            |(contact_id, name, email, phone, channel, address)| Contact {
                contact_id,
                name,
                email,
                phone,
                channel_identity: Some(ChannelIdentity { channel, address }),
                etag: String::new(),
            },
        );
    contacts.collect()
}

async fn last_ticket_id(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT coalesce(max(ticket_id), 0) FROM tickets WHERE tenant_id = $1")
        .bind(TENANT)
        .fetch_one(connection)
        .await
        .expect("tickets are there")
}
