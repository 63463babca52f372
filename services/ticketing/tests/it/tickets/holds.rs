//! Holds: they stop the clocks, and end in one of five ways.

use plazo_proto::common::v1::{AuthorKind, TimeUnit};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Alert, CycleKind, CycleStart, HoldEnd, HoldEnded, HoldTicketRequest, MessageKind, Ticket,
    TicketState, Turn,
};
use plazo_service::status::violations_of;
use prost_types::Timestamp;

use super::calls::{Change, hold, micros, pass, precondition, set_bot};
use crate::desk::{Desk, everything};
use crate::support::{refusal, time_value, wrong_fields};

const MINUTE_US: i64 = 60_000_000;

/// The last event that a hold ended, and its author.
async fn last_end(desk: &Desk, ticket_id: i64) -> (HoldEnded, AuthorKind) {
    let events = desk.events(ticket_id).await;
    let found = events.into_iter().rev().find_map(|event| {
        let author = event.author.expect("an author").kind();
        match event.payload {
            Some(Payload::HoldEnded(ended)) => Some((ended, author)),
            _ => None,
        }
    });
    found.expect("a hold ended")
}

#[tokio::test]
async fn a_hold_stops_the_clocks_and_resuming_starts_them_from_zero() {
    let desk = Desk::with_policy().await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    assert_eq!(pass(&desk, ticket_id, 10.0).await, ["fired FirstAlert"]);
    let two_hours = Some(time_value(2, TimeUnit::Hour));
    let held = hold(&desk.agent, ticket_id, two_hours).await.expect("held");
    assert_eq!(desk.ticket(ticket_id).await, held);
    assert_eq!(
        (held.state(), held.alert(), held.turn()),
        (TicketState::Open, Alert::Unspecified, Turn::Customer)
    );
    assert!(held.inactivity_cycle.is_none());
    let facts = held.hold.expect("a hold");
    assert_eq!(
        (&*facts.reason, facts.author.expect("an author").kind()),
        ("waits for a part", AuthorKind::Agent)
    );
    let length = micros(facts.end_time) - micros(facts.start_time);
    // The end is rounded up to a whole millisecond.
    assert!((120 * MINUTE_US..120 * MINUTE_US + 1_000).contains(&length));
    assert_eq!(held.next_due_time, facts.end_time);

    assert!(pass(&desk, ticket_id, 100.0).await.is_empty());
    let due_time = desk.ticket(ticket_id).await.hold.expect("a hold").end_time;
    let resumed = Change::Resume.make(&desk.agent, ticket_id).await;
    let resumed = resumed.expect("resumed");
    assert_eq!(desk.ticket(ticket_id).await, resumed);
    let (ended, author) = last_end(&desk, ticket_id).await;
    assert_eq!(
        (ended.cause(), ended.due_time, author),
        (HoldEnd::Resumed, due_time, AuthorKind::Agent)
    );
    let cycle = resumed.inactivity_cycle.expect("a cycle");
    let resumed_at = desk.events(ticket_id).await.last().expect("one").event_time;
    assert_eq!((cycle.cycle, cycle.anchor_time), (2, resumed_at));
    assert_eq!(
        (ended.cycles[0].cycle, ended.cycles[0].anchor_time),
        (2, resumed_at)
    );
    let next = micros(resumed.next_due_time) - micros(resumed_at);
    assert!((10 * MINUTE_US..10 * MINUTE_US + 1_000).contains(&next));
    assert_eq!(
        desk.story(ticket_id).await[2..],
        [
            "fired FirstAlert",
            "held",
            "cleared Yellow",
            "hold ended: Resumed"
        ]
    );
    assert!(pass(&desk, ticket_id, 9.0).await.is_empty());
    assert_eq!(pass(&desk, ticket_id, 1.0).await, ["fired FirstAlert"]);
    assert_eq!(desk.ticket(ticket_id).await.alert(), Alert::Yellow);
}

