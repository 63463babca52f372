//! The clock against a naive model that ticks through time and shares no code with it.
//!
//! The model looks at every tick and works in plain numbers; the clock is looked at only when its timer
//! has a reason to. Both must have the same effects at the same ticks.

use plazo_domain::{Alert, Anchor, Stage};
use proptest::prelude::*;

use crate::support::{Desk, Times, at_ms};

const TICK_MS: i64 = 500;
const TICKS_IN_SECOND: i64 = 1_000 / TICK_MS;
/// Longer than any policy here takes after the last message, outages and delays included.
const TICKS_AFTER_LAST_EVENT: i64 = 400;

#[derive(Debug, Clone, Copy)]
enum Event {
    Agent,
    Customer,
    AgentCloses,
    Settings(Times),
}

/// How notification reports the acceptance of a warning, in ticks.
#[derive(Debug, Clone, Copy)]
struct Report {
    /// From the acceptance to its report.
    delay: i64,
    /// What the reported instant is off by.
    skew: i64,
    /// When the report is repeated, with another instant, after the first.
    repeated_after: Option<i64>,
}

/// Ticks from and until, the end not included.
type Outage = (i64, i64);

#[derive(Debug, Clone)]
struct Story {
    first_settings: Times,
    /// By tick.
    events: Vec<(i64, Event)>,
    nobody_looks: Vec<Outage>,
    notification_down: Vec<Outage>,
    /// For the first, second, … warning, over and over.
    reports: Vec<Report>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Fired { stage: Stage, cycle: i32, due: i64 },
    Removed(Alert),
}

/// What happened by tick, and the alert that showed at the end of each tick.
#[derive(Debug, Default, PartialEq, Eq)]
struct Record {
    effects: Vec<(i64, What)>,
    alerts: Vec<Alert>,
}

/// What can be done with either side.
trait Side {
    fn agent(&mut self, tick: i64);
    fn settings(&mut self, times: Times);
    /// The customer answers or an agent closes; returns the alert that was removed.
    fn end(&mut self, is_close: bool) -> Option<Alert>;
    fn accepted(&mut self, cycle: i32, reported: i64, tick: i64);
    /// Stage, cycle, due tick of what fired.
    fn look(&mut self, tick: i64) -> Vec<(Stage, i32, i64)>;
    fn alert(&self) -> Alert;
}

fn is_down(outages: &[Outage], tick: i64) -> bool {
    outages
        .iter()
        .any(|(from, until)| (*from..*until).contains(&tick))
}

/// Plays a story. Within a tick reports come first, then events, then a look.
fn play(story: &Story, side: &mut dyn Side) -> Record {
    let mut record = Record::default();
    let mut reports: Vec<(i64, i32, i64)> = Vec::new();
    let mut kinds = story.reports.iter().cycle();
    let last_event = story.events.iter().map(|(tick, _)| *tick).max();
    for tick in 0..last_event.unwrap_or(0) + TICKS_AFTER_LAST_EVENT {
        for (_, cycle, reported) in reports.iter().filter(|(at, ..)| *at == tick) {
            side.accepted(*cycle, *reported, tick);
        }
        for (_, event) in story.events.iter().filter(|(at, _)| *at == tick) {
            let removed = match event {
                Event::Agent => {
                    side.agent(tick);
                    None
                }
                Event::Settings(times) => {
                    side.settings(*times);
                    None
                }
                Event::Customer => side.end(false),
                Event::AgentCloses => side.end(true),
            };
            let effect = removed.map(|alert| (tick, What::Removed(alert)));
            record.effects.extend(effect);
        }
        if !is_down(&story.nobody_looks, tick) {
            for (stage, cycle, due) in side.look(tick) {
                let what = What::Fired { stage, cycle, due };
                record.effects.push((tick, what));
                if stage == Stage::Warning {
                    let report = kinds.next().expect("there is a kind of report");
                    reports.extend(reports_of(story, report, cycle, tick));
                }
            }
        }
        record.alerts.push(side.alert());
    }
    record
}

/// The reports (tick, cycle, reported tick) about a warning that went out at `tick`. The earliest comes
/// one tick later: by then the look that sent it is over.
fn reports_of(story: &Story, report: &Report, cycle: i32, tick: i64) -> Vec<(i64, i32, i64)> {
    let accepted = (tick..tick + TICKS_AFTER_LAST_EVENT)
        .find(|tick| !is_down(&story.notification_down, *tick))
        .expect("outages end");
    let first = accepted + report.delay.max(1);
    let mut reports = vec![(first, cycle, accepted + report.skew)];
    if let Some(after) = report.repeated_after {
        reports.push((first + after, cycle, accepted + after));
    }
    reports
}

