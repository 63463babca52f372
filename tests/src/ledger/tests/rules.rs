//! Holds, transfers, the agent's side, superseded closes, tags and policies that are applied to open tickets.

use plazo_proto::ticketing::v1::{
    Automation, AutomationPaused, AutomationResumeCause, AutomationResumed, Hold, HoldEnd,
    HoldEnded, PolicyApplied, TagsChanged, TicketHeld, TicketReopened, TicketTransferred,
};

use super::*;

/// A policy that was set later than [`VERSION`].
const NEXT_VERSION: i64 = 4;

/// An event and its instant in milliseconds.
type At = (i64, Payload);

fn instant(ms: i64) -> prost_types::Timestamp {
    proto_timestamp(ms * MILLI_US)
}

fn written(ms: i64, kind: AuthorKind, cycles: Vec<CycleStart>) -> At {
    let message = Message {
        author: Some(Author {
            kind: kind.into(),
            id: 1,
        }),
        kind: MessageKind::Chat.into(),
        ..Message::default()
    };
    let about_customer = |start: &&CycleStart| start.kind() != CycleKind::AgentSilent;
    let recorded = MessageRecorded {
        message: Some(message),
        started_cycle: cycles.iter().find(about_customer).map_or(0, |it| it.cycle),
        cycles,
        ..MessageRecorded::default()
    };
    (ms, Payload::MessageRecorded(recorded))
}

/// The agent writes, and cycle `cycle` begins.
fn agent(ms: i64, cycle: i32) -> At {
    let start = start(cycle, CycleKind::CustomerSilent, ms);
    written(ms, AuthorKind::Agent, vec![start])
}

fn customer(ms: i64) -> At {
    written(ms, AuthorKind::Customer, Vec::new())
}

fn opened() -> At {
    (0, Payload::Opened(TicketOpened::default()))
}

fn stage(ms: i64, cycle: i32, stage: Stage, due_ms: i64, alert: i32) -> At {
    let fired = StageFired {
        cycle,
        stage: stage.into(),
        due_time: Some(instant(due_ms)),
        alert,
        kind: CycleKind::CustomerSilent.into(),
        policy_version: VERSION,
    };
    (ms, Payload::StageFired(fired))
}

fn yellow(ms: i64, cycle: i32, due_ms: i64) -> At {
    stage(ms, cycle, Stage::FirstAlert, due_ms, 1)
}

fn cleared(ms: i64, previous_alert: i32, previous_agent_alert: i32) -> At {
    let cleared = AlertCleared {
        previous_alert,
        previous_agent_alert,
    };
    (ms, Payload::AlertCleared(cleared))
}

fn held(ms: i64, until_ms: i64) -> At {
    let hold = Hold {
        end_time: Some(instant(until_ms)),
        ..Hold::default()
    };
    (ms, Payload::Held(TicketHeld { hold: Some(hold) }))
}

fn hold_ended(ms: i64, cause: HoldEnd, due_ms: i64, cycles: Vec<CycleStart>) -> At {
    let ended = HoldEnded {
        cause: cause.into(),
        due_time: Some(instant(due_ms)),
        cycles,
    };
    (ms, Payload::HoldEnded(ended))
}

fn transferred(ms: i64) -> At {
    (ms, Payload::Transferred(TicketTransferred::default()))
}

fn silent_from(cycle: i32, anchor_ms: i64) -> Vec<CycleStart> {
    vec![start(cycle, CycleKind::CustomerSilent, anchor_ms)]
}

#[test]
fn a_hold_stops_the_stages_and_a_resume_counts_from_zero() {
    let resumed = |cycles| {
        vec![
            opened(),
            agent(0, 1),
            yellow(10_005, 1, 10_000),
            held(15_000, 900_000),
            cleared(15_000, 1, 0),
            hold_ended(25_000, HoldEnd::Resumed, 900_000, cycles),
            yellow(35_005, 2, 35_000),
        ]
    };
    assert_eq!(violations(resumed(silent_from(2, 25_000))), "");
    assert_seen(resumed(silent_from(2, 0)), "counts from 0, not 25000000");
    assert_seen(resumed(silent_from(1, 25_000)), "cycle 1 began, not 2");
    assert_seen(resumed(Vec::new()), "no cycle of CustomerSilent began");

    let mut not_cleared = resumed(silent_from(2, 25_000));
    not_cleared.remove(4);
    assert_seen(not_cleared, "is not Clearing(1, 0)");
    let mut fires_while_held = resumed(silent_from(2, 25_000));
    fires_while_held.insert(5, stage(20_005, 1, Stage::SecondAlert, 20_000, 2));
    assert_seen(fires_while_held, "SecondAlert fired without a cycle");
    let mut lost = resumed(silent_from(2, 25_000));
    lost.remove(2);
    lost.remove(3);
    assert_seen(lost, "FirstAlert of cycle 1 is lost");
}

