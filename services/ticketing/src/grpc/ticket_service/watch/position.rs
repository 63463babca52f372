//! Positions of live views: one of the feed, and what the view is of.

use plazo_proto::ticketing::v1::SnapshotReason;
use plazo_service::status::{self, FieldViolations};
use sha2::{Digest as _, Sha256};
use tonic::Status;

use super::Start;
use crate::feed::{FeedIdentity, Position, PositionError};
use crate::store::tickets::TicketQuery;

/// The longest text of a position is shorter.
const MAX_BYTES: usize = 200;

/// What a view shows. Only a view of the same can go on from a position: of another one the caller lacks tickets that
/// did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View(u64);

impl View {
    /// The same for filters that say the same.
    pub(super) fn of(query: &TicketQuery) -> Self {
        let mut query = query.clone();
        query.states.sort_unstable_by_key(|state| state.code());
        if let Some(bots) = &mut query.permitted_bots {
            bots.sort_unstable();
        }
        let digest: [u8; 32] = Sha256::digest(format!("{query:?}")).into();
        let start = digest
            .iter()
            .take(8)
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        Self(start)
    }

    /// The text that callers keep.
    pub(super) fn write(self, feed: &FeedIdentity, position: Position) -> String {
        let position = position.write(feed);
        format!("{position}.{:016x}", self.0)
    }
}

/// Where a request's position makes the stream begin. INVALID_ARGUMENT when it is not one.
pub(super) fn read_position(text: &str, feed: &FeedIdentity, view: View) -> Result<Start, Status> {
    if text.is_empty() {
        return Ok(Start::Snapshot(SnapshotReason::NoPosition));
    }
    let parts = text.rsplit_once('.').filter(|_| text.len() <= MAX_BYTES);
    let (position, written_view) = parts.ok_or_else(invalid)?;
    let is_digits = written_view.len() == 16
        && written_view
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_digits {
        return Err(invalid());
    }
    match Position::parse(position, feed) {
        Ok(_) if written_view != format!("{:016x}", view.0) => {
            Ok(Start::Snapshot(SnapshotReason::OtherFilter))
        }
        Ok(position) => Ok(Start::After(position)),
        Err(PositionError::OtherFeed) => Ok(Start::Snapshot(SnapshotReason::OtherFeed)),
        Err(PositionError::Invalid) => Err(invalid()),
    }
}

fn invalid() -> Status {
    let mut violations = FieldViolations::new();
    violations.add(
        "position",
        "must be a position that a stream of WatchTickets sent, or empty",
    );
    status::invalid_with("POSITION_INVALID", violations)
}
