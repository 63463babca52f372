//! Tickets.

use plazo_proto::common::v1::{TimeUnit, TimeValue};
use plazo_proto::ticketing::v1 as api;
use plazo_proto::ticketing::v1::pause_automation_request::Length;

use super::{Call, TICKETS, call};
use crate::access::things::{SAID, Things};
use crate::access::values;
use crate::access::world::Needs::{ClosedTicket, HeldTicket, OpenTicket, Shared};

pub(super) fn calls() -> Vec<Call> {
    let mut calls = reads();
    calls.extend(changes());
    calls.extend(additions());
    calls
}

fn reads() -> Vec<Call> {
    vec![
        call(TICKETS, "GetTicket", Shared, |it| api::GetTicketRequest {
            ticket_id: it.ticket_id,
        }),
        call(TICKETS, "ListTickets", Shared, |_| {
            api::ListTicketsRequest::default()
        }),
        call(TICKETS, "ListTickets?bot", Shared, |it| {
            api::ListTicketsRequest {
                filter: Some(of_bot(it)),
                ..Default::default()
            }
        }),
        call(TICKETS, "ListTickets?queue", Shared, |it| {
            api::ListTicketsRequest {
                filter: Some(api::TicketFilter {
                    queue_id: it.queue_id,
                    agent_id: it.agent_id,
                    ..Default::default()
                }),
                ..Default::default()
            }
        }),
        call(TICKETS, "ListMessages", Shared, |it| {
            api::ListMessagesRequest {
                ticket_id: it.ticket_id,
                ..Default::default()
            }
        }),
        call(TICKETS, "ListTicketEvents", Shared, |it| {
            api::ListTicketEventsRequest {
                ticket_id: it.ticket_id,
                ..Default::default()
            }
        }),
        call(TICKETS, "WatchTickets", Shared, |_| {
            api::WatchTicketsRequest::default()
        }),
        call(TICKETS, "WatchTickets?bot", Shared, |it| {
            api::WatchTicketsRequest {
                filter: Some(of_bot(it)),
                ..Default::default()
            }
        }),
        call(TICKETS, "ExplainTicket", Shared, |it| {
            api::ExplainTicketRequest {
                ticket_id: it.ticket_id,
            }
        }),
        call(TICKETS, "GetTranscript", Shared, |it| {
            api::GetTranscriptRequest {
                ticket_id: it.ticket_id,
                include_internal: true,
                ..Default::default()
            }
        }),
    ]
}

fn changes() -> Vec<Call> {
    vec![
        call(TICKETS, "OpenTicket", Shared, |it| api::OpenTicketRequest {
            bot_id: it.bot_id,
            queue_id: it.queue_id,
            contact_id: it.contact_id,
            agent_id: it.agent_id,
            ..Default::default()
        }),
        call(TICKETS, "AssignTicket", OpenTicket, |it| {
            api::AssignTicketRequest {
                ticket_id: it.ticket_id,
                agent_id: it.agent_id,
                ..Default::default()
            }
        }),
        call(TICKETS, "RecordMessage", OpenTicket, |it| {
            values::message(it, api::MessageKind::Chat, SAID)
        }),
        call(TICKETS, "RecordMessage?own", OpenTicket, own_message).by_agent(),
        call(TICKETS, "RecordMessages", OpenTicket, |it| {
            api::RecordMessagesRequest {
                messages: vec![values::message(it, api::MessageKind::Chat, SAID)],
                ..Default::default()
            }
        }),
        call(TICKETS, "CloseTicket", OpenTicket, |it| {
            api::CloseTicketRequest {
                ticket_id: it.ticket_id,
                note: Some(values::note(SAID)),
                ..Default::default()
            }
        }),
        call(TICKETS, "CloseTickets", OpenTicket, |it| {
            api::CloseTicketsRequest {
                ticket_ids: vec![it.ticket_id],
                note: Some(values::note(SAID)),
                ..Default::default()
            }
        }),
        call(TICKETS, "ReopenTicket", ClosedTicket, |it| {
            api::ReopenTicketRequest {
                ticket_id: it.ticket_id,
                ..Default::default()
            }
        }),
        call(TICKETS, "HoldTicket", OpenTicket, |it| {
            api::HoldTicketRequest {
                ticket_id: it.ticket_id,
                reason: SAID.to_owned(),
                ..Default::default()
            }
        }),
        call(TICKETS, "ResumeTicket", HeldTicket, |it| {
            api::ResumeTicketRequest {
                ticket_id: it.ticket_id,
                ..Default::default()
            }
        }),
        call(TICKETS, "TransferTicket", OpenTicket, |it| {
            api::TransferTicketRequest {
                ticket_id: it.ticket_id,
                queue_id: it.queue_id,
                ..Default::default()
            }
        }),
        call(TICKETS, "UnlinkTicket", OpenTicket, |it| {
            api::UnlinkTicketRequest {
                ticket_id: it.ticket_id,
                ..Default::default()
            }
        }),
        call(TICKETS, "SetTicketOpen", ClosedTicket, |it| {
            api::SetTicketOpenRequest {
                ticket_id: it.ticket_id,
                ..Default::default()
            }
        }),
    ]
}

fn additions() -> Vec<Call> {
    vec![
        call(TICKETS, "TagTickets", OpenTicket, |it| {
            api::TagTicketsRequest {
                ticket_ids: vec![it.ticket_id],
                add_tags: vec![SAID.to_owned()],
                ..Default::default()
            }
        }),
        call(TICKETS, "PauseAutomation", OpenTicket, |it| {
            api::PauseAutomationRequest {
                ticket_id: it.ticket_id,
                length: Some(Length::PauseFor(TimeValue {
                    value: 2,
                    unit: TimeUnit::Hour.into(),
                })),
                ..Default::default()
            }
        }),
        call(TICKETS, "ResumeAutomation", OpenTicket, |it| {
            api::ResumeAutomationRequest {
                ticket_id: it.ticket_id,
                ..Default::default()
            }
        }),
    ]
}

fn of_bot(things: &Things) -> api::TicketFilter {
    api::TicketFilter {
        bot_id: things.bot_id,
        ..Default::default()
    }
}

/// In the name of whoever calls, as agents do.
fn own_message(things: &Things) -> api::RecordMessageRequest {
    api::RecordMessageRequest {
        author: None,
        ..values::message(things, api::MessageKind::Chat, SAID)
    }
}
