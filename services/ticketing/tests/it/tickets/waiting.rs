//! Who is waited for: tickets that no agent has answered, customers who wait, and from which word it counts.

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::common::v1::TimeUnit;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Alert, AlertSettings, Anchor, AutoCloseSettings, CycleKind, CycleStart, InactivityPolicy,
    MessageKind, StageFired, Ticket, TicketState, Turn,
};

use super::calls::{Change, micros, pass};
use crate::desk::{Desk, everything, unwarned};
use crate::support::time_value;

const MINUTE_US: i64 = 60_000_000;

/// A policy with other options of the automatic close.
fn closing_with(
    policy: InactivityPolicy,
    change: impl Fn(&mut AutoCloseSettings),
) -> InactivityPolicy {
    let mut policy = policy;
    change(policy.auto_close.as_mut().expect("it closes"));
    policy
}

async fn desk(policy: InactivityPolicy) -> Desk {
    let desk = Box::pin(Desk::start()).await;
    desk.set_policy(policy).await;
    desk
}

/// Number and kind of the running cycle, and its stages in minutes from its anchor.
fn cycle(ticket: &Ticket) -> Option<(i32, CycleKind, Vec<i64>)> {
    let cycle = ticket.inactivity_cycle.as_ref()?;
    let anchor = micros(cycle.anchor_time);
    let stages = cycle.stages.iter();
    let minutes = stages.map(|stage| (micros(stage.due_time) - anchor) / MINUTE_US);
    Some((cycle.cycle, cycle.kind(), minutes.collect()))
}

/// The stages that fired, with the kinds of their cycles.
async fn fired(desk: &Desk, ticket_id: i64) -> Vec<StageFired> {
    let events = desk.events(ticket_id).await.into_iter();
    let fired = events.filter_map(|event| match event.payload {
        Some(Payload::StageFired(fired)) => Some(fired),
        _ => None,
    });
    fired.collect()
}

#[tokio::test]
async fn a_ticket_that_no_agent_has_written_in_counts_from_its_opening_or_the_last_word() {
    let policy = closing_with(everything(), |close| {
        close.only_after_first_agent_message = Some(false);
    });
    let desk = desk(policy).await;
    let ticket = desk.open().await;
    let ticket_id = ticket.ticket_id;
    let waits = CycleKind::CustomerWaits;
    assert_eq!(cycle(&ticket), Some((1, waits, vec![25, 30])), "no alerts");
    assert_eq!(ticket.turn(), Turn::Opened);
    let anchor = ticket.inactivity_cycle.clone().expect("it").anchor_time;
    assert_eq!(anchor, ticket.open_time);
    let events = desk.events(ticket_id).await;
    let Some(Payload::Opened(opened)) = &events[0].payload else {
        panic!("{events:?}")
    };
    assert_eq!(
        (opened.cycles[0].cycle, opened.cycles[0].kind()),
        (1, waits)
    );

    assert!(pass(&desk, ticket_id, 20.0).await.is_empty());
    let written = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!(cycle(&written), Some((2, waits, vec![25, 30])));
    let again = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!(cycle(&again).expect("a cycle").0, 3, "the last message");
    for kind in [AuthorKind::Bot, AuthorKind::System] {
        let after = desk.writes(ticket_id, kind).await;
        assert_eq!(cycle(&after), cycle(&again), "{kind:?}");
    }
    assert!(pass(&desk, ticket_id, 24.0).await.is_empty());
    assert_eq!(
        pass(&desk, ticket_id, 1.0).await,
        ["fired Warning", "asked for Warning"]
    );
    let fired = fired(&desk, ticket_id).await;
    assert_eq!((fired[0].cycle, fired[0].kind()), (3, waits));
    assert_eq!(desk.ticket(ticket_id).await.alert(), Alert::Unspecified);

    // An agent's word turns it round; after that the customer's own is no longer counted from.
    let answered = desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_eq!(
        cycle(&answered),
        Some((4, CycleKind::CustomerSilent, vec![10, 20, 25, 30]))
    );
    let waiting = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!((cycle(&waiting), waiting.next_due_time), (None, None));
}

#[tokio::test]
async fn such_a_ticket_is_closed() {
    let policy = closing_with(unwarned(), |close| {
        close.only_after_first_agent_message = Some(false);
    });
    let desk = desk(policy).await;
    let mut assigned = desk.opening();
    assigned.agent_id = desk.agent_id;
    for opening in [desk.opening(), assigned] {
        let ticket_id = desk.open_as(opening).await.ticket_id;
        assert!(pass(&desk, ticket_id, 29.0).await.is_empty());
        assert_eq!(
            pass(&desk, ticket_id, 1.0).await,
            [
                "fired Close",
                "closed by CustomerInactivity",
                "automation resumed: Completed",
                "asked for ClosingText"
            ]
        );
        assert_eq!(desk.ticket(ticket_id).await.state(), TicketState::Closed);
    }
}

