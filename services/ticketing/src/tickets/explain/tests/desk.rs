//! A ticket as the service would change it, in memory: the rules move the clock, and the events are those that the
//! service writes. Times are seconds from the opening.

mod people;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use plazo_domain::{
    Alerts, AutoClose, Automation, AutomationPause, Clock, Cycle, Effect, Ended, InForce,
    InactivityPolicy, Policies, Stage, TimeUnit, TimeValue, Warning, WarningReport, advance,
};
use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::notification::v1::ActiveMessageState;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    ActiveMessageReported, AutomationPaused, AutomationResumeCause, CloseSource, Closure,
    ExplainTicketResponse, HoldEnd, InactivityCycle, StageFired, StageProgress, Ticket,
    TicketClosed, TicketEvent, TicketOpened,
};

use super::super::{Story, explain};
use crate::instants::to_proto;
use crate::tickets::SYSTEM;
use crate::tickets::told::{
    automation_resumed, automation_to_proto, cleared, cycles_to_proto, hold_ended,
};

/// What nobody may read in an explanation.
pub(super) const SECRET: &str = "Zaphod +55 11 99999-0000";

pub(super) const AGENT: Author = Author {
    kind: AuthorKind::Agent as i32,
    id: 5,
};
pub(super) const CUSTOMER: Author = Author {
    kind: AuthorKind::Customer as i32,
    id: 9,
};

/// The instant that lies so many seconds after the opening.
pub(super) fn at(seconds: f64) -> Timestamp {
    let opened: Timestamp = "2026-11-22T10:00:00Z".parse().expect("an instant");
    opened + SignedDuration::from_secs_f64(seconds)
}

pub(super) fn seconds(value: i32) -> TimeValue {
    TimeValue::new(value, TimeUnit::Second).expect("valid")
}

/// Alerts 10/20, warning 25, close 30, each so many times as long.
pub(super) fn policy(factor: i32) -> InactivityPolicy {
    InactivityPolicy {
        alerts: Some(Alerts {
            first: seconds(10 * factor),
            second: seconds(20 * factor),
        }),
        auto_close: Some(AutoClose {
            after: seconds(30 * factor),
            tags: vec!["silent".to_owned()],
            note: None,
            closing_text: None,
            only_after_first_agent_message: true,
            close_while_customer_waits: false,
            exclude_tags: vec!["vip".to_owned()],
            max_delivery_wait: None,
        }),
        warning: Some(Warning {
            after: seconds(25 * factor),
            text: SECRET.to_owned(),
            image_url: None,
        }),
        ..InactivityPolicy::default()
    }
}

/// A ticket and what looks after it.
pub(super) struct Desk {
    clock: Clock,
    events: Vec<TicketEvent>,
    policies: HashMap<i64, Arc<InactivityPolicy>>,
    version: i64,
    tags: Vec<String>,
    is_open: bool,
    /// When Plazo, or notification alone, can do nothing.
    outages: Vec<(f64, f64)>,
    silences: Vec<(f64, f64)>,
    /// What notification says after it has accepted a warning, and after how many seconds.
    pub(super) then: Option<(ActiveMessageState, f64)>,
    /// How late everything acts.
    pub(super) lag: f64,
    pub(super) now: Timestamp,
    to_accept: Option<(i32, Timestamp)>,
    to_settle: Option<(i32, ActiveMessageState, Timestamp)>,
}

impl Desk {
    /// A ticket that was just opened.
    pub(super) fn open(policy: InactivityPolicy) -> Self {
        let mut desk = Self {
            clock: Clock::new(),
            events: Vec::new(),
            policies: HashMap::new(),
            version: 0,
            tags: Vec::new(),
            is_open: true,
            outages: Vec::new(),
            silences: Vec::new(),
            then: None,
            lag: 0.0,
            now: at(0.0),
            to_accept: None,
            to_settle: None,
        };
        desk.set(policy);
        let (policy, version) = desk.in_force();
        let in_force = rules(&policy, version, &desk.tags);
        let started = desk.clock.opened(desk.now, Some(in_force));
        desk.record(
            AGENT,
            Payload::Opened(TicketOpened {
                cycles: cycles_to_proto(&started),
                ..TicketOpened::default()
            }),
        );
        let pause = AutomationPause::For(TimeValue::new(60, TimeUnit::Minute).expect("valid"));
        desk.clock.pause_automation(desk.now, pause);
        let automation = desk.clock.state().automation;
        desk.record(AGENT, paused(automation));
        desk
    }

