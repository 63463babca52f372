//! Each way of going wrong is found when it is planted, and nothing else is taken for it.

use plazo_proto::timer::v1::HandleOutcome;

use super::*;
use crate::load::options::Shape;
use crate::load::schedule::Schedule;
use crate::load::schedule::tests::options;

const START_US: i64 = 1_700_000_000_000_000;
const LEASE_US: i64 = 30_000_000;

fn ledger(tickets: usize) -> Ledger {
    let mut ledger = Ledger::new(Beginning {
        tenants: vec![0; tickets],
        first_ticket_id: 1_000,
        first_tenant_id: 1,
        interval_ms: 1_000,
    });
    ledger.begin(START_US);
    ledger
}

/// A ledger with armed tickets, due one after the other from 500 ms on, and how the timer names them.
fn armed(tickets: u32) -> (Ledger, Vec<proto::TicketGeneration>) {
    let schedule = Schedule::new(&options(Shape::Steady, tickets, 1_000.0));
    let mut ledger = ledger(tickets as usize);
    let mut names = Vec::new();
    for step in &schedule.steps {
        let at_us = START_US + i64::from(step.at_ms) * 1_000;
        let arm = ledger.apply(*step, at_us).expect("it is armed");
        ledger.confirm(&arm);
        names.push(arm.ticket.expect("it has a name"));
    }
    (ledger, names)
}

fn at(ms: i64) -> i64 {
    START_US + ms * 1_000
}

fn look(ledger: &mut Ledger, name: &proto::TicketGeneration, at_us: i64) -> HandleOutcome {
    ledger.look(name, at_us).outcome()
}

#[test]
fn what_is_handled_once_and_in_time_is_fine() {
    let (mut ledger, names) = armed(100);
    for name in &names {
        assert_eq!(look(&mut ledger, name, at(700)), HandleOutcome::Fired);
    }
    assert_eq!(ledger.counts.fired, 100);
    assert_eq!(ledger.counts.pending, 0);
    assert_eq!(ledger.missed(u32::MAX, 10).lost, 0);
    assert_eq!(ledger.looks.judge_again(&ledger.faults, LEASE_US), (0, 0));
    assert_eq!(ledger.looks.judge_early(0), (0, 0));
    assert_eq!(ledger.lateness.len(), 100);
    assert!((100_000..=200_500).contains(&ledger.lateness.max()));
}

#[test]
fn a_lost_ticket_is_found() {
    let (mut ledger, names) = armed(100);
    for name in names.iter().filter(|name| name.ticket_id != 1_042) {
        look(&mut ledger, name, at(700));
    }
    let missed = ledger.missed(700, 10);
    assert_eq!((missed.lost, missed.unarmed), (1, 0));
    assert_eq!(missed.names[0].name.ticket_id, 1_042);
    // Before its instant it isn't missing.
    assert_eq!(ledger.missed(500, 10).lost, 0);
}

#[test]
fn an_unconfirmed_ticket_is_told_from_a_lost_one() {
    let schedule = Schedule::new(&options(Shape::Steady, 2, 1_000.0));
    let mut ledger = ledger(2);
    let arms: Vec<_> = schedule
        .steps
        .iter()
        .filter_map(|step| ledger.apply(*step, START_US))
        .collect();
    ledger.confirm(&arms[0]);
    let missed = ledger.missed(u32::MAX, 10);
    assert_eq!((missed.lost, missed.unarmed), (1, 1));
}

#[test]
fn a_second_look_without_a_reason_is_double() {
    let (mut ledger, names) = armed(3);
    for name in &names {
        look(&mut ledger, name, at(600));
    }
    assert_eq!(
        look(&mut ledger, &names[0], at(610)),
        HandleOutcome::Already
    );
    assert_eq!(ledger.looks.judge_again(&ledger.faults, LEASE_US), (1, 0));
    assert_eq!(ledger.counts.fired, 3, "it does not fire twice");
    // When the lease may have ended, it is a second look and no more.
    look(&mut ledger, &names[1], at(600) + LEASE_US);
    assert_eq!(ledger.looks.judge_again(&ledger.faults, LEASE_US), (1, 1));
    // And when there was a fault at about that time.
    ledger.faults.add(at(1_000));
    assert_eq!(ledger.looks.judge_again(&ledger.faults, LEASE_US), (0, 2));
}

