//! Superseded closes, and the automation's pause.

use plazo_proto::ticketing::v1::{
    Automation, AutomationPaused, AutomationResumeCause, AutomationResumed, TicketReopened,
};

use super::events::*;
use super::*;

fn reopened(ms: i64, tags: &[&str]) -> At {
    let reopened = TicketReopened {
        supersedes_close: true,
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..TicketReopened::default()
    };
    (ms, Payload::Reopened(reopened))
}

fn paused(ms: i64, resume_ms: i64) -> At {
    let automation = Automation {
        resume_time: Some(instant(resume_ms)),
        ..Automation::default()
    };
    let paused = AutomationPaused {
        automation: Some(automation),
    };
    (ms, Payload::AutomationPaused(paused))
}

fn automation_resumed(ms: i64, cause: AutomationResumeCause, due_ms: Option<i64>) -> At {
    let resumed = AutomationResumed {
        cause: cause.into(),
        due_time: due_ms.map(instant),
    };
    (ms, Payload::AutomationResumed(resumed))
}

#[test]
fn a_superseded_close_is_followed_by_the_message() {
    let superseded = || {
        let mut run = good_run();
        run.push(reopened(30_500, &[]));
        run.push(paused(30_500, 3_630_500));
        run.push(customer(30_500));
        run
    };
    assert_eq!(violations(superseded()), "");
    // The pause that the close ended is no shorter afterwards.
    let mut longer = superseded();
    longer.insert(1, paused(0, 9_000_000));
    let close = longer
        .iter()
        .position(|(_, payload)| matches!(payload, Payload::Closed(_)))
        .expect("it is closed");
    let completed = AutomationResumeCause::Completed;
    let cleared = longer[close + 1..]
        .iter()
        .position(|(_, payload)| matches!(payload, Payload::AlertCleared(_)))
        .map_or(close, |place| close + 1 + place);
    let at_ms = longer[close].0;
    longer.insert(cleared + 1, automation_resumed(at_ms, completed, None));
    assert_seen(longer.clone(), "gave Until(3630500000) back");
    let place = longer.len() - 2;
    longer[place] = paused(30_500, 9_000_000);
    assert_eq!(violations(longer), "");
    let mut unanswered = superseded();
    unanswered.pop();
    assert_seen(unanswered, "CustomerMessage is missing");
    let mut not_paused = superseded();
    not_paused.remove(not_paused.len() - 2);
    assert_seen(not_paused, "is not Pause");
    let mut tagged = good_run();
    tagged.push(reopened(30_500, &["silent"]));
    assert_seen(tagged, "left other tags behind");
    let by_people = vec![opened(), closed(5_000), reopened(6_000, &[])];
    assert_seen(by_people, "not the clock's");
}

#[test]
fn the_automation_resumes_in_time_and_at_a_close() {
    let time_over = AutomationResumeCause::TimeOver;
    let run = |at_ms, due_ms| {
        vec![
            opened(),
            paused(0, 5_000),
            automation_resumed(at_ms, time_over, Some(due_ms)),
        ]
    };
    assert_eq!(violations(run(5_005, 5_000)), "");
    // Something extended the pause.
    assert_eq!(violations(run(7_005, 7_000)), "");
    let extended = |resume_ms| {
        let mut extended = run(9_005, 9_000);
        extended.insert(2, paused(1_000, resume_ms));
        extended
    };
    assert_eq!(violations(extended(9_000)), "");
    assert_seen(extended(5_000), "became");
    assert_seen(run(4_000, 4_000), "was due to resume at 4000000");
    assert_seen(run(5_005, 6_000), "995000 µs early");
    assert_seen(run(6_500, 5_000), "1500000 µs late");

    let mut closed = vec![
        opened(),
        paused(0, 60_000),
        closed(5_000),
        automation_resumed(5_000, AutomationResumeCause::Completed, None),
    ];
    assert_eq!(violations(closed.clone()), "");
    closed.pop();
    assert_seen(closed, "Resumption is missing");
}
