//! What the timer asks: `HandleDueTickets`.

mod crowd;
mod warnings;

use plazo_proto::common::v1::{AuthorKind, Channel, ChannelIdentity};
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageKind};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{Alert, CloseSource, InactivityPolicy, Stage, TicketState};
use plazo_proto::timer::v1::{
    HandleDueTicketsRequest, HandleOutcome, HandledTicket, TicketGeneration,
};
use prost_types::Timestamp;
use tonic::Code;

use crate::desk::{Desk, eventually, everything, ids, named, unwarned};
use crate::support::{TENANT, refusal, wrong_fields};

fn micros(at: Timestamp) -> i64 {
    at.seconds * 1_000_000 + i64::from(at.nanos / 1_000)
}

/// How long until the next look, in milliseconds.
fn look_again_ms(result: &HandledTicket) -> Option<i64> {
    let after = result.look_again_after?;
    assert_eq!(after.nanos % 1_000_000, 0, "whole milliseconds");
    Some(after.seconds * 1_000 + i64::from(after.nanos / 1_000_000))
}

/// Has one ticket looked at in its present generation.
async fn look(desk: &Desk, ticket_id: i64) -> HandledTicket {
    let generation = desk.ticket(ticket_id).await.generation;
    let answer = desk.handle(&[(ticket_id, generation)]).await;
    let mut answer = answer.expect("handled");
    let now = micros(answer.handler_time.expect("a time"));
    let result = answer.results.pop().expect("an answer");
    // The next look is never before the instant that the ticket shows, and less than a millisecond after it.
    let next = desk.ticket(ticket_id).await.next_due_time.map(micros);
    match (look_again_ms(&result), next) {
        (Some(after_ms), Some(next)) => {
            let late = now + after_ms * 1_000 - next;
            assert!((0..1_000).contains(&late) || next < now, "{late} µs late");
        }
        (after, next) => assert!(after.is_none() && next.is_none(), "{after:?} {next:?}"),
    }
    result
}

#[tokio::test]
async fn each_stage_fires_when_it_is_due_and_once() {
    let desk = Desk::start().await;
    desk.set_policy(unwarned()).await;
    let ticket = desk.answered(1).await.remove(0);
    let ticket_id = ticket.ticket_id;

    let early = look(&desk, ticket_id).await;
    assert_eq!(early.outcome(), HandleOutcome::NotDue);
    let after_ms = look_again_ms(&early).expect("a next look");
    assert!((1..=600_000).contains(&after_ms), "{after_ms}");
    assert!(early.active_messages.is_empty());

    for (stage, alert) in [
        (Stage::FirstAlert, Alert::Yellow),
        (Stage::SecondAlert, Alert::Red),
    ] {
        desk.age(&[ticket_id], 10.0).await;
        let fired = look(&desk, ticket_id).await;
        assert_eq!(fired.outcome(), HandleOutcome::Fired);
        assert!(fired.active_messages.is_empty());
        assert_eq!(
            look(&desk, ticket_id).await.outcome(),
            HandleOutcome::NotDue
        );
        let ticket = desk.ticket(ticket_id).await;
        assert_eq!(ticket.alert(), alert);
        let events = desk.events(ticket_id).await;
        let last = events.last().expect("an event");
        let Some(Payload::StageFired(payload)) = &last.payload else {
            panic!("{last:?}")
        };
        assert_eq!(
            (payload.stage(), payload.alert(), payload.cycle),
            (stage, alert, 1)
        );
        let due_at = micros(payload.due_time.expect("a time"));
        assert!(
            micros(last.event_time.expect("a time")) >= due_at,
            "never early"
        );
        assert_eq!(due_at % 1_000, 0, "whole milliseconds");
    }

    desk.age(&[ticket_id], 10.0).await;
    let closed = look(&desk, ticket_id).await;
    assert_eq!(closed.outcome(), HandleOutcome::Fired);
    assert_eq!(look_again_ms(&closed), None);
    assert_eq!(
        look(&desk, ticket_id).await.outcome(),
        HandleOutcome::Already
    );
    assert_eq!(
        desk.story(ticket_id).await,
        [
            "opened",
            "Agent wrote",
            "fired FirstAlert",
            "fired SecondAlert",
            "fired Close",
            "closed by CustomerInactivity",
            "cleared Red",
            "asked for ClosingText",
        ]
    );
}

