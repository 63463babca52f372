//! What one watcher has yet to be told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plazo_proto::ticketing::v1::Ticket;
use tokio::sync::Notify;

/// Why a watcher is told nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// More waited for it than the backlog holds.
    TooSlow,
    /// More tickets match than one watcher may hold.
    TooLarge,
    /// All watchers of this replica together hold as many tickets as they may.
    Full,
    /// The service stops.
    ShuttingDown,
    /// The database is not the one that it was.
    FeedReplaced,
}

/// One thing to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// A ticket as it is now; one copy for all watchers.
    Ticket(Arc<Ticket>),
    /// The id of a ticket that left.
    Left(i64),
}

/// A bounded queue that holds the last state of each ticket, at the place of the first change that was not taken yet.
#[derive(Debug)]
pub struct Inbox {
    backlog: usize,
    wake: Notify,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    order: Vec<i64>,
    changes: HashMap<i64, Change>,
    /// Whether the watcher is to be woken after the present batch.
    is_touched: bool,
    ending: Option<Ending>,
}

#[derive(Debug)]
struct Change {
    /// Whether the watcher was told of the ticket before this change.
    was_told: bool,
    /// Number of the ticket's last event.
    seq: i64,
    /// The state; none when it left.
    ticket: Option<Arc<Ticket>>,
}

impl Inbox {
    /// Takes changes of at most `backlog` tickets.
    pub fn new(backlog: usize) -> Self {
        Self {
            backlog,
            wake: Notify::new(),
            waiting: Mutex::default(),
        }
    }

    /// Adds a change after a ticket's event: its state, or none when it left. Answers whether this is the first one of a batch.
    /// The error says that it did not fit.
    pub(super) fn put(
        &self,
        (ticket_id, seq): (i64, i64),
        ticket: Option<Arc<Ticket>>,
        was_told: bool,
    ) -> Result<bool, Ending> {
        let mut waiting = self.lock();
        let Waiting {
            changes,
            order,
            is_touched,
            ..
        } = &mut *waiting;
        if let Some(change) = changes.get_mut(&ticket_id) {
            change.ticket = ticket;
            change.seq = seq;
        } else if changes.len() >= self.backlog {
            return Err(Ending::TooSlow);
        } else {
            order.push(ticket_id);
            let change = Change {
                was_told,
                seq,
                ticket,
            };
            changes.insert(ticket_id, change);
        }
        Ok(!std::mem::replace(is_touched, true))
    }

    /// The watcher is told a ticket's state after an event in another way, before it takes what waits: nothing older than
    /// that may follow.
    pub(super) fn supersede(&self, ticket_id: i64, seq: i64) {
        let mut waiting = self.lock();
        if let Some(change) = waiting.changes.get_mut(&ticket_id) {
            if change.seq <= seq {
                waiting.changes.remove(&ticket_id);
                waiting.order.retain(|other| *other != ticket_id);
            } else {
                change.was_told = true;
            }
        }
    }

    /// Wakes the watcher.
    pub(super) fn wake(&self) {
        self.lock().is_touched = false;
        self.wake.notify_one();
    }

    /// Ends the watcher, and forgets what it was not told.
    pub(super) fn end(&self, ending: Ending) {
        *self.lock() = Waiting {
            ending: Some(ending),
            ..Waiting::default()
        };
        self.wake.notify_one();
    }

    /// Takes everything that waits.
    pub fn take(&self) -> Result<Vec<Told>, Ending> {
        let (order, mut changes) = {
            let mut waiting = self.lock();
            if let Some(ending) = waiting.ending {
                return Err(ending);
            }
            (
                std::mem::take(&mut waiting.order),
                std::mem::take(&mut waiting.changes),
            )
        };
        let told = order.into_iter().filter_map(|ticket_id| {
            let change = changes.remove(&ticket_id)?;
            match change.ticket {
                Some(ticket) => Some(Told::Ticket(ticket)),
                // What came and went is as if it never was.
                None => change.was_told.then_some(Told::Left(ticket_id)),
            }
        });
        Ok(told.collect())
    }

    /// Until something is put, or at once when something was put since the last call.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// A panic while the lock is held leaves nothing half-changed that matters.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "a change has it so")]
    fn ticket(ticket_id: i64, etag: &str) -> Option<Arc<Ticket>> {
        Some(Arc::new(Ticket {
            ticket_id,
            etag: etag.to_owned(),
            ..Ticket::default()
        }))
    }

    #[test]
    fn the_last_state_of_each_ticket_is_told_once() {
        let inbox = Inbox::new(10);
        assert_eq!(inbox.put((1, 1), ticket(1, "1"), true), Ok(true));
        assert_eq!(inbox.put((2, 1), ticket(2, "1"), false), Ok(false));
        inbox.put((3, 1), None, true).expect("it fits");
        inbox.put((1, 2), ticket(1, "2"), true).expect("it fits");
        inbox.put((2, 2), None, true).expect("it fits");
        let told = inbox.take().expect("it goes on");
        assert_eq!(
            told,
            [
                Told::Ticket(ticket(1, "2").expect("a ticket")),
                Told::Left(3)
            ]
        );
        assert_eq!(inbox.take(), Ok(Vec::new()));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_an_end_frees_everything() {
        let inbox = Inbox::new(2);
        for ticket_id in [1, 2, 1] {
            let put = inbox.put((ticket_id, 1), ticket(ticket_id, "1"), false);
            assert!(put.is_ok());
        }
        assert_eq!(inbox.put((3, 1), None, true), Err(Ending::TooSlow));
        inbox.end(Ending::TooSlow);
        assert!(inbox.lock().changes.is_empty() && inbox.lock().order.capacity() == 0);
        assert_eq!(inbox.take(), Err(Ending::TooSlow));
    }
}