    /// Another policy for new cycles.
    pub(super) fn set(&mut self, policy: InactivityPolicy) {
        self.version += 1;
        self.policies.insert(self.version, Arc::new(policy));
    }

    pub(super) fn down(&mut self, from: f64, to: f64) {
        self.outages.push((from, to));
    }

    pub(super) fn notification_down(&mut self, from: f64, to: f64) {
        self.silences.push((from, to));
    }

    fn in_force(&self) -> (Arc<InactivityPolicy>, i64) {
        (Arc::clone(&self.policies[&self.version]), self.version)
    }

    pub(super) fn record(&mut self, author: Author, payload: Payload) {
        let seq = i64::try_from(self.events.len()).expect("few") + 1;
        self.events.push(TicketEvent {
            event_id: seq,
            tenant_id: 1,
            ticket_id: 42,
            ticket_seq: seq,
            author: Some(author),
            event_time: Some(to_proto(self.now)),
            bot_id: 3,
            payload: Some(payload),
        });
    }

    /// Lets everything act that is due up to `until`.
    pub(super) fn pass(&mut self, until: f64) {
        loop {
            let next = [
                self.clock.next_due_at(),
                self.to_accept.map(|(_, at)| at),
                self.to_settle.map(|(_, _, at)| at),
            ];
            let Some(due) = next.into_iter().flatten().min() else {
                break;
            };
            let lag = SignedDuration::from_secs_f64(self.lag);
            let free = after(&self.outages, (due + lag).max(self.now));
            if free >= at(until) {
                break;
            }
            self.now = free;
            self.reports();
            self.look();
        }
        self.now = self.now.max(at(until));
    }

    fn reports(&mut self) {
        if let Some((cycle, _)) = self.to_accept.take_if(|(_, at)| *at <= self.now) {
            self.report(cycle, ActiveMessageState::Accepted, WarningReport::Accepted);
            self.to_settle = self.then.map(|(state, after)| {
                (
                    cycle,
                    state,
                    self.now + SignedDuration::from_secs_f64(after),
                )
            });
        }
        if let Some((cycle, state, _)) = self.to_settle.take_if(|(_, _, at)| *at <= self.now) {
            self.report(cycle, state, WarningReport::Settled);
        }
    }

    fn report(&mut self, cycle: i32, state: ActiveMessageState, kind: WarningReport) {
        let (now, Some(version)) = (self.now, self.clock.policy_versions().next()) else {
            return;
        };
        let policy = Arc::clone(&self.policies[&version]);
        self.clock.warning_reported(cycle, kind, now, now, &policy);
        self.record(
            SYSTEM,
            Payload::ActiveMessageReported(ActiveMessageReported {
                idempotency_key: format!("ticket/42/cycle/{cycle}/warning"),
                state: state.into(),
                state_time: Some(to_proto(now)),
                failure_reason: SECRET.to_owned(),
            }),
        );
    }

    fn look(&mut self) {
        let (policy, version) = self.in_force();
        let in_force = rules(&policy, version, &self.tags);
        let of = |cycle: Option<&Cycle>| cycle.map(|it| &*self.policies[&it.policy_version]);
        let needed = Policies {
            cycle: of(self.clock.cycle()),
            agent_cycle: of(self.clock.agent_cycle()),
            in_force: Some(in_force),
        };
        let mut clock = self.clock.clone();
        let advance = advance(&mut clock, needed, self.now);
        self.clock = clock;
        for effect in advance.effects {
            match effect {
                Effect::HoldEnded { due_at, started } => {
                    self.record(SYSTEM, hold_ended(HoldEnd::Expired, due_at, &started));
                }
                Effect::AutomationResumed { due_at } => {
                    let cause = AutomationResumeCause::TimeOver;
                    self.record(SYSTEM, automation_resumed(cause, Some(due_at)));
                }
                Effect::Stage(fired) => {
                    self.record(
                        SYSTEM,
                        Payload::StageFired(StageFired {
                            cycle: fired.cycle,
                            stage: fired.stage.code().into(),
                            due_time: Some(to_proto(fired.due_at)),
                            could_act_time: Some(to_proto(fired.could_act_at)),
                            alert: fired.alert.code().into(),
                            kind: fired.kind.code().into(),
                            policy_version: fired.policy_version,
                        }),
                    );
                    if fired.stage == Stage::Warning {
                        self.to_accept = Some((fired.cycle, after(&self.silences, self.now)));
                        self.reports();
                    } else if fired.stage == Stage::Close {
                        let source = CloseSource::CustomerInactivity;
                        self.end_ticket(SYSTEM, source, fired.cycle, advance.closed);
                    }
                }
            }
        }
    }