#[test]
fn a_hold_ends_by_itself_in_time() {
    let expired = |at_ms, anchor_ms| {
        let cycles = silent_from(2, anchor_ms);
        vec![
            opened(),
            agent(0, 1),
            held(5_000, 20_000),
            hold_ended(at_ms, HoldEnd::Expired, 20_000, cycles),
            yellow(30_005, 2, 30_000),
        ]
    };
    assert_eq!(violations(expired(20_003, 20_000)), "");
    assert_seen(expired(20_003, 20_003), "counts from 20003000");
    assert_seen(expired(19_999, 20_000), "1000 µs early");
    assert_seen(expired(21_001, 20_000), "1001000 µs late");
    let mut endless = expired(20_003, 20_000);
    endless.truncate(3);
    assert_seen(endless, "the end of a hold is lost");

    // The agent's message finds the hold over.
    let mut found_over = expired(20_003, 20_000);
    found_over.truncate(3);
    found_over.push(hold_ended(20_400, HoldEnd::Expired, 20_000, Vec::new()));
    found_over.push(agent(20_400, 2));
    found_over.push(yellow(30_405, 2, 30_400));
    assert_eq!(violations(found_over.clone()), "");
    found_over.remove(4);
    assert_seen(found_over, "is not AgentMessage");
}

#[test]
fn an_agents_message_does_not_end_a_hold_and_a_customers_does() {
    let mut run = vec![
        opened(),
        agent(0, 1),
        held(5_000, 900_000),
        written(8_000, AuthorKind::Agent, Vec::new()),
        hold_ended(18_000, HoldEnd::CustomerWrote, 900_000, Vec::new()),
        customer(18_000),
    ];
    assert_eq!(violations(run.clone()), "");
    run.remove(4);
    assert_seen(run.clone(), "did not end the hold");
    run[3] = agent(8_000, 2);
    assert_seen(run, "began for nothing");
}

#[test]
fn a_transfer_disarms() {
    let mut run = vec![
        opened(),
        agent(0, 1),
        yellow(10_005, 1, 10_000),
        held(12_000, 900_000),
        cleared(12_000, 1, 0),
        transferred(15_000),
        hold_ended(15_000, HoldEnd::Transferred, 900_000, Vec::new()),
        agent(25_000, 2),
        yellow(35_005, 2, 35_000),
    ];
    assert_eq!(violations(run.clone()), "");
    run[7] = stage(20_005, 1, Stage::SecondAlert, 20_000, 2);
    run.truncate(8);
    assert_seen(run.clone(), "SecondAlert fired without a cycle");
    run.remove(6);
    assert_seen(run, "is not HoldEnd(Transferred)");
}

/// All sides count.
fn both_sides() -> BTreeMap<i64, Rules> {
    let rules = Rules {
        agent_alerts_s: Some((5, 15)),
        closes_unanswered: true,
        closes_while_customer_waits: true,
        exclude_tags: vec!["vip".to_owned()],
        ..Rules::from(STAGES)
    };
    BTreeMap::from([(VERSION, rules)])
}

fn kind_of(mut at: At, kind: CycleKind) -> At {
    if let Payload::StageFired(fired) = &mut at.1 {
        fired.kind = kind.into();
    }
    at
}

