//! Where a reader of the feed is.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

const VERSION: &str = "1";

/// Which feed a position belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedIdentity(String);

impl FeedIdentity {
    /// From what tells a database from its copies.
    pub fn new(feed: Uuid, system_identifier: i64, database_oid: i64) -> Self {
        let text = format!("{feed}/{system_identifier}/{database_oid}");
        let digest: [u8; 32] = Sha256::digest(text).into();
        let digits = digest.iter().take(8).map(|byte| format!("{byte:02x}"));
        Self(digits.collect())
    }
}

/// Everything up to it was read. Positions are ordered as the feed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The transaction id that the last event stands under.
    pub transaction_id: i64,
    /// The last event.
    pub event_id: i64,
}

/// Why a position is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// It is not one.
    #[error("not a position")]
    Invalid,
    /// It belongs to another feed.
    #[error("a position of another feed")]
    OtherFeed,
}

impl Position {
    /// The text that consumers keep.
    pub fn write(self, feed: &FeedIdentity) -> String {
        let Self {
            transaction_id,
            event_id,
        } = self;
        format!("{VERSION}.{}.{transaction_id}.{event_id}", feed.0)
    }

    /// Reads what [`Self::write`] wrote.
    pub fn parse(text: &str, feed: &FeedIdentity) -> Result<Self, PositionError> {
        let parts: Vec<&str> = text.split('.').collect();
        let [VERSION, written_feed, transaction_id, event_id] = parts[..] else {
            return Err(PositionError::Invalid);
        };
        let number = |text: &str| text.parse().ok().filter(|number| *number >= 0);
        let (Some(transaction_id), Some(event_id)) = (number(transaction_id), number(event_id))
        else {
            return Err(PositionError::Invalid);
        };
        if written_feed != feed.0 {
            return Err(PositionError::OtherFeed);
        }
        let position = Self {
            transaction_id,
            event_id,
        };
        // Numbers may be read from `+5` and `05` too: one position has one text, by which consumers compare.
        if position.write(feed) == text {
            Ok(position)
        } else {
            Err(PositionError::Invalid)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITION: Position = Position {
        transaction_id: 12,
        event_id: 345,
    };

    #[test]
    fn positions_come_back_as_they_were_written() {
        let feed = FeedIdentity::new(Uuid::nil(), 7, 8);
        assert_eq!(Position::parse(&POSITION.write(&feed), &feed), Ok(POSITION));
    }

    #[test]
    fn nonsense_and_positions_of_copies_are_refused() {
        let feed = FeedIdentity::new(Uuid::nil(), 7, 8);
        let copy = FeedIdentity::new(Uuid::nil(), 9, 8);
        let written = POSITION.write(&feed);
        assert_eq!(
            Position::parse(&written, &copy),
            Err(PositionError::OtherFeed)
        );
        let f = &feed.0;
        for nonsense in [
            "1".into(),
            "2.x.3".into(),
            format!("1.{f}.3"),
            format!("1.{f}.-3.1"),
            format!("1.{f}.+3.1"),
            format!("1.{f}.3.01"),
            format!("1.{f}.3.2.1"),
            format!("1.{f}.9999999999999999999999.1"),
            format!("{written}."),
        ] {
            assert_eq!(
                Position::parse(&nonsense, &feed),
                Err(PositionError::Invalid),
                "{nonsense}"
            );
        }
    }
}
