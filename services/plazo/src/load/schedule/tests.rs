//! Shapes, and that the seed alone decides.

use std::time::Duration;

use super::*;
use crate::load::caller::Credentials;
use crate::load::options::Target;

pub(in crate::load) fn options(shape: Shape, tickets: u32, rate: f64) -> LoadOptions {
    LoadOptions {
        credentials: Credentials::default(),
        target: Target::Private,
        shape,
        rate,
        rate_to: rate * 3.0,
        tickets,
        ahead: Duration::from_millis(500),
        tenants: 10,
        seed: 7,
        batch: 256,
        in_flight: 32,
        grace: Duration::from_secs(2),
        lease: Duration::from_secs(30),
        delay: Duration::ZERO,
        under_faults: false,
        output: None,
        json: false,
        quiet: true,
    }
}

fn due_between(schedule: &Schedule, from_ms: u32, to_ms: u32) -> usize {
    let is_between = |step: &&Step| (from_ms..to_ms).contains(&step.due_ms);
    schedule.steps.iter().filter(is_between).count()
}

#[test]
fn a_steady_rate_is_steady() {
    let schedule = Schedule::new(&options(Shape::Steady, 2_000, 1_000.0));
    assert!(schedule.steps.is_sorted_by_key(|step| step.at_ms));
    for start in (500..2_500).step_by(100) {
        let count = due_between(&schedule, start, start + 100);
        assert!((98..=102).contains(&count), "{count} at {start}");
    }
    assert!(
        schedule
            .steps
            .iter()
            .all(|step| step.due_ms == step.at_ms + 500)
    );
}

#[test]
fn the_seed_alone_decides() {
    let first = Schedule::new(&options(Shape::Churn, 500, 1_000.0));
    let again = Schedule::new(&options(Shape::Churn, 500, 1_000.0));
    assert_eq!(first.steps, again.steps);
    assert_eq!(first.tenants, again.tenants);
    let other = LoadOptions {
        seed: 8,
        ..options(Shape::Churn, 500, 1_000.0)
    };
    assert_ne!(first.steps, Schedule::new(&other).steps);
}

#[test]
fn a_burst_is_due_at_one_instant_after_all_are_armed() {
    let schedule = Schedule::new(&options(Shape::Burst, 1_000, 1_000.0));
    assert!(schedule.steps.iter().all(|step| step.due_ms == 1_500));
    assert!(schedule.steps.iter().all(|step| step.at_ms <= 1_000));
}

#[test]
fn a_ramp_ends_at_three_times_its_first_rate() {
    // 4,000 tickets at 1,000/s to 3,000/s take two seconds.
    let schedule = Schedule::new(&options(Shape::Ramp, 4_000, 1_000.0));
    for (from_ms, expected) in [(0, 105), (1_000, 205), (1_900, 295)] {
        let count = due_between(&schedule, 500 + from_ms, 600 + from_ms);
        assert!(count.abs_diff(expected) <= 5, "{count} from {from_ms}");
    }
    assert!(schedule.last_due_ms <= 2_500);
}

#[test]
fn churn_has_every_change_and_only_postpones_to_later() {
    let schedule = Schedule::new(&options(Shape::Churn, 1_000, 1_000.0));
    let mut due = vec![0; 1_000];
    let mut counts = [0_u32; 4];
    for step in &schedule.steps {
        let old = &mut due[step.ticket() as usize];
        match step.change() {
            Change::Arm => assert_eq!(*old, 0),
            Change::Postpone => assert!(step.due_ms > *old),
            Change::Answer | Change::Rearm => assert!(*old > step.at_ms),
        }
        *old = step.due_ms;
        counts[step.change() as usize] += 1;
    }
    assert_eq!(counts[0], 1_000);
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
}

#[test]
fn one_tenant_holds_nine_tenths_of_a_skewed_load() {
    let schedule = Schedule::new(&options(Shape::Skewed, 10_000, 10_000.0));
    let is_large = |tenant: &&u16| **tenant == LARGE_TENANT;
    let large = schedule.tenants.iter().filter(is_large).count();
    assert!((8_800..9_200).contains(&large), "{large}");
    let at_once = due_between(&schedule, 1_000, 1_001);
    assert!(at_once >= large, "{at_once} of {large}");
    assert!(schedule.steps.is_sorted_by_key(|step| step.at_ms));
}

#[test]
fn what_can_not_be_done_is_refused() {
    let fine = options(Shape::Skewed, 10, 1.0);
    fine.validate().expect("it can be done");
    let wrong = [
        LoadOptions {
            rate: 0.0,
            ..fine.clone()
        },
        LoadOptions {
            tenants: 1,
            ..fine.clone()
        },
        LoadOptions {
            tickets: 0,
            ..fine.clone()
        },
        LoadOptions {
            batch: 1_001,
            ..fine.clone()
        },
        LoadOptions {
            rate: 0.001,
            tickets: 1_000_000,
            ..fine.clone()
        },
        LoadOptions {
            credentials: Credentials::default(),
            target: Target::PrivateTicketing,
            ..fine
        },
    ];
    for options in wrong {
        let problem = options.validate().expect_err("it can't be done");
        assert!(problem.to_string().starts_with("--"), "{problem}");
    }
}
