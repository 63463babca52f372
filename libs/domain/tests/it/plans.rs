//! Instants of stages: rounding, ties, and where the close stands.

use jiff::{SignedDuration, Timestamp};
use plazo_domain::{Anchor, Cycle, CycleKind, InactivityPolicy, Stage, StageSet, plan};

use crate::support::{EXAMPLE, Times, at_ms, at_s, seconds};
use Stage::{Close, FirstAlert, SecondAlert, Warning};

fn cycle(kind: CycleKind, anchor_at: Timestamp) -> Cycle {
    Cycle {
        number: 1,
        kind,
        anchor_at,
        policy_version: 1,
        done: StageSet::EMPTY,
        is_excluded: false,
        warning_accepted_at: None,
        warning_settled_at: None,
        changed_at: None,
        due_at: None,
    }
}

fn silent() -> Cycle {
    cycle(CycleKind::CustomerSilent, at_s(0))
}

fn accepted(at: Timestamp) -> Cycle {
    Cycle {
        warning_accepted_at: Some(at),
        ..silent()
    }
}

fn times(alerts: Option<(i32, i32)>, warning: Option<i32>, close: Option<i32>) -> Times {
    Times {
        anchor: Anchor::LastMessage,
        alerts,
        close,
        warning,
    }
}

/// The stages with their milliseconds from the opening.
fn stages(policy: &InactivityPolicy, cycle: &Cycle, now_ms: i64) -> Vec<(Stage, i64)> {
    plan(cycle, policy)
        .stages(at_ms(now_ms))
        .into_iter()
        .map(|planned| {
            let millis = planned.due_at.as_millisecond() - at_s(0).as_millisecond();
            (planned.stage, millis)
        })
        .collect()
}

#[test]
fn each_kind_of_cycle_has_its_stages() {
    let mut policy = EXAMPLE.policy();
    policy.agent_alerts = Some(plazo_domain::Alerts {
        first: seconds(3),
        second: seconds(4),
    });
    let warned = [(Warning, 25_000), (Close, 30_000)];
    let alerts = [(FirstAlert, 10_000), (SecondAlert, 20_000)];
    assert_eq!(stages(&policy, &silent(), 0), [alerts, warned].concat());
    let waits = cycle(CycleKind::CustomerWaits, at_s(0));
    assert_eq!(stages(&policy, &waits, 0), warned);
    let agent = cycle(CycleKind::AgentSilent, at_s(0));
    assert_eq!(
        stages(&policy, &agent, 0),
        [(FirstAlert, 3_000), (SecondAlert, 4_000)]
    );
    let excluded = Cycle {
        is_excluded: true,
        ..silent()
    };
    assert_eq!(stages(&policy, &excluded, 0), alerts);
}

#[test]
fn all_stages_count_from_the_anchor() {
    let warned_early = times(Some((10, 20)), Some(5), Some(30)).policy();
    assert_eq!(
        stages(&warned_early, &silent(), 0),
        [
            (Warning, 5_000),
            (FirstAlert, 10_000),
            (SecondAlert, 20_000),
            (Close, 30_000)
        ]
    );
}

#[test]
fn of_two_stages_at_one_instant_the_higher_stays() {
    for (times, expected) in [
        (
            times(Some((10, 25)), Some(25), Some(30)),
            &[(FirstAlert, 10_000), (Warning, 25_000), (Close, 30_000)][..],
        ),
        (
            times(Some((10, 20)), Some(10), Some(30)),
            &[(Warning, 10_000), (SecondAlert, 20_000), (Close, 30_000)],
        ),
        (
            times(Some((10, 30)), None, Some(30)),
            &[(FirstAlert, 10_000), (Close, 30_000)],
        ),
    ] {
        assert_eq!(stages(&times.policy(), &silent(), 0), expected);
    }
}

#[test]
fn a_red_alert_returns_when_the_close_moves_away() {
    let red_at_close = times(Some((10, 30)), Some(25), Some(30)).policy();
    assert_eq!(
        stages(&red_at_close, &accepted(at_s(27)), 27_000),
        [
            (FirstAlert, 10_000),
            (Warning, 25_000),
            (SecondAlert, 30_000),
            (Close, 32_000)
        ]
    );
}

#[test]
fn deadlines_round_up_to_whole_milliseconds() {
    let cycle = Cycle {
        anchor_at: at_s(0) + SignedDuration::from_micros(1),
        warning_accepted_at: Some(at_ms(40_000) + SignedDuration::from_nanos(1)),
        ..silent()
    };
    let policy = EXAMPLE.policy();
    let plan = plan(&cycle, &policy);
    let instants: Vec<_> = plan
        .stages(at_s(0))
        .into_iter()
        .map(|planned| planned.due_at)
        .collect();
    assert_eq!(
        instants,
        [at_ms(10_001), at_ms(20_001), at_ms(25_001), at_ms(45_001)]
    );
}

#[test]
fn only_a_warning_more_than_a_second_late_moves_the_close() {
    let policy = EXAMPLE.policy();
    for (accepted_ms, close_ms) in [
        (25_000, 30_000),
        (26_000, 30_000),
        (26_001, 31_001),
        (60_000, 65_000),
    ] {
        let cycle = accepted(at_ms(accepted_ms));
        assert_eq!(plan(&cycle, &policy).close_at(), Some(at_ms(close_ms)));
    }
}

#[test]
fn a_close_that_waits_is_no_earlier_than_an_acceptance_now_allows() {
    let policy = EXAMPLE.policy();
    let cycle = silent();
    let waiting = plan(&cycle, &policy);
    assert_eq!(waiting.close_at(), None);
    assert!(waiting.awaits_acceptance());
    for (now_ms, expected_ms) in [
        (0, 30_000),
        (26_000, 30_000),
        (26_001, 31_001),
        (30_000, 35_000),
        (60_000, 65_000),
    ] {
        let close = stages(&policy, &cycle, now_ms).last().copied();
        assert_eq!(close, Some((Close, expected_ms)));
    }

    let unwarned = times(None, None, Some(30)).policy();
    let plan = plan(&cycle, &unwarned);
    assert_eq!(plan.close_at(), Some(at_s(30)));
    assert!(!plan.awaits_acceptance());
}

#[test]
fn where_the_delivery_counts_the_close_stands_at_the_end_of_the_longest_wait() {
    let mut policy = EXAMPLE.policy();
    if let Some(close) = &mut policy.auto_close {
        close.max_delivery_wait = Some(seconds(7));
    }
    for (accepted_s, settled_s, close_s) in [
        (25, None, 37),
        (25, Some(26), 30),
        (25, Some(29), 34),
        (25, Some(90), 37),
        (40, None, 52),
        (40, Some(40), 45),
    ] {
        let cycle = Cycle {
            warning_settled_at: settled_s.map(at_s),
            ..accepted(at_s(accepted_s))
        };
        assert_eq!(plan(&cycle, &policy).close_at(), Some(at_s(close_s)));
    }
}