#[tokio::test]
async fn the_close_leaves_tags_note_route_and_text() {
    let desk = Desk::start().await;
    desk.set_policy(unwarned()).await;
    let ticket = desk.answered(1).await.remove(0);
    let ticket_id = ticket.ticket_id;
    let wrote = desk
        .writes(ticket_id, AuthorKind::Customer)
        .await
        .last_customer_message_time;
    desk.writes(ticket_id, AuthorKind::Agent).await;
    desk.age(&[ticket_id], 30.0).await;
    let result = look(&desk, ticket_id).await;

    let expected = ActiveMessage {
        tenant_id: TENANT,
        idempotency_key: format!("ticket/{ticket_id}/cycle/2/closing"),
        kind: ActiveMessageKind::ClosingText.into(),
        bot_id: desk.bot_id,
        ticket_id,
        contact_id: desk.contact_id,
        recipient: Some(ChannelIdentity {
            channel: Channel::Log.into(),
            address: "ana".to_owned(),
        }),
        channel_account_id: 0,
        text: "Bye, Ana".to_owned(),
        image_url: String::new(),
        last_customer_message_time: wrote,
        valid_until_time: None,
    };
    assert_eq!(result.active_messages, std::slice::from_ref(&expected));

    let after = desk.ticket(ticket_id).await;
    assert_eq!(
        (after.state(), after.alert()),
        (TicketState::Closed, Alert::Unspecified)
    );
    assert_eq!(after.tags, ["auto", "silent"]);
    assert!(after.inactivity_cycle.is_none() && after.next_due_time.is_none());
    let closure = after.closure.expect("closed");
    assert_eq!(closure.source(), CloseSource::CustomerInactivity);
    assert_eq!(
        closure.author.expect("an author").kind(),
        AuthorKind::System
    );
    assert_eq!(closure.note, everything().auto_close.expect("closes").note);
    assert_eq!(closure.exit_route, "goodbye");

    let events = desk.events(ticket_id).await;
    let told = events.iter().find_map(|event| match &event.payload {
        Some(Payload::Closed(closed)) => Some(closed),
        _ => None,
    });
    let told = told.expect("closed");
    assert_eq!((told.cycle, &told.tags), (2, &after.tags));
    assert_eq!(told.closure, Some(closure));
    let Some(Payload::ActiveMessageRequested(asked)) =
        events.last().and_then(|event| event.payload.clone())
    else {
        panic!("no message is asked for")
    };
    assert_eq!(asked.message, Some(expected));

    // Who comes back in a ticket without an agent waits, and a second close adds no tag twice.
    let back = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!((back.state(), back.closure), (TicketState::Waiting, None));
    desk.writes(ticket_id, AuthorKind::Agent).await;
    desk.age(&[ticket_id], 30.0).await;
    assert_eq!(look(&desk, ticket_id).await.outcome(), HandleOutcome::Fired);
    assert_eq!(desk.ticket(ticket_id).await.tags, ["auto", "silent"]);
}

#[tokio::test]
async fn after_an_outage_the_highest_stage_acts() {
    let desk = Desk::with_policy().await;
    let tickets = ids(&desk.answered(2).await);
    desk.age(&tickets[..1], 22.0).await;
    desk.age(&tickets[1..], 100.0).await;
    for &ticket_id in &tickets {
        assert_eq!(look(&desk, ticket_id).await.outcome(), HandleOutcome::Fired);
    }
    let start = ["opened", "Agent wrote", "fired SecondAlert"];
    assert_eq!(desk.story(tickets[0]).await, start);
    let story = desk.story(tickets[1]).await;
    assert_eq!(story[..3], start);
    assert_eq!(story[3..], ["fired Warning", "asked for Warning"]);
}

