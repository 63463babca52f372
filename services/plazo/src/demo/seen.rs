//! What was seen of a conversation, taken from ticketing's events.

use jiff::Timestamp;
use plazo_proto::common::v1::AuthorKind;
use plazo_proto::notification::v1::{ActiveMessageKind, ActiveMessageState};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Alert as ProtoAlert, CloseSource, CycleKind, CycleStart, HoldEnd, HoldEnded, MessageKind,
    Stage, StageFired, TicketEvent,
};

use super::scenarios::{Act, Alert, Effect};

/// An event of a ticket.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// When, by the clock of ticketing's database.
    pub at: Timestamp,
    /// What.
    pub happening: Happening,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// The ticket was opened.
    Opened,
    /// Somebody wrote.
    Wrote {
        /// Who.
        writer: Act,
        /// What.
        text: String,
        /// The cycle that this started; 0 for none.
        started_cycle: i32,
    },
    /// Something else was done to the ticket.
    Did {
        /// What.
        act: Act,
        /// The reason of a hold, or the tags.
        text: String,
        /// The cycle that this started; 0 for none.
        started_cycle: i32,
    },
    /// What always goes along with other things: the automation's pause, a hold that something else has ended.
    Aside,
    /// A stage took effect.
    Fired {
        /// The stage, never [`Effect::Cleared`].
        effect: Effect,
        /// In which cycle.
        cycle: i32,
        /// When ticketing says it was due.
        due_at: Timestamp,
        /// The alert from then on.
        alert: Alert,
    },
    /// The alert was removed.
    Cleared,
    /// The ticket was closed.
    Closed {
        /// Whether by the customer's inactivity.
        by_inactivity: bool,
        /// The block of the bot that the customer goes to.
        exit_route: String,
    },
    /// Ticketing asked for the warning.
    WarningRequested {
        /// The text to the customer.
        text: String,
    },
    /// Notification told what became of a message.
    MessageReported {
        /// Its new state, in small letters.
        state: &'static str,
    },
    /// Something that has no place in the demo.
    Other {
        /// Its name.
        name: &'static str,
    },
}

impl Seen {
    /// Reads an event. What can't be read is something that has no place in the demo.
    pub fn from_event(event: &TicketEvent) -> Self {
        let happening = match &event.payload {
            Some(payload) => from_payload(payload),
            None => Happening::Other {
                name: "an event of an unknown kind",
            },
        };
        Self {
            at: instant(event.event_time),
            happening,
        }
    }
}

/// An instant; that of the epoch when there is none, which is out of place anywhere.
fn instant(time: Option<prost_types::Timestamp>) -> Timestamp {
    time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
        .unwrap_or_default()
}

/// The alert that a ticket shows.
pub(super) fn alert(number: i32) -> Alert {
    match ProtoAlert::try_from(number) {
        Ok(ProtoAlert::Yellow) => Alert::Yellow,
        Ok(ProtoAlert::Red) => Alert::Red,
        _ => Alert::None,
    }
}

