//! Lists of tickets and of what belongs to them.

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::{
    ListMessagesRequest, ListTicketEventsRequest, ListTicketsRequest, TicketFilter, TicketState,
};
use tonic::Code;

use super::{close, closing};
use crate::desk::{Desk, create_agent};
use crate::support::{Clients, refusal, wrong_fields};

fn request(filter: TicketFilter, page_size: i32, page_token: &str) -> ListTicketsRequest {
    ListTicketsRequest {
        filter: Some(filter),
        page_size,
        page_token: page_token.to_owned(),
    }
}

/// The ids of all pages of this size.
async fn list(clients: &Clients, filter: &TicketFilter, page_size: i32) -> Vec<i64> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let request = request(filter.clone(), page_size, &token);
        let page = clients.tickets.clone().list_tickets(request).await;
        let page = page.expect("a page").into_inner();
        assert!(page.tickets.len() <= usize::try_from(page_size).expect("positive"));
        all.extend(page.tickets.iter().map(|ticket| ticket.ticket_id));
        token = page.next_page_token;
        if token.is_empty() {
            return all;
        }
    }
}

#[tokio::test]
async fn filters_hold_together_and_pages_join() {
    let desk = Desk::start().await;
    let mut people = desk.people.clone();
    let other_bot = people.create_bot("Compras").await.bot_id;
    let queue_id = desk.queue("Ventas").await;
    let other_agent = create_agent(&people, "Ivo", &[desk.bot_id, other_bot])
        .await
        .agent_id;

    // Every combination of bot, queue, agent and state, with what is known of it.
    let mut all = Vec::new();
    for round in 0..24 {
        let mut opening = desk.opening();
        opening.bot_id = if round % 4 == 3 {
            other_bot
        } else {
            desk.bot_id
        };
        let in_queue = opening.bot_id == desk.bot_id && round % 2 == 0;
        opening.queue_id = if in_queue { queue_id } else { 0 };
        opening.agent_id = match round % 3 {
            0 => 0,
            1 if opening.bot_id == desk.bot_id => desk.agent_id,
            _ => other_agent,
        };
        let ticket = desk.open_as(opening).await;
        let ticket = if round % 5 == 0 {
            close(&people, closing(ticket.ticket_id))
                .await
                .expect("closed")
        } else {
            ticket
        };
        all.insert(0, ticket);
    }
    let state_sets: [&[TicketState]; 4] = [
        &[],
        &[TicketState::Open],
        &[TicketState::Closed],
        &[TicketState::Closed, TicketState::Waiting, TicketState::Open],
    ];
    let restricted =
        desk.fixture
            .as_actor("administrator/2", "tickets:attend", &other_bot.to_string());
    for states in state_sets {
        for bot_id in [0, desk.bot_id, other_bot] {
            for queue in [0, queue_id] {
                for agent_id in [0, desk.agent_id, other_agent] {
                    let filter = TicketFilter {
                        states: states.iter().map(|state| (*state).into()).collect(),
                        bot_id,
                        queue_id: queue,
                        agent_id,
                    };
                    let expected = |permitted: &dyn Fn(i64) -> bool| -> Vec<i64> {
                        let wanted = |state| match states {
                            [] => state != TicketState::Closed,
                            _ => states.contains(&state),
                        };
                        all.iter()
                            .filter(|ticket| {
                                permitted(ticket.bot_id)
                                    && wanted(ticket.state())
                                    && (bot_id == 0 || ticket.bot_id == bot_id)
                                    && (queue == 0 || ticket.queue_id == queue)
                                    && (agent_id == 0 || ticket.agent_id == agent_id)
                            })
                            .map(|ticket| ticket.ticket_id)
                            .collect()
                    };
                    assert_eq!(
                        list(&people, &filter, 5).await,
                        expected(&|_| true),
                        "{filter:?}"
                    );
                    if bot_id != desk.bot_id {
                        let expected = expected(&|bot_id| bot_id == other_bot);
                        assert_eq!(
                            list(&restricted, &filter, 500).await,
                            expected,
                            "{filter:?}"
                        );
                    }
                }
            }
        }
    }
    let nobody = desk.fixture.administrator_of(99);
    assert!(list(&nobody, &TicketFilter::default(), 50).await.is_empty());
    let none = desk.fixture.as_actor("agent/1", "tickets:attend", "");
    assert!(list(&none, &TicketFilter::default(), 50).await.is_empty());
}

#[tokio::test]
async fn tokens_belong_to_their_list() {
    let desk = Desk::start().await;
    for _ in 0..3 {
        let ticket = desk.open().await;
        desk.writes(ticket.ticket_id, AuthorKind::Customer).await;
        desk.writes(ticket.ticket_id, AuthorKind::Customer).await;
    }
    let mut tickets = desk.people.tickets.clone();
    let page = tickets
        .list_tickets(request(TicketFilter::default(), 1, ""))
        .await;
    let page = page.expect("a page").into_inner();
    let token = page.next_page_token;
    let of_bot = TicketFilter {
        bot_id: desk.bot_id,
        ..TicketFilter::default()
    };
    let invalid = (Code::InvalidArgument, "PAGE_TOKEN_INVALID".to_owned());
    let refused = tickets.list_tickets(request(of_bot, 1, &token)).await;
    assert_eq!(refusal(refused), invalid);
    let refused = tickets
        .list_tickets(request(TicketFilter::default(), 1, "AAAA"))
        .await;
    assert_eq!(wrong_fields(refused), ["page_token"]);
    // Of another actor who sees less.
    let refused = desk
        .agent
        .tickets
        .clone()
        .list_tickets(request(TicketFilter::default(), 1, &token))
        .await;
    assert_eq!(refusal(refused), invalid);
    let refused = tickets
        .list_tickets(request(TicketFilter::default(), -1, ""))
        .await;
    assert_eq!(wrong_fields(refused), ["page_size"]);

    let ticket_id = page.tickets[0].ticket_id;
    let messages = |ticket_id, page_size, page_token: &str| ListMessagesRequest {
        ticket_id,
        page_size,
        page_token: page_token.to_owned(),
    };
    let events = |ticket_id, page_size, page_token: &str| ListTicketEventsRequest {
        ticket_id,
        page_size,
        page_token: page_token.to_owned(),
    };
    let of_messages = tickets.list_messages(messages(ticket_id, 1, "")).await;
    let of_messages = of_messages.expect("a page").into_inner().next_page_token;
    let of_events = tickets.list_ticket_events(events(ticket_id, 1, "")).await;
    let of_events = of_events.expect("a page").into_inner().next_page_token;
    assert!(!of_messages.is_empty() && !of_events.is_empty());
    let refused = tickets
        .list_messages(messages(ticket_id, 1, &of_events))
        .await;
    assert_eq!(refusal(refused), invalid);
    let refused = tickets
        .list_messages(messages(ticket_id - 1, 1, &of_messages))
        .await;
    assert_eq!(refusal(refused), invalid);
    let refused = tickets
        .list_ticket_events(events(ticket_id, 1, &of_messages))
        .await;
    assert_eq!(refusal(refused), invalid);
    let refused = tickets.list_ticket_events(events(ticket_id, -5, "")).await;
    assert_eq!(wrong_fields(refused), ["page_size"]);
}
