//! Applying batches of the feed.

/// One array a column, for `unnest`.
macro_rules! column {
    ($rows:expr, $row:ident => $value:expr) => {
        $rows.iter().map(|$row| $value).collect::<Vec<_>>()
    };
}
mod calendars;
mod erasing;
mod forgetting;
mod rows;
mod snapshot;
mod tickets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff_sqlx::ToSqlx;
use plazo_proto::ticketing::v1::TicketEvent;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use sqlx::PgConnection;
use sqlx::postgres::PgPool;

use self::calendars::CalendarShelf;
pub(crate) use self::snapshot::events_of;
use crate::model::{
    Calendars, Changes, Numbering, Record, Refusal, TicketKey, UNIT_SEPARATOR, apply, from_proto,
};

/// Partitions are made so many tickets ahead, so that no batch waits for one.
const TICKETS_AHEAD: i64 = 100_000;

/// The tables as the projection writes them.
///
/// Invariant: the tables hold exactly the events up to `feed_position`, each applied once. A batch and the position
/// after it are written in one transaction, which holds the position's lock and has found there the position that
/// the batch follows.
#[derive(Debug, Clone)]
pub(crate) struct ProjectionStore {
    pool: PgPool,
    calendars: Arc<CalendarShelf>,
    /// Tickets below this one have their partition.
    made_until: Arc<AtomicI64>,
}

/// What became of a batch.
#[derive(Debug, PartialEq)]
pub(crate) enum Applied {
    /// It is in the tables; so long ago, in seconds, was its last event. None when it was empty.
    Done { seconds_behind: Option<f64> },
    /// The position is no longer the one that the batch follows: somebody else was faster. Nothing was changed.
    Superseded,
}

/// Why a batch was not applied. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// An event does not fit.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database failed. Where it is unknown whether the commit arrived, the position tells.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// What a batch changes.
#[derive(Debug, Default)]
struct Folded {
    records: BTreeMap<TicketKey, Record>,
    changes: Changes,
    /// Tickets that were known before and are closed otherwise now, are open again, or had an interaction though closed.
    closed_otherwise: Vec<TicketKey>,
}

impl ProjectionStore {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self {
            pool,
            calendars: Arc::default(),
            made_until: Arc::default(),
        }
    }

    /// How far the feed is applied; empty before the first batch.
    pub(crate) async fn position(&self) -> Result<String, sqlx::Error> {
        let row = sqlx::query!("SELECT position FROM feed_position")
            .fetch_one(&self.pool)
            .await?;
        Ok(row.position)
    }

    /// Applies the events that follow the position `before`, and stores the position `after`.
    pub(crate) async fn apply_batch(
        &self,
        before: &str,
        events: Vec<TicketEvent>,
        after: &str,
    ) -> Result<Applied, ApplyError> {
        let applied = self.try_apply(before, events, after).await;
        if applied.is_err() {
            // Whoever builds the tables anew may have put others in their place.
            self.made_until.store(0, Ordering::Relaxed);
        }
        applied
    }

    async fn try_apply(
        &self,
        before: &str,
        events: Vec<TicketEvent>,
        after: &str,
    ) -> Result<Applied, ApplyError> {
        self.make_partitions(events.iter().map(|event| event.ticket_id))
            .await?;
        let mut transaction = self.pool.begin().await?;
        let stored = sqlx::query_file!("queries/lock_position.sql")
            .fetch_one(&mut *transaction)
            .await?;
        if stored.position != before {
            transaction.rollback().await?;
            return Ok(Applied::Superseded);
        }
        let last_event_at = events.last().and_then(|event| from_proto(event.event_time));
        for events in segments(events) {
            self.apply_segment(&mut transaction, events).await?;
        }
        let last_event_at = last_event_at.map(ToSqlx::to_sqlx);
        let advanced = sqlx::query_file!("queries/advance_position.sql", after, last_event_at as _)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Applied::Done {
            seconds_behind: advanced.seconds_behind,
        })
    }

    async fn apply_segment(
        &self,
        connection: &mut PgConnection,
        events: Vec<TicketEvent>,
    ) -> Result<(), ApplyError> {
        let keys: BTreeSet<_> = events.iter().map(TicketKey::of).collect();
        let keys: Vec<_> = keys.into_iter().collect();
        let known = tickets::load(connection, &keys).await?;
        let forgotten = find_forgotten(connection, &known, &events).await?;
        let calendars = self.calendars.of(connection, &known, events.iter()).await?;
        let mut folded = fold(known, &forgotten, events, &calendars)?;
        let erasures = std::mem::take(&mut folded.changes.erasures);
        tickets::save(connection, folded.records.values()).await?;
        rows::save(connection, &folded).await?;
        Ok(erasing::erase(connection, erasures).await?)
    }

    /// Makes partitions for these tickets and some more, outside of the transaction that fills them: it would keep
    /// requests from the tables until it ends.
    async fn make_partitions(
        &self,
        ticket_ids: impl Iterator<Item = i64>,
    ) -> Result<(), sqlx::Error> {
        let Some(last) = ticket_ids.max() else {
            return Ok(());
        };
        if last < self.made_until.load(Ordering::Relaxed) {
            return Ok(());
        }
        let wanted = last.saturating_add(TICKETS_AHEAD);
        let made = sqlx::query!(r#"SELECT make_ticket_partitions($1) AS "until!""#, wanted)
            .fetch_one(&self.pool)
            .await?;
        self.made_until.store(made.until, Ordering::Relaxed);
        Ok(())
    }
}

