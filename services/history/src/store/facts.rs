//! Reads what the figures of a report are made of, over two connections where a second one is free.
//!
//! The period is cut into slices of equal length, which the connections take in turns. Both see the tables as of one instant,
//! and what they read is put together in the order of the slices. Each is ahead by a few chunks at most.

use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx as _;
use plazo_database::TenantReader;
use sqlx::AssertSqlSafe;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};

use super::ReportStore;
use crate::reports::{ClosedPlace, ConversationFilter, FactChunk, Grouping};

/// Conversations in a chunk: some megabytes.
const CHUNK_CONVERSATIONS: i64 = 32_768;
/// Chunks that a connection may be ahead by.
const CHUNKS_AHEAD: usize = 2;
/// A period is cut into so many slices, unless it is short.
const SLICES: i32 = 8;
const SHORT: SignedDuration = SignedDuration::from_hours(24);
/// How long to wait for a second connection, which may have to be made.
const SECOND_WAIT: Duration = Duration::from_millis(50);

/// Why facts can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FactError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The tables were replaced by ones that were built anew, whose rows the transaction can't see.
    #[error("the projection was replaced")]
    Replaced,
}

/// The facts of a report, all of one instant. Holds its connections until it is dropped.
pub(crate) struct FactReader {
    /// What comes over each connection.
    connections: Vec<mpsc::Receiver<Result<Piece, FactError>>>,
    /// Ended with this.
    _tasks: JoinSet<()>,
    /// Slices that were read to their end.
    slices_read: usize,
    slice_count: usize,
    /// Of the first chunk.
    table_oid: Option<i64>,
}

/// What a connection reads of its slices: a chunk, or none at the end of each slice.
type Piece = Option<FactChunk>;

impl ReportStore {
    /// Begins to read facts.
    pub(crate) async fn read_facts(
        &self,
        filter: ConversationFilter,
        grouping: Option<Grouping>,
    ) -> Result<FactReader, sqlx::Error> {
        let slices = cut(filter);
        let mut first = self.pool.read(slices[0].tenant_id).await?;
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .execute(&mut *first)
            .await?;
        let second = match slices.len() {
            1 => None,
            _ => self.join(&mut first, slices[0].tenant_id).await?,
        };
        let readers: Vec<_> = std::iter::once(first).chain(second).collect();
        let (slice_count, reader_count) = (slices.len(), readers.len());
        let mut tasks = JoinSet::new();
        let mut connections = Vec::new();
        for (place, reader) in readers.into_iter().enumerate() {
            let (pieces, received) = mpsc::channel(CHUNKS_AHEAD);
            let own = slices.iter().skip(place).step_by(reader_count);
            tasks.spawn(read_slices(
                reader,
                own.cloned().collect(),
                grouping,
                pieces,
            ));
            connections.push(received);
        }
        Ok(FactReader {
            connections,
            _tasks: tasks,
            slices_read: 0,
            slice_count,
            table_oid: None,
        })
    }

    /// A second connection that sees what the first one sees; none when all are in use.
    async fn join(
        &self,
        first: &mut TenantReader,
        tenant_id: i64,
    ) -> Result<Option<TenantReader>, sqlx::Error> {
        let Ok(Ok(mut second)) = timeout(SECOND_WAIT, self.pool.read(tenant_id)).await else {
            return Ok(None);
        };
        let snapshot: String = sqlx::query_scalar("SELECT pg_export_snapshot()")
            .fetch_one(&mut **first)
            .await?;
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .execute(&mut *second)
            .await?;
        // The server's own name for it: hexadecimal digits and dashes. It can't be a parameter.
        sqlx::query(AssertSqlSafe(format!(
            "SET TRANSACTION SNAPSHOT '{snapshot}'"
        )))
        .execute(&mut *second)
        .await?;
        Ok(Some(second))
    }
}

