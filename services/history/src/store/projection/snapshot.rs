//! Taking in a snapshot of ticketing.

use std::collections::BTreeMap;

use plazo_proto::ticketing::v1::{TicketEvent, TicketSnapshot};
use sqlx::PgConnection;

use super::{Applied, ApplyError, Folded, ProjectionStore, erasing, rows, tickets};
use crate::model::{Calendars, Numbering, Refusal, TicketKey, apply};

/// How far a snapshot was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotProgress {
    /// Where the feed goes on after it; empty before the snapshot has begun.
    pub(crate) position: String,
    /// The last ticket of it that is here; none when all are.
    pub(crate) after_ticket_id: Option<i64>,
}

impl ProjectionStore {
    /// How far a snapshot was taken in.
    pub(crate) async fn snapshot_progress(&self) -> Result<SnapshotProgress, sqlx::Error> {
        let row = sqlx::query!("SELECT position, snapshot_after_ticket_id FROM feed_position")
            .fetch_one(&self.pool)
            .await?;
        Ok(SnapshotProgress {
            position: row.position,
            after_ticket_id: row.snapshot_after_ticket_id,
        })
    }

    /// Empty tables will take in a snapshot of this position. Nothing is changed in tables that have begun.
    pub(crate) async fn begin_snapshot(&self, position: &str) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "UPDATE feed_position
             SET position = $1, snapshot_after_ticket_id = 0, changed_at = clock_timestamp()
             WHERE position = ''",
            position
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Takes in the tickets that follow ticket `after` in the snapshot.
    pub(crate) async fn apply_snapshot_part(
        &self,
        after: i64,
        snapshots: Vec<TicketSnapshot>,
    ) -> Result<Applied, ApplyError> {
        let Some(last) = snapshots.iter().map(|snapshot| snapshot.ticket_id).max() else {
            return Ok(Applied::Done {
                seconds_behind: None,
            });
        };
        self.make_partitions(std::iter::once(last)).await?;
        let mut transaction = self.pool.begin().await?;
        let stored = sqlx::query!("SELECT snapshot_after_ticket_id FROM feed_position FOR UPDATE")
            .fetch_one(&mut *transaction)
            .await?;
        if stored.snapshot_after_ticket_id != Some(after) {
            transaction.rollback().await?;
            return Ok(Applied::Superseded);
        }
        self.save_snapshots(&mut transaction, snapshots).await?;
        sqlx::query!(
            "UPDATE feed_position SET snapshot_after_ticket_id = $1, changed_at = clock_timestamp()",
            last
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Applied::Done {
            seconds_behind: None,
        })
    }

    /// All tickets of the snapshot are here.
    pub(crate) async fn end_snapshot(&self) -> Result<(), sqlx::Error> {
        sqlx::query!("UPDATE feed_position SET snapshot_after_ticket_id = NULL")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn save_snapshots(
        &self,
        connection: &mut PgConnection,
        snapshots: Vec<TicketSnapshot>,
    ) -> Result<(), ApplyError> {
        let calendars = self
            .calendars
            .of(connection, &BTreeMap::new(), events_of(&snapshots))
            .await?;
        let mut folded = fold(snapshots, &calendars)?;
        let erasures = std::mem::take(&mut folded.changes.erasures);
        tickets::save(connection, folded.records.values()).await?;
        rows::save(connection, &folded).await?;
        Ok(erasing::erase(connection, erasures).await?)
    }
}

/// All events of some tickets.
pub(crate) fn events_of(snapshots: &[TicketSnapshot]) -> impl Iterator<Item = &TicketEvent> {
    snapshots.iter().flat_map(|snapshot| &snapshot.events)
}

/// The tickets as of the snapshot. Events that say nothing are missing there, also at the end.
fn fold(snapshots: Vec<TicketSnapshot>, calendars: &Calendars) -> Result<Folded, Refusal> {
    let mut folded = Folded::default();
    for snapshot in snapshots {
        let key = TicketKey {
            tenant_id: snapshot.tenant_id,
            ticket_id: snapshot.ticket_id,
        };
        let mut record = None;
        for mut event in snapshot.events {
            event.tenant_id = key.tenant_id;
            event.ticket_id = key.ticket_id;
            let numbering = Numbering::Rising;
            let after = apply(record, event, numbering, calendars, &mut folded.changes)?;
            record = Some(after);
        }
        // Nothing is known of a ticket without any event, not even its bot.
        let Some(mut record) = record else {
            return Err(Refusal::Malformed {
                event_id: 0,
                ticket_id: key.ticket_id,
                problem: "is in the snapshot without events",
            });
        };
        if record.ticket.ticket_seq > snapshot.ticket_seq {
            return Err(Refusal::OutOfSequence {
                ticket_id: key.ticket_id,
                expected: snapshot.ticket_seq,
                found: record.ticket.ticket_seq,
            });
        }
        record.ticket.ticket_seq = snapshot.ticket_seq;
        record.facts.snapshot_seq = snapshot.ticket_seq;
        folded.records.insert(key, record);
    }
    Ok(folded)
}
