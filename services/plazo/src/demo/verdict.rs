//! Whether what was seen of a conversation is what must follow.

use std::fmt;

use jiff::Timestamp;

use super::scenarios::{Act, Alert, Effect, Expected, Scenario, Step};
use super::seen::{Happening, Seen};

/// Deadlines are whole milliseconds, rounded up.
const ROUNDING_US: i64 = 1_000;

/// How strictly to judge.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The seconds of the examples are divided by this, from 1.
    pub speed: u32,
    /// How late something may be, in milliseconds.
    pub tolerance_ms: u32,
}

/// The ticket as it stands at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinalTicket {
    /// Whether it is closed.
    pub is_closed: bool,
    /// The alert that shows.
    pub alert: Alert,
    /// Whether another look at it is still pending, but for the automation's.
    pub is_pending: bool,
}

/// What became of something that was expected.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// What was expected.
    pub expected: Expected,
    /// When it should have been: the commit of the message that it counts from, plus the time set. None when that
    /// message was not seen.
    pub due_at: Option<Timestamp>,
    /// When it was. None when it never was.
    pub seen_at: Option<Timestamp>,
    /// The difference in microseconds; negative when it was early.
    pub late_us: Option<i64>,
}

/// The judgement on one conversation.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// One row for each thing expected, in the same order.
    pub rows: Vec<Row>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    /// The opening or a message was not seen.
    NotWritten {
        /// Seconds of the step in the example.
        at_s: u32,
    },
    /// The demo, the network or ticketing was so slow that the conversation was another one.
    WrittenLate {
        /// Seconds of the step in the example.
        at_s: u32,
        /// By how much.
        late_ms: i64,
    },
    /// It never was.
    Missing(Effect),
    /// It was before its time.
    Early {
        /// What.
        effect: Effect,
        /// By how much, in microseconds.
        early_us: i64,
    },
    /// It was later than is tolerated.
    Late {
        /// What.
        effect: Effect,
        /// By how much.
        late_ms: i64,
    },
    /// Ticketing takes another instant for the deadline.
    WrongDueTime {
        /// What.
        effect: Effect,
        /// Its instant less the right one, in microseconds.
        off_us: i64,
    },
    /// Another alert shows after it.
    WrongAlert {
        /// What.
        effect: Effect,
        /// What shows.
        alert: Alert,
    },
    /// It belongs to another cycle than the message that it counts from.
    WrongCycle {
        /// What.
        effect: Effect,
        /// Its cycle.
        cycle: i32,
    },
    /// Something happened that must not, or happened again.
    Extra(String),
    /// The ticket is not as it must be at the end.
    WrongEnd(String),
    /// Another service does not show what happened.
    Elsewhere(String),
}

/// Judges one conversation by all events of its ticket.
pub fn judge(scenario: &Scenario, rules: Rules, seen: &[Seen], end: FinalTicket) -> Verdict {
    let rules = Rules {
        speed: scenario.speed(rules.speed),
        ..rules
    };
    let mut judge = Judge {
        rules,
        seen: seen.iter().map(|seen| (seen, false)).collect(),
        problems: Vec::new(),
        late_steps: Vec::new(),
    };
    let steps = judge.match_steps(scenario.steps);
    let rows = scenario
        .expected
        .iter()
        .map(|expected| judge.match_effect(*expected, &steps))
        .collect();
    judge.note_rest();
    judge.check_end(scenario, end);
    // A late step moves what follows from it, and is no fault by itself; it may explain one.
    if !judge.problems.is_empty() {
        judge.problems.append(&mut judge.late_steps);
    }
    Verdict {
        rows,
        problems: judge.problems,
    }
}

/// A step that was seen.
#[derive(Debug, Clone, Copy)]
struct PlayedStep {
    at_s: u32,
    at: Timestamp,
    started_cycle: i32,
}

fn step_at(at_s: u32, steps: &[PlayedStep]) -> Option<PlayedStep> {
    steps.iter().find(|step| step.at_s == at_s).copied()
}

struct Judge<'a> {
    rules: Rules,
    /// Each event, and whether it is accounted for.
    seen: Vec<(&'a Seen, bool)>,
    problems: Vec<Problem>,
    /// Steps that were written later than planned.
    late_steps: Vec<Problem>,
}

