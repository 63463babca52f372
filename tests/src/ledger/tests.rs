//! The ledger sees what it is there to see.

mod closes;
mod events;
mod holds;
mod settings;
mod sides;

use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageState};
use plazo_proto::ticketing::v1::{
    ActiveMessageReported, ActiveMessageRequested, AlertCleared, CycleKind, CycleStart, Message,
    MessageKind, MessageRecorded, StageFired, TicketClosed, TicketOpened,
};

use super::*;
use crate::desk::{Rules, Stages};
use crate::truth::{MILLI_US, proto_timestamp};

const TICKET: i64 = 1;
const STAGES: Stages = Stages {
    first_alert_s: 10,
    second_alert_s: 20,
    warning_and_close_s: Some((25, 30)),
};
/// The version of the policy.
const VERSION: i64 = 3;
/// Places of events in [`good_run`].
const YELLOW: usize = 2;
const WARNING_REQUEST: usize = 5;
const REPORT: usize = 6;

fn fired(stage: Stage, due_s: i64, alert: i32) -> Payload {
    Payload::StageFired(StageFired {
        cycle: 1,
        stage: stage.into(),
        due_time: Some(proto_timestamp(due_s * 1_000 * MILLI_US)),
        could_act_time: Some(proto_timestamp(due_s * 1_000 * MILLI_US)),
        alert,
        kind: CycleKind::CustomerSilent.into(),
        policy_version: VERSION,
    })
}

fn requested(purpose: &str) -> Payload {
    Payload::ActiveMessageRequested(ActiveMessageRequested {
        message: Some(ActiveMessage {
            idempotency_key: format!("ticket/{TICKET}/cycle/1/{purpose}"),
            ..ActiveMessage::default()
        }),
    })
}

fn start(cycle: i32, kind: CycleKind, anchor_ms: i64) -> CycleStart {
    CycleStart {
        cycle,
        kind: kind.into(),
        anchor_time: Some(proto_timestamp(anchor_ms * MILLI_US)),
        policy_version: VERSION,
    }
}

/// The agent writes at 0, and the customer stays silent. Instants in milliseconds.
fn good_run() -> Vec<(i64, Payload)> {
    let message = Message {
        author: Some(Author {
            kind: AuthorKind::Agent.into(),
            id: 1,
        }),
        kind: MessageKind::Chat.into(),
        ..Message::default()
    };
    let recorded = MessageRecorded {
        message: Some(message),
        started_cycle: 1,
        cycles: vec![start(1, CycleKind::CustomerSilent, 0)],
        ..MessageRecorded::default()
    };
    let reported = ActiveMessageReported {
        idempotency_key: format!("ticket/{TICKET}/cycle/1/warning"),
        state: ActiveMessageState::Accepted.into(),
        state_time: Some(proto_timestamp(25_020 * MILLI_US)),
        failure_reason: String::new(),
    };
    let closed = TicketClosed {
        cycle: 1,
        ..TicketClosed::default()
    };
    vec![
        (0, Payload::Opened(TicketOpened::default())),
        (0, Payload::MessageRecorded(recorded)),
        (10_005, fired(Stage::FirstAlert, 10, 1)),
        (20_005, fired(Stage::SecondAlert, 20, 2)),
        (25_005, fired(Stage::Warning, 25, 2)),
        (25_005, requested("warning")),
        (25_030, Payload::ActiveMessageReported(reported)),
        (30_005, fired(Stage::Close, 30, 0)),
        (30_005, Payload::Closed(closed)),
        (
            30_005,
            Payload::AlertCleared(AlertCleared {
                previous_alert: 2,
                previous_agent_alert: 0,
            }),
        ),
        (30_005, requested("closing")),
    ]
}

/// What is wrong with a run of which everything was read at 40 s, and in which a second is late.
fn violations(run: Vec<(i64, Payload)>) -> String {
    let policies = BTreeMap::from([(VERSION, Rules::from(STAGES))]);
    violations_under(&policies, run)
}

/// The same where these versions of the policy were set.
fn violations_under(policies: &BTreeMap<i64, Rules>, run: Vec<(i64, Payload)>) -> String {
    let mut account = Account::default();
    let as_said = BTreeMap::new();
    let mut walk = Walk::new(TICKET, policies, &as_said, 1_000 * MILLI_US, &mut account);
    for (seq, (at_ms, payload)) in (1..).zip(run) {
        walk.step(&Kept {
            seq,
            bot_id: 1,
            at_us: at_ms * MILLI_US,
            payload,
        });
    }
    walk.end(40_000 * MILLI_US);
    let lines: Vec<_> = account
        .violations()
        .iter()
        .map(|violation| violation.text.clone())
        .collect();
    lines.join("\n")
}

#[track_caller]
fn assert_seen(run: Vec<(i64, Payload)>, violation: &str) {
    let found = violations(run);
    assert!(
        found.contains(violation),
        "{violation:?} is not in {found:?}"
    );
}

#[test]
fn a_run_by_the_rules_is_accepted() {
    assert_eq!(violations(good_run()), "");
}

#[test]
fn a_stage_that_is_early_late_missing_or_there_twice_is_seen() {
    let mut early = good_run();
    early[YELLOW].0 = 9_999;
    assert_seen(early, "1000 µs early");

    let mut late = good_run();
    late[YELLOW].0 = 11_001;
    assert_seen(late, "1001000 µs late");

    let mut missing = good_run();
    missing.remove(YELLOW);
    assert_seen(missing, "FirstAlert was lost");

    let mut twice = good_run();
    twice.insert(YELLOW + 1, twice[YELLOW].clone());
    assert_seen(twice, "FirstAlert fired twice");

    let cut = good_run().into_iter().take(YELLOW + 1).collect();
    assert_seen(cut, "SecondAlert of cycle 1 is lost");
}

#[test]
fn a_close_without_an_accepted_warning_is_seen() {
    let mut unreported = good_run();
    unreported.remove(REPORT);
    assert_seen(unreported, "Close was due at 30000000, not None");

    let mut late_warning = good_run();
    if let Payload::ActiveMessageReported(report) = &mut late_warning[REPORT].1 {
        report.state_time = Some(proto_timestamp(26_100 * MILLI_US));
    }
    late_warning[REPORT].0 = 26_100;
    assert_seen(late_warning, "not Some(31100000)");
}

#[test]
fn a_message_that_is_missing_or_asked_for_twice_is_seen() {
    let mut missing = good_run();
    missing.remove(WARNING_REQUEST);
    assert_seen(missing, "is not WarningRequest");

    let mut twice = good_run();
    twice.insert(REPORT, twice[WARNING_REQUEST].clone());
    assert_seen(twice, "asked for twice");

    let mut no_closing_text = good_run();
    no_closing_text.pop();
    assert_seen(no_closing_text, "ClosingRequest is missing");
}