#[test]
fn both_sides_count_with_one_row_of_numbers() {
    let opening = TicketOpened {
        cycles: vec![start(1, CycleKind::CustomerWaits, 0)],
        ..TicketOpened::default()
    };
    let waits = |cycle, ms| start(cycle, CycleKind::CustomerWaits, ms);
    let agents = start(3, CycleKind::AgentSilent, 1_000);
    let run = vec![
        (0, Payload::Opened(opening)),
        written(1_000, AuthorKind::Customer, vec![waits(2, 1_000), agents]),
        kind_of(yellow(6_005, 3, 6_000), CycleKind::AgentSilent),
        written(8_000, AuthorKind::Customer, vec![waits(4, 8_000)]),
        kind_of(
            stage(16_005, 3, Stage::SecondAlert, 16_000, 2),
            CycleKind::AgentSilent,
        ),
        agent(20_000, 5),
        cleared(20_000, 0, 2),
        yellow(30_005, 5, 30_000),
    ];
    assert_eq!(violations_under(&both_sides(), run.clone()), "");

    let seen = |run: Vec<At>, violation: &str| {
        let found = violations_under(&both_sides(), run);
        assert!(
            found.contains(violation),
            "{violation:?} is not in {found:?}"
        );
    };
    let mut restarted = run.clone();
    restarted[3] = written(
        8_000,
        AuthorKind::Customer,
        vec![waits(4, 8_000), start(5, CycleKind::AgentSilent, 8_000)],
    );
    seen(restarted, "AgentSilent began for nothing");
    let mut of_the_other_side = run.clone();
    of_the_other_side[6] = cleared(20_000, 2, 0);
    seen(of_the_other_side, "were cleared where");
    let mut lost = run.clone();
    lost.remove(2);
    seen(lost, "FirstAlert was lost");
    let mut unwarned = run;
    unwarned.truncate(5);
    seen(unwarned, "Warning of cycle 4 is lost");
}

#[test]
fn a_close_of_a_waiting_customer_belongs_to_its_cycle() {
    let opening = TicketOpened {
        cycles: vec![start(1, CycleKind::CustomerWaits, 0)],
        ..TicketOpened::default()
    };
    let mut run = good_run();
    run[0] = (0, Payload::Opened(opening));
    // No alerts, and nobody writes.
    run.drain(1..4);
    for at in &mut run {
        if let Payload::StageFired(fired) = &mut at.1 {
            fired.kind = CycleKind::CustomerWaits.into();
            fired.alert = 0;
        }
    }
    run.retain(|(_, payload)| !matches!(payload, Payload::AlertCleared(_)));
    assert_eq!(violations_under(&both_sides(), run.clone()), "");
    run.insert(1, yellow(10_005, 1, 10_000));
    let found = violations_under(&both_sides(), run);
    assert!(
        found.contains("FirstAlert was due at 10000000, not None"),
        "{found}"
    );
}

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
    let mut unanswered = superseded();
    unanswered.pop();
    assert_seen(unanswered, "CustomerMessage is missing");
    let mut not_paused = superseded();
    not_paused.remove(not_paused.len() - 2);
    assert_seen(not_paused, "is not Pause");
    let mut tagged = good_run();
    tagged.push(reopened(30_500, &["silent"]));
    assert_seen(tagged, "left other tags behind");
    let by_people = vec![
        opened(),
        (5_000, Payload::Closed(TicketClosed::default())),
        reopened(6_000, &[]),
    ];
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
    assert_seen(run(4_000, 4_000), "was due to resume at 4000000");
    assert_seen(run(5_005, 6_000), "995000 µs early");
    assert_seen(run(6_500, 5_000), "1500000 µs late");

    let mut closed = vec![
        opened(),
        paused(0, 60_000),
        (5_000, Payload::Closed(TicketClosed::default())),
        automation_resumed(5_000, AutomationResumeCause::Completed, None),
    ];
    assert_eq!(violations(closed.clone()), "");
    closed.pop();
    assert_seen(closed, "Resumption is missing");
}

fn applied(ms: i64, cycles: Vec<CycleStart>, ended_cycles: Vec<i32>) -> At {
    let applied = PolicyApplied {
        policy_version: NEXT_VERSION,
        cycles,
        ended_cycles,
    };
    (ms, Payload::PolicyApplied(applied))
}

/// Everything takes twice as long in the later version.
fn doubled() -> BTreeMap<i64, Rules> {
    let stages = Stages {
        first_alert_s: 20,
        second_alert_s: 40,
        warning_and_close_s: Some((50, 60)),
    };
    BTreeMap::from([
        (VERSION, Rules::from(STAGES)),
        (NEXT_VERSION, Rules::from(stages)),
    ])
}

fn next_version(mut at: At) -> At {
    if let Payload::StageFired(fired) = &mut at.1 {
        fired.policy_version = NEXT_VERSION;
    }
    at
}

