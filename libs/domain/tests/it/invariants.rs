//! What holds after any operations at any instants, late and wrong reports included.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use plazo_domain::{Alert, Clock, Cycle, FiredStage, InactivityPolicy, Outcome, Stage, advance};
use proptest::prelude::*;

use crate::model::any_times;
use crate::support::{Times, at_ms, at_s};

#[derive(Debug, Clone)]
enum Operation {
    Agent(Times),
    Customer,
    AgentCloses,
    Look,
    /// A look at the very instant that the clock asks for.
    LookWhenDue,
    /// An acceptance of the running cycle or of the one before it, this many microseconds ago (below
    /// zero: ahead).
    Accepted {
        is_old_cycle: bool,
        ago_us: i64,
    },
}

fn any_operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => any_times().prop_map(Operation::Agent),
        1 => Just(Operation::Customer),
        1 => Just(Operation::AgentCloses),
        4 => Just(Operation::Look),
        6 => Just(Operation::LookWhenDue),
        4 => (proptest::bool::weighted(0.1), -1_000_000..15_000_000_i64).prop_map(
            |(is_old_cycle, ago_us)| Operation::Accepted { is_old_cycle, ago_us }
        ),
    ]
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

fn micros(us: i64) -> SignedDuration {
    SignedDuration::from_micros(us)
}

/// Plays operations and checks the clock after each.
struct Checker {
    clock: Clock,
    policy: InactivityPolicy,
    times: Option<Times>,
    now: Timestamp,
    fired: HashSet<(i32, Stage)>,
}

impl Checker {
    fn apply(&mut self, operation: &Operation) {
        let before = self.clock.clone();
        let may_fall = match operation {
            Operation::Agent(times) => {
                self.agent(times);
                false
            }
            Operation::Customer => {
                self.clock.customer_wrote();
                true
            }
            Operation::AgentCloses => {
                self.clock.closed();
                true
            }
            Operation::Look => self.look(),
            Operation::LookWhenDue => {
                self.now = self.clock.next_due_at().unwrap_or(self.now).max(self.now);
                self.look()
            }
            Operation::Accepted {
                is_old_cycle,
                ago_us,
            } => {
                let cycle = self.clock.last_cycle() - i32::from(*is_old_cycle);
                let at = self.now - micros(*ago_us);
                self.accepted(cycle, at);
                false
            }
        };
        self.check_generation(&before);
        assert!(may_fall || self.clock.alert() >= before.alert());
        if may_fall && self.clock.cycle().is_none() {
            assert_eq!(self.clock.alert(), Alert::None);
            assert_eq!(self.clock.next_due_at(), None);
        }
    }

    fn agent(&mut self, times: &Times) {
        let policy = times.policy();
        let number = self.clock.last_cycle() + 1;
        if let Some(started) = self.clock.agent_wrote(self.now, i64::from(number), &policy) {
            assert_eq!(started, number);
            assert_eq!(
                self.clock.cycle().map(|cycle| cycle.anchor_at),
                Some(self.now)
            );
            self.policy = policy;
            self.times = Some(*times);
        }
    }

    /// Returns whether the alert may have fallen.
    fn look(&mut self) -> bool {
        let before = self.clock.clone();
        let done = advance(&mut self.clock, &self.policy, self.now);
        let expected = match (done.fired.is_empty(), self.clock.next_due_at()) {
            (false, _) => Outcome::Fired,
            (true, Some(_)) => Outcome::NotDue,
            (true, None) => Outcome::Already,
        };
        assert_eq!(done.outcome, expected);
        if before.next_due_at().is_none_or(|at| at > self.now) {
            assert_eq!(done.fired, [], "fired before the clock asked for a look");
        }
        assert!(
            self.clock.next_due_at().is_none_or(|at| at > self.now),
            "a look leaves nothing behind that is due"
        );
        for fired in &done.fired {
            let cycle = before.cycle().expect("only a running cycle fires");
            self.check_fired(cycle, *fired);
        }
        assert!(done.fired.is_sorted_by_key(|fired| fired.stage));

        let mut again = self.clock.clone();
        let second = advance(&mut again, &self.policy, self.now);
        assert_eq!(second.fired, []);
        assert_eq!(again, self.clock);
        done.fired.iter().any(|fired| fired.stage == Stage::Close)
    }