#[tokio::test]
async fn other_generations_and_unknown_tickets_are_stale() {
    let desk = Desk::with_policy().await;
    let tickets = desk.answered(2).await;
    desk.age(&ids(&tickets), 15.0).await;
    let (first, second) = (&tickets[0], &tickets[1]);
    let asked = [
        (first.ticket_id, first.generation - 1),
        (first.ticket_id, first.generation + 1),
        (second.ticket_id, second.generation),
        (second.ticket_id + 1_000, 1),
    ];
    let stale = HandleOutcome::Stale;
    assert_eq!(
        desk.outcomes(&asked).await,
        [stale, stale, HandleOutcome::Fired, stale]
    );
    assert_eq!(desk.story(first.ticket_id).await, ["opened", "Agent wrote"]);

    // The right id and generation with another tenant.
    let foreign = TicketGeneration {
        tenant_id: TENANT + 1,
        ticket_id: first.ticket_id,
        generation: first.generation,
    };
    let request = HandleDueTicketsRequest {
        tickets: vec![foreign],
    };
    let answer = desk
        .service
        .handler
        .clone()
        .handle_due_tickets(request)
        .await;
    assert_eq!(
        answer.expect("handled").into_inner().results[0].outcome(),
        stale
    );
    assert_eq!(desk.story(first.ticket_id).await, ["opened", "Agent wrote"]);
}

#[tokio::test]
async fn a_ticket_that_is_being_changed_is_busy_and_stops_nobody() {
    let desk = Desk::with_policy().await;
    let tickets = desk.answered(2).await;
    desk.age(&ids(&tickets), 15.0).await;
    let held = &tickets[0];
    let mut change = desk.fixture.pool.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM ticket_clocks WHERE ticket_id = $1 FOR UPDATE")
        .bind(held.ticket_id)
        .execute(&mut *change)
        .await
        .expect("locked");
    let mut asked = named(&tickets);
    asked.push((held.ticket_id, held.generation - 1));
    // The relay may hold the other one for a moment.
    let outcomes = eventually("the other one fires", async || {
        let answer = desk.handle_once(&asked).await.expect("handled");
        let outcomes: Vec<_> = answer.results.iter().map(HandledTicket::outcome).collect();
        (outcomes[1] != HandleOutcome::Busy).then_some(outcomes)
    })
    .await;
    assert_eq!(
        outcomes,
        [
            HandleOutcome::Busy,
            HandleOutcome::Fired,
            HandleOutcome::Stale
        ]
    );
    change.rollback().await.expect("released");
    assert_eq!(desk.outcomes(&asked[..1]).await, [HandleOutcome::Fired]);
}

#[tokio::test]
async fn a_ticket_that_stands_twice_in_a_batch_fires_once() {
    let desk = Desk::with_policy().await;
    let tickets = desk.answered(1).await;
    let ticket = &tickets[0];
    desk.age(&ids(&tickets), 26.0).await;
    let asked = [
        (ticket.ticket_id, ticket.generation),
        (ticket.ticket_id, ticket.generation - 1),
        (ticket.ticket_id, ticket.generation),
    ];
    let outcomes = desk.outcomes(&asked).await;
    assert_eq!(
        outcomes,
        [
            HandleOutcome::Fired,
            HandleOutcome::Stale,
            HandleOutcome::Fired
        ]
    );
    let story = desk.story(ticket.ticket_id).await;
    assert_eq!(
        story[2..],
        ["fired SecondAlert", "fired Warning", "asked for Warning"]
    );
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_stops_its_own_tickets_only() {
    let desk = Desk::with_policy().await;
    let tickets = desk.answered(3).await;
    desk.age(&ids(&tickets), 15.0).await;
    let poisoned = tickets[1].ticket_id;
    sqlx::query(
        r"WITH broken AS (
             INSERT INTO inactivity_policies (tenant_id, bot_id, settings) VALUES ($1, $2, '\xff')
             RETURNING policy_version
         )
         UPDATE ticket_clocks SET policy_version = broken.policy_version FROM broken WHERE ticket_id = $3",
    )
    .bind(TENANT)
    .bind(desk.bot_id)
    .bind(poisoned)
    .execute(&desk.fixture.pool)
    .await
    .expect("poisoned");
    let answer = desk.handle(&named(&tickets)).await.expect("handled");
    let outcomes: Vec<_> = answer.results.iter().map(HandledTicket::outcome).collect();
    let fired = HandleOutcome::Fired;
    assert_eq!(outcomes, [fired, HandleOutcome::Error, fired]);
    assert_eq!(answer.results[1].error_reason, "POLICY_UNREADABLE");
    assert_eq!(answer.results[0].error_reason, "");
    assert_eq!(desk.story(poisoned).await, ["opened", "Agent wrote"]);
}

