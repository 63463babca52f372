//! Single tickets with their conversations, contacts and settings.

use plazo_proto::common::v1::{Channel as ContactChannel, ChannelIdentity};
use plazo_proto::ticketing::v1::{
    GetAgentRequest, GetBotRequest, GetContactRequest, GetInactivityPolicyRequest,
    GetTicketRequest, ListAgentsRequest, ListBotsRequest, ListMessagesRequest, ListQueuesRequest,
    ListTicketEventsRequest, LookUpContactRequest,
};

use crate::ticketing::scale::calls::{Call, OFTEN, SOMETIMES, call};
use crate::ticketing::scale::rows::address;

/// All of them.
pub(super) fn all() -> Vec<Call> {
    [of_tickets(), of_people()].into_iter().flatten().collect()
}

fn of_tickets() -> Vec<Call> {
    vec![
        call!(
            "GetTicket, open",
            OFTEN,
            |world| vec![world.shape.some(true)],
            |world, tickets| {
                let ticket_id = tickets[0].ticket_id;
                let request = GetTicketRequest { ticket_id };
                let answer = world.tickets().get_ticket(request).await;
                answer.expect("the ticket is there")
            }
        ),
        call!(
            "GetTicket, closed",
            OFTEN,
            |world| vec![world.shape.some(false)],
            |world, tickets| {
                let ticket_id = tickets[0].ticket_id;
                let request = GetTicketRequest { ticket_id };
                let answer = world.tickets().get_ticket(request).await;
                answer.expect("the ticket is there")
            }
        ),
        call!(
            "ListMessages",
            OFTEN,
            |world| vec![world.shape.some(true)],
            |world, tickets| {
                let request = ListMessagesRequest {
                    ticket_id: tickets[0].ticket_id,
                    ..ListMessagesRequest::default()
                };
                let answer = world.tickets().list_messages(request).await;
                assert!(!answer.expect("messages").get_ref().messages.is_empty());
            }
        ),
        call!(
            "ListTicketEvents",
            OFTEN,
            |world| vec![world.shape.some(true)],
            |world, tickets| {
                let request = ListTicketEventsRequest {
                    ticket_id: tickets[0].ticket_id,
                    ..ListTicketEventsRequest::default()
                };
                let answer = world.tickets().list_ticket_events(request).await;
                assert!(!answer.expect("events").get_ref().events.is_empty());
            }
        ),
    ]
}

fn of_people() -> Vec<Call> {
    vec![
        call!(
            "GetContact",
            OFTEN,
            |world| vec![world.shape.some(false)],
            |world, tickets| {
                let contact_id = tickets[0].contact_id;
                let request = GetContactRequest { contact_id };
                world.contacts().get_contact(request).await.expect("there")
            }
        ),
        call!(
            "LookUpContact",
            OFTEN,
            |world| vec![world.shape.some(false)],
            |world, tickets| {
                let request = LookUpContactRequest {
                    channel_identity: Some(ChannelIdentity {
                        channel: ContactChannel::Log.into(),
                        address: address(tickets[0].contact_id),
                    }),
                };
                let answer = world.contacts().look_up_contact(request).await;
                answer.expect("the contact is found")
            }
        ),
        call!(
            "GetBot, ListBots, GetInactivityPolicy",
            SOMETIMES,
            |world| vec![world.shape.some(true)],
            |world, tickets| {
                let bot_id = tickets[0].bot_id;
                let mut client = world.settings();
                let bot = client.get_bot(GetBotRequest { bot_id }).await;
                bot.expect("the bot");
                let bots = client.list_bots(ListBotsRequest::default()).await;
                bots.expect("bots");
                let request = GetInactivityPolicyRequest {
                    bot_id,
                    queue_id: 0,
                };
                let policy = client.get_inactivity_policy(request).await;
                policy.expect("the policy")
            }
        ),
        call!(
            "GetAgent, ListAgents, ListQueues",
            SOMETIMES,
            |world| vec![world.shape.some(true)],
            |world, tickets| {
                let mut client = world.settings();
                let agent_id = tickets[0].agent_id;
                let agent = client.get_agent(GetAgentRequest { agent_id }).await;
                agent.expect("the agent");
                let agents = client.list_agents(ListAgentsRequest::default()).await;
                agents.expect("agents");
                let request = ListQueuesRequest {
                    bot_id: tickets[0].bot_id,
                    ..ListQueuesRequest::default()
                };
                client.list_queues(request).await.expect("queues")
            }
        ),
    ]
}
