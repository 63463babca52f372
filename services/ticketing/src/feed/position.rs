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

/// Everything before it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Events of transactions below this were all read.
    pub(super) from_transaction: i64,
    /// The window that is being read; none between windows.
    pub(super) window: Option<Window>,
}

/// A window that is read in parts. It must be read to its end with the bound that it began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// Its upper bound.
    pub(super) until_transaction: i64,
    /// Its events up to this one were read.
    pub(super) after_event_id: i64,
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
    /// After all transactions below `transaction`.
    pub(super) fn at(transaction: i64) -> Self {
        Self {
            from_transaction: transaction,
            window: None,
        }
    }

    pub(super) fn with_window(self, until_transaction: i64, after_event_id: i64) -> Self {
        Self {
            window: Some(Window {
                until_transaction,
                after_event_id,
            }),
            ..self
        }
    }

    pub(super) fn within_window(self, after_event_id: i64) -> Self {
        let window = self.window.map(|window| Window {
            after_event_id,
            ..window
        });
        Self { window, ..self }
    }

    pub(super) fn after_window(self) -> Self {
        self.window
            .map_or(self, |window| Self::at(window.until_transaction))
    }

    /// Whether events after it were dropped.
    pub fn is_behind(self, horizon: i64) -> bool {
        self.from_transaction < horizon
    }

    /// Whether it was never reached here: all transactions below `end` have ended, and no others.
    pub fn is_ahead_of(self, end: Position) -> bool {
        self.after_window().from_transaction > end.from_transaction
    }

    /// The text that consumers keep.
    pub fn write(self, feed: &FeedIdentity) -> String {
        let Self {
            from_transaction,
            window,
        } = self;
        let feed = &feed.0;
        match window {
            None => format!("{VERSION}.{feed}.{from_transaction}"),
            Some(Window {
                until_transaction,
                after_event_id,
            }) => {
                format!("{VERSION}.{feed}.{from_transaction}.{until_transaction}.{after_event_id}")
            }
        }
    }

    /// Reads what [`Self::write`] wrote.
    pub fn parse(text: &str, feed: &FeedIdentity) -> Result<Self, PositionError> {
        let mut parts = text.split('.');
        if parts.next() != Some(VERSION) {
            return Err(PositionError::Invalid);
        }
        let written_feed = parts.next().ok_or(PositionError::Invalid)?;
        let numbers: Vec<i64> = parts
            .map(|part| part.parse().ok().filter(|number| *number >= 0))
            .collect::<Option<_>>()
            .ok_or(PositionError::Invalid)?;
        let position = match numbers[..] {
            [from] => Self::at(from),
            [from, until, after] if from < until => Self::at(from).with_window(until, after),
            _ => return Err(PositionError::Invalid),
        };
        if written_feed == feed.0 {
            Ok(position)
        } else {
            Err(PositionError::OtherFeed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_as_they_were_written() {
        let feed = FeedIdentity::new(Uuid::nil(), 7, 8);
        for position in [
            Position::at(0),
            Position::at(12),
            Position::at(12).with_window(40, 3),
        ] {
            assert_eq!(Position::parse(&position.write(&feed), &feed), Ok(position));
        }
    }

    #[test]
    fn nonsense_and_positions_of_copies_are_refused() {
        let feed = FeedIdentity::new(Uuid::nil(), 7, 8);
        let copy = FeedIdentity::new(Uuid::nil(), 9, 8);
        let written = Position::at(5).write(&feed);
        assert_eq!(
            Position::parse(&written, &copy),
            Err(PositionError::OtherFeed)
        );
        let f = &feed.0;
        for nonsense in [
            "1".into(),
            "2.x.3".into(),
            format!("1.{f}.-3"),
            format!("1.{f}.3.2.1"),
            format!("1.{f}.3.4"),
            format!("1.{f}.9999999999999999999999"),
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