#[tokio::test]
async fn a_hold_ends_by_itself_and_what_is_late_counts_from_its_end() {
    let desk = Desk::with_policy().await;
    let cases: [(f64, &[&str]); 5] = [
        (0.0, &[]),
        (19.0, &[]),
        (25.0, &["hold ended: Expired"]),
        (31.0, &["hold ended: Expired", "fired FirstAlert"]),
        (
            51.0,
            &[
                "hold ended: Expired",
                "fired SecondAlert",
                "fired Warning",
                "asked for Warning",
            ],
        ),
    ];
    for (minutes, expected) in cases {
        let ticket_id = desk.answered(1).await[0].ticket_id;
        let length = Some(time_value(20, TimeUnit::Minute));
        hold(&desk.agent, ticket_id, length).await.expect("held");
        assert_eq!(pass(&desk, ticket_id, minutes).await, expected, "{minutes}");
        let ticket = desk.ticket(ticket_id).await;
        assert_eq!(ticket.hold.is_none(), !expected.is_empty());
        if expected.is_empty() {
            continue;
        }
        let (ended, author) = last_end(&desk, ticket_id).await;
        assert_eq!(
            (ended.cause(), author),
            (HoldEnd::Expired, AuthorKind::System)
        );
        let cycle = ticket.inactivity_cycle.expect("a cycle");
        assert_eq!((cycle.cycle, cycle.anchor_time), (2, ended.due_time));
        assert_eq!(ended.cycles[0].anchor_time, ended.due_time);
        let stage = cycle.stages[0].due_time;
        assert_eq!(micros(stage) - micros(ended.due_time), 10 * MINUTE_US);
        // Looking again does nothing.
        assert!(pass(&desk, ticket_id, 0.0).await.is_empty());
    }
}

#[tokio::test]
async fn a_hold_without_a_policy_ends_as_well() {
    let desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    set_bot(&desk, "max_hold_value = 2, max_hold_unit = 3").await;
    let held = hold(&desk.people, ticket_id, None).await.expect("held");
    let facts = held.hold.expect("a hold");
    let length = micros(facts.end_time) - micros(facts.start_time);
    assert!(
        (120 * MINUTE_US..120 * MINUTE_US + 1_000).contains(&length),
        "the bot's longest"
    );
    assert!(pass(&desk, ticket_id, 119.0).await.is_empty());
    assert_eq!(pass(&desk, ticket_id, 1.0).await, ["hold ended: Expired"]);
    let ticket = desk.ticket(ticket_id).await;
    assert_eq!(
        (ticket.next_due_time, ticket.hold, ticket.inactivity_cycle),
        (None, None, None)
    );
}

#[tokio::test]
async fn a_customers_message_ends_a_hold_and_nobody_elses() {
    let desk = Desk::with_policy().await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let held = hold(&desk.agent, ticket_id, None).await.expect("held");
    for kind in [AuthorKind::Agent, AuthorKind::Bot, AuthorKind::System] {
        let ticket = desk.writes(ticket_id, kind).await;
        assert_eq!(
            (ticket.hold, ticket.inactivity_cycle, ticket.next_due_time),
            (held.hold.clone(), None, held.next_due_time)
        );
    }
    for kind in [MessageKind::Note, MessageKind::Comment] {
        let mut aside = desk.message(ticket_id, AuthorKind::Agent);
        aside.kind = kind.into();
        let ticket = desk.record(aside).await.expect("recorded").ticket;
        assert_eq!(ticket.expect("the ticket").hold, held.hold);
    }
    let answered = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!((answered.hold, answered.inactivity_cycle), (None, None));
    assert_eq!(
        desk.story(ticket_id).await[2..],
        [
            "held",
            "Agent wrote",
            "Bot wrote",
            "System wrote",
            "Agent noted",
            "Agent commented",
            "hold ended: CustomerWrote",
            "Customer wrote"
        ]
    );
    let (ended, author) = last_end(&desk, ticket_id).await;
    assert_eq!(author, AuthorKind::Customer);
    assert!(ended.cycles.is_empty());
    let again = desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_eq!(again.inactivity_cycle.expect("a cycle").cycle, 2);
}

/// What an event says began: each cycle's number, kind and anchor.
fn begun(starts: &[CycleStart]) -> Vec<(i32, CycleKind, Option<Timestamp>)> {
    let starts = starts.iter();
    starts
        .map(|start| (start.cycle, start.kind(), start.anchor_time))
        .collect()
}