/// The code under test. Its timer knows only what a real one would.
struct Real(Desk);

fn instant(tick: i64) -> jiff::Timestamp {
    at_ms(tick * TICK_MS)
}

impl Side for Real {
    fn agent(&mut self, tick: i64) {
        self.0.agent_wrote(instant(tick));
    }

    fn settings(&mut self, times: Times) {
        self.0.set_policy(times.policy());
    }

    fn end(&mut self, is_close: bool) -> Option<Alert> {
        if is_close {
            self.0.closed()
        } else {
            self.0.customer_wrote()
        }
    }

    fn accepted(&mut self, cycle: i32, reported: i64, tick: i64) {
        self.0
            .warning_accepted(cycle, instant(reported), instant(tick));
    }

    fn look(&mut self, tick: i64) -> Vec<(Stage, i32, i64)> {
        let Some((cycle, advance)) = self.0.look(instant(tick)) else {
            return Vec::new();
        };
        let due_tick = |due_at: jiff::Timestamp| {
            (due_at.as_millisecond() - instant(0).as_millisecond()) / TICK_MS
        };
        advance
            .fired
            .into_iter()
            .map(|fired| (fired.stage, cycle, due_tick(fired.due_at)))
            .collect()
    }

    fn alert(&self) -> Alert {
        self.0.clock.alert()
    }
}

/// The naive model: the last word and a few marks, asked anew at each tick.
struct Model {
    settings: Times,
    cycles: i32,
    level: usize,
    waiting: Option<Waiting>,
}

struct Waiting {
    settings: Times,
    since: i64,
    level_reached: usize,
    is_warned: bool,
    accepted: Option<i64>,
}

const LEVELS: [Alert; 3] = [Alert::None, Alert::Yellow, Alert::Red];

impl Waiting {
    fn tick_of(&self, seconds: i32) -> i64 {
        self.since + i64::from(seconds) * TICKS_IN_SECOND
    }

    /// The tick of the close, or the one at which it may still be for all that is known at `now`.
    fn close(&self, now: i64) -> (Option<i64>, Option<i64>) {
        let Some(close) = self.settings.close else {
            return (None, None);
        };
        let Some(warning) = self.settings.warning else {
            return (Some(self.tick_of(close)), None);
        };
        let last_on_time = self.tick_of(warning) + TICKS_IN_SECOND;
        let between = i64::from(close - warning) * TICKS_IN_SECOND;
        match self.accepted {
            Some(accepted) if accepted <= last_on_time => (Some(self.tick_of(close)), None),
            Some(accepted) => (Some(accepted + between), None),
            None if now <= last_on_time => (None, Some(self.tick_of(close))),
            None => (None, None),
        }
    }
}

impl Side for Model {
    fn agent(&mut self, tick: i64) {
        let settings = self.settings;
        if self.waiting.is_some() && settings.anchor == Anchor::FirstMessage {
            return;
        }
        if settings.alerts.is_none() && settings.close.is_none() {
            self.waiting = None;
            return;
        }
        self.cycles += 1;
        self.waiting = Some(Waiting {
            settings,
            since: tick,
            level_reached: 0,
            is_warned: false,
            accepted: None,
        });
    }

    fn settings(&mut self, times: Times) {
        self.settings = times;
    }

    fn end(&mut self, _is_close: bool) -> Option<Alert> {
        self.waiting = None;
        let level = self.level;
        self.level = 0;
        (level > 0).then(|| LEVELS[level])
    }

    fn accepted(&mut self, cycle: i32, reported: i64, tick: i64) {
        if let Some(waiting) = &mut self.waiting
            && cycle == self.cycles
            && waiting.is_warned
            && waiting.accepted.is_none()
            && let Some(warning) = waiting.settings.warning
        {
            let not_in_the_future = if reported > tick { tick } else { reported };
            let due = waiting.tick_of(warning);
            waiting.accepted = Some(if not_in_the_future < due {
                due
            } else {
                not_in_the_future
            });
        }
    }

