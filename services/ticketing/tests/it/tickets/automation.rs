//! The bot is silent while a human is in charge, and is told when it may speak again.

use plazo_proto::common::v1::{AuthorKind, TimeUnit};
use plazo_proto::ticketing::v1::pause_automation_request::Length;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Alert, Automation, AutomationState, MessageKind, PauseAutomationRequest, Ticket,
};
use tonic::Status;

use super::calls::{Change, micros, pass, precondition, set_bot};
use crate::desk::Desk;
use crate::support::{Clients, refusal, time_value, wrong_fields};

const MINUTE_US: i64 = 60_000_000;

/// A desk whose bot pauses for an hour, as new bots do.
async fn desk() -> Desk {
    let desk = Desk::start().await;
    for_an_hour(&desk).await;
    desk
}

async fn for_an_hour(desk: &Desk) {
    set_bot(
        desk,
        "automation_pause_value = 60, automation_pause_unit = 2",
    )
    .await;
}

/// State and instant of resuming.
fn automation(ticket: &Ticket) -> (AutomationState, Option<i64>) {
    let automation = ticket.automation.expect("always there");
    (
        automation.state(),
        automation.resume_time.map(|at| micros(Some(at))),
    )
}

async fn pause(clients: &Clients, ticket_id: i64, length: Length) -> Result<Ticket, Status> {
    let request = PauseAutomationRequest {
        ticket_id,
        length: Some(length),
        ..Default::default()
    };
    let answer = clients.tickets.clone().pause_automation(request).await?;
    Ok(answer.into_inner().ticket.expect("the ticket"))
}

fn minutes(value: i32) -> Length {
    Length::PauseFor(time_value(value, TimeUnit::Minute))
}

/// The instant of the ticket's last event.
async fn last_event_us(desk: &Desk, ticket_id: i64) -> i64 {
    let events = desk.events(ticket_id).await;
    micros(events.last().expect("an event").event_time)
}

/// Asserts that the automation is paused for an hour from the last event.
async fn for_an_hour_from_now(desk: &Desk, ticket: &Ticket, what: &str) {
    let (state, resume) = automation(ticket);
    assert_eq!(state, AutomationState::Paused, "{what}");
    let event = last_event_us(desk, ticket.ticket_id).await;
    let length = resume.expect("an instant") - event;
    // Rounded up to a whole millisecond.
    assert!(
        (60 * MINUTE_US..60 * MINUTE_US + 1_000).contains(&length),
        "{what}: {length}"
    );
    assert_eq!(micros(ticket.next_due_time), event + length, "{what}");
}

#[tokio::test]
async fn whatever_makes_or_keeps_a_ticket_open_pauses() {
    let desk = desk().await;
    let ticket = desk.open().await;
    let ticket_id = ticket.ticket_id;
    for_an_hour_from_now(&desk, &ticket, "opening").await;
    for change in [Change::Assign(desk.agent_id), Change::SetOpen] {
        let ticket = change.make(&desk.people, ticket_id).await.expect("changed");
        for_an_hour_from_now(&desk, &ticket, &format!("{change:?}")).await;
    }
    let ticket = desk.writes(ticket_id, AuthorKind::Agent).await;
    for_an_hour_from_now(&desk, &ticket, "an agent's message").await;

    // What says nothing about who is in charge leaves it as it is.
    let before = automation(&ticket);
    for kind in [AuthorKind::Customer, AuthorKind::Bot, AuthorKind::System] {
        let ticket = desk.writes(ticket_id, kind).await;
        assert_eq!(automation(&ticket), before, "{kind:?}");
    }
    let mut note = desk.message(ticket_id, AuthorKind::Agent);
    note.kind = MessageKind::Note.into();
    desk.record(note).await.expect("noted");
    let held = Change::Hold.make(&desk.people, ticket_id).await;
    assert_eq!(automation(&held.expect("held")), before);
    let resumed = Change::Resume.make(&desk.people, ticket_id).await;
    assert_eq!(automation(&resumed.expect("resumed")), before);
    // One event for one pause, however often it was extended.
    let story = desk.whole_story(ticket_id).await;
    let paused = story.iter().filter(|event| *event == "automation paused");
    assert_eq!(paused.count(), 1);

    let closed = Change::Close.make(&desk.people, ticket_id).await;
    let closed = closed.expect("closed");
    assert_eq!(automation(&closed), (AutomationState::Running, None));
    assert_eq!(closed.next_due_time, None);
    let reopened = Change::Reopen.make(&desk.people, ticket_id).await;
    for_an_hour_from_now(&desk, &reopened.expect("reopened"), "reopening").await;
    Change::Close
        .make(&desk.people, ticket_id)
        .await
        .expect("closed");
    let back = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!(automation(&back).0, AutomationState::Paused);
}