#[tokio::test]
async fn a_message_that_finds_a_hold_over_tells_apart_what_began_with_each() {
    let desk = Desk::with_policy().await;
    let mut policy = everything();
    policy.agent_alerts = policy.alerts;
    desk.set_policy(policy).await;
    for (kind, agents_side) in [
        (AuthorKind::Agent, CycleKind::CustomerSilent),
        (AuthorKind::Customer, CycleKind::AgentSilent),
    ] {
        let ticket_id = desk.answered(1).await[0].ticket_id;
        let length = Some(time_value(5, TimeUnit::Minute));
        hold(&desk.agent, ticket_id, length).await.expect("held");
        desk.age(&[ticket_id], 6.0).await;
        // The timer has not looked yet.
        let written = desk.writes(ticket_id, kind).await;
        let wrote = format!("{kind:?} wrote");
        assert_eq!(
            desk.story(ticket_id).await[2..],
            ["held", "hold ended: Expired", &wrote]
        );
        let (ended, author) = last_end(&desk, ticket_id).await;
        assert_eq!(author, AuthorKind::System);
        assert_eq!(
            begun(&ended.cycles),
            [(2, CycleKind::CustomerSilent, ended.due_time)],
            "as of its end"
        );
        let event = desk.events(ticket_id).await.pop().expect("one");
        let Some(Payload::MessageRecorded(recorded)) = event.payload else {
            panic!("the message is the last event");
        };
        assert_eq!(
            begun(&recorded.cycles),
            [(3, agents_side, event.event_time)]
        );
        let is_about_customer = agents_side != CycleKind::AgentSilent;
        assert_eq!(
            recorded.started_cycle,
            if is_about_customer { 3 } else { 0 }
        );
        let runs = if is_about_customer {
            assert_eq!(written.agent_cycle, None);
            written.inactivity_cycle
        } else {
            assert_eq!(written.inactivity_cycle, None);
            written.agent_cycle
        };
        let runs = runs.expect("a cycle");
        assert_eq!((runs.cycle, runs.anchor_time), (3, event.event_time));
        assert_eq!(written.hold, None);
    }
}

#[tokio::test]
async fn holding_again_sets_reason_and_end_and_leaves_the_beginning() {
    let desk = Desk::with_policy().await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let hour = Some(time_value(1, TimeUnit::Hour));
    let first = hold(&desk.agent, ticket_id, hour).await.expect("held");
    let request = HoldTicketRequest {
        ticket_id,
        reason: "another".to_owned(),
        max_length: Some(time_value(10, TimeUnit::Minute)),
        ..Default::default()
    };
    let answer = desk.people.tickets.clone().hold_ticket(request).await;
    let second = answer.expect("held").into_inner().ticket.expect("it");
    assert!(
        second.generation > first.generation,
        "an earlier end is news to the timer"
    );
    let facts = second.hold.expect("a hold");
    assert_eq!(
        (&*facts.reason, facts.author.expect("one").kind()),
        ("another", AuthorKind::Administrator)
    );
    assert_eq!(facts.start_time, first.hold.expect("a hold").start_time);
    assert_eq!(second.next_due_time, facts.end_time);
    assert_eq!(desk.story(ticket_id).await[2..], ["held", "held"]);
    assert_eq!(pass(&desk, ticket_id, 10.0).await, ["hold ended: Expired"]);
}

#[tokio::test]
async fn the_policy_in_force_at_the_end_counts() {
    let desk = Desk::with_policy().await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let held = hold(&desk.agent, ticket_id, None).await.expect("held");
    desk.set_policy(everything()).await;
    let resumed = Change::Resume.make(&desk.people, ticket_id).await;
    let version = resumed.expect("resumed").inactivity_cycle.expect("it");
    let newer = desk.answered(1).await[0].inactivity_cycle.clone();
    assert_eq!(
        version.policy_version,
        newer.expect("a cycle").policy_version
    );
    assert!(held.inactivity_cycle.is_none());
}

#[tokio::test]
async fn wrong_holds_are_refused_and_change_nothing() {
    let desk = Desk::with_policy().await;
    let before = desk.answered(1).await.remove(0);
    let ticket_id = before.ticket_id;
    let good = || HoldTicketRequest {
        ticket_id,
        reason: "r".repeat(200),
        max_length: Some(time_value(24, TimeUnit::Hour)),
        ..Default::default()
    };
    let with = |change: fn(&mut HoldTicketRequest)| {
        let mut request = good();
        change(&mut request);
        request
    };
    let cases: [(HoldTicketRequest, &[&str]); 11] = [
        (HoldTicketRequest::default(), &["ticket_id", "reason"]),
        (with(|it| it.reason = " \u{a0}".to_owned()), &["reason"]),
        (with(|it| it.reason = "ñ".repeat(201)), &["reason"]),
        (with(|it| it.reason = "a\nb".to_owned()), &["reason"]),
        (with(|it| it.request_id = "x".to_owned()), &["request_id"]),
        (
            with(|it| it.max_length = Some(time_value(0, TimeUnit::Hour))),
            &["max_length"],
        ),
        (
            with(|it| it.max_length = Some(time_value(-1, TimeUnit::Hour))),
            &["max_length"],
        ),
        (
            with(|it| it.max_length = Some(time_value(1, TimeUnit::Unspecified))),
            &["max_length.unit"],
        ),
        (
            with(|it| it.max_length = Some(time_value(25, TimeUnit::Hour))),
            &["max_length"],
        ),
        (
            with(|it| it.max_length = Some(time_value(86_401, TimeUnit::Second))),
            &["max_length"],
        ),
        (
            with(|it| it.max_length = Some(time_value(401, TimeUnit::Day))),
            &["max_length"],
        ),
    ];
    for (request, fields) in cases {
        let what = format!("{request:?}");
        let refused = desk.people.tickets.clone().hold_ticket(request).await;
        let status = refused.expect_err(&what);
        for (field, reason) in violations_of(&status) {
            assert!(!reason.is_empty(), "{field}");
        }
        assert_eq!(wrong_fields::<()>(Err(status)), fields, "{what}");
    }
    let too_long = with(|it| it.max_length = Some(time_value(2, TimeUnit::Day)));
    let refused = desk.people.tickets.clone().hold_ticket(too_long).await;
    let (_, reason) = violations_of(&refused.expect_err("too long")).remove(0);
    assert_eq!(reason, "must be at most the bot's max_hold, 24 h");
    assert_eq!(desk.ticket(ticket_id).await, before);

    let not_held = Change::Resume.make(&desk.people, ticket_id).await;
    assert_eq!(refusal(not_held), precondition("TICKET_NOT_ON_HOLD"));
    let mut tickets = desk.people.tickets.clone();
    tickets.hold_ticket(good()).await.expect("the longest");
}

