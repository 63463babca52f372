//! What holds after any operations at any instants, late and wrong reports included.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use plazo_domain::{
    Advance, AutomationPause, Change, Clock, Cycle, CycleKind, Effect, FiredStage, InForce,
    InactivityPolicy, Outcome, Policies, Stage, StartedCycle, WarningReport, advance,
};
use plazo_model::{OpenMinutes, Policy, START_MINUTE_OF_WEEK, any_policy};
use proptest::prelude::*;

use crate::support::{at_s, policy_by_version, real_policy, seconds};

#[derive(Debug, Clone)]
enum Operation {
    Agent,
    Customer,
    Closed,
    Transferred,
    Hold(i64),
    Resume,
    /// A new policy, applied to what runs or not.
    Saved(Policy, bool),
    Excluded(bool),
    PauseAutomation(Option<i32>),
    ResumeAutomation,
    Look,
    /// A look at the very instant that the clock asks for.
    LookWhenDue,
    /// A report about the running cycle or the one before it, this many microseconds ago (below zero:
    /// ahead).
    Reported {
        is_old_cycle: bool,
        is_settled: bool,
        ago_us: i64,
    },
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let report = (
        proptest::bool::weighted(0.1),
        any::<bool>(),
        -1_000_000..15_000_000_i64,
    );
    prop_oneof![
        6 => Just(Operation::Agent),
        3 => Just(Operation::Customer),
        1 => Just(Operation::Closed),
        1 => Just(Operation::Transferred),
        1 => (1..20_000_000_i64).prop_map(Operation::Hold),
        1 => Just(Operation::Resume),
        4 => (mostly_wall_clock(), any::<bool>()).prop_map(|(policy, applies)| Operation::Saved(policy, applies)),
        2 => any::<bool>().prop_map(Operation::Excluded),
        1 => proptest::option::weighted(0.8, 1..40_i32).prop_map(Operation::PauseAutomation),
        1 => Just(Operation::ResumeAutomation),
        6 => Just(Operation::Look),
        10 => Just(Operation::LookWhenDue),
        6 => report.prop_map(|(is_old_cycle, is_settled, ago_us)| Operation::Reported {
            is_old_cycle,
            is_settled,
            ago_us,
        }),
    ]
}

/// Few count in business time, which takes long to work out.
fn mostly_wall_clock() -> impl Strategy<Value = Policy> {
    let in_business_time = proptest::bool::weighted(0.1);
    (any_policy(), in_business_time).prop_map(|(policy, in_business_time)| Policy {
        in_business_time,
        ..policy
    })
}

/// Microseconds that pass before an operation; some fall on whole seconds.
fn any_pause() -> impl Strategy<Value = i64> {
    prop_oneof![
        2 => Just(0_i64),
        3 => 0..3_000_000_i64,
        3 => (0..6_i64).prop_map(|s| s * 1_000_000),
        1 => 0..40_000_000_i64,
    ]
}

/// Open and closed by turns, a minute each.
fn week() -> Vec<OpenMinutes> {
    (0..10)
        .map(|nth| OpenMinutes {
            from: START_MINUTE_OF_WEEK + 2 * nth,
            until: START_MINUTE_OF_WEEK + 2 * nth + 1,
        })
        .collect()
}

/// Plays operations and checks the clock after each.
struct Checker {
    clock: Clock,
    now: Timestamp,
    /// Version n has the index n - 1; the last one is in force.
    versions: Vec<InactivityPolicy>,
    is_excluded: bool,
    fired: HashSet<(i32, Stage)>,
    /// When warnings went out.
    warned_at: HashMap<i32, Timestamp>,
    /// A reminder that is kept only as the clock's invariant allows.
    armed: (i64, Option<Timestamp>),
}

impl Checker {
    fn new(policy: &Policy) -> Self {
        let clock = Clock::new();
        Self {
            armed: (clock.generation(), None),
            clock,
            now: at_s(0),
            versions: vec![real_policy(policy, &week())],
            is_excluded: false,
            fired: HashSet::new(),
            warned_at: HashMap::new(),
        }
    }

    fn version(&self) -> i64 {
        i64::try_from(self.versions.len()).expect("few versions")
    }

