//! Whose turn it is to write in a ticket.

use jiff::Timestamp;

/// Whose turn it is, and since when. Clocks are started from this when a hold ends and when settings are applied to
/// open tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Turn {
    /// Nobody is waited for: the ticket is closed, was transferred, or was reopened and nobody has
    /// written since.
    #[default]
    Nobody,
    /// The ticket was opened and nobody has written yet.
    Opened {
        /// When, or when a hold ended since.
        at: Timestamp,
    },
    /// An agent wrote: the customer's.
    Customer {
        /// The first message that is not answered, or the end of a hold since.
        since: Timestamp,
        /// The last message, or the end of a hold since.
        last_at: Timestamp,
    },
    /// The customer wrote: an agent's.
    Agent {
        /// The first message that is not answered, or the end of a hold since.
        since: Timestamp,
        /// The last message, or the end of a hold since.
        last_at: Timestamp,
    },
}

impl Turn {
    /// The stable number of the kind, the same as in `proto/`.
    pub const fn code(self) -> i16 {
        match self {
            Self::Nobody => 0,
            Self::Opened { .. } => 1,
            Self::Customer { .. } => 2,
            Self::Agent { .. } => 3,
        }
    }

    /// Since when, and the last message; none for nobody's turn.
    pub const fn times(self) -> Option<(Timestamp, Timestamp)> {
        match self {
            Self::Nobody => None,
            Self::Opened { at } => Some((at, at)),
            Self::Customer { since, last_at } | Self::Agent { since, last_at } => {
                Some((since, last_at))
            }
        }
    }

    /// The turn as it was stored: [`Turn::code`] and [`Turn::times`]. None when they don't go together.
    pub const fn from_parts(code: i16, times: Option<(Timestamp, Timestamp)>) -> Option<Self> {
        match (code, times) {
            (0, None) => Some(Self::Nobody),
            (1, Some((at, _))) => Some(Self::Opened { at }),
            (2, Some((since, last_at))) => Some(Self::Customer { since, last_at }),
            (3, Some((since, last_at))) => Some(Self::Agent { since, last_at }),
            _ => None,
        }
    }

    /// After a message of an agent.
    pub(crate) const fn after_agent(self, at: Timestamp) -> Self {
        match self {
            Self::Customer { since, .. } => Self::Customer { since, last_at: at },
            _ => Self::Customer {
                since: at,
                last_at: at,
            },
        }
    }

    /// After a message of the customer.
    pub(crate) const fn after_customer(self, at: Timestamp) -> Self {
        match self {
            Self::Agent { since, .. } => Self::Agent { since, last_at: at },
            _ => Self::Agent {
                since: at,
                last_at: at,
            },
        }
    }

    /// The same turn, counted from zero.
    pub(crate) const fn restarted(self, at: Timestamp) -> Self {
        match self {
            Self::Nobody => Self::Nobody,
            Self::Opened { .. } => Self::Opened { at },
            Self::Customer { .. } => Self::Customer {
                since: at,
                last_at: at,
            },
            Self::Agent { .. } => Self::Agent {
                since: at,
                last_at: at,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_survives_storing() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let (since, last_at) = (at(5), at(9));
        for turn in [
            Turn::Nobody,
            Turn::Opened { at: since },
            Turn::Customer { since, last_at },
            Turn::Agent { since, last_at },
        ] {
            assert_eq!(Turn::from_parts(turn.code(), turn.times()), Some(turn));
        }
        assert_eq!(Turn::from_parts(0, Some((since, last_at))), None);
        assert_eq!(Turn::from_parts(2, None), None);
        assert_eq!(Turn::from_parts(4, Some((since, last_at))), None);
    }
}
