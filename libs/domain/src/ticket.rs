//! Where a ticket stands, and what moves it.

use jiff::Timestamp;

use crate::code::stable_codes;
use crate::instant::plus_millis;
use crate::time_value::TimeValue;

/// Where a ticket stands between opening and closing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TicketState {
    /// Open, and nobody is assigned.
    Waiting,
    /// Open.
    Open,
    /// Closed.
    Closed,
}

stable_codes!(TicketState {
    Waiting = 1,
    Open = 2,
    Closed = 3
});

/// Whether the agent of a ticket can take it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AgentPresence {
    /// There is one, and he is not away.
    Present,
    /// There is one, but he is away.
    Away,
    /// Nobody is assigned, or the agent no longer exists or may no longer attend this ticket.
    Gone,
}

impl TicketState {
    /// The state when the ticket is opened: with an agent named it needs no waiting.
    pub const fn when_opened(has_agent: bool) -> Self {
        if has_agent { Self::Open } else { Self::Waiting }
    }

    /// The state after an agent's message: open, also when the ticket was closed.
    #[must_use]
    pub const fn after_agent_message(self) -> Self {
        Self::Open
    }

    /// The state after the ticket is assigned to an agent: open, whatever it was.
    #[must_use]
    pub const fn after_assign(self) -> Self {
        Self::Open
    }

    /// The state after a customer's message that belongs to this ticket. A closed ticket opens again,
    /// or waits when its agent cannot take it back (see [`may_reopen`] for whether it may); an open or
    /// waiting one stays as it is.
    #[must_use]
    pub const fn after_customer_message(self, agent: AgentPresence) -> Self {
        match (self, agent) {
            (Self::Closed, AgentPresence::Present) => Self::Open,
            (Self::Closed, AgentPresence::Away | AgentPresence::Gone) => Self::Waiting,
            (Self::Waiting | Self::Open, _) => self,
        }
    }

    /// Whether the ticket is open, assigned or not.
    pub const fn is_open(self) -> bool {
        !matches!(self, Self::Closed)
    }
}

/// What closed a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseSource {
    /// An agent.
    Agent,
    /// The customer, told by the bot.
    Customer,
    /// The inactivity cycle.
    CustomerInactivity,
    /// A workflow of the bot.
    Workflow,
    /// Another back end or an administrator.
    Api,
}

stable_codes!(CloseSource {
    Agent = 1,
    Customer = 2,
    CustomerInactivity = 3,
    Workflow = 4,
    Api = 5
});

/// Whether a customer's message at `now` still opens a ticket again that was closed at `closed_at`. The
/// last instant of the window belongs to it.
pub fn may_reopen(closed_at: Timestamp, window: TimeValue, now: Timestamp) -> bool {
    now <= plus_millis(closed_at, window.as_millis())
}

/// Whether a customer's message that arrives at `arrived_at` was written before the close at `closed_at`, and arrives
/// within `grace` after it: then the close is superseded. `written_at` is the channel's time, checked for
/// plausibility; one in whole seconds counts for the customer.
pub fn supersedes_close(
    closed_at: Timestamp,
    grace: TimeValue,
    written_at: Timestamp,
    arrived_at: Timestamp,
) -> bool {
    let is_whole_second = written_at.subsec_nanosecond() == 0;
    let was_before = written_at < closed_at || (is_whole_second && written_at == closed_at);
    was_before && arrived_at <= plus_millis(closed_at, grace.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time_value::TimeUnit;

    const STATES: [TicketState; 3] = [TicketState::Waiting, TicketState::Open, TicketState::Closed];

    #[test]
    fn agents_open_whatever_it_was() {
        for state in STATES {
            assert_eq!(state.after_agent_message(), TicketState::Open);
            assert_eq!(state.after_assign(), TicketState::Open);
        }
        assert_eq!(TicketState::when_opened(true), TicketState::Open);
        assert_eq!(TicketState::when_opened(false), TicketState::Waiting);
    }

    #[test]
    fn a_customer_reopens_to_his_agent_or_to_the_queue() {
        for (state, agent, expected) in [
            (
                TicketState::Closed,
                AgentPresence::Present,
                TicketState::Open,
            ),
            (
                TicketState::Closed,
                AgentPresence::Away,
                TicketState::Waiting,
            ),
            (
                TicketState::Closed,
                AgentPresence::Gone,
                TicketState::Waiting,
            ),
            (TicketState::Open, AgentPresence::Away, TicketState::Open),
            (
                TicketState::Waiting,
                AgentPresence::Gone,
                TicketState::Waiting,
            ),
        ] {
            assert_eq!(state.after_customer_message(agent), expected);
        }
    }

    #[test]
    fn the_reopen_window_includes_its_last_instant() {
        let second = |s| Timestamp::from_second(s).expect("in range");
        let window = TimeValue::new(1, TimeUnit::Minute).expect("valid");
        assert!(may_reopen(second(100), window, second(100)));
        assert!(may_reopen(second(100), window, second(160)));
        assert!(!may_reopen(second(100), window, second(161)));
    }

    #[test]
    fn a_reply_that_was_written_before_the_close_supersedes_it() {
        let millis = |ms| Timestamp::from_millisecond(ms).expect("in range");
        let grace = TimeValue::new(60, TimeUnit::Second).expect("valid");
        let closed_at = millis(30_400);
        let supersedes =
            |written, arrived| supersedes_close(closed_at, grace, millis(written), millis(arrived));
        assert!(supersedes(30_399, 31_000));
        assert!(supersedes(30_000, 90_400), "the last instant of the grace");
        assert!(!supersedes(30_000, 90_401));
        assert!(
            !supersedes(30_400, 31_000),
            "exact times that are equal are not before"
        );
        assert!(!supersedes(31_000, 31_000));
        let whole = millis(30_000);
        assert!(supersedes_close(whole, grace, whole, millis(30_500)));
    }

    #[test]
    fn codes_are_those_of_the_proto() {
        assert_eq!(STATES.map(TicketState::code), [1, 2, 3]);
        let sources: Vec<_> = (0..=6).map(CloseSource::from_code).collect();
        assert_eq!(
            sources,
            [
                None,
                Some(CloseSource::Agent),
                Some(CloseSource::Customer),
                Some(CloseSource::CustomerInactivity),
                Some(CloseSource::Workflow),
                Some(CloseSource::Api),
                None
            ]
        );
    }
}
