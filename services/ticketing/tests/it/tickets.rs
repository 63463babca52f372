//! The life of a ticket, from opening to closing and back.

mod attending;
mod automation;
mod batches;
pub(crate) mod calls;
mod careless;
mod changes;
mod closing;
mod conversation;
mod delivery;
mod excluded;
mod holds;
mod lists;
mod refusals;
mod repeats;
mod states;
mod transfers;
mod waiting;

use plazo_proto::common::v1::{AuthorKind, TimeUnit};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Agent, AssignTicketRequest, Bot, CloseSource, CloseTicketRequest, ClosingNote,
    ReopenTicketRequest, Ticket, TicketState, UpdateAgentRequest, UpdateBotRequest,
};
use tonic::{Code, Status};

use crate::desk::{Desk, create_agent};
use crate::support::{Clients, refusal, time_value};

async fn assign(clients: &Clients, request: AssignTicketRequest) -> Result<Ticket, Status> {
    let answer = clients.tickets.clone().assign_ticket(request).await?;
    Ok(answer.into_inner().ticket.expect("the ticket"))
}

async fn close(clients: &Clients, request: CloseTicketRequest) -> Result<Ticket, Status> {
    let answer = clients.tickets.clone().close_ticket(request).await?;
    Ok(answer.into_inner().ticket.expect("the ticket"))
}

async fn reopen(clients: &Clients, request: ReopenTicketRequest) -> Result<Ticket, Status> {
    let answer = clients.tickets.clone().reopen_ticket(request).await?;
    Ok(answer.into_inner().ticket.expect("the ticket"))
}

fn closing(ticket_id: i64) -> CloseTicketRequest {
    CloseTicketRequest {
        ticket_id,
        ..Default::default()
    }
}

fn assigning(ticket_id: i64, agent_id: i64) -> AssignTicketRequest {
    AssignTicketRequest {
        ticket_id,
        agent_id,
        ..Default::default()
    }
}

fn reopening(ticket_id: i64) -> ReopenTicketRequest {
    ReopenTicketRequest {
        ticket_id,
        ..Default::default()
    }
}

/// The ticket that is read is the one that was answered.
async fn same(desk: &Desk, ticket: &Ticket) {
    assert_eq!(&desk.ticket(ticket.ticket_id).await, ticket);
}

#[tokio::test]
async fn a_ticket_waits_or_is_open_from_the_start() {
    let desk = Desk::start().await;
    let queue_id = desk.queue("Ventas").await;
    let mut opening = desk.opening();
    opening.queue_id = queue_id;
    let waiting = desk.open_as(opening.clone()).await;
    assert_eq!(
        (waiting.state(), waiting.agent_id),
        (TicketState::Waiting, 0)
    );
    assert_eq!((waiting.bot_id, waiting.queue_id), (desk.bot_id, queue_id));
    assert_eq!(
        (waiting.contact_id, waiting.generation),
        (desk.contact_id, 1)
    );
    assert!(waiting.first_assign_time.is_none() && waiting.inactivity_cycle.is_none());
    same(&desk, &waiting).await;

    opening.agent_id = desk.agent_id;
    let open = desk.open_as(opening).await;
    assert_eq!(
        (open.state(), open.agent_id),
        (TicketState::Open, desk.agent_id)
    );
    assert_eq!(open.first_assign_time, open.open_time);
    same(&desk, &open).await;
    let events = desk.events(open.ticket_id).await;
    let Some(Payload::Opened(opened)) = &events[0].payload else {
        panic!("{events:?}")
    };
    assert_eq!(
        (opened.queue_id, opened.agent_id),
        (queue_id, desk.agent_id)
    );
    let contact = opened.contact.as_ref().expect("a contact");
    assert_eq!(
        (&*contact.name, contact.contact_id),
        ("Ana", desk.contact_id)
    );
    assert_eq!(
        events[0].author.expect("an author").kind(),
        AuthorKind::Administrator
    );
}