#[test]
fn a_look_before_the_instant_is_early_and_does_not_fire() {
    let (mut ledger, names) = armed(2);
    let answer = ledger.look(&names[0], at(400));
    assert_eq!(answer.outcome(), HandleOutcome::NotDue);
    let wait = answer.look_again_after.expect("it is told a wait");
    assert!(
        (100_000_000..=102_000_000).contains(&wait.nanos),
        "{wait:?}"
    );
    assert_eq!(ledger.looks.judge_early(0), (1, 0));
    // A clock that is ahead of ours by more explains it.
    assert_eq!(ledger.looks.judge_early(150_000), (0, 1));
    // After a wait, the timer can't know the instant to the millisecond.
    assert_eq!(look(&mut ledger, &names[0], at(499)), HandleOutcome::NotDue);
    assert_eq!(ledger.looks.judge_early(0), (1, 0));
    assert_eq!(look(&mut ledger, &names[0], at(600)), HandleOutcome::Fired);
    assert_eq!(ledger.counts.fired, 1);
}

#[test]
fn churn_adds_up() {
    let schedule = Schedule::new(&options(Shape::Churn, 2_000, 1_000.0));
    let mut ledger = ledger(2_000);
    // A perfect timer: it looks at what it was told in the very instant.
    let mut told: Vec<(i64, proto::TicketGeneration)> = Vec::new();
    let mut steps = schedule.steps.iter().peekable();
    for now_ms in 0..10_000 {
        while let Some(step) = steps.next_if(|step| i64::from(step.at_ms) <= now_ms) {
            if let Some(arm) = ledger.apply(*step, at(now_ms)) {
                ledger.confirm(&arm);
                let name = arm.ticket.expect("it has a name");
                told.retain(|(_, old)| {
                    old.ticket_id != name.ticket_id || arm.first_superseded_generation == 0
                });
                told.push((i64::from(step.due_ms), name));
            }
        }
        let due: Vec<_> = told
            .extract_if(.., |(due_ms, _)| *due_ms <= now_ms)
            .collect();
        for (_, name) in due {
            let answer = ledger.look(&name, at(now_ms));
            if let Some(wait) = answer.look_again_after {
                told.push((
                    now_ms + i64::from(wait.nanos) / 1_000_000 + wait.seconds * 1_000,
                    name,
                ));
            }
        }
    }
    let counts = ledger.counts;
    assert_eq!(counts.pending, 0);
    assert_eq!(counts.expected, counts.fired + counts.superseded);
    assert_eq!(counts.superseded_overdue, 0);
    assert!(counts.rearmed > 500 && counts.postponed > 200, "{counts:?}");
    assert!(ledger.looks.postponed >= counts.postponed / 2);
    assert!(ledger.looks.ended > 200, "nobody told the timer");
    assert_eq!(ledger.looks.stale, 0);
    assert_eq!(ledger.looks.judge_early(0), (0, 0));
    assert_eq!(ledger.looks.judge_again(&ledger.faults, LEASE_US), (0, 0));
}

#[test]
fn what_is_not_of_this_load_is_stale() {
    let (mut ledger, mut names) = armed(1);
    names[0].ticket_id = 5;
    assert_eq!(look(&mut ledger, &names[0], at(700)), HandleOutcome::Stale);
    names[0].ticket_id = 1_000;
    names[0].generation = 9;
    assert_eq!(look(&mut ledger, &names[0], at(700)), HandleOutcome::Stale);
    assert_eq!((ledger.looks.foreign, ledger.looks.stale), (1, 1));
}

#[test]
fn a_rebuild_gets_every_pending_ticket_once() {
    let (mut ledger, names) = armed(25);
    look(&mut ledger, &names[3], at(700));
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        let (page, next) = ledger.page(from, 10);
        assert!(page.len() <= 10);
        found.extend(
            page.into_iter()
                .filter_map(|t| t.ticket)
                .map(|t| t.ticket_id),
        );
        let Some(next) = next else { break };
        from = next;
    }
    let expected: Vec<_> = (1_000..1_025).filter(|id| *id != 1_003).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_real_ticketing_does_twice_or_early_is_found() {
    let (mut ledger, _) = armed(2);
    ledger.told_of_firing(0, 1_500, at(505));
    ledger.told_of_firing(0, 1_500, at(506));
    ledger.told_of_firing(1, -1, at(507));
    assert_eq!(ledger.counts.fired_twice, 1);
    assert_eq!(ledger.counts.fired_early, 1);
    assert_eq!(ledger.counts.fired, 2);
}
