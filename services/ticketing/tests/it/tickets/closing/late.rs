//! A reply that was written before the close by inactivity, and came after it.

use plazo_proto::common::v1::{AuthorKind, TimeUnit};
use plazo_proto::ticketing::v1::pause_automation_request::Length;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    AutoCloseSettings, AutomationState, InactivityPolicy, PauseAutomationRequest,
    RecordMessageRequest, RecordMessagesRequest, Ticket, TicketReopened, TicketState,
};

use super::super::calls::{Change, at, now, pass, set_bot, tag};
use crate::desk::{Desk, unwarned};
use crate::support::time_value;

const SECOND_US: i64 = 1_000_000;

/// What the channel says, from the instant of the close.
type Instant = fn(i64) -> i64;

async fn desk() -> Desk {
    let desk = Desk::start().await;
    desk.set_policy(unwarned()).await;
    desk
}

/// A ticket of the agent that was closed by inactivity at 0.4 s past a whole second, so many seconds ago, and that
/// instant.
async fn closed(desk: &Desk, seconds_ago: i64) -> (i64, i64) {
    let mut opening = desk.opening();
    opening.agent_id = desk.agent_id;
    let ticket_id = desk.open_as(opening).await.ticket_id;
    desk.writes(ticket_id, AuthorKind::Agent).await;
    tag(desk, ticket_id, &["auto", "vip"], &[]).await;
    let story = pass(desk, ticket_id, 30.0).await;
    assert_eq!(story[0], "fired Close");
    (ticket_id, close_at(desk, ticket_id, seconds_ago).await)
}

/// Moves a close to 0.4 s past a whole second, so many seconds ago, and the opening far before it.
async fn close_at(desk: &Desk, ticket_id: i64, seconds_ago: i64) -> i64 {
    let second = now(desk).await / SECOND_US * SECOND_US - seconds_ago * SECOND_US;
    let closed_at = second + 400_000;
    sqlx::query(
        "UPDATE tickets SET closed_at = to_timestamp($2 / 1e6), opened_at = opened_at - interval '1 hour'
         WHERE ticket_id = $1",
    )
    .bind(ticket_id)
    .bind(closed_at)
    .execute(&desk.fixture.pool)
    .await
    .expect("moved");
    closed_at
}

/// A customer's message that was written at this instant, according to the channel.
fn written(desk: &Desk, ticket_id: i64, at_us: i64) -> RecordMessageRequest {
    let mut message = desk.message(ticket_id, AuthorKind::Customer);
    message.channel_time = Some(at(at_us));
    message
}

/// Records it, and tells the ticket that it went to and what happened to the one that it was meant for.
async fn reply(desk: &Desk, message: RecordMessageRequest) -> (Ticket, Vec<String>) {
    let ticket_id = message.ticket_id;
    let before = desk.whole_story(ticket_id).await.len();
    let answer = desk.record(message).await.expect("recorded");
    let story = desk.whole_story(ticket_id).await.split_off(before);
    (answer.ticket.expect("the ticket"), story)
}

const SUPERSEDED: [&str; 3] = [
    "close superseded, Open",
    "automation paused",
    "Customer wrote",
];
const REOPENED: [&str; 3] = ["reopened Open", "automation paused", "Customer wrote"];

#[tokio::test]
async fn a_late_reply_puts_everything_back() {
    let desk = desk().await;
    set_bot(&desk, "unassign_on_close = ARRAY[3]::smallint[]").await;
    let (ticket_id, closed_at) = closed(&desk, 5).await;
    let before = desk.ticket(ticket_id).await;
    assert_eq!((before.agent_id, before.state()), (0, TicketState::Closed));
    assert_eq!(before.tags, ["auto", "silent", "vip"]);
    let late = written(&desk, ticket_id, closed_at - 1);
    let (ticket, story) = reply(&desk, late).await;
    assert_eq!(story, SUPERSEDED);
    assert_eq!(
        (ticket.ticket_id, ticket.state(), ticket.agent_id),
        (ticket_id, TicketState::Open, desk.agent_id)
    );
    assert_eq!(ticket.tags, ["auto", "vip"], "only those of the close go");
    assert_eq!(ticket.closure, None);
    let automation = ticket.automation.expect("it").state();
    assert_eq!(automation, AutomationState::PausedUntilCompleted);
    assert_eq!(desk.ticket(ticket_id).await, ticket);
    let told = desk.events(ticket_id).await.into_iter().find_map(|event| {
        let Some(Payload::Reopened(told)) = event.payload else {
            return None;
        };
        Some(told)
    });
    let expected = TicketReopened {
        state: TicketState::Open.into(),
        agent_id: desk.agent_id,
        supersedes_close: true,
        tags: ticket.tags,
        contact: told.as_ref().and_then(|told| told.contact.clone()),
    };
    assert!(expected.contact.is_some(), "the customer is told");
    assert_eq!(told, Some(expected));

    // A second one is a message like others; and the next silence closes again.
    let (ticket, story) = reply(&desk, written(&desk, ticket_id, closed_at - 2)).await;
    assert_eq!(story, ["Customer wrote"]);
    assert_eq!(ticket.state(), TicketState::Open);
    desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_eq!(pass(&desk, ticket_id, 30.0).await[0], "fired Close");
}

