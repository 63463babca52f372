//! One ticket's events, followed one by one.

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::notification::v1::ActiveMessageState;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    ActiveMessageReported, ActiveMessageRequested, MessageKind, MessageRecorded, Stage, StageFired,
    TicketClosed,
};

use crate::desk::Stages;
use crate::ledger::{Account, Fired, Kept};
use crate::traffic::Acknowledged;
use crate::truth::{ceil_to_millis, us_of};

const SECOND_US: i64 = 1_000_000;

/// A running cycle as the events tell it.
#[derive(Debug)]
struct Cycle {
    number: i32,
    anchor_us: i64,
    fired: Vec<Stage>,
    warning_accepted_us: Option<i64>,
}

/// What the next event must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Nothing,
    /// The warning's message is asked for.
    WarningRequest,
    /// The ticket is closed by inactivity.
    Close,
    /// The alert is removed.
    Clearing,
    /// The closing text is asked for.
    ClosingRequest,
}

/// Follows one ticket.
pub(super) struct Walk<'a> {
    ticket_id: i64,
    stages: Stages,
    lateness_max_us: i64,
    account: &'a mut Account,
    seq: i64,
    is_open: bool,
    alert: i32,
    last_cycle: i32,
    cycle: Option<Cycle>,
    awaited: Awaited,
    /// The cycle that was closed by inactivity and whose closing text is still to be asked for.
    closing: Option<i32>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        ticket_id: i64,
        stages: Stages,
        lateness_max_us: i64,
        account: &'a mut Account,
    ) -> Self {
        Self {
            ticket_id,
            stages,
            lateness_max_us,
            account,
            seq: 0,
            is_open: false,
            alert: 0,
            last_cycle: 0,
            cycle: None,
            awaited: Awaited::Nothing,
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
        let awaited = std::mem::replace(&mut self.awaited, Awaited::Nothing);
        self.expect(
            awaited == Awaited::Nothing || is(awaited, &event.payload),
            || format!("event {} is not {awaited:?}", event.seq),
        );
        match &event.payload {
            Payload::Opened(_) => {
                self.expect(event.seq == 1, || "opened twice".to_owned());
                self.is_open = true;
            }
            Payload::Assigned(_) => self.is_open = true,
            Payload::Reopened(_) => {
                self.expect(!self.is_open, || "reopened while open".to_owned());
                self.is_open = true;
            }
            Payload::MessageRecorded(recorded) => self.wrote(recorded, event.at_us),
            Payload::StageFired(fired) => self.fired(fired, event.at_us),
            Payload::AlertCleared(cleared) => {
                let shown = self.alert;
                self.expect(cleared.previous_alert == shown && shown > 0, || {
                    format!(
                        "alert {} was cleared where {shown} showed",
                        cleared.previous_alert
                    )
                });
                self.alert = 0;
                self.await_closing_text();
            }
            Payload::Closed(closed) => self.closed(closed, awaited, event.at_us),
            Payload::ActiveMessageRequested(request) => self.requested(request, awaited),
            Payload::ActiveMessageReported(report) => self.reported(report, event.at_us),
        }
    }

    /// Sees that nothing is missing at the end.
    pub(super) fn end(mut self, until_us: i64) {
        let awaited = self.awaited;
        self.expect(awaited == Awaited::Nothing, || {
            format!("{awaited:?} is missing")
        });
        // What was due before the run was read must have happened, however short ago.
        self.lateness_max_us = 0;
        self.cycle_ends(until_us, None);
    }

    fn wrote(&mut self, recorded: &MessageRecorded, at_us: i64) {
        let message = recorded.message.clone().unwrap_or_default();
        let author = message.author.unwrap_or_default().kind();
        let is_chat = message.kind() == MessageKind::Chat;
        self.expect(self.is_open, || "written in while closed".to_owned());
        self.account.messages.push(Acknowledged {
            ticket_id: self.ticket_id,
            message_id: message.message_id,
            text: message.text,
        });
        match author {
            AuthorKind::Agent if is_chat => {
                let next = self.last_cycle + 1;
                self.expect(recorded.started_cycle == next, || {
                    format!(
                        "a message started cycle {}, not {next}",
                        recorded.started_cycle
                    )
                });
                self.cycle_ends(at_us, None);
                self.last_cycle = next;
                self.cycle = Some(Cycle {
                    number: next,
                    anchor_us: at_us,
                    fired: Vec::new(),
                    warning_accepted_us: None,
                });
            }
            AuthorKind::Customer => {
                self.cycle_ends(at_us, None);
                if self.alert > 0 {
                    self.awaited = Awaited::Clearing;
                }
            }
            _ => {}
        }
    }

    fn fired(&mut self, event: &StageFired, at_us: i64) {
        let stage = event.stage();
        let due_us = us_of(event.due_time.as_ref());
        let Some(cycle) = &self.cycle else {
            self.violation(&format!("{stage:?} fired without a cycle"));
            return;
        };
        let (is_this, is_again) = (cycle.number == event.cycle, cycle.fired.contains(&stage));
        let has_passed = is_alert(stage)
            && cycle
                .fired
                .iter()
                .any(|fired| is_alert(*fired) && *fired > stage);
        let expected_us = self.due_us(cycle, stage);
        self.expect(is_this, || {
            format!("{stage:?} fired in cycle {}", event.cycle)
        });
        self.expect(!is_again, || format!("{stage:?} fired twice"));
        self.expect(!has_passed, || {
            format!("{stage:?} fired after a higher one")
        });
        self.expect(expected_us == Some(due_us), || {
            format!("{stage:?} was due at {due_us}, not {expected_us:?}")
        });
        let late_us = at_us - due_us;
        self.expect(late_us >= 0, || {
            format!("{stage:?} was {} µs early", -late_us)
        });
        let late_max_us = self.lateness_max_us;
        self.expect(late_us <= late_max_us, || {
            format!("{stage:?} was {late_us} µs late")
        });
        self.account.fired.push(Fired {
            ticket_id: self.ticket_id,
            cycle: event.cycle,
            stage,
            due_us,
            at_us,
        });

        self.passed_over(stage, at_us);
        if let Some(cycle) = &mut self.cycle {
            cycle.fired.push(stage);
        }
        match stage {
            Stage::FirstAlert => self.alert = self.alert.max(1),
            Stage::SecondAlert => self.alert = self.alert.max(2),
            Stage::Warning => self.awaited = Awaited::WarningRequest,
            Stage::Close => self.awaited = Awaited::Close,
            Stage::Unspecified => {}
        }
        // A close takes the alert with it.
        let shown = if stage == Stage::Close { 0 } else { self.alert };
        self.expect(event.alert == shown, || {
            format!("alert {} shows instead of {shown}", event.alert)
        });
    }

    /// A lower stage may be missing when a higher one acts only if it was not long due.
    fn passed_over(&mut self, higher: Stage, at_us: i64) {
        let Some(cycle) = &self.cycle else { return };
        let lower: Vec<(Stage, i64)> = [Stage::FirstAlert, Stage::SecondAlert, Stage::Warning]
            .into_iter()
            // The warning acts beside the alerts: neither passes over the other.
            .filter(|stage| *stage < higher && (is_alert(*stage) == is_alert(higher) || higher == Stage::Close))
            .filter(|stage| !cycle.fired.contains(stage))
            .filter_map(|stage| Some((stage, self.due_us(cycle, stage)?)))
            .collect();
        for (stage, due_us) in lower {
            let late_us = at_us - due_us;
            let is_lost = late_us > self.lateness_max_us;
            self.expect(!is_lost, || {
                format!("{stage:?} was lost: {late_us} µs overdue")
            });
        }
    }

    /// The cycle ends; what was due before must have acted, or be no longer overdue than is allowed.
    fn cycle_ends(&mut self, at_us: i64, acted: Option<Stage>) {
        let Some(cycle) = self.cycle.take() else {
            return;
        };
        if acted == Some(Stage::Close) {
            return;
        }
        let highest = cycle
            .fired
            .iter()
            .copied()
            .filter(|stage| is_alert(*stage))
            .max();
        for stage in [
            Stage::FirstAlert,
            Stage::SecondAlert,
            Stage::Warning,
            Stage::Close,
        ] {
            let is_passed = is_alert(stage) && highest > Some(stage);
            if is_passed || cycle.fired.contains(&stage) {
                continue;
            }
            let Some(due_us) = self.due_us(&cycle, stage) else {
                continue;
            };
            let late_us = at_us - due_us;
            let is_lost = late_us > self.lateness_max_us;
            self.expect(!is_lost, || {
                format!(
                    "{stage:?} of cycle {} is lost: {late_us} µs overdue",
                    cycle.number
                )
            });
        }
    }

    fn closed(&mut self, closed: &TicketClosed, awaited: Awaited, at_us: i64) {
        self.expect(self.is_open, || "closed twice".to_owned());
        self.is_open = false;
        let by_clock = awaited == Awaited::Close;
        self.expect(by_clock == (closed.cycle > 0), || {
            "a close by inactivity and its stage don't belong together".to_owned()
        });
        if by_clock {
            let running = self.cycle.as_ref().map(|cycle| cycle.number);
            self.expect(running == Some(closed.cycle), || {
                format!("cycle {} closed while {running:?} ran", closed.cycle)
            });
            self.account.inactivity_closes += 1;
            self.closing = Some(closed.cycle);
            self.cycle_ends(at_us, Some(Stage::Close));
        } else {
            self.cycle_ends(at_us, None);
        }
        if self.alert > 0 {
            self.awaited = Awaited::Clearing;
        } else {
            self.await_closing_text();
        }
    }

    fn await_closing_text(&mut self) {
        if self.closing.is_some() {
            self.awaited = Awaited::ClosingRequest;
        }
    }

    fn requested(&mut self, request: &ActiveMessageRequested, awaited: Awaited) {
        let message = request.message.clone().unwrap_or_default();
        let purpose = match awaited {
            Awaited::WarningRequest => self.cycle.as_ref().map(|cycle| (cycle.number, "warning")),
            Awaited::ClosingRequest => self.closing.take().map(|cycle| (cycle, "closing")),
            _ => None,
        };
        let expected =
            purpose.map(|(cycle, name)| format!("ticket/{}/cycle/{cycle}/{name}", self.ticket_id));
        let key = message.idempotency_key;
        self.expect(expected.as_ref() == Some(&key), || {
            format!("message {key} was asked for, not {expected:?}")
        });
        let is_new = self.account.requested.insert(key.clone());
        self.expect(is_new, || format!("message {key} was asked for twice"));
    }

    fn reported(&mut self, report: &ActiveMessageReported, at_us: i64) {
        let key = &report.idempotency_key;
        let is_known = self.account.requested.contains(key);
        self.expect(is_known, || {
            format!("{key} was reported before it was asked for")
        });
        if report.state() == ActiveMessageState::Cancelled {
            return;
        }
        let ticket_id = self.ticket_id;
        let Some((warning_s, _)) = self.stages.warning_and_close_s else {
            return;
        };
        let Some(cycle) = &mut self.cycle else { return };
        if *key == format!("ticket/{ticket_id}/cycle/{}/warning", cycle.number) {
            let warning_due_us = ceil_to_millis(cycle.anchor_us) + i64::from(warning_s) * SECOND_US;
            let accepted_us = us_of(report.state_time.as_ref())
                .min(at_us)
                .max(warning_due_us);
            cycle.warning_accepted_us.get_or_insert(accepted_us);
        }
    }

    /// When a stage of the cycle is due; none for a close whose warning is not accepted, and for a stage that the
    /// policy lacks. A warning that was accepted more than a second late moves the close.
    fn due_us(&self, cycle: &Cycle, stage: Stage) -> Option<i64> {
        let after = |seconds: i32| ceil_to_millis(cycle.anchor_us) + i64::from(seconds) * SECOND_US;
        match stage {
            Stage::Unspecified => None,
            Stage::FirstAlert => Some(after(self.stages.first_alert_s)),
            Stage::SecondAlert => Some(after(self.stages.second_alert_s)),
            Stage::Warning => Some(after(self.stages.warning_and_close_s?.0)),
            Stage::Close => {
                let (warning_s, close_s) = self.stages.warning_and_close_s?;
                let accepted_us = cycle.warning_accepted_us?;
                let is_on_time = accepted_us <= after(warning_s) + SECOND_US;
                let gap_us = i64::from(close_s - warning_s) * SECOND_US;
                let moved_us = accepted_us + if is_on_time { 0 } else { gap_us };
                Some(after(close_s).max(ceil_to_millis(moved_us)))
            }
        }
    }

    fn expect(&mut self, holds: bool, violation: impl FnOnce() -> String) {
        if !holds {
            self.violation(&violation());
        }
    }

    fn violation(&mut self, text: &str) {
        let line = format!("ticket {} at event {}: {text}", self.ticket_id, self.seq);
        self.account.violations.push(line);
    }
}

fn is_alert(stage: Stage) -> bool {
    matches!(stage, Stage::FirstAlert | Stage::SecondAlert)
}

fn is(awaited: Awaited, payload: &Payload) -> bool {
    match awaited {
        Awaited::Nothing => false,
        Awaited::Close => matches!(payload, Payload::Closed(_)),
        Awaited::Clearing => matches!(payload, Payload::AlertCleared(_)),
        Awaited::WarningRequest | Awaited::ClosingRequest => {
            matches!(payload, Payload::ActiveMessageRequested(_))
        }
    }
}
