//! Lists of tickets, open and closed, and live views of them.

use plazo_proto::ticketing::v1::{TicketFilter, TicketState};

use crate::ticketing::scale::calls::{Call, SOMETIMES, call};

/// All of them.
pub(super) fn all() -> Vec<Call> {
    [of_tenants_and_bots(), of_queues_and_agents(), of_desks()]
        .into_iter()
        .flatten()
        .collect()
}

/// One page or more of a list: who asks, whether for open tickets, and by what, from some ticket that is in it.
macro_rules! list {
    ($name:literal, $who:ident, $is_open:expr, $pages:expr, |$ticket:ident| $filter:expr) => {
        call!(
            $name,
            SOMETIMES,
            |world| vec![world.shape.some($is_open)],
            |world, tickets| {
                let $ticket = tickets[0];
                let states = if $is_open { Vec::new() } else { closed() };
                let filter = TicketFilter { states, ..$filter };
                world.list(&world.$who, filter, $pages).await
            }
        )
    };
}

fn closed() -> Vec<i32> {
    vec![TicketState::Closed.into()]
}

fn of_tenants_and_bots() -> Vec<Call> {
    vec![
        list!(
            "ListTickets, tenant, open",
            administrator,
            true,
            1,
            |_ticket| TicketFilter::default()
        ),
        list!(
            "ListTickets, tenant, closed",
            administrator,
            false,
            1,
            |_ticket| TicketFilter::default()
        ),
        list!(
            "ListTickets, tenant, closed, 10 pages",
            administrator,
            false,
            10,
            |_ticket| TicketFilter::default()
        ),
        list!(
            "ListTickets, own bots of an agent, open",
            agent,
            true,
            1,
            |_ticket| TicketFilter::default()
        ),
        list!("ListTickets, bot, open", administrator, true, 1, |ticket| {
            TicketFilter {
                bot_id: ticket.bot_id,
                ..TicketFilter::default()
            }
        }),
        list!(
            "ListTickets, bot, closed",
            administrator,
            false,
            1,
            |ticket| TicketFilter {
                bot_id: ticket.bot_id,
                ..TicketFilter::default()
            }
        ),
    ]
}

fn of_queues_and_agents() -> Vec<Call> {
    vec![
        list!(
            "ListTickets, queue, open",
            administrator,
            true,
            1,
            |ticket| TicketFilter {
                queue_id: ticket.queue_id,
                ..TicketFilter::default()
            }
        ),
        list!(
            "ListTickets, queue, closed, 10 pages",
            administrator,
            false,
            10,
            |ticket| TicketFilter {
                queue_id: ticket.queue_id,
                ..TicketFilter::default()
            }
        ),
        list!(
            "ListTickets, agent, open",
            administrator,
            true,
            1,
            |ticket| TicketFilter {
                agent_id: ticket.agent_id,
                ..TicketFilter::default()
            }
        ),
        list!(
            "ListTickets, agent, closed, 10 pages",
            administrator,
            false,
            10,
            |ticket| TicketFilter {
                agent_id: ticket.agent_id,
                ..TicketFilter::default()
            }
        ),
        list!(
            "ListTickets, agent in a queue, open",
            administrator,
            true,
            1,
            |ticket| TicketFilter {
                agent_id: ticket.agent_id,
                queue_id: ticket.queue_id,
                ..TicketFilter::default()
            }
        ),
    ]
}

fn of_desks() -> Vec<Call> {
    vec![
        call!(
            "ListTickets, queue, waiting",
            SOMETIMES,
            |world| vec![world.shape.some(true)],
            |world, tickets| {
                let filter = TicketFilter {
                    states: vec![TicketState::Waiting.into()],
                    queue_id: tickets[0].queue_id,
                    ..TicketFilter::default()
                };
                world.list(&world.administrator, filter, 1).await;
            }
        ),
        call!(
            "WatchTickets, agent, snapshot",
            SOMETIMES,
            |world| vec![world.shape.some(true)],
            |world, tickets| {
                let filter = TicketFilter {
                    agent_id: tickets[0].agent_id,
                    ..TicketFilter::default()
                };
                world.watch(filter).await;
            }
        ),
        call!(
            "WatchTickets, queue, snapshot",
            1,
            |world| vec![world.shape.some(true)],
            |world, tickets| {
                let filter = TicketFilter {
                    queue_id: tickets[0].queue_id,
                    ..TicketFilter::default()
                };
                world.watch(filter).await;
            }
        ),
    ]
}
