//! Single changes of the clock: its generation, its next instant, and what it reports.

use jiff::Timestamp;
use plazo_domain::{
    Advance, Alert, Anchor, Automation, Change, Clock, ClockState, CycleKind, InForce,
    InactivityPolicy, Outcome, Policies, Stage, StartedCycle, Turn, WarningReport, advance,
};

use crate::support::{EXAMPLE, at_ms, at_s, seconds};

/// The policy of the examples as the one in force, and for all that runs.
struct Example(InactivityPolicy);

impl Example {
    fn in_force(&self) -> InForce<'_> {
        InForce {
            version: 1,
            policy: &self.0,
            is_excluded: false,
        }
    }

    fn look(&self, clock: &mut Clock, at: Timestamp) -> Advance {
        let policies = Policies {
            cycle: Some(&self.0),
            agent_cycle: Some(&self.0),
            in_force: Some(self.in_force()),
        };
        advance(clock, policies, at)
    }

    fn accepted(&self, clock: &mut Clock, cycle: i32, at: Timestamp, now: Timestamp) -> bool {
        clock.warning_reported(cycle, WarningReport::Accepted, at, now, &self.0)
    }
}

#[test]
fn a_new_ticket_has_nothing_due_and_its_first_start_is_generation_2() {
    let example = Example(EXAMPLE.policy());
    let mut clock = Clock::new();
    let seen = |clock: &Clock| (clock.generation(), clock.next_due_at());
    assert_eq!(seen(&clock), (1, None));
    clock.agent_wrote(at_s(0), Some(example.in_force()), Some(&example.0));
    assert_eq!(seen(&clock), (2, Some(at_s(10))));

    // A further message only postpones, an answer only ends: the generation stays.
    clock.agent_wrote(at_s(8), Some(example.in_force()), Some(&example.0));
    assert_eq!(seen(&clock), (2, Some(at_s(18))));
    clock.customer_wrote(at_s(8), Some(example.in_force()));
    assert_eq!(seen(&clock), (2, None));
    clock.agent_wrote(at_s(9), Some(example.in_force()), Some(&example.0));
    assert_eq!(seen(&clock), (3, Some(at_s(19))));
    // A hold that ends sooner than the next stage comes brings it forward.
    clock.hold(at_s(12));
    assert_eq!(seen(&clock), (4, Some(at_s(12))));
}

#[test]
fn a_late_report_brings_the_close_forward_with_a_new_generation() {
    let example = Example(EXAMPLE.policy());
    let mut clock = Clock::new();
    clock.agent_wrote(at_s(0), Some(example.in_force()), Some(&example.0));
    example.look(&mut clock, at_s(25));
    example.look(&mut clock, at_s(30));
    assert_eq!(
        (clock.generation(), clock.next_due_at()),
        (2, Some(at_s(35)))
    );
    assert!(!example.accepted(&mut clock, 2, at_s(25), at_s(31)));
    assert!(example.accepted(&mut clock, 1, at_s(27), at_s(31)));
    assert_eq!(
        (clock.generation(), clock.next_due_at()),
        (3, Some(at_s(32)))
    );
    assert!(
        !example.accepted(&mut clock, 1, at_s(28), at_s(31)),
        "a later instant"
    );
    assert!(
        example.accepted(&mut clock, 1, at_s(25), at_s(31)),
        "an earlier one"
    );
    assert_eq!(
        (clock.generation(), clock.next_due_at()),
        (4, Some(at_s(30)))
    );
    let closed = example.look(&mut clock, at_s(32));
    let stages: Vec<_> = closed
        .stages()
        .map(|fired| (fired.stage, fired.due_at))
        .collect();
    assert_eq!(stages, [(Stage::Close, at_s(30))]);
    assert_eq!(clock.cycle(), None);
    assert_eq!(example.look(&mut clock, at_s(33)).outcome, Outcome::Already);
}

#[test]
fn an_acceptance_before_the_warning_is_no_news_and_its_instant_is_bounded() {
    let example = Example(EXAMPLE.policy());
    let accepted = |at: Timestamp, now: Timestamp| {
        let mut clock = Clock::new();
        clock.agent_wrote(at_s(0), Some(example.in_force()), Some(&example.0));
        assert!(!example.accepted(&mut clock, 1, at_s(24), at_s(24)));
        example.look(&mut clock, at_s(25));
        assert!(example.accepted(&mut clock, 1, at, now));
        clock.cycle().and_then(|cycle| cycle.warning_accepted_at)
    };
    assert_eq!(accepted(at_s(3), at_s(26)), Some(at_s(25)));
    assert_eq!(accepted(at_s(99), at_s(28)), Some(at_s(28)));
    assert_eq!(accepted(at_s(27), at_s(28)), Some(at_s(27)));
}

#[test]
fn a_close_that_only_lacks_its_acceptance_is_looked_at_again_soon() {
    let mut policy = EXAMPLE.policy();
    policy.warning.as_mut().expect("it warns").after = seconds(29);
    let example = Example(policy);
    let mut clock = Clock::new();
    clock.agent_wrote(at_s(0), Some(example.in_force()), Some(&example.0));
    example.look(&mut clock, at_s(29));
    assert_eq!(clock.next_due_at(), Some(at_s(30)));
    assert_eq!(example.look(&mut clock, at_s(30)).outcome, Outcome::NotDue);
    assert_eq!(clock.next_due_at(), Some(at_ms(30_050)));
    example.look(&mut clock, at_ms(30_050));
    assert_eq!(clock.next_due_at(), Some(at_ms(31_050)));
}

