//! One ticket's events, followed one by one.

mod changes;
mod closes;
mod cycle;
mod holds;
mod messages;
mod stages;
mod starts;

use std::collections::{BTreeMap, VecDeque};

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{AlertCleared, CycleKind, HoldEnd, MessageKind};

use crate::desk::Rules;
use crate::ledger::{Account, Kept, ViolationKind};
use cycle::{Cycle, Turn};

/// What the next event must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// The warning's message is asked for.
    WarningRequest,
    /// The ticket is closed by inactivity.
    Close,
    /// A hold ends for this reason.
    HoldEnd(HoldEnd),
    /// These alerts are removed, the agent's side last.
    Clearing(i32, i32),
    /// The automation resumes.
    Resumption,
    /// The automation is paused.
    Pause,
    /// The customer writes.
    CustomerMessage,
    /// The closing text is asked for.
    ClosingRequest,
}

/// The pause of the automation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    Running,
    UntilCompleted,
    /// At least until this instant: messages extend a pause without an event of it.
    Until(i64),
}

/// Follows one ticket.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are facts that don't exclude each other"
)]
pub(super) struct Walk<'a> {
    ticket_id: i64,
    policies: &'a BTreeMap<i64, Rules>,
    /// See [`Desk::started_under`](crate::desk::Desk::started_under).
    started_under: &'a BTreeMap<i64, i64>,
    lateness_max_us: i64,
    account: &'a mut Account,
    seq: i64,
    /// Of the last event, in microseconds since 1970.
    at_us: i64,
    is_open: bool,
    is_unlinked: bool,
    tags: Vec<String>,
    tags_before_close: Vec<String>,
    /// The pause that the last close ended.
    pause_before_close: Pause,
    alert: i32,
    agent_alert: i32,
    last_cycle: i32,
    /// About the customer.
    cycle: Option<Cycle>,
    /// Of the agent's side.
    agent_cycle: Option<Cycle>,
    turn: Turn,
    agent_has_written: bool,
    /// When the hold ends by itself, while there is one.
    hold_until_us: Option<i64>,
    /// When that hold began.
    hold_since_us: Option<i64>,
    /// When somebody last noticed that a hold was over by itself, and no message has come since.
    expired_us: Option<i64>,
    pause: Pause,
    was_closed_by_clock: bool,
    awaited: VecDeque<Awaited>,
    /// The cycle that was closed by inactivity and whose closing text is still to be asked for.
    closing: Option<i32>,
}

impl<'a> Walk<'a> {
    /// `policies` by their versions.
    pub(super) fn new(
        ticket_id: i64,
        policies: &'a BTreeMap<i64, Rules>,
        started_under: &'a BTreeMap<i64, i64>,
        lateness_max_us: i64,
        account: &'a mut Account,
    ) -> Self {
        account.tickets.insert(ticket_id);
        Self {
            ticket_id,
            policies,
            started_under,
            lateness_max_us,
            account,
            seq: 0,
            at_us: 0,
            is_open: false,
            is_unlinked: false,
            tags: Vec::new(),
            tags_before_close: Vec::new(),
            pause_before_close: Pause::Running,
            alert: 0,
            agent_alert: 0,
            last_cycle: 0,
            cycle: None,
            agent_cycle: None,
            turn: Turn::Nobody,
            agent_has_written: false,
            hold_until_us: None,
            hold_since_us: None,
            expired_us: None,
            pause: Pause::Running,
            was_closed_by_clock: false,
            awaited: VecDeque::new(),
            closing: None,
        }
    }

    /// Follows one event.
    pub(super) fn step(&mut self, event: &Kept) {
        self.seq += 1;
        self.expect(event.seq == self.seq, || {
            format!("event {} stands where the next one belongs", event.seq)
        });
        self.seq = event.seq;
        let at_us = event.at_us;
        let before_us = std::mem::replace(&mut self.at_us, at_us);
        let awaited = self.awaited.pop_front();
        if let Some(awaited) = awaited {
            let is_it = is(awaited, &event.payload);
            self.expect(is_it, || format!("event {} is not {awaited:?}", event.seq));
            if !is_it {
                self.awaited.clear();
            }
            // What follows from an event is told in the same transaction.
            self.expect(!is_it || at_us == before_us, || {
                format!("{awaited:?} followed {} µs later", at_us - before_us)
            });
        }
        match &event.payload {
            Payload::Opened(opened) => {
                self.expect(event.seq == 1, || "opened twice".to_owned());
                self.is_open = true;
                self.turn = Turn::Opened { at_us };
                self.started(&opened.cycles, self.turn.cycles());
            }
            Payload::Assigned(_) => self.expect_open("assigned"),
            Payload::SetOpen(_) => self.expect_open("set open"),
            Payload::Reopened(reopened) => self.reopened(reopened),
            Payload::MessageRecorded(recorded) => self.wrote(recorded, awaited, at_us),
            Payload::StageFired(fired) => self.fired(fired, at_us),
            Payload::AlertCleared(cleared) => self.cleared(*cleared, awaited),
            Payload::Closed(closed) => self.closed(closed, awaited, at_us),
            Payload::Held(held) => self.held(held, at_us),
            Payload::HoldEnded(ended) => self.hold_ended(ended, awaited, at_us),
            Payload::Transferred(_) => {
                self.expect_open("transferred");
                self.all_ends(HoldEnd::Transferred, at_us);
            }
            Payload::Unlinked(_) => {
                let is_right = !self.is_open && !self.is_unlinked;
                self.expect(is_right, || "unlinked while open or twice".to_owned());
                self.is_unlinked = true;
            }
            Payload::TagsChanged(changed) => self.tagged(changed, at_us),
            Payload::AutomationPaused(paused) => self.paused(*paused, awaited),
            Payload::AutomationResumed(resumed) => self.resumed(*resumed, awaited, at_us),
            Payload::PolicyApplied(applied) => self.applied(applied, at_us),
            Payload::ActiveMessageRequested(request) => self.requested(request, awaited),
            Payload::ActiveMessageReported(report) => self.reported(report, at_us),
            Payload::ContactChanged(_) | Payload::PersonalDataErased(_) => {}
        }
    }