#[tokio::test]
async fn a_customer_who_waits_is_warned_and_closed_where_the_policy_says_so() {
    let policy = closing_with(unwarned(), |close| close.close_while_customer_waits = true);
    let desk = desk(policy).await;
    // Nobody has answered yet: that is the other option's matter.
    let unanswered = desk.open().await;
    assert_eq!(cycle(&unanswered), None);
    let unanswered = unanswered.ticket_id;
    let written = desk.writes(unanswered, AuthorKind::Customer).await;
    assert_eq!(cycle(&written), None);

    let ticket_id = desk.answered(1).await[0].ticket_id;
    assert_eq!(pass(&desk, ticket_id, 10.0).await, ["fired FirstAlert"]);
    let waits = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!(cycle(&waits), Some((2, CycleKind::CustomerWaits, vec![30])));
    assert_eq!(waits.alert(), Alert::Unspecified, "he has answered");
    assert!(pass(&desk, ticket_id, 20.0).await.is_empty(), "no alerts");
    let again = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!(cycle(&again).expect("a cycle").0, 3);
    assert!(pass(&desk, ticket_id, 29.0).await.is_empty());
    assert_eq!(pass(&desk, ticket_id, 1.0).await[0], "fired Close");
    let fired = fired(&desk, ticket_id).await;
    let last = fired.last().expect("the close");
    assert_eq!((last.cycle, last.kind()), (3, CycleKind::CustomerWaits));

    // The default closes nobody who waits.
    desk.set_policy(unwarned()).await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let waits = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!((cycle(&waits), waits.next_due_time), (None, None));
}

/// Alerts of the agent's side after 5 and 8 minutes.
fn with_agent_alerts(policy: InactivityPolicy) -> InactivityPolicy {
    let minutes = |value| Some(time_value(value, TimeUnit::Minute));
    InactivityPolicy {
        agent_alerts: Some(AlertSettings {
            first_alert: minutes(5),
            second_alert: minutes(8),
        }),
        ..policy
    }
}

#[tokio::test]
async fn the_agents_side_counts_from_the_first_unanswered_message() {
    let desk = desk(with_agent_alerts(everything())).await;
    let opened = desk.open().await;
    let ticket_id = opened.ticket_id;
    assert!(opened.agent_cycle.is_none(), "nobody has written");
    let first = desk.writes(ticket_id, AuthorKind::Customer).await;
    let side = first.agent_cycle.clone().expect("a cycle");
    assert_eq!((side.cycle, side.kind()), (1, CycleKind::AgentSilent));
    assert_eq!(side.anchor_time, first.turn_time);
    assert!(pass(&desk, ticket_id, 4.0).await.is_empty());
    let second = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!(second.agent_cycle.expect("it").cycle, 1, "the first counts");
    assert_eq!(pass(&desk, ticket_id, 1.0).await, ["fired FirstAlert"]);
    let yellow = desk.ticket(ticket_id).await;
    assert_eq!(
        (yellow.agent_alert(), yellow.alert()),
        (Alert::Yellow, Alert::Unspecified)
    );
    // What is no answer clears nothing.
    for kind in [AuthorKind::Bot, AuthorKind::System, AuthorKind::Customer] {
        let after = desk.writes(ticket_id, kind).await;
        assert_eq!(after.agent_alert(), Alert::Yellow, "{kind:?}");
    }
    for kind in [MessageKind::Note, MessageKind::Comment] {
        let mut aside = desk.message(ticket_id, AuthorKind::Agent);
        aside.kind = kind.into();
        let after = desk.record(aside).await.expect("recorded").ticket;
        assert_eq!(after.expect("it").agent_alert(), Alert::Yellow);
    }
    assert_eq!(pass(&desk, ticket_id, 3.0).await, ["fired SecondAlert"]);
    assert_eq!(desk.ticket(ticket_id).await.agent_alert(), Alert::Red);
    assert!(
        pass(&desk, ticket_id, 100.0).await.is_empty(),
        "never closed"
    );

    let answered = desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_eq!(answered.agent_alert(), Alert::Unspecified);
    assert!(answered.agent_cycle.is_none());
    assert_eq!(cycle(&answered).expect("a cycle").0, 2);
    let story = desk.story(ticket_id).await;
    assert_eq!(
        story[story.len() - 2..],
        ["Agent wrote", "cleared Unspecified and agent's Red"]
    );
    let fired = fired(&desk, ticket_id).await;
    assert!(fired.iter().all(|it| it.kind() == CycleKind::AgentSilent));
    assert_eq!(
        fired.iter().map(StageFired::alert).collect::<Vec<_>>(),
        [Alert::Yellow, Alert::Red]
    );
    let waits = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!(waits.agent_cycle.expect("a cycle").cycle, 3);
}