#[tokio::test]
async fn the_instants_decide() {
    let desk = desk().await;
    let second = |closed_at: i64| closed_at - 400_000;
    let cases: [(&str, i64, Instant, bool); 9] = [
        ("a microsecond before", 5, |it| it - 1, true),
        ("long before", 5, |it| it - 60 * SECOND_US, true),
        ("at the close", 5, |it| it, false),
        ("a microsecond after", 5, |it| it + 1, false),
        ("the whole second of the close", 5, |it| it - 400_000, true),
        ("the next whole second", 5, |it| it + 600_000, false),
        ("in the future", 5, |it| it + 3_600 * SECOND_US, false),
        ("before the ticket", 5, |it| it - 90_000 * SECOND_US, false),
        ("arrived after the grace", 61, |it| it - SECOND_US, false),
    ];
    for (what, seconds_ago, instant, is_superseded) in cases {
        let (ticket_id, closed_at) = closed(&desk, seconds_ago).await;
        assert_eq!(second(closed_at) % SECOND_US, 0);
        let message = written(&desk, ticket_id, instant(closed_at));
        let (ticket, story) = reply(&desk, message).await;
        let expected = if is_superseded { SUPERSEDED } else { REOPENED };
        assert_eq!(story, expected, "{what}");
        assert_eq!(
            ticket.tags.contains(&"silent".to_owned()),
            !is_superseded,
            "{what}"
        );
    }
    // A close on a whole second: the same second counts for the customer.
    let (ticket_id, closed_at) = closed(&desk, 5).await;
    sqlx::query("UPDATE tickets SET closed_at = closed_at - interval '0.4 s' WHERE ticket_id = $1")
        .bind(ticket_id)
        .execute(&desk.fixture.pool)
        .await
        .expect("moved");
    let (_, story) = reply(&desk, written(&desk, ticket_id, closed_at - 400_000)).await;
    assert_eq!(story, SUPERSEDED);

    // The channel says nothing.
    let (ticket_id, _) = closed(&desk, 5).await;
    let (_, story) = reply(&desk, desk.message(ticket_id, AuthorKind::Customer)).await;
    assert_eq!(story, REOPENED);
}

#[tokio::test]
async fn the_grace_is_the_bots() {
    let desk = desk().await;
    for (grace, seconds_ago, expected) in [
        (
            "late_reply_grace_value = 60, late_reply_grace_unit = 1",
            45,
            SUPERSEDED,
        ),
        (
            "late_reply_grace_value = 5, late_reply_grace_unit = 2",
            61,
            SUPERSEDED,
        ),
        (
            "late_reply_grace_value = 5, late_reply_grace_unit = 2",
            301,
            REOPENED,
        ),
        (
            "late_reply_grace_value = 1, late_reply_grace_unit = 1",
            3,
            REOPENED,
        ),
    ] {
        set_bot(&desk, grace).await;
        let (ticket_id, closed_at) = closed(&desk, seconds_ago).await;
        let (_, story) = reply(&desk, written(&desk, ticket_id, closed_at - 1)).await;
        assert_eq!(story, expected, "{grace} {seconds_ago}");
    }
}