#[tokio::test]
async fn the_longest_hold_counts_from_its_beginning() {
    let desk = Desk::with_policy().await;
    set_bot(&desk, "max_hold_value = 60, max_hold_unit = 2").await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let minutes = |value| Some(time_value(value, TimeUnit::Minute));
    hold(&desk.agent, ticket_id, minutes(50))
        .await
        .expect("held");
    // It began 40 minutes ago.
    desk.age(&[ticket_id], 40.0).await;
    sqlx::query("UPDATE tickets SET held_at = held_at - interval '40 min' WHERE ticket_id = $1")
        .bind(ticket_id)
        .execute(&desk.fixture.pool)
        .await
        .expect("moved");
    let before = desk.ticket(ticket_id).await;
    let refused = hold(&desk.agent, ticket_id, minutes(21)).await;
    let violations = violations_of(&refused.expect_err("too long"));
    assert_eq!(violations[0].0, "max_length");
    let reason = &violations[0].1;
    assert!(
        reason.starts_with("must be at most 1199 s: the bot's max_hold, 60 min, counts from"),
        "{reason}"
    );
    assert_eq!(desk.ticket(ticket_id).await, before);

    let longer = hold(&desk.agent, ticket_id, minutes(19))
        .await
        .expect("held");
    let began = before.hold.expect("a hold").start_time;
    assert_eq!(longer.hold.expect("a hold").start_time, began);
    let longest = hold(&desk.agent, ticket_id, None).await.expect("held");
    let facts = longest.hold.expect("a hold");
    let length = micros(facts.end_time) - micros(began);
    assert!((60 * MINUTE_US..60 * MINUTE_US + 1_000).contains(&length));

    // The limit is lowered: the hold may stay as it is, and no longer.
    set_bot(&desk, "max_hold_value = 1, max_hold_unit = 2").await;
    let same = hold(&desk.agent, ticket_id, None).await.expect("held");
    assert_eq!(same.hold.expect("a hold").end_time, facts.end_time);
    hold(&desk.agent, ticket_id, minutes(5))
        .await
        .expect("shorter");
    let refused = hold(&desk.agent, ticket_id, minutes(6)).await;
    assert_eq!(wrong_fields(refused), ["max_length"]);
    assert_eq!(pass(&desk, ticket_id, 5.0).await, ["hold ended: Expired"]);
}

#[tokio::test]
async fn a_hold_that_was_over_unnoticed_ends_before_the_next_one_begins() {
    let desk = Desk::with_policy().await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let length = Some(time_value(5, TimeUnit::Minute));
    let first = hold(&desk.agent, ticket_id, length).await.expect("held");
    desk.age(&[ticket_id], 6.0).await;
    let second = hold(&desk.agent, ticket_id, length).await.expect("held");
    assert_eq!(
        desk.story(ticket_id).await[2..],
        ["held", "hold ended: Expired", "held"]
    );
    let (_, author) = last_end(&desk, ticket_id).await;
    assert_eq!(author, AuthorKind::System);
    let start = |ticket: &Ticket| ticket.hold.clone().expect("a hold").start_time;
    assert!(micros(start(&second)) > micros(start(&first)));
    assert!(second.inactivity_cycle.is_none());
}