    /// Sees that nothing is missing at the end.
    pub(super) fn end(mut self, until_us: i64) {
        for awaited in std::mem::take(&mut self.awaited) {
            self.violation(ViolationKind::Lost, &format!("{awaited:?} is missing"));
        }
        // What was due before the run was read must have happened, however short ago.
        self.lateness_max_us = 0;
        self.cycles_end(until_us);
        self.expect_noticed(until_us);
    }

    /// The alerts of these sides go, which the next event tells.
    fn clear(&mut self, of_customer: bool, of_agent: bool) {
        let mut take = |alert: fn(&mut Self) -> &mut i32, is_taken: bool| {
            let alert = alert(self);
            if is_taken { std::mem::take(alert) } else { 0 }
        };
        let alert = take(|walk| &mut walk.alert, of_customer);
        let agent_alert = take(|walk| &mut walk.agent_alert, of_agent);
        if alert > 0 || agent_alert > 0 {
            self.awaited
                .push_back(Awaited::Clearing(alert, agent_alert));
        }
    }

    fn cleared(&mut self, cleared: AlertCleared, awaited: Option<Awaited>) {
        let went = (cleared.previous_alert, cleared.previous_agent_alert);
        let expected = Some(Awaited::Clearing(went.0, went.1));
        self.expect(awaited == expected, || {
            format!("alerts {went:?} were cleared where {awaited:?} was due")
        });
    }

    /// The place of the cycle of a kind.
    fn side(&mut self, kind: CycleKind) -> &mut Option<Cycle> {
        match kind {
            CycleKind::AgentSilent => &mut self.agent_cycle,
            _ => &mut self.cycle,
        }
    }

    fn expect_open(&mut self, what: &str) {
        self.expect(self.is_open, || format!("{what} while closed"));
    }

    fn expect_on_time(&mut self, what: &str, due_us: i64, at_us: i64) {
        let late_us = at_us - due_us;
        self.expect_of(ViolationKind::Early, late_us >= 0, || {
            format!("{what} was {} µs early", -late_us)
        });
        let is_late = late_us > self.lateness_max_us;
        self.expect_of(ViolationKind::Late, !is_late, || {
            format!("{what} was {late_us} µs late")
        });
    }

    fn expect(&mut self, holds: bool, violation: impl FnOnce() -> String) {
        self.expect_of(ViolationKind::Wrong, holds, violation);
    }

    fn expect_of(&mut self, kind: ViolationKind, holds: bool, violation: impl FnOnce() -> String) {
        if !holds {
            self.violation(kind, &violation());
        }
    }

    fn violation(&mut self, kind: ViolationKind, text: &str) {
        let line = format!("ticket {} at event {}: {text}", self.ticket_id, self.seq);
        self.account.violate(kind, line);
    }
}

fn is(awaited: Awaited, payload: &Payload) -> bool {
    match awaited {
        Awaited::Close => matches!(payload, Payload::Closed(_)),
        Awaited::HoldEnd(_) => matches!(payload, Payload::HoldEnded(_)),
        Awaited::Clearing(..) => matches!(payload, Payload::AlertCleared(_)),
        Awaited::Resumption => matches!(payload, Payload::AutomationResumed(_)),
        Awaited::Pause => matches!(payload, Payload::AutomationPaused(_)),
        Awaited::CustomerMessage => match payload {
            Payload::MessageRecorded(recorded) => {
                recorded.message.as_ref().is_some_and(|message| {
                    let author = message.author.unwrap_or_default().kind();
                    let is_chat =
                        matches!(message.kind(), MessageKind::Chat | MessageKind::Unspecified);
                    author == AuthorKind::Customer && is_chat
                })
            }
            _ => false,
        },
        Awaited::WarningRequest | Awaited::ClosingRequest => {
            matches!(payload, Payload::ActiveMessageRequested(_))
        }
    }
}