#[tokio::test]
async fn when_the_time_is_over_the_bot_is_told_once() {
    let desk = desk().await;
    let ticket = desk.open().await;
    let ticket_id = ticket.ticket_id;
    assert!(pass(&desk, ticket_id, 59.9).await.is_empty());
    let due = automation(&desk.ticket(ticket_id).await).1;
    assert!(pass(&desk, ticket_id, 0.0).await.is_empty());
    // Half an hour late.
    assert_eq!(
        pass(&desk, ticket_id, 30.1).await,
        ["automation resumed: TimeOver"]
    );
    let events = desk.events(ticket_id).await;
    let last = events.last().expect("an event");
    let Some(Payload::AutomationResumed(resumed)) = &last.payload else {
        panic!("{last:?}")
    };
    let shifted = due.expect("an instant") - 30 * MINUTE_US - MINUTE_US / 10;
    assert!((micros(resumed.due_time) - shifted).abs() <= 1);
    assert_eq!(last.author.expect("one").kind(), AuthorKind::System);
    let ticket = desk.ticket(ticket_id).await;
    assert_eq!(automation(&ticket), (AutomationState::Running, None));
    assert_eq!(ticket.next_due_time, None);
    assert!(pass(&desk, ticket_id, 60.0).await.is_empty());
}

#[tokio::test]
async fn the_clocks_of_automation_and_inactivity_leave_each_other_alone() {
    let desk = Desk::with_policy().await;
    set_bot(
        &desk,
        "automation_pause_value = 15, automation_pause_unit = 2",
    )
    .await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    assert_eq!(pass(&desk, ticket_id, 10.0).await, ["fired FirstAlert"]);
    let before = desk.ticket(ticket_id).await;
    assert_eq!(automation(&before).0, AutomationState::Paused);
    assert_eq!(
        pass(&desk, ticket_id, 5.0).await,
        ["automation resumed: TimeOver"]
    );
    let after = desk.ticket(ticket_id).await;
    assert_eq!(after.alert(), Alert::Yellow);
    assert_eq!(after.inactivity_cycle.expect("it").cycle, 1);
    assert_eq!(pass(&desk, ticket_id, 5.0).await, ["fired SecondAlert"]);
    // Both at one look.
    let ticket_id = desk.answered(1).await[0].ticket_id;
    assert_eq!(
        pass(&desk, ticket_id, 16.0).await,
        ["fired FirstAlert", "automation resumed: TimeOver"]
    );
    // A customer's answer leaves the pause alone.
    let ticket_id = desk.answered(1).await[0].ticket_id;
    desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!(
        pass(&desk, ticket_id, 15.0).await,
        ["automation resumed: TimeOver"]
    );
}

#[tokio::test]
async fn until_completed_has_no_instant() {
    let desk = Desk::start().await;
    for change in [Change::Close, Change::Unlink] {
        let ticket = desk.open().await;
        assert_eq!(
            automation(&ticket),
            (AutomationState::PausedUntilCompleted, None)
        );
        assert_eq!(ticket.next_due_time, None);
        assert!(pass(&desk, ticket.ticket_id, 1e5).await.is_empty());
        let done = change.make(&desk.people, ticket.ticket_id).await;
        assert_eq!(
            automation(&done.expect("done")),
            (AutomationState::Running, None)
        );
        let story = desk.whole_story(ticket.ticket_id).await;
        let told = "automation resumed: Completed".to_owned();
        assert_eq!(story.iter().filter(|event| **event == told).count(), 1);
    }
}

/// How the automation is paused by the ticket's last event about it.
async fn last_pause(desk: &Desk, ticket_id: i64) -> Option<Automation> {
    let events = desk.events(ticket_id).await;
    let found = events
        .into_iter()
        .rev()
        .find_map(|event| match event.payload {
            Some(Payload::AutomationPaused(paused)) => Some(paused.automation),
            _ => None,
        });
    found.expect("it was paused")
}