#[tokio::test]
async fn what_postpones_or_ends_needs_no_new_generation() {
    let desk = Desk::with_policy().await;
    let ticket = desk.answered(1).await.remove(0);
    let asked = [(ticket.ticket_id, ticket.generation)];
    // Another message of the agent postpones.
    let later = desk.writes(ticket.ticket_id, AuthorKind::Agent).await;
    assert_eq!(later.generation, ticket.generation);
    assert!(later.next_due_time.map(micros) >= ticket.next_due_time.map(micros));
    assert_eq!(desk.outcomes(&asked).await, [HandleOutcome::NotDue]);
    // The customer's reply ends it.
    desk.age(&[ticket.ticket_id], 100.0).await;
    let answered = desk.writes(ticket.ticket_id, AuthorKind::Customer).await;
    assert_eq!(
        (answered.generation, answered.next_due_time),
        (ticket.generation, None)
    );
    assert_eq!(desk.outcomes(&asked).await, [HandleOutcome::Already]);
    // What brings it back raises the generation.
    let again = desk.writes(ticket.ticket_id, AuthorKind::Agent).await;
    assert_eq!(again.generation, ticket.generation + 1);
    assert_eq!(desk.outcomes(&asked).await, [HandleOutcome::Stale]);
    // A policy that is taken away leaves running cycles alone, and starts none.
    desk.set_policy(InactivityPolicy::default()).await;
    desk.age(&[ticket.ticket_id], 11.0).await;
    let fired = desk.outcomes(&[(ticket.ticket_id, again.generation)]).await;
    assert_eq!(fired, [HandleOutcome::Fired]);
    let stopped = desk.writes(ticket.ticket_id, AuthorKind::Agent).await;
    assert_eq!(
        (stopped.next_due_time, stopped.alert()),
        (None, Alert::Yellow)
    );
}

#[tokio::test]
async fn bad_batches_are_refused() {
    let desk = Desk::start().await;
    let request = |tickets| HandleDueTicketsRequest { tickets };
    let good = TicketGeneration {
        tenant_id: TENANT,
        ticket_id: 1,
        generation: 1,
    };
    let mut handler = desk.service.handler.clone();
    let refused = handler.handle_due_tickets(request(vec![])).await;
    assert_eq!(wrong_fields(refused), ["tickets"]);
    let refused = handler.handle_due_tickets(request(vec![good; 1_001])).await;
    assert_eq!(wrong_fields(refused), ["tickets"]);
    let bad =
        [(0, 1, 1), (TENANT, -1, 1), (TENANT, 1, 0)].map(|(tenant_id, ticket_id, generation)| {
            TicketGeneration {
                tenant_id,
                ticket_id,
                generation,
            }
        });
    let tickets = vec![bad[0], good, bad[1], bad[2]];
    let refused = handler.handle_due_tickets(request(tickets)).await;
    assert_eq!(
        wrong_fields(refused),
        ["tickets[0]", "tickets[2]", "tickets[3]"]
    );
    let refused = desk
        .people
        .handler
        .clone()
        .handle_due_tickets(request(vec![good]))
        .await;
    assert_eq!(refusal(refused).0, Code::PermissionDenied);
}
