//! How many snapshots are sent at the same time. Each costs the database a read without a pause, so they are few; and one
//! whose reader has stopped must not keep the others out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The places for snapshots.
#[derive(Debug, Clone)]
pub struct Seats {
    shared: Arc<Mutex<Taken>>,
    limit: usize,
    max_idle: Duration,
}

#[derive(Debug, Default)]
struct Taken {
    /// Each with the moment in which its reader last took something.
    seats: Vec<(u64, Instant)>,
    last_number: u64,
}

/// A place; free again when this is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    number: u64,
}

impl Seats {
    /// So many places. A snapshot whose reader has taken nothing for `max_idle` gives way to another.
    pub fn new(limit: usize, max_idle: Duration) -> Self {
        Self {
            shared: Arc::default(),
            limit,
            max_idle,
        }
    }

    /// A place, if there is one.
    pub fn take(&self) -> Option<Seat> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Option<Seat> {
        let mut taken = self.taken();
        if taken.seats.len() >= self.limit {
            let idle = taken
                .seats
                .iter()
                .position(|(_, last)| now.duration_since(*last) >= self.max_idle)?;
            taken.seats.remove(idle);
        }
        taken.last_number += 1;
        let number = taken.last_number;
        taken.seats.push((number, now));
        Some(Seat {
            seats: self.clone(),
            number,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Says that the reader takes something. False when the place was given away meanwhile.
    pub fn keep(&self) -> bool {
        self.keep_at(Instant::now())
    }

    fn keep_at(&self, now: Instant) -> bool {
        let mut taken = self.seats.taken();
        let own = taken
            .seats
            .iter_mut()
            .find(|(number, _)| *number == self.number);
        own.map(|(_, last)| *last = now).is_some()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let number = self.number;
        self.seats.taken().seats.retain(|(seat, _)| *seat != number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_stopped_gives_way_and_no_other() {
        let seats = Seats::new(2, Duration::from_mins(1));
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let stopped = seats.take_at(begin).expect("a place");
        let second = seats.take_at(begin).expect("a place");
        assert!(seats.take_at(after(59)).is_none(), "both are in use");
        assert!(second.keep_at(after(59)));
        let third = seats.take_at(after(60)).expect("the place of the first");
        assert!(!stopped.keep_at(after(60)) && second.keep_at(after(60)));
        assert!(third.keep_at(after(60)));
        assert!(seats.take_at(after(61)).is_none());
        drop(stopped);
        assert!(
            seats.take_at(after(61)).is_none(),
            "its place was another's"
        );
        drop(second);
        assert!(seats.take_at(after(61)).is_some());
    }
}
