//! Makes the tickets and puts them into the tables, batch by batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use sqlx::Connection as _;
use sqlx::postgres::{PgConnection, PgPool};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::error::SeedError;
use super::fold::Facts;
use super::progress::Progress;
use super::rows::{ContactRows, RowCounts, TicketRows};
use super::world::World;

/// Tickets of one transaction. A few megabytes.
const BATCH_TICKETS: u64 = 5_000;
const BATCH_CONTACTS: u64 = 5_000;
const DAY_US: i64 = 24 * 3_600 * 1_000_000;
const HOUR_US: i64 = 3_600 * 1_000_000;
/// How far agents look back, and how soon after the close they see a ticket, when nothing else is set.
const LOOKBACK_US: i64 = 90 * DAY_US;
const SHOWN_AFTER_US: i64 = 3 * HOUR_US;

/// What is made, and what came of it so far.
#[derive(Debug)]
pub(super) struct Seeding {
    world: World,
    tenant_id: i64,
    pool: PgPool,
    next_ticket: AtomicU64,
    next_contact: AtomicU64,
    /// Written.
    tickets: AtomicU64,
    entries: AtomicU64,
    firings: AtomicU64,
    dealings: AtomicU64,
    contacts: AtomicU64,
    /// Of each contact the last interaction in the tickets that were written, in microseconds since 1970; 0 for none.
    last_interactions_us: Vec<AtomicI64>,
    /// Of each contact the number of the last of these tickets.
    last_tickets: Vec<AtomicU64>,
    agents: Vec<AgentCount>,
}

/// What an agent has in the history that he sees.
#[derive(Debug, Default)]
struct AgentCount {
    /// Tickets of the last 90 days that he dealt with.
    tickets: AtomicU64,
    /// One more than the number of the last of them.
    last_ticket: AtomicU64,
}

/// An agent to try things with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenAgent {
    /// The agent.
    pub agent_id: i64,
    /// Tickets of the last 90 days that he dealt with.
    pub tickets: u64,
    /// One of them.
    pub ticket_id: i64,
    /// Its contact.
    pub contact_id: i64,
    /// The contact's name.
    pub contact_name: String,
}

impl Seeding {
    pub(super) fn new(world: World, tenant_id: i64, pool: PgPool) -> Self {
        let count = |count: u64| usize::try_from(count).expect("it fits into memory");
        let contacts = count(world.options().contacts);
        let agents = count(world.options().agents);
        Self {
            world,
            tenant_id,
            pool,
            next_ticket: AtomicU64::new(0),
            next_contact: AtomicU64::new(0),
            tickets: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            firings: AtomicU64::new(0),
            dealings: AtomicU64::new(0),
            contacts: AtomicU64::new(0),
            last_interactions_us: (0..contacts).map(|_| AtomicI64::new(0)).collect(),
            last_tickets: (0..contacts).map(|_| AtomicU64::new(0)).collect(),
            agents: (0..agents).map(|_| AgentCount::default()).collect(),
        }
    }

    /// Writes tickets until all are there, or until nobody wants more: then the batches that were begun are ended.
    pub(super) async fn write_tickets(
        self: &Arc<Self>,
        connections: u32,
        progress: &mut Progress,
        no_more: &CancellationToken,
    ) -> Result<(), SeedError> {
        let mut workers = JoinSet::new();
        for _ in 0..connections {
            let (seeding, no_more) = (Arc::clone(self), no_more.clone());
            workers.spawn(async move { seeding.write_batches(&no_more).await });
        }
        let all = self.world.options().tickets;
        follow(workers, progress, || {
            ("tickets", self.tickets.load(Ordering::Relaxed), all)
        })
        .await
    }

    /// Writes the contacts of all tickets that were written.
    pub(super) async fn write_contacts(
        self: &Arc<Self>,
        connections: u32,
        progress: &mut Progress,
    ) -> Result<(), SeedError> {
        let mut workers = JoinSet::new();
        for _ in 0..connections {
            let seeding = Arc::clone(self);
            workers.spawn(async move { seeding.write_contact_batches().await });
        }
        let met = self.last_interactions_us.iter();
        let all = met.filter(|at| at.load(Ordering::Relaxed) != 0).count() as u64;
        follow(workers, progress, || {
            ("contacts", self.contacts.load(Ordering::Relaxed), all)
        })
        .await
    }