impl Judge<'_> {
    /// Accounts for the first event that fits and is not yet accounted for.
    fn take(&mut self, fits: impl Fn(&Seen) -> bool) -> Option<Seen> {
        let (seen, is_taken) = self
            .seen
            .iter_mut()
            .find(|(seen, is_taken)| !is_taken && fits(seen))?;
        *is_taken = true;
        Some((*seen).clone())
    }

    fn match_steps(&mut self, steps: &[Step]) -> Vec<PlayedStep> {
        if self
            .take(|seen| seen.happening == Happening::Opened)
            .is_none()
        {
            self.problems.push(Problem::NotWritten { at_s: 0 });
        }
        let mut played: Vec<PlayedStep> = Vec::with_capacity(steps.len());
        // Settings for new cycles leave no trace in the ticket.
        for step in steps.iter().filter(|step| step.act != Act::DoubleSettings) {
            let zero_at = played.first().map(|first| first.at);
            played.extend(self.match_step(step, zero_at));
        }
        played
    }

    fn match_step(&mut self, step: &Step, zero_at: Option<Timestamp>) -> Option<PlayedStep> {
        let is_it = |seen: &Seen| match &seen.happening {
            Happening::Wrote { writer, text, .. } => *writer == step.act && text == step.text,
            Happening::Did { act, .. } => *act == step.act,
            _ => false,
        };
        let Some(seen) = self.take(is_it) else {
            self.problems.push(Problem::NotWritten { at_s: step.at_s });
            return None;
        };
        let started_cycle = match seen.happening {
            Happening::Wrote { started_cycle, .. } | Happening::Did { started_cycle, .. } => {
                started_cycle
            }
            _ => 0,
        };
        let starts_none = !matches!(step.act, Act::Agent | Act::Resume);
        if starts_none && started_cycle != 0 {
            let what = format!("a cycle started by {:?} {:?}", step.act, step.text);
            self.problems.push(Problem::Extra(what));
        }
        let planned_us = scaled_us(step.at_s, self.rules.speed);
        let late_us = micros_between(zero_at.unwrap_or(seen.at), seen.at) - planned_us;
        if late_us > self.tolerance_us() {
            let late_by = late_us / 1_000;
            self.late_steps.push(Problem::WrittenLate {
                at_s: step.at_s,
                late_ms: late_by,
            });
        }
        Some(PlayedStep {
            at_s: step.at_s,
            at: seen.at,
            started_cycle,
        })
    }

    fn match_effect(&mut self, expected: Expected, steps: &[PlayedStep]) -> Row {
        let effect = expected.effect;
        let seen = self.take(|seen| match &seen.happening {
            Happening::Fired { effect: fired, .. } => *fired == effect,
            Happening::Cleared => effect == Effect::Cleared,
            _ => false,
        });
        let due_at = self.instant_after(expected.counts_from_s, expected.at_s, steps);
        let mut row = Row {
            expected,
            due_at,
            seen_at: None,
            late_us: None,
        };
        let Some(seen) = seen else {
            self.problems.push(Problem::Missing(effect));
            return row;
        };
        row.seen_at = Some(seen.at);
        if let Some(due_at) = due_at {
            let late_us = micros_between(due_at, seen.at);
            row.late_us = Some(late_us);
            self.check_lateness(effect, late_us);
        }
        self.check_stage(&expected, &seen, steps);
        self.take_what_belongs(effect, &seen);
        row
    }

    /// The instant `at_s` of the example, counted from the commit of one of its steps.
    fn instant_after(&self, from_s: u32, at_s: u32, steps: &[PlayedStep]) -> Option<Timestamp> {
        let step = step_at(from_s, steps)?;
        let after_us = scaled_us(at_s - from_s, self.rules.speed);
        let after = jiff::SignedDuration::from_micros(after_us);
        step.at.checked_add(after).ok()
    }

    fn check_lateness(&mut self, effect: Effect, late_us: i64) {
        if late_us < 0 {
            self.problems.push(Problem::Early {
                effect,
                early_us: -late_us,
            });
        } else if late_us > self.tolerance_us() {
            self.problems.push(Problem::Late {
                effect,
                late_ms: late_us / 1_000,
            });
        }
    }

    fn check_stage(&mut self, expected: &Expected, seen: &Seen, steps: &[PlayedStep]) {
        let effect = expected.effect;
        let Happening::Fired {
            cycle,
            due_at,
            alert,
            ..
        } = &seen.happening
        else {
            return;
        };
        let deadline = expected.deadline_s;
        let right =
            deadline.and_then(|at_s| self.instant_after(expected.cycle_from_s, at_s, steps));
        if let Some(right) = right {
            let off_us = micros_between(right, *due_at);
            if !(0..ROUNDING_US).contains(&off_us) {
                self.problems.push(Problem::WrongDueTime { effect, off_us });
            }
        }
        if let Some(anchor) = step_at(expected.cycle_from_s, steps)
            && anchor.started_cycle != *cycle
        {
            self.problems.push(Problem::WrongCycle {
                effect,
                cycle: *cycle,
            });
        }
        // The close takes the alert away, and may say so before or after.
        if effect != Effect::Close && *alert != expected.alert {
            self.problems.push(Problem::WrongAlert {
                effect,
                alert: *alert,
            });
        }
    }

    /// A warning is asked for, and a close is recorded and takes the alert away, all in the same transaction.
    fn take_what_belongs(&mut self, effect: Effect, stage: &Seen) {
        match effect {
            Effect::Warning => {
                let asked = self.take(|seen| {
                    matches!(seen.happening, Happening::WarningRequested { .. })
                        && seen.at == stage.at
                });
                if asked.is_none() {
                    let problem = "the warning's message was not asked for".to_owned();
                    self.problems.push(Problem::WrongEnd(problem));
                }
            }
            Effect::Close => {
                let closed = self.take(|seen| {
                    matches!(seen.happening, Happening::Closed { .. }) && seen.at == stage.at
                });
                match closed.map(|seen| seen.happening) {
                    Some(Happening::Closed {
                        by_inactivity: true,
                        ..
                    }) => {}
                    Some(_) => {
                        let problem = "closed, but not by the customer's inactivity".to_owned();
                        self.problems.push(Problem::WrongEnd(problem));
                    }
                    None => {
                        let problem = "the close was not recorded with its stage".to_owned();
                        self.problems.push(Problem::WrongEnd(problem));
                    }
                }
                self.take(|seen| seen.happening == Happening::Cleared && seen.at == stage.at);
            }
            Effect::FirstAlert | Effect::SecondAlert | Effect::Cleared => {}
        }
    }

    /// Whatever is not accounted for is too much, but for reports on messages.
    fn note_rest(&mut self) {
        let rest = self.seen.iter().filter(|(_, is_taken)| !is_taken);
        let extra = rest.filter_map(|(seen, _)| match &seen.happening {
            Happening::MessageReported { .. } | Happening::Aside => None,
            Happening::Opened => Some("a second opening".to_owned()),
            Happening::Wrote { text, .. } => Some(format!("the message {text:?}")),
            Happening::Did { act, .. } => Some(format!("{act:?}")),
            Happening::Fired { effect, .. } => Some(effect.to_string()),
            Happening::Cleared => Some(Effect::Cleared.to_string()),
            Happening::Closed { .. } => Some("a close".to_owned()),
            Happening::WarningRequested { .. } => Some("the message of a warning".to_owned()),
            Happening::Other { name } => Some((*name).to_owned()),
        });
        self.problems
            .extend(extra.map(Problem::Extra).collect::<Vec<_>>());
    }

    fn check_end(&mut self, scenario: &Scenario, end: FinalTicket) {
        let mut check = |is_right: bool, problem: &str| {
            if !is_right {
                self.problems.push(Problem::WrongEnd(problem.to_owned()));
            }
        };
        let state = if scenario.ends_closed {
            "is not closed"
        } else {
            "is not open"
        };
        check(
            end.is_closed == scenario.ends_closed,
            &format!("the ticket {state}"),
        );
        check(
            end.alert == Alert::None,
            &format!("the ticket shows the alert {}", end.alert),
        );
        check(!end.is_pending, "something is still due for the ticket");
    }

    fn tolerance_us(&self) -> i64 {
        i64::from(self.rules.tolerance_ms) * 1_000
    }
}

