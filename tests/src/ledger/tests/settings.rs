//! Policies that are applied to open tickets, and tags that exclude them.

use plazo_proto::ticketing::v1::{PolicyApplied, TagsChanged};

use super::events::*;
use super::*;

/// A policy that was set later than [`VERSION`].
const NEXT_VERSION: i64 = 4;

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
            could_act(next_version(yellow(ms, 1, 2_000)), 8_000),
            closed(9_100),
            cleared(9_100, 1, 0),
        ]
    };
    assert_eq!(violations_under(&policies, yellow_at(8_005)), "");
    let mut unsaid = yellow_at(8_005);
    unsaid[3] = could_act(unsaid[3].clone(), 2_000);
    let found = violations_under(&policies, unsaid);
    assert!(found.contains("6005000 µs late"), "{found}");
    let mut wrongly = yellow_at(8_005);
    wrongly[3] = could_act(wrongly[3].clone(), 7_000);
    let found = violations_under(&policies, wrongly);
    assert!(found.contains("says that it could act at"), "{found}");
    let found = violations_under(&policies, yellow_at(9_001));
    assert!(found.contains("1001000 µs late"), "{found}");
    let found = violations_under(&policies, yellow_at(7_999));
    assert!(found.contains("1000 µs early"), "{found}");

    let mut begins = start(2, CycleKind::AgentSilent, 3_000);
    begins.policy_version = NEXT_VERSION;
    let alert = kind_of(
        could_act(next_version(yellow(9_005, 2, 8_000)), 9_000),
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
            could_act(stage(ms, 1, Stage::Warning, 25_000, 2), 28_000),
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