#[tokio::test]
async fn the_agents_side_ends_with_holds_transfers_and_closes() {
    let desk = desk(with_agent_alerts(everything())).await;
    let queue_id = desk.queue("Ventas").await;
    for change in [
        Change::Hold,
        Change::Transfer(queue_id),
        Change::Close,
        Change::Unlink,
    ] {
        let ticket_id = desk.answered(1).await[0].ticket_id;
        desk.writes(ticket_id, AuthorKind::Customer).await;
        assert_eq!(pass(&desk, ticket_id, 5.0).await, ["fired FirstAlert"]);
        let ended = change.make(&desk.people, ticket_id).await.expect("ended");
        assert_eq!(ended.agent_alert(), Alert::Unspecified, "{change:?}");
        assert!(ended.agent_cycle.is_none(), "{change:?}");
        let story = desk.story(ticket_id).await;
        let cleared = "cleared Unspecified and agent's Yellow".to_owned();
        assert!(story.contains(&cleared), "{story:?}");
        if change == Change::Hold {
            assert!(pass(&desk, ticket_id, 60.0).await.is_empty());
            let resumed = Change::Resume.make(&desk.people, ticket_id).await;
            let side = resumed.expect("resumed").agent_cycle.expect("a cycle");
            assert_eq!(side.cycle, 3, "from zero");
            assert_eq!(pass(&desk, ticket_id, 5.0).await, ["fired FirstAlert"]);
        }
    }
    // Assigning to another agent is no answer.
    let ticket_id = desk.open().await.ticket_id;
    let before = desk.writes(ticket_id, AuthorKind::Customer).await;
    let assigned = Change::Assign(desk.agent_id)
        .make(&desk.people, ticket_id)
        .await;
    assert_eq!(assigned.expect("assigned").agent_cycle, before.agent_cycle);
}

#[tokio::test]
async fn both_sides_run_beside_each_other() {
    let policy = closing_with(with_agent_alerts(unwarned()), |close| {
        close.close_while_customer_waits = true;
    });
    let desk = desk(policy).await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let waits = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!(cycle(&waits).expect("a cycle").1, CycleKind::CustomerWaits);
    assert!(waits.agent_cycle.is_some());
    let events = desk.events(ticket_id).await;
    let Some(Payload::MessageRecorded(told)) = &events.last().expect("one").payload else {
        panic!("{events:?}")
    };
    let kinds: Vec<CycleKind> = told.cycles.iter().map(CycleStart::kind).collect();
    assert_eq!(kinds, [CycleKind::CustomerWaits, CycleKind::AgentSilent]);
    assert_eq!(told.started_cycle, told.cycles[0].cycle);
    assert_eq!(pass(&desk, ticket_id, 8.0).await, ["fired SecondAlert"]);
    let closed = pass(&desk, ticket_id, 22.0).await;
    assert_eq!(
        closed[..3],
        [
            "fired Close",
            "closed by CustomerInactivity",
            "cleared Unspecified and agent's Red"
        ]
    );
}

#[tokio::test]
async fn the_anchor_is_the_first_or_the_last_message() {
    let first_message = InactivityPolicy {
        anchor: Anchor::FirstMessage.into(),
        ..unwarned()
    };
    let desk = desk(first_message).await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let before = desk.ticket(ticket_id).await;
    assert!(pass(&desk, ticket_id, 8.0).await.is_empty());
    let aged = desk.ticket(ticket_id).await.inactivity_cycle;
    let again = desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_eq!(again.inactivity_cycle, aged, "it keeps counting");
    assert_eq!(again.generation, before.generation);
    let events = desk.events(ticket_id).await;
    let Some(Payload::MessageRecorded(told)) = &events.last().expect("one").payload else {
        panic!("{events:?}")
    };
    assert_eq!((told.started_cycle, told.cycles.len()), (0, 0));
    assert_eq!(pass(&desk, ticket_id, 2.0).await, ["fired FirstAlert"]);
    desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_eq!(pass(&desk, ticket_id, 10.0).await, ["fired SecondAlert"]);
    // After an answer the next first message counts.
    desk.writes(ticket_id, AuthorKind::Customer).await;
    let next = desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_eq!(cycle(&next).expect("a cycle").0, 2);
    desk.age(&[ticket_id], 5.0).await;
    desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_eq!(pass(&desk, ticket_id, 5.0).await, ["fired FirstAlert"]);

    desk.set_policy(unwarned()).await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    assert!(pass(&desk, ticket_id, 8.0).await.is_empty());
    let again = desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_eq!(cycle(&again).expect("a cycle").0, 2);
    assert!(pass(&desk, ticket_id, 9.0).await.is_empty());
    assert_eq!(pass(&desk, ticket_id, 1.0).await, ["fired FirstAlert"]);
    // The alert that shows stays into the next cycle.
    let third = desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_eq!(
        (third.alert(), cycle(&third).expect("it").0),
        (Alert::Yellow, 3)
    );
}