/// The events in parts that are written one after the other: each ends with the orders to erase in it, which are carried
/// out when what came before is written, and spare what comes after.
fn segments(events: Vec<TicketEvent>) -> Vec<Vec<TicketEvent>> {
    let is_order =
        |event: &TicketEvent| matches!(event.payload, Some(Payload::PersonalDataErased(_)));
    let mut segments: Vec<Vec<TicketEvent>> = Vec::new();
    for event in events {
        match segments.last_mut() {
            Some(part) if is_order(&event) || !part.last().is_some_and(is_order) => {
                part.push(event);
            }
            _ => segments.push(vec![event]),
        }
    }
    segments
}

/// The changes of events whose tickets are `known` as they are before them.
fn fold(
    mut known: BTreeMap<TicketKey, Record>,
    forgotten: &BTreeSet<TicketKey>,
    events: Vec<TicketEvent>,
    calendars: &Calendars,
) -> Result<Folded, Refusal> {
    let mut folded = Folded::default();
    let closed_before: BTreeMap<_, _> = known
        .iter()
        .map(|(key, record)| (*key, record.closed_and_interaction()))
        .collect();
    for event in events {
        let key = TicketKey::of(&event);
        if forgotten.contains(&key) {
            if let Some(Payload::PersonalDataErased(erased)) = &event.payload {
                let asked_at = from_proto(event.event_time).unwrap_or_default();
                let noted = folded.changes.erase(key, erased, asked_at);
                noted.map_err(|problem| Refusal::Malformed {
                    event_id: event.event_id,
                    ticket_id: event.ticket_id,
                    problem,
                })?;
            }
            continue;
        }
        let before = folded.records.remove(&key).or_else(|| known.remove(&key));
        let record = match before {
            // It came with the snapshot.
            Some(before) if event.ticket_seq <= before.facts.snapshot_seq => before,
            before => apply(
                before,
                event,
                Numbering::WithoutGaps,
                calendars,
                &mut folded.changes,
            )?,
        };
        folded.records.insert(key, record);
    }
    let changed = folded.records.iter().filter(|(key, record)| {
        let before = closed_before.get(key);
        before.is_some_and(|before| *before != record.closed_and_interaction())
    });
    folded.closed_otherwise = changed.map(|(key, _)| *key).collect();
    Ok(folded)
}

/// The tickets of these events that retention has taken away.
async fn find_forgotten(
    connection: &mut PgConnection,
    known: &BTreeMap<TicketKey, Record>,
    events: &[TicketEvent],
) -> Result<BTreeSet<TicketKey>, sqlx::Error> {
    // The first event of a ticket is of one that nobody has forgotten.
    let mut begun = BTreeSet::new();
    let mut unknown = BTreeSet::new();
    for event in events {
        let key = TicketKey::of(event);
        if event.ticket_seq == 1 {
            begun.insert(key);
        } else if !known.contains_key(&key) && !begun.contains(&key) {
            unknown.insert(key);
        }
    }
    if unknown.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows = sqlx::query_file!(
        "queries/find_forgotten.sql",
        &column!(unknown, key => key.tenant_id),
        &column!(unknown, key => key.ticket_id),
    )
    .fetch_all(connection)
    .await?;
    let keys = rows.into_iter().map(|row| TicketKey {
        tenant_id: row.tenant_id,
        ticket_id: row.ticket_id,
    });
    Ok(keys.collect())
}

fn joined(items: &[String]) -> String {
    items.join(UNIT_SEPARATOR.encode_utf8(&mut [0; 4]))
}
