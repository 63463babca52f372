//! Tickets move to queues, leave the lists, and are set open by the bot.

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Alert, AutomationState, CloseSource, ListMessagesRequest, ListTicketsRequest, TicketFilter,
    TicketState, Turn,
};
use tonic::Code;

use super::calls::{Change, pass};
use crate::desk::Desk;
use crate::support::{TENANT, refusal, wrong_fields};

/// The ids of the tenant's tickets in these states.
async fn listed(desk: &Desk, states: &[TicketState]) -> Vec<i64> {
    let states = states.iter().map(|&state| state.into()).collect();
    let filter = TicketFilter {
        states,
        ..Default::default()
    };
    let request = ListTicketsRequest {
        filter: Some(filter),
        ..Default::default()
    };
    let answer = desk.people.tickets.clone().list_tickets(request).await;
    let tickets = answer.expect("listed").into_inner().tickets;
    tickets.iter().map(|ticket| ticket.ticket_id).collect()
}

#[tokio::test]
async fn a_transfer_disarms_until_an_agent_writes() {
    let desk = Desk::with_policy().await;
    let from = desk.queue("Ventas").await;
    let to = desk.queue("Soporte").await;
    let mut opening = desk.opening();
    (opening.queue_id, opening.agent_id) = (from, desk.agent_id);
    let ticket_id = desk.open_as(opening).await.ticket_id;
    desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_eq!(pass(&desk, ticket_id, 10.0).await, ["fired FirstAlert"]);

    let moved = Change::Transfer(to).make(&desk.agent, ticket_id).await;
    let moved = moved.expect("moved");
    assert_eq!(desk.ticket(ticket_id).await, moved);
    assert_eq!(
        (moved.state(), moved.queue_id, moved.agent_id, moved.alert()),
        (TicketState::Waiting, to, 0, Alert::Unspecified)
    );
    assert_eq!(moved.turn(), Turn::Unspecified);
    assert!(moved.inactivity_cycle.is_none() && moved.next_due_time.is_none());
    assert_eq!(
        moved.automation.expect("it").state(),
        AutomationState::PausedUntilCompleted
    );
    let events = desk.events(ticket_id).await;
    let Some(Payload::Transferred(told)) = &events[events.len() - 2].payload else {
        panic!("{events:?}")
    };
    assert_eq!(
        (
            told.queue_id,
            told.previous_queue_id,
            told.previous_agent_id
        ),
        (to, from, desk.agent_id)
    );
    assert_eq!(
        desk.story(ticket_id).await[2..],
        ["fired FirstAlert", "transferred", "cleared Yellow"]
    );
    assert!(pass(&desk, ticket_id, 60.0).await.is_empty());
    desk.writes(ticket_id, AuthorKind::Bot).await;
    assert!(pass(&desk, ticket_id, 60.0).await.is_empty());

    let written = desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_eq!(
        (written.state(), written.queue_id, written.agent_id),
        (TicketState::Open, to, 0)
    );
    assert_eq!(written.inactivity_cycle.expect("a cycle").cycle, 2);
    assert_eq!(pass(&desk, ticket_id, 10.0).await, ["fired FirstAlert"]);

    // To the queue that it is in: it waits again.
    let same = Change::Transfer(to).make(&desk.agent, ticket_id).await;
    assert_eq!(same.expect("moved").state(), TicketState::Waiting);
}

#[tokio::test]
async fn transfers_go_to_queues_of_the_tickets_bot() {
    let desk = Desk::start().await;
    let before = desk.open().await;
    let other_bot = desk.people.clone().create_bot("Compras").await.bot_id;
    let mut foreigner = desk.fixture.administrator_of(TENANT + 1);
    let foreign_bot = foreigner.create_bot("Vendas").await.bot_id;
    let mut queues = vec![100_000];
    for (clients, bot_id) in [(&desk.people, other_bot), (&foreigner, foreign_bot)] {
        let queue = plazo_proto::ticketing::v1::Queue {
            bot_id,
            name: "Ventas".to_owned(),
            ..Default::default()
        };
        let request = plazo_proto::ticketing::v1::CreateQueueRequest {
            queue: Some(queue),
            request_id: String::new(),
        };
        let answer = clients.settings.clone().create_queue(request).await;
        queues.push(
            answer
                .expect("one")
                .into_inner()
                .queue
                .expect("it")
                .queue_id,
        );
    }
    for queue_id in queues {
        let refused = Change::Transfer(queue_id)
            .make(&desk.people, before.ticket_id)
            .await;
        assert_eq!(wrong_fields(refused), ["queue_id"]);
    }
    assert_eq!(desk.ticket(before.ticket_id).await, before);
}