    fn check_fired(&mut self, cycle: &Cycle, fired: FiredStage) {
        assert!(fired.due_at <= self.now, "{fired:?} is early");
        assert!(
            self.fired.insert((cycle.number, fired.stage)),
            "{fired:?} again"
        );
        let times = self.times.expect("a cycle has times");
        let configured_s = match fired.stage {
            Stage::FirstAlert => times.alerts.map(|(first, _)| first),
            Stage::SecondAlert => times.alerts.map(|(_, second)| second),
            Stage::Warning => times.warning,
            Stage::Close => times.close,
        };
        let configured_s = i64::from(configured_s.expect("only what is configured fires"));
        assert!(fired.due_at >= cycle.anchor_at + SignedDuration::from_secs(configured_s));
        if let (Stage::Close, Some(warning)) = (fired.stage, times.warning) {
            let accepted_at = cycle
                .warning_accepted_at
                .expect("nobody is closed unwarned");
            assert!(self.fired.contains(&(cycle.number, Stage::Warning)));
            assert!(fired.due_at >= accepted_at);
            let late = accepted_at.duration_since(cycle.anchor_at)
                - SignedDuration::from_secs(warning.into());
            let gap = SignedDuration::from_secs(configured_s - i64::from(warning));
            // Two milliseconds for rounding.
            if late > SignedDuration::from_millis(1_002) {
                assert!(fired.due_at >= accepted_at + gap);
            }
        }
    }

