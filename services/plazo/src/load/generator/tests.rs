//! The schedule is kept, and where it isn't, that is said.

use std::sync::Mutex;

use super::*;
use crate::load::options::Shape;
use crate::load::schedule::tests::options;

fn schedule() -> Schedule {
    Schedule::new(&options(Shape::Steady, 100, 1_000.0))
}

#[tokio::test]
async fn nothing_is_done_before_its_instant_and_nothing_waits_for_answers() {
    let schedule = schedule();
    let start = Instant::now();
    let done = Arc::new(Mutex::new(Vec::new()));
    let pace = Pace {
        batch: 10,
        in_flight: 100,
    };
    let act = |steps: Vec<Step>, permit| {
        let done = Arc::clone(&done);
        async move {
            let at_ms = start.elapsed().as_millis();
            let steps = steps.iter().map(|step| (*step, at_ms));
            done.lock().expect("nobody panics").extend(steps);
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(permit);
        }
    };
    let kept = drive(&schedule, start, pace, &CancellationToken::new(), act).await;
    let done = done.lock().expect("nobody panics");
    assert_eq!(done.len(), 100);
    for (step, at_ms) in done.iter() {
        let late = at_ms.checked_sub(step.at_ms.into());
        assert!(late.is_some(), "{step:?} at {at_ms}");
    }
    assert_eq!(kept.done, 100);
    // Each call takes a second, and a busy machine may take its time; but nobody waits for the calls.
    assert!(kept.worst_ms < 1_000, "{kept:?}");
}

#[tokio::test]
async fn what_finds_no_slot_is_late_and_is_counted() {
    let schedule = schedule();
    let pace = Pace {
        batch: 10,
        in_flight: 1,
    };
    let act = |_, permit| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(permit);
    };
    let stop = CancellationToken::new();
    let kept = drive(&schedule, Instant::now(), pace, &stop, act).await;
    // Ten a call, twenty calls a second: the last is done after half a second instead of a tenth.
    assert_eq!(kept.done, 100);
    assert!(kept.late > 80, "{kept:?}");
    assert!(kept.worst_ms >= 350, "{kept:?}");
}

#[tokio::test]
async fn a_stop_leaves_the_rest_undone() {
    let schedule = schedule();
    let pace = Pace {
        batch: 10,
        in_flight: 1,
    };
    let stop = CancellationToken::new();
    let act = |_, permit| {
        stop.cancel();
        async move { drop(permit) }
    };
    let kept = drive(&schedule, Instant::now(), pace, &stop, act).await;
    assert!(kept.done < 10, "{kept:?}");
}
