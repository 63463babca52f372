//! The customer's side and the agent's.

use super::events::*;
use super::*;

/// All sides count.
pub(super) fn both_sides() -> BTreeMap<i64, Rules> {
    let rules = Rules {
        agent_alerts_s: Some((5, 15)),
        closes_unanswered: true,
        closes_while_customer_waits: true,
        exclude_tags: vec!["vip".to_owned()],
        ..Rules::from(STAGES)
    };
    BTreeMap::from([(VERSION, rules)])
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