fn from_payload(payload: &Payload) -> Happening {
    match payload {
        Payload::Opened(_) => Happening::Opened,
        Payload::MessageRecorded(recorded) => {
            let message = recorded.message.clone().unwrap_or_default();
            let author = message.author.unwrap_or_default().kind;
            match writer(author, message.kind) {
                Some(writer) => Happening::Wrote {
                    writer,
                    text: message.text,
                    started_cycle: recorded.started_cycle,
                },
                None => Happening::Other {
                    name: "a message of somebody else",
                },
            }
        }
        Payload::StageFired(fired) => from_stage(fired),
        Payload::AlertCleared(_) => Happening::Cleared,
        Payload::Closed(closed) => {
            let closure = closed.closure.clone().unwrap_or_default();
            Happening::Closed {
                by_inactivity: closure.source == i32::from(CloseSource::CustomerInactivity),
                exit_route: closure.exit_route,
            }
        }
        Payload::ActiveMessageRequested(requested) => {
            let message = requested.message.clone().unwrap_or_default();
            match ActiveMessageKind::try_from(message.kind) {
                Ok(ActiveMessageKind::Warning) => {
                    Happening::WarningRequested { text: message.text }
                }
                _ => Happening::Other {
                    name: "an active message other than the warning",
                },
            }
        }
        Payload::ActiveMessageReported(reported) => state_name(reported.state),
        Payload::AutomationPaused(_) | Payload::AutomationResumed(_) => Happening::Aside,
        Payload::Held(event) => {
            let hold = event.hold.clone().unwrap_or_default();
            did(Act::Hold, hold.reason, &[])
        }
        Payload::HoldEnded(ended) => from_hold_end(ended),
        Payload::Transferred(_) => did(Act::Transfer, String::new(), &[]),
        Payload::TagsChanged(changed) if changed.added.is_empty() => {
            did(Act::RemoveTag, changed.removed.join(", "), &[])
        }
        Payload::TagsChanged(changed) => did(Act::AddTag, changed.added.join(", "), &[]),
        Payload::PolicyApplied(applied) => {
            did(Act::ApplyDoubledSettings, String::new(), &applied.cycles)
        }
        Payload::ContactChanged(_) => Happening::Other {
            name: "a change of the contact",
        },
        Payload::PersonalDataErased(_) => Happening::Other { name: "an erasure" },
        Payload::Unlinked(_) => Happening::Other {
            name: "an unlinking",
        },
        Payload::SetOpen(_) => Happening::Other {
            name: "an opening by the bot",
        },
        Payload::Assigned(_) => Happening::Other {
            name: "an assignment",
        },
        Payload::Reopened(_) => Happening::Other {
            name: "a reopening",
        },
    }
}

fn did(act: Act, text: String, cycles: &[CycleStart]) -> Happening {
    let of_customer = |start: &&CycleStart| start.kind() != CycleKind::AgentSilent;
    Happening::Did {
        act,
        text,
        started_cycle: cycles
            .iter()
            .find(of_customer)
            .map_or(0, |start| start.cycle),
    }
}

fn from_hold_end(ended: &HoldEnded) -> Happening {
    match ended.cause() {
        HoldEnd::Resumed => did(Act::Resume, String::new(), &ended.cycles),
        HoldEnd::Expired => Happening::Other {
            name: "a hold that ended by itself",
        },
        _ => Happening::Aside,
    }
}

fn writer(author_kind: i32, message_kind: i32) -> Option<Act> {
    let is_note = message_kind == i32::from(MessageKind::Note);
    match (AuthorKind::try_from(author_kind), is_note) {
        (Ok(AuthorKind::Agent), false) => Some(Act::Agent),
        (Ok(AuthorKind::Agent), true) => Some(Act::Note),
        (Ok(AuthorKind::Customer), false) => Some(Act::Customer),
        (Ok(AuthorKind::System), false) => Some(Act::System),
        _ => None,
    }
}

fn from_stage(fired: &StageFired) -> Happening {
    if fired.kind() == CycleKind::AgentSilent {
        return Happening::Other {
            name: "an alert of the agent's side",
        };
    }
    let effect = match Stage::try_from(fired.stage) {
        Ok(Stage::FirstAlert) => Effect::FirstAlert,
        Ok(Stage::SecondAlert) => Effect::SecondAlert,
        Ok(Stage::Warning) => Effect::Warning,
        Ok(Stage::Close) => Effect::Close,
        Ok(Stage::Unspecified) | Err(_) => {
            return Happening::Other {
                name: "an unknown stage",
            };
        }
    };
    Happening::Fired {
        effect,
        cycle: fired.cycle,
        due_at: instant(fired.due_time),
        alert: alert(fired.alert),
    }
}

fn state_name(state: i32) -> Happening {
    let state = match ActiveMessageState::try_from(state) {
        Ok(ActiveMessageState::Accepted) => "accepted",
        Ok(ActiveMessageState::Sent) => "sent",
        Ok(ActiveMessageState::Delivered) => "delivered",
        Ok(ActiveMessageState::Read) => "read",
        Ok(ActiveMessageState::Cancelled) => {
            return Happening::Other {
                name: "a warning that was called off",
            };
        }
        Ok(ActiveMessageState::Failed) => {
            return Happening::Other {
                name: "a warning that was not sent",
            };
        }
        Ok(ActiveMessageState::Unspecified | ActiveMessageState::Uncertain) | Err(_) => {
            return Happening::Other {
                name: "a report of an unknown state",
            };
        }
    };
    Happening::MessageReported { state }
}