/// The filter for each slice of its period, the earliest first.
fn cut(filter: ConversationFilter) -> Vec<ConversationFilter> {
    let (from, until) = (filter.from, filter.until);
    let length = until.duration_since(from);
    if length <= SHORT {
        return vec![filter];
    }
    let bound = |slice: i32| -> Timestamp {
        if slice == SLICES {
            until
        } else {
            // Within the period, so that no time is out of range.
            from.saturating_add(length / SLICES * slice)
                .unwrap_or(until)
        }
    };
    let slices = (0..SLICES).map(|slice| ConversationFilter {
        from: bound(slice),
        until: bound(slice + 1),
        ..filter.clone()
    });
    slices.collect()
}

async fn read_slices(
    mut reader: TenantReader,
    slices: Vec<ConversationFilter>,
    grouping: Option<Grouping>,
    pieces: mpsc::Sender<Result<Piece, FactError>>,
) {
    for slice in slices {
        if let Err(error) = read_slice(&mut reader, &slice, grouping, &pieces).await {
            // Nobody hears it when the report was given up.
            let _ = pieces.send(Err(error.into())).await;
            return;
        }
    }
}

async fn read_slice(
    reader: &mut TenantReader,
    slice: &ConversationFilter,
    grouping: Option<Grouping>,
    pieces: &mpsc::Sender<Result<Piece, FactError>>,
) -> Result<(), sqlx::Error> {
    let mut after: Option<ClosedPlace> = None;
    loop {
        let chunk = sqlx::query_file_as!(
            FactChunk,
            "queries/report_facts.sql",
            slice.tenant_id,
            slice.from.to_sqlx(),
            slice.until.to_sqlx(),
            slice.bots.as_deref(),
            slice.queues.as_deref(),
            slice.agents.as_deref(),
            slice.tags.as_deref(),
            slice.categories.as_deref(),
            slice.sources.as_deref(),
            after.map(|place| place.closed_at.to_sqlx()) as _,
            after.map(|place| place.ticket_id),
            CHUNK_CONVERSATIONS,
            grouping.map_or(0, |grouping| grouping as i32)
        )
        .fetch_one(&mut **reader)
        .await?;
        after = chunk.last_place();
        let is_last = i64::try_from(chunk.len()).is_ok_and(|length| length < CHUNK_CONVERSATIONS);
        // A report that was given up ends this task with it.
        let _ = pieces.send(Ok(Some(chunk))).await;
        if is_last {
            let _ = pieces.send(Ok(None)).await;
            return Ok(());
        }
    }
}

impl FactReader {
    /// The next chunk; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<FactChunk>, FactError> {
        while self.slices_read < self.slice_count {
            let turn = self.slices_read % self.connections.len();
            match self.connections[turn].recv().await {
                Some(Ok(Some(chunk))) => {
                    if *self.table_oid.get_or_insert(chunk.table_oid) != chunk.table_oid {
                        return Err(FactError::Replaced);
                    }
                    return Ok(Some(chunk));
                }
                Some(Ok(None)) => self.slices_read += 1,
                Some(Err(error)) => return Err(error),
                None => return Err(sqlx::Error::WorkerCrashed.into()),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(from: &str, until: &str) -> ConversationFilter {
        ConversationFilter {
            tenant_id: 1,
            from: from.parse().expect("an instant"),
            until: until.parse().expect("an instant"),
            bots: None,
            queues: None,
            agents: None,
            tags: None,
            categories: None,
            sources: None,
        }
    }

    #[test]
    fn slices_leave_out_nothing_and_lie_side_by_side() {
        for (from, until, count) in [
            ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", 1),
            ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00.000001Z", 8),
            ("-009999-01-02T01:59:59Z", "9999-12-30T22:00:00Z", 8),
            ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", 1),
        ] {
            let whole = within(from, until);
            let slices = cut(whole.clone());
            assert_eq!(slices.len(), count, "{from}");
            assert_eq!(slices[0].from, whole.from);
            assert_eq!(slices[count - 1].until, whole.until);
            for pair in slices.windows(2) {
                assert_eq!(pair[0].until, pair[1].from);
                assert!(pair[0].from < pair[0].until);
            }
        }
    }
}
