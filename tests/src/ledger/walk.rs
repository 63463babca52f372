//! One ticket's events, followed one by one.

mod changes;
mod cycle;
mod stages;

use std::collections::{BTreeMap, VecDeque};

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    AlertCleared, CycleKind, CycleStart, HoldEnd, MessageKind, MessageRecorded, TicketClosed,
    TicketReopened,
};

use crate::desk::Rules;
use crate::ledger::{Account, Kept, ViolationKind};
use crate::traffic::Acknowledged;
use crate::truth::us_of;
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
    /// An agent writes.
    AgentMessage,
    /// The closing text is asked for.
    ClosingRequest,
}

/// The pause of the automation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    Running,
    UntilCompleted,
    /// At least until this instant; what extends a pause is no event.
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
    is_open: bool,
    is_unlinked: bool,
    tags: Vec<String>,
    tags_before_close: Vec<String>,
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
            is_open: false,
            is_unlinked: false,
            tags: Vec::new(),
            tags_before_close: Vec::new(),
            alert: 0,
            agent_alert: 0,
            last_cycle: 0,
            cycle: None,
            agent_cycle: None,
            turn: Turn::Nobody,
            agent_has_written: false,
            hold_until_us: None,
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
        let awaited = self.awaited.pop_front();
        if let Some(awaited) = awaited
            && !is(awaited, &event.payload)
        {
            self.violation(
                ViolationKind::Wrong,
                &format!("event {} is not {awaited:?}", event.seq),
            );
            self.awaited.clear();
        }
        let at_us = event.at_us;
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
            Payload::AutomationPaused(paused) => self.paused(*paused),
            Payload::AutomationResumed(resumed) => self.resumed(*resumed, awaited, at_us),
            Payload::PolicyApplied(applied) => self.applied(applied, at_us),
            Payload::ActiveMessageRequested(request) => self.requested(request, awaited),
            Payload::ActiveMessageReported(report) => self.reported(report, at_us),
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
        if let Some(hold_until_us) = self.hold_until_us {
            let is_lost = hold_until_us < until_us;
            self.expect_of(ViolationKind::Lost, !is_lost, || {
                "the end of a hold is lost".to_owned()
            });
        }
    }

    fn wrote(&mut self, recorded: &MessageRecorded, awaited: Option<Awaited>, at_us: i64) {
        let message = recorded.message.clone().unwrap_or_default();
        let author = message.author.unwrap_or_default().kind();
        let is_chat = matches!(message.kind(), MessageKind::Chat | MessageKind::Unspecified);
        self.account.messages.push(Acknowledged {
            ticket_id: self.ticket_id,
            message_id: message.message_id,
            text: message.text,
        });
        let about_customer = |start: &&CycleStart| start.kind() != CycleKind::AgentSilent;
        let first = recorded.cycles.iter().find(about_customer);
        let number = first.map_or(0, |start| start.cycle);
        self.expect(recorded.started_cycle == number, || {
            let said = recorded.started_cycle;
            format!("a message says that it started cycle {said}, not {number}")
        });
        match author {
            AuthorKind::Agent if is_chat => {
                self.expect_open("written in");
                self.turn = Turn::Customer { last_us: at_us };
                self.agent_has_written = true;
                self.side_ends(CycleKind::AgentSilent, at_us);
                let expected = if self.hold_until_us.is_none() {
                    self.side_ends(CycleKind::CustomerSilent, at_us);
                    self.turn.cycles()
                } else {
                    Vec::new()
                };
                self.started(&recorded.cycles, expected);
                self.clear(false, true);
            }
            AuthorKind::Customer if is_chat => {
                self.expect_open("written in");
                self.expect(self.hold_until_us.is_none(), || {
                    "a customer's message did not end the hold".to_owned()
                });
                self.customer_wrote(&recorded.cycles, awaited, at_us);
            }
            _ => self.started(&recorded.cycles, Vec::new()),
        }
    }

    fn customer_wrote(&mut self, starts: &[CycleStart], awaited: Option<Awaited>, at_us: i64) {
        let ended_a_hold = awaited == Some(Awaited::CustomerMessage);
        let (since_us, is_first) = match self.turn {
            Turn::Agent { since_us, .. } if !ended_a_hold => (since_us, false),
            _ => (at_us, true),
        };
        self.turn = Turn::Agent {
            since_us,
            last_us: at_us,
        };
        self.side_ends(CycleKind::CustomerWaits, at_us);
        let mut expected = self.turn.cycles();
        expected.retain(|(kind, _)| is_first || *kind != CycleKind::AgentSilent);
        self.started(starts, expected);
        self.clear(true, false);
    }

    /// Cycles began: these, and no others, with the next numbers. A policy may have nothing for a cycle.
    fn started(&mut self, starts: &[CycleStart], mut expected: Vec<(CycleKind, i64)>) {
        for start in starts {
            let (kind, next) = (start.kind(), self.last_cycle + 1);
            self.expect(start.cycle == next, || {
                format!("cycle {} began, not {next}", start.cycle)
            });
            self.last_cycle = start.cycle;
            let place = expected.iter().position(|(expected, _)| *expected == kind);
            let anchor_us = us_of(start.anchor_time.as_ref());
            match place.map(|place| expected.remove(place).1) {
                Some(expected_us) => self.expect(anchor_us == expected_us, || {
                    format!("{kind:?} counts from {anchor_us}, not {expected_us}")
                }),
                None => self.expect(false, || format!("a cycle of {kind:?} began for nothing")),
            }
            let said = start.policy_version;
            let version = *self.started_under.get(&said).unwrap_or(&said);
            let Some(rules) = self.policies.get(&version).cloned() else {
                self.expect(false, || format!("nobody set the policy {version}"));
                continue;
            };
            self.expect(rules.counts(kind, self.agent_has_written), || {
                format!("the policy has nothing for {kind:?}")
            });
            let cycle = Cycle {
                number: start.cycle,
                kind,
                anchor_us,
                version,
                fired: Vec::new(),
                warning_accepted_us: None,
                is_excluded: rules.excludes(&self.tags),
                changed_us: anchor_us,
                rules,
            };
            *self.side(kind) = Some(cycle);
        }
        for (kind, _) in expected {
            let agent_has_written = self.agent_has_written;
            let mut policies = self.policies.values();
            let must = policies.all(|rules| rules.counts(kind, agent_has_written));
            self.expect_of(ViolationKind::Lost, !must, || {
                format!("no cycle of {kind:?} began")
            });
        }
    }

    fn closed(&mut self, closed: &TicketClosed, awaited: Option<Awaited>, at_us: i64) {
        self.expect_of(ViolationKind::Twice, self.is_open, || {
            "closed twice".to_owned()
        });
        self.is_open = false;
        let by_clock = awaited == Some(Awaited::Close);
        self.expect(by_clock == (closed.cycle > 0), || {
            "a close by inactivity and its stage don't belong together".to_owned()
        });
        self.was_closed_by_clock = by_clock;
        if !by_clock {
            let by_people = &mut self.account.closes_by_people;
            *by_people.entry(self.ticket_id).or_default() += 1;
        }
        if by_clock {
            let running = self.cycle.take().map(|cycle| cycle.number);
            self.expect(running == Some(closed.cycle), || {
                format!("cycle {} closed while {running:?} ran", closed.cycle)
            });
            self.account.inactivity_closes += 1;
            self.closing = Some(closed.cycle);
        }
        self.tags_before_close = std::mem::replace(&mut self.tags, closed.tags.clone());
        self.all_ends(HoldEnd::Closed, at_us);
        if self.pause != Pause::Running {
            self.awaited.push_back(Awaited::Resumption);
        }
        if by_clock {
            self.awaited.push_back(Awaited::ClosingRequest);
        }
    }

    /// A superseded close is followed by the customer's message, and leaves no tags.
    fn reopened(&mut self, reopened: &TicketReopened) {
        self.expect(!self.is_open, || "reopened while open".to_owned());
        self.is_open = true;
        self.is_unlinked = false;
        if reopened.supersedes_close {
            self.account.superseded_closes += 1;
            let was_closed_by_clock = std::mem::take(&mut self.was_closed_by_clock);
            self.expect(was_closed_by_clock, || {
                "a close was superseded that is not the clock's".to_owned()
            });
            let are_before = reopened.tags == self.tags_before_close;
            self.expect(are_before, || {
                "a superseded close left other tags behind".to_owned()
            });
            if self.pause == Pause::Running {
                self.awaited.push_back(Awaited::Pause);
            }
            self.awaited.push_back(Awaited::CustomerMessage);
        }
        self.tags.clone_from(&reopened.tags);
    }

    /// A close or a transfer ends everything but the automation's pause.
    fn all_ends(&mut self, cause: HoldEnd, at_us: i64) {
        self.cycles_end(at_us);
        self.turn = Turn::Nobody;
        if self.hold_until_us.is_some() {
            self.awaited.push_back(Awaited::HoldEnd(cause));
        }
        self.clear(true, true);
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
    let is_chat_of = |author: AuthorKind| match payload {
        Payload::MessageRecorded(recorded) => recorded.message.as_ref().is_some_and(|message| {
            message.author.is_some_and(|by| by.kind() == author)
                && matches!(message.kind(), MessageKind::Chat | MessageKind::Unspecified)
        }),
        _ => false,
    };
    match awaited {
        Awaited::Close => matches!(payload, Payload::Closed(_)),
        Awaited::HoldEnd(_) => matches!(payload, Payload::HoldEnded(_)),
        Awaited::Clearing(..) => matches!(payload, Payload::AlertCleared(_)),
        Awaited::Resumption => matches!(payload, Payload::AutomationResumed(_)),
        Awaited::Pause => matches!(payload, Payload::AutomationPaused(_)),
        Awaited::CustomerMessage => is_chat_of(AuthorKind::Customer),
        Awaited::AgentMessage => is_chat_of(AuthorKind::Agent),
        Awaited::WarningRequest | Awaited::ClosingRequest => {
            matches!(payload, Payload::ActiveMessageRequested(_))
        }
    }
}
