//! `plazo seed`: closed tickets of the past, straight into history's tables, to try reports and searches with.
//!
//! What is made follows from the options alone ([`World`]): each ticket is told as the events that ticketing would have
//! written ([`Story`]), which are folded to what the projection would have kept ([`Facts`]).

mod business;
mod contact;
mod copy;
mod error;
mod fold;
pub mod options;
pub mod progress;
mod random;
mod report;
mod rows;
mod settings;
mod story;
mod target;
mod words;
mod world;
mod write;

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::postgres::PgPool;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use business::calendar;
pub use contact::ContactData;
pub use error::SeedError;
pub use fold::{Facts, Length};
pub use report::SeedReport;
pub use rows::{RowCounts, channel_us, cycle_kind, message_id};
pub use story::{Closing, Event, Step, Story};
pub use world::{Place, QUEUES, World, WorldOptions};
pub use write::SeenAgent;

use options::SeedOptions;
use progress::Progress;
use target::Opened;
use write::Seeding;

/// Seeds the tables. SIGINT or SIGTERM ends it after the batches under way and their contacts; a second one at once.
pub async fn run(options: &SeedOptions, progress: &mut Progress) -> Result<SeedReport, SeedError> {
    let no_more = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(SeedError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(SeedError::Signals)?;
    let seeding = Box::pin(open_and_seed(options, progress, &no_more));
    tokio::pin!(seeding);
    loop {
        tokio::select! {
            seeded = &mut seeding => return seeded,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if no_more.is_cancelled() {
            return Err(SeedError::Interrupted);
        }
        no_more.cancel();
    }
}

async fn open_and_seed(
    options: &SeedOptions,
    progress: &mut Progress,
    no_more: &CancellationToken,
) -> Result<SeedReport, SeedError> {
    // Before anything is opened: what can't be done whenever it is.
    options.amounts(Timestamp::MAX)?;
    let opened = Opened::open(options).await?;
    let seeded = seed(&opened.pool, options, progress, no_more).await;
    let closed = opened.close().await;
    let report = seeded?;
    closed?;
    Ok(report)
}

async fn seed(
    pool: &PgPool,
    options: &SeedOptions,
    progress: &mut Progress,
    no_more: &CancellationToken,
) -> Result<SeedReport, SeedError> {
    let ids = target::first_ids(pool, options).await?;
    let now_us: i64 =
        sqlx::query_scalar("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
            .fetch_one(pool)
            .await?;
    let amounts = options.amounts(instant(now_us))?;
    let world = World::new(options.world(amounts, ids.ticket_id, ids.contact_id));
    settings::write(pool, options.tenant_id, &world).await?;

    let began = Instant::now();
    let seeding = Arc::new(Seeding::new(world, options.tenant_id, pool.clone()));
    progress.begin("writing tickets");
    let connections = options.connections;
    seeding
        .write_tickets(connections, progress, no_more)
        .await?;
    progress.begin("writing contacts");
    seeding.write_contacts(connections, progress).await?;
    let took = began.elapsed();
    // Plans are made for the tables as they are now.
    progress.begin("putting names in order, and looking at the tables for the plans of queries");
    sqlx::query("SELECT settle_projection(found_projection())")
        .execute(pool)
        .await?;
    let last_ticket_id =
        ids.ticket_id + i64::try_from(options.tickets).expect("counts are small") - 1;
    Ok(SeedReport {
        tenant_id: options.tenant_id,
        counts: seeding.counts(),
        ticket_ids: (ids.ticket_id, last_ticket_id),
        span: (instant(amounts.from_us), instant(amounts.until_us)),
        took,
        is_interrupted: no_more.is_cancelled(),
        agents: to_try(seeding.seen_agents()),
        history_port: options.history_port,
    })
}

/// The granted agents with most and with few tickets.
fn to_try(agents: Vec<SeenAgent>) -> Vec<SeenAgent> {
    let mut granted: Vec<SeenAgent> = agents
        .into_iter()
        .filter(|agent| settings::is_granted(agent.agent_id))
        .collect();
    let last = granted.pop();
    granted.into_iter().take(1).chain(last).collect()
}

fn instant(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).expect("databases have no such years")
}

#[cfg(test)]
mod tests;