    fn accepted(&mut self, cycle: i32, at: Timestamp) {
        let before = self.clock.clone();
        let is_news = self
            .clock
            .warning_accepted(cycle, at, self.now, &self.policy);
        if !is_news {
            assert_eq!(self.clock, before);
            return;
        }
        let running = self.clock.cycle().expect("only a running cycle has news");
        assert!(self.fired.contains(&(cycle, Stage::Warning)));
        assert_eq!(
            before.cycle().and_then(|cycle| cycle.warning_accepted_at),
            None
        );
        let warning_s = self
            .times
            .and_then(|times| times.warning)
            .expect("it warns");
        let warned_at = running.anchor_at + SignedDuration::from_secs(warning_s.into());
        let accepted_at = running.warning_accepted_at.expect("that was the news");
        assert!(accepted_at >= warned_at);
        // One millisecond for rounding.
        let latest = self.now.max(warned_at + SignedDuration::from_millis(1));
        assert!(accepted_at <= latest, "accepted in the future");
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
}

fn checker() -> Checker {
    Checker {
        clock: Clock::new(),
        policy: InactivityPolicy::default(),
        times: None,
        now: at_s(0),
        fired: HashSet::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_operations_keep_the_invariants(
        operations in proptest::collection::vec((any_pause(), any_operation()), 1..60)
    ) {
        let mut checker = checker();
        for (pause_us, operation) in &operations {
            checker.now += micros(*pause_us);
            let generation = checker.clock.generation();
            checker.apply(operation);
            if matches!(operation, Operation::Look | Operation::LookWhenDue) {
                prop_assert_eq!(checker.clock.generation(), generation,
                    "while time runs forward, no look lowers next_due_at");
            }
        }
    }

    /// A database that fails over may set its clock back.
    #[test]
    fn a_clock_that_runs_backwards_breaks_nothing(
        operations in proptest::collection::vec((-5_000_000..8_000_000_i64, any_operation()), 1..60)
    ) {
        let mut checker = checker();
        for (pause_us, operation) in &operations {
            checker.now += micros(*pause_us);
            checker.apply(operation);
        }
    }
}

#[test]
fn a_new_ticket_has_nothing_due_and_its_first_start_is_generation_2() {
    let mut clock = Clock::new();
    assert_eq!((clock.generation(), clock.next_due_at()), (1, None));
    let policy = crate::support::EXAMPLE.policy();
    assert_eq!(clock.agent_wrote(at_s(0), 7, &policy), Some(1));
    assert_eq!(clock.generation(), 2);
    assert_eq!(clock.next_due_at(), Some(at_s(10)));
    assert_eq!(clock.cycle().map(|cycle| cycle.policy_version), Some(7));

    // A further message only postpones, an answer only ends: the generation stays.
    assert_eq!(clock.agent_wrote(at_s(8), 7, &policy), Some(2));
    assert_eq!(
        (clock.generation(), clock.next_due_at()),
        (2, Some(at_s(18)))
    );
    assert_eq!(clock.customer_wrote(), None);
    assert_eq!((clock.generation(), clock.next_due_at()), (2, None));
    clock.agent_wrote(at_s(9), 7, &policy);
    assert_eq!(
        (clock.generation(), clock.next_due_at()),
        (3, Some(at_s(19)))
    );
    assert_eq!(Clock::from_state(clock.state().clone()), clock);
}

#[test]
fn a_late_report_brings_the_close_forward_with_a_new_generation() {
    let policy = crate::support::EXAMPLE.policy();
    let mut clock = Clock::new();
    clock.agent_wrote(at_s(0), 1, &policy);
    advance(&mut clock, &policy, at_s(25));
    advance(&mut clock, &policy, at_s(30));
    assert_eq!(
        (clock.generation(), clock.next_due_at()),
        (2, Some(at_s(35)))
    );
    assert!(!clock.warning_accepted(2, at_s(25), at_s(31), &policy));
    assert!(clock.warning_accepted(1, at_s(25), at_s(31), &policy));
    assert_eq!(
        (clock.generation(), clock.next_due_at()),
        (3, Some(at_s(30)))
    );
    assert!(!clock.warning_accepted(1, at_s(26), at_s(32), &policy));
    let closed = advance(&mut clock, &policy, at_s(32));
    assert_eq!(
        closed.fired,
        [FiredStage {
            stage: Stage::Close,
            due_at: at_s(30)
        }]
    );
    assert_eq!(clock.cycle(), None);
    assert_eq!(
        advance(&mut clock, &policy, at_s(33)).outcome,
        Outcome::Already
    );
}

#[test]
fn an_acceptance_before_the_warning_is_no_news_and_its_instant_is_bounded() {
    let policy = crate::support::EXAMPLE.policy();
    let accepted = |at: Timestamp, now: Timestamp| {
        let mut clock = Clock::new();
        clock.agent_wrote(at_s(0), 1, &policy);
        assert!(!clock.warning_accepted(1, at_s(24), at_s(24), &policy));
        advance(&mut clock, &policy, at_s(25));
        assert!(clock.warning_accepted(1, at, now, &policy));
        clock.cycle().and_then(|cycle| cycle.warning_accepted_at)
    };
    assert_eq!(accepted(at_s(3), at_s(26)), Some(at_s(25)));
    assert_eq!(accepted(at_s(99), at_s(28)), Some(at_s(28)));
    assert_eq!(accepted(at_s(27), at_s(28)), Some(at_s(27)));
}

#[test]
fn a_close_that_only_lacks_its_acceptance_is_looked_at_again_soon() {
    let times = Times {
        warning: Some(29),
        ..crate::support::EXAMPLE
    };
    let policy = times.policy();
    let mut clock = Clock::new();
    clock.agent_wrote(at_s(0), 1, &policy);
    advance(&mut clock, &policy, at_s(29));
    assert_eq!(clock.next_due_at(), Some(at_s(30)));
    assert_eq!(
        advance(&mut clock, &policy, at_s(30)).outcome,
        Outcome::NotDue
    );
    assert_eq!(clock.next_due_at(), Some(at_ms(30_050)));
    advance(&mut clock, &policy, at_ms(30_050));
    assert_eq!(clock.next_due_at(), Some(at_ms(31_050)));
}

#[test]
fn a_policy_without_stages_ends_the_cycle_and_keeps_the_alert() {
    let policy = crate::support::EXAMPLE.policy();
    let mut clock = Clock::new();
    clock.agent_wrote(at_s(0), 1, &policy);
    advance(&mut clock, &policy, at_s(10));
    assert_eq!(
        clock.agent_wrote(at_s(11), 2, &InactivityPolicy::default()),
        None
    );
    assert_eq!(clock.cycle(), None);
    assert_eq!(clock.next_due_at(), None);
    assert_eq!(clock.alert(), Alert::Yellow);
    assert_eq!(clock.customer_wrote(), Some(Alert::Yellow));
}