#[tokio::test]
async fn assigning_opens_whatever_it_was() {
    let desk = Desk::start().await;
    let ticket_id = desk.open().await.ticket_id;
    let first = assign(&desk.people, assigning(ticket_id, desk.agent_id)).await;
    let first = first.expect("assigned");
    assert_eq!(
        (first.state(), first.agent_id),
        (TicketState::Open, desk.agent_id)
    );
    assert!(first.first_assign_time.is_some());
    let other = create_agent(&desk.people, "Ivo", &[desk.bot_id])
        .await
        .agent_id;
    let second = assign(&desk.agent, assigning(ticket_id, other))
        .await
        .expect("assigned");
    assert_eq!(
        (second.agent_id, second.first_assign_time),
        (other, first.first_assign_time)
    );

    close(&desk.people, closing(ticket_id))
        .await
        .expect("closed");
    let third = assign(&desk.people, assigning(ticket_id, desk.agent_id)).await;
    let third = third.expect("assigned");
    assert_eq!(
        (third.state(), third.closure.as_ref()),
        (TicketState::Open, None)
    );
    same(&desk, &third).await;
    assert_eq!(
        desk.story(ticket_id).await,
        [
            "opened",
            "assigned",
            "assigned",
            "closed by Api",
            "reopened Open",
            "assigned"
        ]
    );
    let events = desk.events(ticket_id).await;
    let Some(Payload::Assigned(assigned)) = &events[3].payload else {
        panic!("{events:?}")
    };
    assert_eq!(
        (assigned.agent_id, assigned.previous_agent_id),
        (other, desk.agent_id)
    );
}

#[tokio::test]
async fn a_close_says_who_and_why() {
    let desk = Desk::with_policy().await;
    let bot = desk
        .fixture
        .as_actor(&format!("bot/{}", desk.bot_id), "tickets:attend", "*");
    let note = ClosingNote {
        category: "sale".to_owned(),
        summary: "bought\ttwo\nof them".to_owned(),
    };
    let cases = [
        (
            &desk.agent,
            CloseSource::Unspecified,
            CloseSource::Agent,
            AuthorKind::Agent,
        ),
        (
            &desk.agent,
            CloseSource::Agent,
            CloseSource::Agent,
            AuthorKind::Agent,
        ),
        (
            &bot,
            CloseSource::Unspecified,
            CloseSource::Workflow,
            AuthorKind::Bot,
        ),
        (
            &bot,
            CloseSource::Customer,
            CloseSource::Customer,
            AuthorKind::Bot,
        ),
        (
            &desk.people,
            CloseSource::Unspecified,
            CloseSource::Api,
            AuthorKind::Administrator,
        ),
        (
            &desk.people,
            CloseSource::Workflow,
            CloseSource::Workflow,
            AuthorKind::Administrator,
        ),
    ];
    for (clients, said, source, author) in cases {
        let ticket_id = desk.answered(1).await[0].ticket_id;
        let mut request = closing(ticket_id);
        request.note = Some(note.clone());
        request.source = said.into();
        let closed = close(clients, request).await.expect("closed");
        assert_eq!(closed.state(), TicketState::Closed);
        assert!(closed.inactivity_cycle.is_none() && closed.next_due_time.is_none());
        same(&desk, &closed).await;
        let closure = closed.closure.expect("a closure");
        assert_eq!(
            (closure.source(), closure.author.expect("an author").kind()),
            (source, author)
        );
        assert_eq!(
            (closure.note, &*closure.exit_route),
            (Some(note.clone()), "")
        );
        let again = close(&desk.people, closing(ticket_id)).await;
        let closed_already = (Code::FailedPrecondition, "TICKET_CLOSED".to_owned());
        assert_eq!(refusal(again), closed_already);
    }
}

#[tokio::test]
async fn a_close_clears_the_alert_and_the_reopen_button_opens() {
    let desk = Desk::with_policy().await;
    let ticket = desk.answered(1).await.remove(0);
    let ticket_id = ticket.ticket_id;
    let not_closed = (Code::FailedPrecondition, "TICKET_NOT_CLOSED".to_owned());
    assert_eq!(
        refusal(reopen(&desk.agent, reopening(ticket_id)).await),
        not_closed
    );
    desk.age(&[ticket_id], 10.0).await;
    desk.handle(&[(ticket_id, ticket.generation)])
        .await
        .expect("handled");
    close(&desk.agent, closing(ticket_id))
        .await
        .expect("closed");
    let reopened = reopen(&desk.agent, reopening(ticket_id))
        .await
        .expect("reopened");
    assert_eq!(
        (reopened.state(), reopened.closure.as_ref()),
        (TicketState::Open, None)
    );
    same(&desk, &reopened).await;
    assert_eq!(
        desk.story(ticket_id).await[2..],
        [
            "fired FirstAlert",
            "closed by Agent",
            "cleared Yellow",
            "reopened Open"
        ]
    );
}

