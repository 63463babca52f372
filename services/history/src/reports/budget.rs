//! How many conversations all reports that are being made may hold.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for conversations, about 80 bytes each, that the reports of a process share.
#[derive(Debug, Clone)]
pub(crate) struct ReportBudget {
    room: Arc<Semaphore>,
    max_conversations: u32,
}

/// Why a report can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BudgetError {
    /// It needs more room than there is.
    TooLarge { max_conversations: u32 },
    /// Other reports have the room.
    Busy,
}

/// The room that a report has taken; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    budget: ReportBudget,
    taken: u32,
    permits: Option<OwnedSemaphorePermit>,
}

impl ReportBudget {
    pub(crate) fn new(max_conversations: u32) -> Self {
        let permits = usize::try_from(max_conversations).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            max_conversations,
        }
    }

    pub(super) fn room(&self) -> Room {
        Room {
            budget: self.clone(),
            taken: 0,
            permits: None,
        }
    }
}

impl Room {
    pub(super) fn take(&mut self, conversations: usize) -> Result<(), BudgetError> {
        let max_conversations = self.budget.max_conversations;
        let more = u32::try_from(conversations).unwrap_or(u32::MAX);
        self.taken = self.taken.saturating_add(more);
        if self.taken > max_conversations {
            return Err(BudgetError::TooLarge { max_conversations });
        }
        let room = Arc::clone(&self.budget.room);
        let permits = room
            .try_acquire_many_owned(more)
            .map_err(|_| BudgetError::Busy)?;
        match &mut self.permits {
            Some(taken) => taken.merge(permits),
            none => *none = Some(permits),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_share_the_room_and_give_it_back() {
        let budget = ReportBudget::new(10);
        let (mut one, mut other) = (budget.room(), budget.room());
        assert_eq!(one.take(4), Ok(()));
        assert_eq!(one.take(3), Ok(()));
        assert_eq!(other.take(4), Err(BudgetError::Busy));
        drop(one);
        assert_eq!(other.take(4), Ok(()));
        let too_large = BudgetError::TooLarge {
            max_conversations: 10,
        };
        assert_eq!(other.take(7), Err(too_large));
    }
}
