//! All tickets as of one position of the feed, for a consumer that begins anew.
//!
//! The position is a bound, as readers of the feed use it: the oldest transaction that was running when the snapshot was
//! asked for. Events that stand below it are all there at that moment, and no more will come ([`feed`](crate::feed) says why);
//! they are never changed (but for what an erasure takes away); and in each ticket they are the first ones. So the snapshot is
//! these events: exactly what a reader of the feed has seen at that position. Whenever a page of it is read, it is of that one
//! moment, and each page can be a short statement of its own. A transaction that lasted as long as the snapshot would do the
//! same, but keep PostgreSQL from clearing away old versions of the hot rows for hours, and partitions from being dropped.

pub mod seats;

use std::collections::{HashMap, VecDeque};

use plazo_proto::ticketing::v1::{TicketEvent, TicketSnapshot};
use sqlx::PgPool;

use crate::error::Error;
use crate::fitting::fitting;
use crate::store::clocks::TicketKey;
use crate::store::snapshots::{self, Moment, TicketOfSnapshot};

/// So many tickets are sent at once,
pub const PAGE: i64 = 500;
/// and of so many bytes, or one: a message must not outgrow what callers take. A ticket that is larger is divided.
const PAGE_BYTES: i64 = 1 << 20;

/// A snapshot that is being read.
#[derive(Debug)]
pub struct Snapshot {
    pool: PgPool,
    moment: Moment,
    /// The last ticket that was told as a whole.
    after_ticket_id: i64,
    /// Tickets that were found and not told yet.
    found: VecDeque<TicketOfSnapshot>,
    /// The last event that was told of the first of them, when it is being told in parts.
    after_seq: i64,
}

impl Snapshot {
    /// Begins with the tickets after one.
    pub async fn begin(pool: PgPool, after_ticket_id: i64) -> Result<Self, Error> {
        let moment = snapshots::moment(&mut *pool.acquire().await?).await?;
        Ok(Self {
            pool,
            moment,
            after_ticket_id,
            found: VecDeque::new(),
            after_seq: 0,
        })
    }

    /// What it is of.
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// About how many tickets are to come: ids have few gaps.
    pub fn estimated_ticket_count(&self) -> i64 {
        (self.moment.last_ticket_id - self.after_ticket_id).max(0)
    }

    /// The next tickets; none at the end.
    pub async fn next(&mut self) -> Result<Vec<TicketSnapshot>, Error> {
        let mut connection = self.pool.acquire().await?;
        while self.found.is_empty() {
            let tickets =
                snapshots::tickets(&mut connection, self.moment, self.after_ticket_id, PAGE)
                    .await?;
            let Some(last) = tickets.last() else {
                return Ok(Vec::new());
            };
            self.after_ticket_id = last.key.ticket_id;
            // Opened since.
            self.found
                .extend(tickets.into_iter().filter(|ticket| ticket.ticket_seq > 0));
        }
        if self.found[0].bytes > PAGE_BYTES {
            return Ok(vec![self.part(&mut connection).await?]);
        }
        let sizes = self.found.iter().map(|ticket| size(ticket.bytes));
        let count = fitting(sizes, size(PAGE_BYTES));
        let tickets: Vec<TicketOfSnapshot> = self.found.drain(..count).collect();
        let keys: Vec<TicketKey> = tickets.iter().map(|ticket| ticket.key).collect();
        let events = snapshots::events(&mut connection, self.moment, &keys, 0, i64::MAX).await?;
        let mut by_ticket: HashMap<i64, Vec<TicketEvent>> = HashMap::with_capacity(count);
        for event in events {
            by_ticket.entry(event.ticket_id).or_default().push(event);
        }
        let told = tickets.into_iter().map(|ticket| {
            let events = by_ticket.remove(&ticket.key.ticket_id).unwrap_or_default();
            tell(&ticket, events, false)
        });
        Ok(told.collect())
    }

    /// The next part of a large ticket.
    async fn part(&mut self, connection: &mut sqlx::PgConnection) -> Result<TicketSnapshot, Error> {
        let ticket = self.found[0].clone();
        let keys = [ticket.key];
        let events =
            snapshots::events(connection, self.moment, &keys, self.after_seq, PAGE_BYTES).await?;
        let goes_on = if let Some(last) = events.last() {
            self.after_seq = last.ticket_seq;
            true
        } else {
            self.after_seq = 0;
            self.found.pop_front();
            false
        };
        Ok(tell(&ticket, events, goes_on))
    }
}

fn size(bytes: i64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn tell(ticket: &TicketOfSnapshot, mut events: Vec<TicketEvent>, goes_on: bool) -> TicketSnapshot {
    for event in &mut events {
        event.bot_id = ticket.bot_id;
    }
    TicketSnapshot {
        tenant_id: ticket.key.tenant_id,
        ticket_id: ticket.key.ticket_id,
        ticket_seq: ticket.ticket_seq,
        events,
        goes_on,
    }
}