    fn in_force<'a>(&self, policy: &'a InactivityPolicy) -> InForce<'a> {
        InForce {
            version: self.version(),
            policy,
            is_excluded: self.is_excluded,
        }
    }

    fn policy_of(&self, cycle: Option<&Cycle>) -> Option<InactivityPolicy> {
        let index = usize::try_from(cycle?.policy_version - 1).expect("versions begin at 1");
        self.versions.get(index).cloned()
    }

    /// Returns whether this was a look.
    fn apply(&mut self, operation: &Operation) -> bool {
        let before = self.clock.clone();
        let policy = self.versions[self.versions.len() - 1].clone();
        let running = self.policy_of(self.clock.cycle());
        let in_force = Some(self.in_force(&policy));
        let (now, clock) = (self.now, &mut self.clock);
        // Whether the alerts of the customer's and of the agent's side may fall.
        let may_fall = match operation {
            Operation::Agent => {
                let change = clock.agent_wrote(now, in_force, running.as_ref());
                assert_eq!(clock.agent_cycle(), None);
                check_started(&before, &began_with(&change));
                (false, true)
            }
            Operation::Customer => {
                let change = clock.customer_wrote(now, in_force);
                assert!(clock.state().hold_until.is_none());
                check_started(&before, &began_with(&change));
                (true, false)
            }
            Operation::Closed => {
                clock.closed();
                assert_eq!(
                    clock.next_due_at(),
                    None,
                    "nothing is due of what is closed"
                );
                (true, true)
            }
            Operation::Transferred => {
                clock.transferred();
                (true, true)
            }
            Operation::Hold(us) => {
                clock.hold(now + micros(*us));
                (true, true)
            }
            Operation::Resume => {
                clock.resume(now, in_force);
                (false, false)
            }
            Operation::Saved(policy, applies) => {
                self.versions.push(real_policy(policy, &week()));
                if *applies {
                    self.apply_policy();
                }
                (false, false)
            }
            Operation::Excluded(is_excluded) => {
                self.is_excluded = *is_excluded;
                if let Some(policy) = self.policy_of(self.clock.cycle()) {
                    self.clock.set_excluded(*is_excluded, now, &policy);
                }
                (false, false)
            }
            Operation::PauseAutomation(length) => {
                let until_completed = AutomationPause::UntilCompleted;
                let for_some = |length: i32| AutomationPause::For(seconds(length));
                clock.pause_automation(now, length.map_or(until_completed, for_some));
                (false, false)
            }
            Operation::ResumeAutomation => {
                clock.resume_automation();
                (false, false)
            }
            Operation::Look => {
                let closed = self.look();
                (closed, closed)
            }
            Operation::LookWhenDue => {
                self.now = self.clock.next_due_at().unwrap_or(self.now).max(self.now);
                let closed = self.look();
                (closed, closed)
            }
            Operation::Reported {
                is_old_cycle,
                is_settled,
                ago_us,
            } => {
                let at = now - micros(*ago_us);
                self.reported(*is_old_cycle, *is_settled, at);
                (false, false)
            }
        };
        assert!(may_fall.0 || self.clock.alert() >= before.alert());
        assert!(may_fall.1 || self.clock.agent_alert() >= before.agent_alert());
        self.check_generation(&before);
        self.check_reminder();
        assert_eq!(Clock::from_state(self.clock.state().clone()), self.clock);
        matches!(operation, Operation::Look | Operation::LookWhenDue)
    }

    fn apply_policy(&mut self) {
        let before = self.clock.clone();
        let policy = self.versions[self.versions.len() - 1].clone();
        let in_force = self.in_force(&policy);
        let of_version = |version: i64| policy_by_version(&self.versions, version);
        let applied = self.clock.apply_policy(in_force, of_version, self.now);
        check_started(&before, &applied.started);
        if before.state().hold_until.is_some() {
            assert!(!applied.is_any());
        }
        let olds = [before.cycle(), before.agent_cycle()];
        let news = [self.clock.cycle(), self.clock.agent_cycle()];
        for (old, new) in olds.into_iter().zip(news) {
            let Some(old) = old.filter(|old| applied.recomputed.contains(&old.number)) else {
                continue;
            };
            let new = new.expect("it runs on");
            assert_eq!((old.number, old.anchor_at), (new.number, new.anchor_at));
            assert_eq!((old.kind, old.done), (new.kind, new.done));
        }
        let again = self.clock.clone();
        let of_version = |version: i64| policy_by_version(&self.versions, version);
        let applied = self.clock.apply_policy(in_force, of_version, self.now);
        assert!(!applied.is_any() && self.clock == again, "applied twice");
    }

    /// Returns whether the ticket was closed.
    fn look(&mut self) -> bool {
        let before = self.clock.clone();
        let done = self.advance();
        let expected = match (done.effects.is_empty(), self.clock.next_due_at()) {
            (false, _) => Outcome::Fired,
            (true, Some(_)) => Outcome::NotDue,
            (true, None) => Outcome::Already,
        };
        assert_eq!(done.outcome, expected);
        if before.next_due_at().is_none_or(|at| at > self.now) {
            assert_eq!(done.effects, [], "acted before the clock asked for a look");
        }
        assert!(
            self.clock.next_due_at().is_none_or(|at| at > self.now),
            "a look leaves nothing behind that is due"
        );
        for effect in &done.effects {
            assert!(effect.due_at() <= self.now, "{effect:?} is early");
            match effect {
                Effect::HoldEnded { due_at, started } => {
                    assert_eq!(before.state().hold_until, Some(*due_at));
                    check_started(&before, started);
                }
                Effect::AutomationResumed { due_at } => {
                    assert_eq!(before.state().automation.resumes_at(), Some(*due_at));
                }
                Effect::Stage(fired) => self.check_fired(&before, *fired),
            }
        }
        let has_closed = done.stages().any(|fired| fired.stage == Stage::Close);
        assert_eq!(done.closed.is_some(), has_closed);
        self.armed = (self.clock.generation(), self.clock.next_due_at());

        let after = self.clock.clone();
        assert_eq!(self.advance().effects, [], "twice at one instant");
        assert_eq!(self.clock, after);
        has_closed
    }

    fn advance(&mut self) -> Advance {
        let policy = self.versions[self.versions.len() - 1].clone();
        let (cycle, agent_cycle) = (
            self.policy_of(self.clock.cycle()),
            self.policy_of(self.clock.agent_cycle()),
        );
        let policies = Policies {
            cycle: cycle.as_ref(),
            agent_cycle: agent_cycle.as_ref(),
            in_force: Some(self.in_force(&policy)),
        };
        advance(&mut self.clock, policies, self.now)
    }

    fn check_fired(&mut self, before: &Clock, fired: FiredStage) {
        assert!(
            self.fired.insert((fired.cycle, fired.stage)),
            "{fired:?} again"
        );
        if fired.stage == Stage::Warning {
            self.warned_at.insert(fired.cycle, self.now);
        }
        // A cycle that a hold's end has started in this look is not there before it.
        let running = [before.cycle(), before.agent_cycle(), self.clock.cycle()];
        let running = running
            .into_iter()
            .flatten()
            .chain(self.clock.agent_cycle());
        let Some(cycle) = running.copied().find(|cycle| cycle.number == fired.cycle) else {
            assert_eq!(fired.stage, Stage::Close);
            return;
        };
        assert_eq!(
            (cycle.kind, cycle.policy_version),
            (fired.kind, fired.policy_version)
        );
        let policy = self.policy_of(Some(&cycle)).expect("a known version");
        let alerts = match cycle.kind {
            CycleKind::CustomerSilent => policy.alerts,
            CycleKind::CustomerWaits => None,
            CycleKind::AgentSilent => policy.agent_alerts,
        };
        let configured = match fired.stage {
            Stage::FirstAlert => alerts.map(|alerts| alerts.first),
            Stage::SecondAlert => alerts.map(|alerts| alerts.second),
            Stage::Warning => policy.warning.as_ref().map(|warning| warning.after),
            Stage::Close => policy.auto_close.as_ref().map(|close| close.after),
        };
        let configured = configured.expect("only what is configured fires");
        assert!(fired.due_at >= policy.instant_after(cycle.anchor_at, configured.as_millis()));
        if matches!(fired.stage, Stage::Warning | Stage::Close) {
            assert!(!cycle.is_excluded && cycle.kind != CycleKind::AgentSilent);
        }
        if fired.stage == Stage::Close && policy.warning.is_some() {
            let accepted_at = cycle
                .warning_accepted_at
                .expect("nobody is closed unwarned");
            assert!(self.warned_at.contains_key(&cycle.number));
            assert!(fired.due_at >= accepted_at);
        }
    }

    fn reported(&mut self, is_old_cycle: bool, is_settled: bool, at: Timestamp) {
        let before = self.clock.clone();
        let Some(policy) = self.policy_of(self.clock.cycle()) else {
            return;
        };
        let running = before.cycle().expect("it has a policy").number;
        let cycle = running - i32::from(is_old_cycle);
        let report = if is_settled {
            WarningReport::Settled
        } else {
            WarningReport::Accepted
        };
        let is_news = self
            .clock
            .warning_reported(cycle, report, at, self.now, &policy);
        if !is_news {
            assert_eq!(self.clock, before);
            return;
        }
        assert!(self.warned_at.contains_key(&cycle) && cycle == running);
        let after = self.clock.cycle().expect("it runs on");
        let accepted_at = after.warning_accepted_at.expect("that was the news");
        assert!(
            accepted_at <= self.now || accepted_at <= at,
            "accepted in the future"
        );
        assert!(
            after
                .warning_settled_at
                .is_none_or(|settled_at| settled_at >= accepted_at)
        );
    }

    /// The invariant of the clock, and that it raises the generation for nothing else.
    fn check_generation(&self, before: &Clock) {
        let must_raise = match (before.next_due_at(), self.clock.next_due_at()) {
            (None, Some(_)) => true,
            (Some(old), Some(new)) => new < old,
            (_, None) => false,
        };
        let raised_by = self.clock.generation() - before.generation();
        assert_eq!(
            raised_by,
            i64::from(must_raise),
            "{before:?} {:?}",
            self.clock
        );
    }

    /// A reminder that is set anew only with a new generation is never later than what it reminds of.
    fn check_reminder(&mut self) {
        if self.armed.0 != self.clock.generation() {
            self.armed = (self.clock.generation(), self.clock.next_due_at());
        }
        if let Some(due_at) = self.clock.next_due_at() {
            assert!(
                self.armed
                    .1
                    .is_some_and(|reminder_at| reminder_at <= due_at)
            );
        }
    }
}