#[tokio::test]
async fn a_message_tells_of_the_pause_only_when_its_end_is_open_now() {
    let desk = desk().await;
    let ticket_id = desk.open().await.ticket_id;
    desk.writes(ticket_id, AuthorKind::Agent).await;
    set_bot(
        &desk,
        "automation_pause_value = NULL, automation_pause_unit = NULL",
    )
    .await;
    for _ in 0..2 {
        let ticket = desk.writes(ticket_id, AuthorKind::Agent).await;
        assert_eq!(last_pause(&desk, ticket_id).await, ticket.automation);
    }
    assert_eq!(
        desk.whole_story(ticket_id).await,
        [
            "opened",
            "automation paused",
            "Agent wrote",
            "Agent wrote",
            "automation paused",
            "Agent wrote"
        ]
    );
}

#[tokio::test]
async fn extending_and_resuming_can_be_repeated_without_harm() {
    let desk = desk().await;
    let ticket_id = desk.open().await.ticket_id;
    let hour = automation(&desk.ticket(ticket_id).await);
    let etag = desk.ticket(ticket_id).await.etag;
    for length in [minutes(1), minutes(59)] {
        let shorter = pause(&desk.agent, ticket_id, length).await;
        let shorter = shorter.expect("paused");
        assert_eq!((automation(&shorter), &shorter.etag), (hour, &etag));
    }
    let longer = pause(&desk.agent, ticket_id, minutes(90)).await;
    let longer = longer.expect("paused");
    assert_ne!(longer.etag, etag, "it is a change like others");
    assert_eq!(last_pause(&desk, ticket_id).await, longer.automation);
    let longer = automation(&longer);
    assert!(longer.1 > hour.1);
    let kept = desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_eq!(automation(&kept), longer, "an hour is shorter");
    let generation = desk.ticket(ticket_id).await.generation;
    assert_eq!(generation, 2, "what postpones is no news to the timer");

    let always = Length::UntilCompleted(true);
    for length in [always, always, minutes(5)] {
        let paused = pause(&desk.agent, ticket_id, length).await;
        assert_eq!(
            automation(&paused.expect("paused")),
            (AutomationState::PausedUntilCompleted, None)
        );
    }
    for _ in 0..2 {
        let running = Change::ResumeAutomation.make(&desk.agent, ticket_id).await;
        assert_eq!(
            automation(&running.expect("running")),
            (AutomationState::Running, None)
        );
    }
    let again = pause(&desk.agent, ticket_id, minutes(5)).await;
    assert_eq!(
        automation(&again.expect("paused")).0,
        AutomationState::Paused
    );
    assert_eq!(
        desk.whole_story(ticket_id).await,
        [
            "opened",
            "automation paused",
            "automation paused",
            "Agent wrote",
            "automation paused",
            "automation resumed: Requested",
            "automation paused"
        ]
    );
    assert_eq!(
        pass(&desk, ticket_id, 5.0).await,
        ["automation resumed: TimeOver"]
    );
}

#[tokio::test]
async fn wrong_pauses_are_refused() {
    let desk = desk().await;
    let before = desk.open().await;
    let ticket_id = before.ticket_id;
    for (length, fields) in [
        (minutes(0), vec!["pause_for"]),
        (minutes(-5), vec!["pause_for"]),
        (
            Length::PauseFor(time_value(1, TimeUnit::Unspecified)),
            vec!["pause_for.unit"],
        ),
        (
            Length::PauseFor(time_value(401, TimeUnit::Day)),
            vec!["pause_for"],
        ),
        (Length::UntilCompleted(false), vec!["until_completed"]),
    ] {
        let refused = pause(&desk.people, ticket_id, length).await;
        assert_eq!(wrong_fields(refused), fields);
    }
    assert_eq!(desk.ticket(ticket_id).await, before);
    let closed = Change::Close.make(&desk.people, ticket_id).await;
    let closed = closed.expect("closed");
    let refused = pause(&desk.people, ticket_id, minutes(5)).await;
    assert_eq!(refusal(refused), precondition("TICKET_CLOSED"));
    let running = Change::ResumeAutomation.make(&desk.people, ticket_id).await;
    assert_eq!(running.expect("it runs"), closed);
}