    fn look(&mut self, tick: i64) -> Vec<(Stage, i32, i64)> {
        let Some(waiting) = &mut self.waiting else {
            return Vec::new();
        };
        let (close, possible_close) = waiting.close(tick);
        if let Some(close) = close.filter(|close| *close <= tick) {
            self.waiting = None;
            self.level = 0;
            return vec![(Stage::Close, self.cycles, close)];
        }
        let warning = waiting.settings.warning.map(|s| waiting.tick_of(s));
        let mut fired = Vec::new();
        if let Some((first, second)) = waiting.settings.alerts {
            let higher = [warning, close, possible_close];
            let is_there = |at: i64| at <= tick && !higher.contains(&Some(at));
            let (first, second) = (waiting.tick_of(first), waiting.tick_of(second));
            if is_there(second) && waiting.level_reached < 2 {
                waiting.level_reached = 2;
                fired.push((Stage::SecondAlert, self.cycles, second));
            } else if is_there(first) && waiting.level_reached < 1 {
                waiting.level_reached = 1;
                fired.push((Stage::FirstAlert, self.cycles, first));
            }
            if self.level < waiting.level_reached {
                self.level = waiting.level_reached;
            }
        }
        if let Some(warning) = warning.filter(|warning| *warning <= tick && !waiting.is_warned) {
            waiting.is_warned = true;
            fired.push((Stage::Warning, self.cycles, warning));
        }
        fired
    }

    fn alert(&self) -> Alert {
        LEVELS[self.level]
    }
}

/// Valid policies with short times, so that ties are frequent.
pub(crate) fn any_times() -> impl Strategy<Value = Times> {
    let anchor = prop_oneof![Just(Anchor::LastMessage), Just(Anchor::FirstMessage)];
    (
        anchor,
        proptest::option::weighted(0.8, (1..8_i32, 1..8_i32)),
        proptest::option::weighted(0.85, (0..6_i32, proptest::option::weighted(0.8, 1..24_i32))),
    )
        .prop_map(|(anchor, alerts, close)| {
            let alerts = alerts.map(|(first, more)| (first, first + more));
            let at_least = alerts.map_or(2, |(_, second)| second);
            let warning = close
                .and_then(|(more, before)| before.map(|before| (at_least + more - before).max(1)));
            Times {
                anchor,
                alerts,
                close: close.map(|(more, _)| at_least + more),
                warning,
            }
        })
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Agent),
        3 => Just(Event::Customer),
        1 => Just(Event::AgentCloses),
        2 => any_times().prop_map(Event::Settings),
    ]
}

fn any_outages() -> impl Strategy<Value = Vec<Outage>> {
    let outage = (0..300_i64, 1..60_i64).prop_map(|(from, length)| (from, from + length));
    proptest::collection::vec(outage, 0..4)
}

fn any_report() -> impl Strategy<Value = Report> {
    let delay = prop_oneof![3 => Just(0_i64), 1 => 0..30_i64];
    let skew = prop_oneof![3 => Just(0_i64), 1 => -6..6_i64];
    let repeated_after = proptest::option::weighted(0.3, 0..10_i64);
    (delay, skew, repeated_after).prop_map(|(delay, skew, repeated_after)| Report {
        delay,
        skew,
        repeated_after,
    })
}

fn any_story() -> impl Strategy<Value = Story> {
    let pause = prop_oneof![2 => 0..6_i64, 3 => 0..40_i64, 1 => 0..100_i64];
    (
        any_times(),
        proptest::collection::vec((pause, any_event()), 1..12),
        any_outages(),
        any_outages(),
        proptest::collection::vec(any_report(), 1..4),
    )
        .prop_map(
            |(first_settings, events, nobody_looks, notification_down, reports)| {
                let mut tick = 0;
                let mut by_tick = vec![(0, Event::Agent)];
                for (pause, event) in events {
                    tick += pause;
                    by_tick.push((tick, event));
                }
                Story {
                    first_settings,
                    events: by_tick,
                    nobody_looks,
                    notification_down,
                    reports,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        // A failure prints its story, which is what one needs; no file is kept beside the tests.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_clock_does_what_the_model_does(story in any_story()) {
        let policy = story.first_settings.policy();
        prop_assert_eq!(policy.check(true), Ok(()));
        let real = play(&story, &mut Real(Desk::new(policy)));
        let model = play(&story, &mut Model {
            settings: story.first_settings,
            cycles: 0,
            level: 0,
            waiting: None,
        });
        prop_assert_eq!(real, model);
    }
}