#[tokio::test]
async fn unlinking_hides_from_lists_and_not_from_the_history() {
    let desk = Desk::with_policy().await;
    let ticket_id = desk.answered(1).await[0].ticket_id;
    let all = [TicketState::Waiting, TicketState::Open, TicketState::Closed];
    assert_eq!(listed(&desk, &all).await, [ticket_id]);
    let unlinked = Change::Unlink.make(&desk.agent, ticket_id).await;
    let unlinked = unlinked.expect("unlinked");
    assert_eq!(desk.ticket(ticket_id).await, unlinked);
    assert_eq!(
        (unlinked.state(), unlinked.unlinked, unlinked.next_due_time),
        (TicketState::Closed, true, None)
    );
    let closure = unlinked.closure.expect("a closure");
    assert_eq!(closure.source(), CloseSource::Agent);
    assert_eq!(
        unlinked.automation.expect("it").state(),
        AutomationState::Running
    );
    assert!(listed(&desk, &all).await.is_empty());
    assert!(listed(&desk, &[TicketState::Closed]).await.is_empty());
    let request = ListMessagesRequest {
        ticket_id,
        ..Default::default()
    };
    let messages = desk.people.tickets.clone().list_messages(request).await;
    assert_eq!(messages.expect("listed").into_inner().messages.len(), 1);
    assert_eq!(
        desk.story(ticket_id).await,
        ["opened", "Agent wrote", "closed by Agent", "unlinked"]
    );

    // A customer is heard in a new ticket, however soon; and again in the same.
    let linked = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!(
        (linked.previous_ticket_id, linked.state(), linked.unlinked),
        (ticket_id, TicketState::Waiting, false)
    );
    let again = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!(again.ticket_id, linked.ticket_id);
    assert_eq!(listed(&desk, &all).await, [linked.ticket_id]);
}

#[tokio::test]
async fn people_bring_an_unlinked_ticket_back() {
    let desk = Desk::start().await;
    for change in [
        Change::Reopen,
        Change::Assign(desk.agent_id),
        Change::SetOpen,
    ] {
        let ticket_id = desk.open().await.ticket_id;
        let unlinked = Change::Unlink.make(&desk.people, ticket_id).await;
        unlinked.expect("unlinked");
        let back = change.make(&desk.people, ticket_id).await.expect("back");
        assert_eq!(
            (back.state(), back.unlinked, back.closure),
            (TicketState::Open, false, None)
        );
        assert!(listed(&desk, &[]).await.contains(&ticket_id), "{change:?}");
        // Then the customer is heard in it.
        let written = desk.writes(ticket_id, AuthorKind::Customer).await;
        assert_eq!(written.ticket_id, ticket_id);
        // And it can be unlinked again.
        let unlinked = Change::Unlink.make(&desk.people, ticket_id).await;
        assert!(unlinked.expect("unlinked").unlinked);
    }
    let ticket_id = desk.open().await.ticket_id;
    let unlinked = Change::Unlink.make(&desk.people, ticket_id).await;
    unlinked.expect("unlinked");
    let back = desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_eq!((back.state(), back.unlinked), (TicketState::Open, false));
}

#[tokio::test]
async fn set_open_is_the_bots_and_assigns_nobody() {
    let desk = Desk::with_policy().await;
    let bot = desk
        .fixture
        .as_actor(&format!("bot/{}", desk.bot_id), "builder:edit", "*");
    let ticket_id = desk.open().await.ticket_id;
    let refused = Change::SetOpen.make(&desk.agent, ticket_id).await;
    assert_eq!(refusal(refused).0, Code::PermissionDenied);
    let open = Change::SetOpen.make(&bot, ticket_id).await.expect("open");
    assert_eq!(desk.ticket(ticket_id).await, open);
    assert_eq!((open.state(), open.agent_id), (TicketState::Open, 0));
    assert!(open.first_assign_time.is_none() && open.inactivity_cycle.is_none());
    let events = desk.events(ticket_id).await;
    let last = events.last().expect("an event");
    assert_eq!(last.author.expect("an author").kind(), AuthorKind::Bot);

    // A running cycle goes on, with its alert.
    desk.writes(ticket_id, AuthorKind::Agent).await;
    assert_eq!(pass(&desk, ticket_id, 10.0).await, ["fired FirstAlert"]);
    let before = desk.ticket(ticket_id).await;
    let after = Change::SetOpen.make(&bot, ticket_id).await.expect("open");
    assert_eq!(
        (after.alert(), after.inactivity_cycle, after.generation),
        (Alert::Yellow, before.inactivity_cycle, before.generation)
    );
}