/// Seconds of an example in microseconds of the demo.
pub(super) fn scaled_us(seconds: u32, speed: u32) -> i64 {
    i64::from(seconds) * 1_000_000 / i64::from(speed.max(1))
}

/// How long after `earlier` the instant `later` is, in microseconds.
pub(super) fn micros_between(earlier: Timestamp, later: Timestamp) -> i64 {
    later.as_microsecond() - earlier.as_microsecond()
}

impl Problem {
    /// A stable word for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotWritten { .. } => "not_written",
            Self::WrittenLate { .. } => "written_late",
            Self::Missing(_) => "missing",
            Self::Early { .. } => "early",
            Self::Late { .. } => "late",
            Self::WrongDueTime { .. } => "wrong_due_time",
            Self::WrongAlert { .. } => "wrong_alert",
            Self::WrongCycle { .. } => "wrong_cycle",
            Self::Extra(_) => "extra",
            Self::WrongEnd(_) => "wrong_end",
            Self::Elsewhere(_) => "elsewhere",
        }
    }
}

impl fmt::Display for Problem {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a demo are few")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWritten { at_s } => write!(f, "what was written at {at_s} is not there"),
            Self::WrittenLate { at_s, late_ms } => {
                write!(
                    f,
                    "what is written at {at_s} came {late_ms} ms late, perhaps that is why: the machine is busy"
                )
            }
            Self::Missing(effect) => write!(f, "{effect} never came"),
            Self::Early { effect, early_us } => {
                write!(f, "{effect} came {:.3} ms early", *early_us as f64 / 1e3)
            }
            Self::Late { effect, late_ms } => write!(f, "{effect} came {late_ms} ms late"),
            Self::WrongDueTime { effect, off_us } => {
                write!(
                    f,
                    "{effect} was taken as due {:+.3} ms off",
                    *off_us as f64 / 1e3
                )
            }
            Self::WrongAlert { effect, alert } => {
                write!(f, "after {effect} the ticket shows the alert {alert}")
            }
            Self::WrongCycle { effect, cycle } => {
                write!(
                    f,
                    "{effect} belongs to cycle {cycle}, not to that of its message"
                )
            }
            Self::Extra(what) => write!(f, "too much: {what}"),
            Self::WrongEnd(what) | Self::Elsewhere(what) => f.write_str(what),
        }
    }
}