fn micros(us: i64) -> SignedDuration {
    SignedDuration::from_micros(us)
}

/// What began in a message's change: with the end of a hold that it found over first.
fn began_with(change: &Change) -> Vec<StartedCycle> {
    let with_hold = change.hold_ended.iter().flat_map(|hold| &hold.started);
    with_hold.chain(&change.started).copied().collect()
}

/// Numbers go up by one.
fn check_started(before: &Clock, started: &[StartedCycle]) {
    let numbers: Vec<i32> = started.iter().map(|started| started.number).collect();
    let expected: Vec<i32> = (before.last_cycle() + 1..).take(numbers.len()).collect();
    assert_eq!(numbers, expected);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_operations_keep_the_invariants(
        policy in mostly_wall_clock(),
        operations in proptest::collection::vec((any_pause(), any_operation()), 1..60)
    ) {
        let mut checker = Checker::new(&policy);
        for (pause_us, operation) in &operations {
            checker.now += micros(*pause_us);
            let generation = checker.clock.generation();
            let is_look = checker.apply(operation);
            if is_look {
                prop_assert_eq!(checker.clock.generation(), generation,
                    "while time runs forward, no look lowers next_due_at");
            }
        }
    }

    /// A database that fails over may set its clock back.
    #[test]
    fn a_clock_that_runs_backwards_breaks_nothing(
        policy in mostly_wall_clock(),
        operations in proptest::collection::vec((-5_000_000..8_000_000_i64, any_operation()), 1..60)
    ) {
        let mut checker = Checker::new(&policy);
        for (pause_us, operation) in &operations {
            checker.now += micros(*pause_us);
            checker.apply(operation);
        }
    }
}