    fn end_ticket(&mut self, by: Author, source: CloseSource, cycle: i32, ended: Option<Ended>) {
        self.is_open = false;
        let closure = Closure {
            close_time: Some(to_proto(self.now)),
            source: source.into(),
            author: Some(by),
            exit_route: "goodbye".to_owned(),
            ..Closure::default()
        };
        let ended = ended.unwrap_or_default();
        self.record(
            by,
            Payload::Closed(TicketClosed {
                closure: Some(closure),
                cycle,
                tags: self.tags.clone(),
                unassigned_agent_id: 0,
            }),
        );
        self.ended(by, HoldEnd::Closed, ended);
    }

    fn ended(&mut self, by: Author, cause: HoldEnd, ended: Ended) {
        if let Some(due_at) = ended.hold_ended {
            self.record(by, hold_ended(cause, due_at, &[]));
        }
        if let Some(payload) = cleared(ended.removed) {
            self.record(by, payload);
        }
        if ended.is_automation_resumed() {
            let payload = automation_resumed(AutomationResumeCause::Completed, None);
            self.record(by, payload);
        }
    }

    /// The explanation as of some time.
    pub(super) fn told(&mut self, when: f64) -> ExplainTicketResponse {
        self.pass(when);
        self.told_of(0)
    }

    /// The explanation of what came after the first so many events.
    pub(super) fn told_of(&self, skipped: usize) -> ExplainTicketResponse {
        let running = |cycle: &Cycle| InactivityCycle {
            cycle: cycle.number,
            kind: cycle.kind.code().into(),
            anchor_time: Some(to_proto(cycle.anchor_at)),
            policy_version: cycle.policy_version,
            stages: Stage::ALL
                .into_iter()
                .map(|stage| StageProgress {
                    stage: stage.code().into(),
                    due_time: None,
                    over: cycle.done.contains(stage),
                })
                .collect(),
            warning_accept_time: cycle.warning_accepted_at.map(to_proto),
            warning_settle_time: cycle.warning_settled_at.map(to_proto),
        };
        let ticket = Ticket {
            ticket_id: 42,
            tags: self.tags.clone(),
            inactivity_cycle: self.clock.cycle().map(running),
            agent_cycle: self.clock.agent_cycle().map(running),
            excluded: self.clock.cycle().is_some_and(|cycle| cycle.is_excluded),
            ..Ticket::default()
        };
        let told = explain(&Story {
            events: &self.events[skipped..],
            is_truncated: skipped > 0,
            policies: &self.policies,
            ticket: &ticket,
            continued_by: None,
            now: self.now,
        });
        let words = format!("{} {:?} {:?}", told.text, told.cycles, told.closes);
        assert!(!words.contains(SECRET), "told what is nobody's business");
        told
    }
}

fn rules<'a>(policy: &'a InactivityPolicy, version: i64, tags: &[String]) -> InForce<'a> {
    InForce {
        version,
        policy,
        is_excluded: policy.excludes(tags),
    }
}

fn paused(automation: Automation) -> Payload {
    Payload::AutomationPaused(AutomationPaused {
        automation: Some(automation_to_proto(automation)),
    })
}

/// The first instant from `at` on that no outage covers.
fn after(outages: &[(f64, f64)], when: Timestamp) -> Timestamp {
    let covering = outages
        .iter()
        .find(|(from, to)| at(*from) <= when && when < at(*to));
    covering.map_or(when, |(_, to)| at(*to))
}