#[tokio::test]
async fn only_a_close_by_inactivity_is_superseded_and_never_that_of_an_unlinked_ticket() {
    let desk = desk().await;
    let mut opening = desk.opening();
    opening.agent_id = desk.agent_id;
    let ticket_id = desk.open_as(opening).await.ticket_id;
    let done = Change::Close.make(&desk.agent, ticket_id).await;
    done.expect("closed");
    let closed_at = close_at(&desk, ticket_id, 5).await;
    let (_, story) = reply(&desk, written(&desk, ticket_id, closed_at - 1)).await;
    assert_eq!(story, REOPENED);

    let (ticket_id, closed_at) = closed(&desk, 5).await;
    let unlinked = Change::Unlink.make(&desk.people, ticket_id).await;
    let unlinked = unlinked.expect("unlinked");
    let (ticket, story) = reply(&desk, written(&desk, ticket_id, closed_at - 1)).await;
    assert!(story.is_empty());
    assert_eq!(ticket.previous_ticket_id, ticket_id);
    assert_eq!(desk.ticket(ticket_id).await, unlinked);

    // Somebody was faster: what he did stands, and the close that he answered to.
    for change in [
        Some(Change::Reopen),
        Some(Change::SetOpen),
        Some(Change::Assign(desk.agent_id)),
        None,
    ] {
        let (ticket_id, closed_at) = closed(&desk, 5).await;
        match change {
            Some(change) => {
                let opened = change.make(&desk.people, ticket_id).await;
                opened.expect("opened");
            }
            None => {
                desk.writes(ticket_id, AuthorKind::Agent).await;
            }
        }
        let (ticket, story) = reply(&desk, written(&desk, ticket_id, closed_at - 1)).await;
        assert_eq!(story, ["Customer wrote"]);
        assert_eq!(ticket.state(), TicketState::Open);
        assert!(ticket.tags.contains(&"silent".to_owned()));
    }
}

#[tokio::test]
async fn the_pause_that_the_close_ended_goes_on() {
    let desk = desk().await;
    let hour = "automation_pause_value = 60, automation_pause_unit = 2";
    set_bot(&desk, hour).await;
    let day = Length::PauseFor(time_value(1, TimeUnit::Day));
    for length in [day, Length::UntilCompleted(true)] {
        let ticket_id = desk.answered(1).await[0].ticket_id;
        let request = PauseAutomationRequest {
            ticket_id,
            length: Some(length),
            ..Default::default()
        };
        let mut tickets = desk.people.tickets.clone();
        tickets.pause_automation(request).await.expect("paused");
        desk.age(&[ticket_id], 30.0).await;
        let before = desk.ticket(ticket_id).await.automation;
        assert_eq!(pass(&desk, ticket_id, 0.0).await[0], "fired Close");
        let closed = desk.ticket(ticket_id).await.automation.expect("it");
        assert_eq!(closed.state(), AutomationState::Running);
        let closed_at = close_at(&desk, ticket_id, 5).await;
        let (ticket, story) = reply(&desk, written(&desk, ticket_id, closed_at - 1)).await;
        assert_eq!(story, SUPERSEDED);
        assert_eq!(ticket.automation, before);
        assert_eq!(desk.ticket(ticket_id).await, ticket);
    }
}

#[tokio::test]
async fn a_ticket_that_waited_waits_again() {
    let desk = Desk::start().await;
    let auto_close = AutoCloseSettings {
        only_after_first_agent_message: Some(false),
        ..unwarned().auto_close.expect("it closes")
    };
    desk.set_policy(InactivityPolicy {
        auto_close: Some(auto_close),
        ..unwarned()
    })
    .await;
    let ticket_id = desk.open().await.ticket_id;
    assert_eq!(pass(&desk, ticket_id, 30.0).await[0], "fired Close");
    let closed_at = close_at(&desk, ticket_id, 5).await;
    let (ticket, story) = reply(&desk, written(&desk, ticket_id, closed_at - 1)).await;
    assert_eq!(story[0], "close superseded, Waiting");
    assert_eq!(
        (ticket.state(), ticket.agent_id, ticket.tags.len()),
        (TicketState::Waiting, 0, 0)
    );
    // It counts from this word.
    assert_eq!(ticket.inactivity_cycle.expect("a cycle").cycle, 2);
}

#[tokio::test]
async fn in_a_batch_the_first_reply_decides() {
    let desk = desk().await;
    let (ticket_id, closed_at) = closed(&desk, 5).await;
    let before = desk.whole_story(ticket_id).await.len();
    let request = RecordMessagesRequest {
        messages: vec![
            written(&desk, ticket_id, closed_at - 1),
            written(&desk, ticket_id, closed_at - 2),
        ],
        request_id: String::new(),
    };
    let answer = desk.people.tickets.clone().record_messages(request).await;
    assert_eq!(answer.expect("recorded").into_inner().results.len(), 2);
    let story = desk.whole_story(ticket_id).await.split_off(before);
    assert_eq!(
        story,
        [
            "close superseded, Open",
            "automation paused",
            "Customer wrote",
            "Customer wrote"
        ]
    );
}