/// Lets the ticket's last close lie so much further back.
async fn close_earlier(desk: &Desk, ticket_id: i64, seconds: f64) {
    sqlx::query(
        "UPDATE tickets SET closed_at = closed_at - make_interval(secs => $2) WHERE ticket_id = $1",
    )
    .bind(ticket_id)
    .bind(seconds)
    .execute(&desk.fixture.pool)
    .await
    .expect("aged");
}

async fn update_agent(desk: &Desk, away: bool, bot_ids: &[i64]) {
    let agent = Agent {
        agent_id: desk.agent_id,
        name: "Rita".to_owned(),
        bot_ids: bot_ids.to_vec(),
        away,
        ..Agent::default()
    };
    let request = UpdateAgentRequest {
        agent: Some(agent),
        ..Default::default()
    };
    desk.people
        .settings
        .clone()
        .update_agent(request)
        .await
        .expect("updated");
}

/// A closed ticket of the agent.
async fn closed_ticket(desk: &Desk) -> i64 {
    let mut opening = desk.opening();
    opening.agent_id = desk.agent_id;
    let ticket_id = desk.open_as(opening).await.ticket_id;
    close(&desk.people, closing(ticket_id))
        .await
        .expect("closed");
    ticket_id
}

#[tokio::test]
async fn a_customer_who_returns_in_time_gets_his_ticket_back() {
    let desk = Desk::start().await;
    let present = closed_ticket(&desk).await;
    close_earlier(&desk, present, 86_399.0 - 60.0).await;
    let back = desk.writes(present, AuthorKind::Customer).await;
    assert_eq!((back.ticket_id, back.state()), (present, TicketState::Open));
    assert_eq!(
        (back.agent_id, back.closure.as_ref()),
        (desk.agent_id, None)
    );
    assert!(back.last_customer_message_time.is_some());
    same(&desk, &back).await;
    assert_eq!(
        desk.story(present).await[2..],
        ["reopened Open", "Customer wrote"]
    );

    let ticket_id = closed_ticket(&desk).await;
    update_agent(&desk, true, &[desk.bot_id]).await;
    let away = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!(
        (away.ticket_id, away.state(), away.agent_id),
        (ticket_id, TicketState::Waiting, 0)
    );

    update_agent(&desk, false, &[desk.bot_id]).await;
    let ticket_id = closed_ticket(&desk).await;
    update_agent(&desk, false, &[]).await;
    let gone = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!(
        (gone.ticket_id, gone.state(), gone.agent_id),
        (ticket_id, TicketState::Waiting, 0)
    );
    assert_eq!(
        desk.story(ticket_id).await[2..],
        ["reopened Waiting", "Customer wrote"]
    );
}

#[tokio::test]
async fn a_customer_who_returns_later_gets_a_linked_ticket() {
    let desk = Desk::start().await;
    let bot = Bot {
        bot_id: desk.bot_id,
        name: "Vendas".to_owned(),
        reopen_window: Some(time_value(1, TimeUnit::Hour)),
        ..Bot::default()
    };
    let request = UpdateBotRequest {
        bot: Some(bot),
        ..Default::default()
    };
    desk.people
        .settings
        .clone()
        .update_bot(request)
        .await
        .expect("updated");
    let ticket_id = closed_ticket(&desk).await;
    close_earlier(&desk, ticket_id, 3_601.0).await;
    let before = desk.ticket(ticket_id).await;
    let answer = desk
        .record(desk.message(ticket_id, AuthorKind::Customer))
        .await
        .expect("recorded");
    let linked = answer.ticket.expect("a ticket");
    assert_ne!(linked.ticket_id, ticket_id);
    assert_eq!(
        (linked.previous_ticket_id, linked.state()),
        (ticket_id, TicketState::Waiting)
    );
    assert_eq!(
        answer.message.expect("a message").ticket_id,
        linked.ticket_id
    );
    same(&desk, &linked).await;
    assert_eq!(
        desk.story(linked.ticket_id).await,
        ["opened", "Customer wrote"]
    );
    assert_eq!(
        desk.ticket(ticket_id).await,
        before,
        "the old one stays as it was"
    );
    let events = desk.events(linked.ticket_id).await;
    let Some(Payload::Opened(opened)) = &events[0].payload else {
        panic!("{events:?}")
    };
    assert_eq!(opened.previous_ticket_id, ticket_id);
    // Writing on to the old ticket is heard in the one that continues it.
    let again = desk.writes(ticket_id, AuthorKind::Customer).await;
    assert_eq!(again.ticket_id, linked.ticket_id);
}
