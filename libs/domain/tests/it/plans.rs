//! Instants of stages: rounding, ties, and where the close stands.

use jiff::Timestamp;
use plazo_domain::{Anchor, CloseAt, Cycle, Stage, StageSet, plan};

use crate::support::{EXAMPLE, Times, at_ms, at_s};
use Stage::{Close, FirstAlert, SecondAlert, Warning};

fn cycle(anchor_at: Timestamp, accepted_at: Option<Timestamp>) -> Cycle {
    Cycle {
        number: 1,
        anchor_at,
        policy_version: 1,
        done: StageSet::EMPTY,
        warning_accepted_at: accepted_at,
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
fn stages(times: Times, accepted_ms: Option<i64>, now_ms: i64) -> Vec<(Stage, i64)> {
    let cycle = cycle(at_s(0), accepted_ms.map(at_ms));
    plan(&cycle, &times.policy())
        .stages(at_ms(now_ms))
        .into_iter()
        .map(|planned| {
            let millis = planned.due_at.as_millisecond() - at_s(0).as_millisecond();
            (planned.stage, millis)
        })
        .collect()
}

#[test]
fn all_stages_count_from_the_anchor() {
    assert_eq!(
        stages(EXAMPLE, None, 0),
        [
            (FirstAlert, 10_000),
            (SecondAlert, 20_000),
            (Warning, 25_000),
            (Close, 30_000)
        ]
    );
    let warned_early = times(Some((10, 20)), Some(5), Some(30));
    assert_eq!(
        stages(warned_early, None, 0),
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
    let red_at_warning = times(Some((10, 25)), Some(25), Some(30));
    assert_eq!(
        stages(red_at_warning, None, 0),
        [(FirstAlert, 10_000), (Warning, 25_000), (Close, 30_000)]
    );
    let yellow_at_warning = times(Some((10, 20)), Some(10), Some(30));
    assert_eq!(
        stages(yellow_at_warning, None, 0),
        [(Warning, 10_000), (SecondAlert, 20_000), (Close, 30_000)]
    );
    let red_at_close = times(Some((10, 30)), None, Some(30));
    assert_eq!(
        stages(red_at_close, None, 0),
        [(FirstAlert, 10_000), (Close, 30_000)]
    );
}

#[test]
fn a_red_alert_returns_when_the_close_moves_away() {
    let red_at_close = times(Some((10, 30)), Some(25), Some(30));
    assert_eq!(
        stages(red_at_close, Some(27_000), 27_000),
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
    let anchor_at = at_s(0) + jiff::SignedDuration::from_micros(1);
    let accepted_at = at_ms(40_000) + jiff::SignedDuration::from_nanos(1);
    let plan = plan(&cycle(anchor_at, Some(accepted_at)), &EXAMPLE.policy());
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
    let close_ms = |accepted_ms| stages(EXAMPLE, Some(accepted_ms), 0).last().copied();
    assert_eq!(close_ms(25_000), Some((Close, 30_000)));
    assert_eq!(close_ms(26_000), Some((Close, 30_000)));
    assert_eq!(close_ms(26_001), Some((Close, 31_001)));
    assert_eq!(close_ms(60_000), Some((Close, 65_000)));
}

#[test]
fn a_close_that_waits_is_no_earlier_than_an_acceptance_now_allows() {
    let policy = EXAMPLE.policy();
    let close = plan(&cycle(at_s(0), None), &policy)
        .close()
        .expect("the policy closes");
    assert_eq!(
        close,
        CloseAt::AfterWarning {
            warning_due_at: at_s(25),
            configured_at: at_s(30),
            gap_ms: 5_000
        }
    );
    assert_eq!(close.known(), None);
    for (now_ms, expected_ms) in [
        (0, 30_000),
        (26_000, 30_000),
        (26_001, 31_001),
        (30_000, 35_000),
        (60_000, 65_000),
    ] {
        assert_eq!(close.earliest(at_ms(now_ms)), at_ms(expected_ms));
    }

    let unwarned = times(None, None, Some(30)).policy();
    let close = plan(&cycle(at_s(0), None), &unwarned).close();
    assert_eq!(close, Some(CloseAt::At(at_s(30))));
}