#[test]
fn an_applied_policy_moves_what_has_not_fired() {
    let seen = |run: Vec<At>, violation: &str| {
        let found = violations_under(&doubled(), run);
        assert!(
            found.contains(violation),
            "{violation:?} is not in {found:?}"
        );
    };
    let at_5 = |yellow: At| {
        vec![
            opened(),
            agent(0, 1),
            applied(5_000, vec![], vec![]),
            yellow,
        ]
    };
    let right = at_5(next_version(yellow(20_005, 1, 20_000)));
    assert_eq!(violations_under(&doubled(), right), "");
    let by_the_old = at_5(yellow(10_005, 1, 10_000));
    seen(by_the_old.clone(), "fired by policy 3");
    seen(by_the_old, "was due at 10000000, not Some(20000000)");

    let red = next_version(stage(40_005, 1, Stage::SecondAlert, 40_000, 2));
    let at_12 = vec![
        opened(),
        agent(0, 1),
        yellow(10_005, 1, 10_000),
        applied(12_000, vec![], vec![]),
        red,
    ];
    assert_eq!(violations_under(&doubled(), at_12.clone()), "");
    let mut again = at_12;
    again.insert(4, next_version(yellow(20_005, 1, 20_000)));
    seen(again, "FirstAlert fired twice");
    let ended = vec![opened(), agent(0, 1), applied(5_000, vec![], vec![1])];
    seen(ended, "ended, or goes on, wrongly");
}

#[test]
fn a_policy_that_shortens_makes_due_at_once_and_one_with_more_begins_more() {
    let short = Rules {
        agent_alerts_s: Some((5, 15)),
        ..Rules::from(Stages {
            first_alert_s: 2,
            ..STAGES
        })
    };
    let policies = BTreeMap::from([(VERSION, Rules::from(STAGES)), (NEXT_VERSION, short)]);
    let yellow_at = |ms| {
        vec![
            opened(),
            agent(0, 1),
            applied(8_000, vec![], vec![]),
            next_version(yellow(ms, 1, 2_000)),
            (9_100, Payload::Closed(TicketClosed::default())),
            cleared(9_100, 1, 0),
        ]
    };
    assert_eq!(violations_under(&policies, yellow_at(8_005)), "");
    let found = violations_under(&policies, yellow_at(9_001));
    assert!(found.contains("1001000 µs late"), "{found}");
    let found = violations_under(&policies, yellow_at(7_999));
    assert!(found.contains("1000 µs early"), "{found}");

    let mut begins = start(2, CycleKind::AgentSilent, 3_000);
    begins.policy_version = NEXT_VERSION;
    let alert = kind_of(
        next_version(yellow(9_005, 2, 8_000)),
        CycleKind::AgentSilent,
    );
    let run = vec![
        opened(),
        agent(0, 1),
        customer(3_000),
        applied(9_000, vec![begins], vec![]),
        alert,
    ];
    let found = violations_under(&policies, run[..4].to_vec());
    assert!(found.contains("FirstAlert of cycle 2 is lost"), "{found}");
    let found = violations_under(&policies, run);
    assert!(!found.contains("FirstAlert"), "{found}");
}

#[test]
fn a_tag_keeps_the_warning_back_until_it_goes() {
    let tags = |ms, tags: &[&str]| {
        let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let changed = TagsChanged {
            tags,
            ..TagsChanged::default()
        };
        (ms, Payload::TagsChanged(changed))
    };
    let rules = Rules {
        exclude_tags: vec!["vip".to_owned()],
        ..Rules::from(STAGES)
    };
    let policies = BTreeMap::from([(VERSION, rules)]);
    let warned_at = |ms| {
        vec![
            opened(),
            agent(0, 1),
            yellow(10_005, 1, 10_000),
            stage(20_005, 1, Stage::SecondAlert, 20_000, 2),
            tags(22_000, &["vip"]),
            tags(28_000, &[]),
            stage(ms, 1, Stage::Warning, 25_000, 2),
            (ms, requested("warning")),
        ]
    };
    assert_eq!(violations_under(&policies, warned_at(28_005)), "");
    let found = violations_under(&policies, warned_at(29_001));
    assert!(found.contains("1001000 µs late"), "{found}");
    let mut kept_back = warned_at(28_005);
    kept_back.remove(5);
    let found = violations_under(&policies, kept_back);
    assert!(
        found.contains("Warning was due at 25000000, not None"),
        "{found}"
    );
}