#[test]
fn a_hold_that_is_resumed_after_its_end_counts_from_its_end() {
    let example = Example(EXAMPLE.policy());
    let mut clock = Clock::new();
    clock.agent_wrote(at_s(0), Some(example.in_force()), Some(&example.0));
    clock.hold(at_s(10));
    assert!(!clock.is_hold_over(at_s(9)) && clock.is_hold_over(at_s(10)));
    let started = clock
        .resume(at_s(15), Some(example.in_force()))
        .expect("it is on hold");
    assert_eq!(
        started.iter().map(|it| it.anchor_at).collect::<Vec<_>>(),
        [at_s(10)]
    );
    assert_eq!(clock.resume(at_s(16), Some(example.in_force())), None);
}

#[test]
fn what_begins_with_the_end_of_a_hold_is_not_told_as_the_messages_that_finds_it_over() {
    type Write = fn(&mut Clock, Timestamp, InForce<'_>) -> Change;
    let agent: Write = |clock, at, it| clock.agent_wrote(at, Some(it), Some(it.policy));
    let customer: Write = |clock, at, it| clock.customer_wrote(at, Some(it));
    let mut policy = EXAMPLE.policy();
    policy.agent_alerts = policy.alerts;
    let mut from_the_first = policy.clone();
    from_the_first.anchor = Anchor::FirstMessage;
    // Who wrote before the hold, and who finds it over; what began with its end, and with the message.
    let silent = |number, at: i64| (number, CycleKind::CustomerSilent, at_s(at));
    let agents = |number, at: i64| (number, CycleKind::AgentSilent, at_s(at));
    let cases = [
        (
            &policy,
            agent,
            agent,
            vec![silent(2, 10)],
            vec![silent(3, 15)],
        ),
        (
            &policy,
            agent,
            customer,
            vec![silent(2, 10)],
            vec![agents(3, 15)],
        ),
        (
            &policy,
            customer,
            agent,
            vec![agents(2, 10)],
            vec![silent(3, 15)],
        ),
        // Not his first unanswered one.
        (&policy, customer, customer, vec![agents(2, 10)], vec![]),
        (&from_the_first, agent, agent, vec![silent(2, 10)], vec![]),
    ];
    let told = |started: &[StartedCycle]| -> Vec<_> {
        let started = started.iter();
        started
            .map(|it| (it.number, it.kind, it.anchor_at))
            .collect()
    };
    for (policy, before, finder, with_hold, with_message) in cases {
        let example = Example(policy.clone());
        let mut clock = Clock::new();
        before(&mut clock, at_s(0), example.in_force());
        clock.hold(at_s(10));
        let change = finder(&mut clock, at_s(15), example.in_force());
        let hold = change.hold_ended.expect("it is found over");
        assert_eq!((hold.due_at, told(&hold.started)), (at_s(10), with_hold));
        assert_eq!(told(&change.started), with_message);
    }

    // Before its end: the customer ends it, and nothing counts from there.
    let example = Example(policy);
    let mut clock = Clock::new();
    agent(&mut clock, at_s(0), example.in_force());
    clock.hold(at_s(10));
    let written = agent(&mut clock, at_s(8), example.in_force());
    assert_eq!((written.hold_ended, written.started), (None, vec![]));
    let answered = customer(&mut clock, at_s(9), example.in_force());
    let hold = answered.hold_ended.expect("it ends");
    assert_eq!((hold.due_at, hold.started), (at_s(10), vec![]));
    assert_eq!(told(&answered.started), [agents(2, 9)]);
}

#[test]
fn without_any_policy_nothing_counts_and_the_alert_stays() {
    let example = Example(EXAMPLE.policy());
    let mut clock = Clock::new();
    clock.agent_wrote(at_s(0), Some(example.in_force()), Some(&example.0));
    example.look(&mut clock, at_s(10));
    assert_eq!(
        clock.agent_wrote(at_s(11), None, Some(&example.0)).started,
        []
    );
    assert_eq!((clock.cycle(), clock.next_due_at()), (None, None));
    assert_eq!(clock.alert(), Alert::Yellow);
    let change = clock.customer_wrote(at_s(12), None);
    assert_eq!(change.removed.alert, Alert::Yellow);
    assert!(change.removed.is_any());
}

type StateChange = fn(&mut ClockState);

#[test]
fn alerts_change_stages_and_what_is_due_and_nothing_else() {
    let example = Example(EXAMPLE.policy());
    let mut clock = Clock::new();
    clock.agent_wrote(at_s(0), Some(example.in_force()), Some(&example.0));
    let before = clock.clone();
    assert!(before.differs_in_alerts_only(&before));
    let fired = example.look(&mut clock, at_s(10));
    assert_eq!(fired.outcome, Outcome::Fired);
    assert_eq!(clock.alert(), Alert::Yellow);
    assert_ne!(clock, before);
    assert!(clock.differs_in_alerts_only(&before));

    let others: [(&str, StateChange); 8] = [
        ("generation", |state| state.generation += 1),
        ("last_cycle", |state| state.last_cycle += 1),
        ("turn", |state| state.turn = Turn::Nobody),
        ("agent_has_written", |state| state.agent_has_written = false),
        ("hold_until", |state| state.hold_until = Some(at_s(99))),
        ("automation", |state| {
            state.automation = Automation::PausedUntilCompleted;
        }),
        ("cycle", |state| state.cycle = None),
        ("policy_version", |state| {
            state.cycle.as_mut().expect("it runs").policy_version += 1;
        }),
    ];
    for (field, change) in others {
        let mut state = clock.state().clone();
        change(&mut state);
        let changed = Clock::from_state(state);
        assert!(!changed.differs_in_alerts_only(&before), "{field}");
    }
}