    /// What was written.
    pub(super) fn counts(&self) -> RowCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RowCounts {
            tickets: read(&self.tickets),
            entries: read(&self.entries),
            firings: read(&self.firings),
            dealings: read(&self.dealings),
            contacts: read(&self.contacts),
        }
    }

    /// Agents with something to see, those with most first.
    pub(super) fn seen_agents(&self) -> Vec<SeenAgent> {
        let mut seen: Vec<SeenAgent> = (1..)
            .zip(&self.agents)
            .filter_map(|(agent_id, count)| {
                let number = count.last_ticket.load(Ordering::Relaxed).checked_sub(1)?;
                let place = self.world.place(number);
                Some(SeenAgent {
                    agent_id,
                    tickets: count.tickets.load(Ordering::Relaxed),
                    ticket_id: place.ticket_id,
                    contact_id: self.world.contact_id(place.contact),
                    contact_name: self.world.person(place.contact).data.name,
                })
            })
            .collect();
        seen.sort_by_key(|agent| std::cmp::Reverse((agent.tickets, -agent.agent_id)));
        seen
    }

    async fn write_batches(&self, no_more: &CancellationToken) -> Result<(), SeedError> {
        let mut connection = self.pool.acquire().await?;
        let all = self.world.options().tickets;
        while !no_more.is_cancelled() {
            let from = self.next_ticket.fetch_add(BATCH_TICKETS, Ordering::Relaxed);
            if from >= all {
                break;
            }
            let until = (from + BATCH_TICKETS).min(all);
            let batch = tokio::task::block_in_place(|| self.make(from, until));
            self.write_batch(&mut connection, batch, until).await?;
        }
        Ok(())
    }

    fn make(&self, from: u64, until: u64) -> Batch {
        let mut rows = TicketRows::new(self.tenant_id);
        let mut facts = Vec::new();
        for number in from..until {
            let story = self.world.story(number);
            let of_ticket = Facts::of(&story);
            rows.add(&story, &of_ticket);
            facts.push((number, story.place.contact, of_ticket));
        }
        Batch { rows, facts }
    }

    async fn write_batch(
        &self,
        connection: &mut PgConnection,
        batch: Batch,
        until: u64,
    ) -> Result<(), SeedError> {
        let Batch { rows, facts } = batch;
        let counts = rows.counts();
        // Outside the transaction, so that nobody waits for the lock on the tables that this takes.
        sqlx::query("SELECT make_ticket_partitions($1)")
            .bind(self.world.ticket_id(until - 1))
            .execute(&mut *connection)
            .await?;
        let mut transaction = connection.begin().await?;
        rows.write(&mut transaction).await?;
        transaction.commit().await?;
        for (number, contact, facts) in &facts {
            self.note(*number, *contact, facts);
        }
        self.tickets.fetch_add(counts.tickets, Ordering::Relaxed);
        self.entries.fetch_add(counts.entries, Ordering::Relaxed);
        self.firings.fetch_add(counts.firings, Ordering::Relaxed);
        self.dealings.fetch_add(counts.dealings, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps what contacts and agents have of a ticket that was written.
    fn note(&self, number: u64, contact: u64, facts: &Facts) {
        let contact = usize::try_from(contact).expect("it is in memory");
        self.last_interactions_us[contact].fetch_max(facts.last_interaction_us, Ordering::Relaxed);
        self.last_tickets[contact].fetch_max(number, Ordering::Relaxed);
        let until_us = self.world.options().until_us;
        let closed_us = facts.closed.as_ref().map(|(at_us, ..)| *at_us);
        let is_shown = closed_us.is_some_and(|at_us| at_us <= until_us - SHOWN_AFTER_US);
        for (agent_id, last_us) in &facts.dealings {
            if is_shown && *last_us >= until_us - LOOKBACK_US + DAY_US {
                let place = usize::try_from(agent_id - 1).expect("ids begin at 1");
                let agent = &self.agents[place];
                agent.tickets.fetch_add(1, Ordering::Relaxed);
                agent.last_ticket.fetch_max(number + 1, Ordering::Relaxed);
            }
        }
    }

    async fn write_contact_batches(&self) -> Result<(), SeedError> {
        let mut connection = self.pool.acquire().await?;
        let all = self.world.options().contacts;
        loop {
            let from = self
                .next_contact
                .fetch_add(BATCH_CONTACTS, Ordering::Relaxed);
            if from >= all {
                return Ok(());
            }
            let until = (from + BATCH_CONTACTS).min(all);
            let rows = tokio::task::block_in_place(|| self.make_contacts(from, until));
            let count = rows.count();
            rows.write(&mut connection).await?;
            self.contacts.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn make_contacts(&self, from: u64, until: u64) -> ContactRows {
        let mut rows = ContactRows::new(self.tenant_id);
        for contact in from..until {
            let place = usize::try_from(contact).expect("it is in memory");
            let last_us = self.last_interactions_us[place].load(Ordering::Relaxed);
            if last_us != 0 {
                let person = self.world.person(contact);
                let last = self.last_tickets[place].load(Ordering::Relaxed);
                let told = self.world.place(last);
                rows.add(self.world.contact_id(contact), &person.data, last_us, &told);
            }
        }
        rows
    }
}

/// The rows of some tickets, and what they are made of: number, contact, facts.
struct Batch {
    rows: TicketRows,
    facts: Vec<(u64, u64, Facts)>,
}

/// Waits for the workers, and shows how far they are. When one fails, the others are ended.
async fn follow(
    mut workers: JoinSet<Result<(), SeedError>>,
    progress: &mut Progress,
    how_far: impl Fn() -> (&'static str, u64, u64),
) -> Result<(), SeedError> {
    let mut ticks = interval(Progress::tick());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            ended = workers.join_next() => match ended {
                Some(ended) => ended??,
                None => break,
            },
            _ = ticks.tick() => {
                let (what, done, all) = how_far();
                progress.show(what, done, all);
            }
        }
    }
    let (what, done, all) = how_far();
    progress.show(what, done, all);
    progress.end_line();
    Ok(())
}
