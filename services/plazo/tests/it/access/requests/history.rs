//! The history, its settings, its reports, and what the timer knows.

use plazo_proto::history::v1 as api;
use plazo_proto::timer::v1 as timer;
use prost_types::Timestamp;
use uuid::Uuid;

use super::{Call, HISTORY, HISTORY_SETTINGS, OUTREACH, REPORTS, TIMER, call};
use crate::access::desk::TENANT;
use crate::access::things::{OF_TENANT, SAID, Things};
use crate::access::values;
use crate::access::world::Needs::{PastTicket, Shared};

pub(super) fn calls() -> Vec<Call> {
    let mut calls = lookups();
    calls.extend(settings());
    calls.extend(reports());
    calls.extend(timer());
    calls
}

fn lookups() -> Vec<Call> {
    vec![
        call(HISTORY, "ListClosedTickets", PastTicket, |_| {
            api::ListClosedTicketsRequest::default()
        }),
        call(HISTORY, "ListClosedTickets?bot", PastTicket, |it| {
            api::ListClosedTicketsRequest {
                bot_id: it.bot_id,
                agent_id: it.agent_id,
                ..Default::default()
            }
        }),
        call(HISTORY, "GetTicketHistory", PastTicket, |it| {
            api::GetTicketHistoryRequest {
                ticket_id: it.ticket_id,
            }
        }),
        call(HISTORY, "ListConversation", PastTicket, |it| {
            api::ListConversationRequest {
                ticket_id: it.ticket_id,
                ..Default::default()
            }
        }),
        call(HISTORY, "SearchContacts", PastTicket, |_| {
            api::SearchContactsRequest {
                query: OF_TENANT.to_owned(),
                ..Default::default()
            }
        }),
        call(HISTORY, "SearchContacts?bot", PastTicket, |it| {
            api::SearchContactsRequest {
                bot_id: it.bot_id,
                ..Default::default()
            }
        }),
        call(HISTORY, "ListContactTickets", PastTicket, |it| {
            api::ListContactTicketsRequest {
                contact_id: it.contact_id,
                ..Default::default()
            }
        }),
        call(HISTORY, "ListContactTickets?bot", PastTicket, |it| {
            api::ListContactTicketsRequest {
                contact_id: it.contact_id,
                bot_id: it.bot_id,
                ..Default::default()
            }
        }),
        call(HISTORY, "GetContactHistory", PastTicket, |it| {
            api::GetContactHistoryRequest {
                contact_id: it.contact_id,
                ..Default::default()
            }
        }),
        call(OUTREACH, "SendActiveMessage", PastTicket, |it| {
            api::SendActiveMessageRequest {
                contact_id: it.contact_id,
                ticket_id: it.ticket_id,
                text: SAID.to_owned(),
                request_id: Uuid::new_v4().to_string(),
                ..Default::default()
            }
        })
        .by_agent(),
    ]
}

fn settings() -> Vec<Call> {
    vec![
        call(HISTORY_SETTINGS, "SetBotHistory", Shared, |it| {
            api::SetBotHistoryRequest {
                bot_id: it.bot_id,
                enabled: true,
                ..Default::default()
            }
        }),
        call(HISTORY_SETTINGS, "ListHistoryBots", Shared, |_| {
            api::ListHistoryBotsRequest::default()
        }),
        call(HISTORY_SETTINGS, "SetAgentAccess", Shared, |it| {
            api::SetAgentAccessRequest {
                agent_ids: vec![it.agent_id],
                granted: true,
                ..Default::default()
            }
        })
        .with_all_bots(),
        call(HISTORY_SETTINGS, "ListHistoryAgents", Shared, |_| {
            api::ListHistoryAgentsRequest::default()
        })
        .with_all_bots(),
        call(HISTORY_SETTINGS, "GetHistorySettings", Shared, |_| {
            api::GetHistorySettingsRequest {}
        }),
        call(HISTORY_SETTINGS, "UpdateHistorySettings", Shared, |_| {
            api::UpdateHistorySettingsRequest {
                settings: Some(values::history_settings()),
                ..Default::default()
            }
        })
        .with_all_bots(),
    ]
}

fn reports() -> Vec<Call> {
    vec![
        call(REPORTS, "ListConversations", PastTicket, |_| {
            api::ListConversationsRequest {
                filter: Some(period()),
                ..Default::default()
            }
        }),
        call(REPORTS, "ListConversations?bot", PastTicket, |it| {
            api::ListConversationsRequest {
                filter: Some(of_bot(it)),
                ..Default::default()
            }
        }),
        call(REPORTS, "ListConversations?agent", PastTicket, |it| {
            api::ListConversationsRequest {
                filter: Some(of_agent(it)),
                ..Default::default()
            }
        }),
        call(REPORTS, "GetReport", PastTicket, |_| report(period())),
        call(REPORTS, "GetReport?bot", PastTicket, |it| {
            report(of_bot(it))
        }),
        call(REPORTS, "GetReport?agent", PastTicket, |it| {
            report(of_agent(it))
        }),
        call(REPORTS, "GetLatenessReport", PastTicket, |_| {
            lateness(Vec::new())
        }),
        call(REPORTS, "GetLatenessReport?bot", PastTicket, |it| {
            lateness(vec![it.bot_id])
        }),
        call(REPORTS, "ExportConversations", PastTicket, |_| {
            api::ExportConversationsRequest {
                filter: Some(period()),
                ..Default::default()
            }
        }),
        call(REPORTS, "ExportConversations?bot", PastTicket, |it| {
            api::ExportConversationsRequest {
                filter: Some(of_bot(it)),
                ..Default::default()
            }
        }),
        call(REPORTS, "ExportReport", PastTicket, |_| {
            api::ExportReportRequest {
                report: Some(report(period())),
                ..Default::default()
            }
        }),
        call(REPORTS, "ExportReport?bot", PastTicket, |it| {
            api::ExportReportRequest {
                report: Some(report(of_bot(it))),
                ..Default::default()
            }
        }),
    ]
}

fn timer() -> Vec<Call> {
    vec![
        call(TIMER, "GetTicketEntries", Shared, |it| {
            timer::GetTicketEntriesRequest {
                tenant_id: TENANT,
                ticket_id: it.ticket_id,
            }
        })
        .with_all_bots(),
        call(TIMER, "GetTicketEntries?own", Shared, |it| {
            timer::GetTicketEntriesRequest {
                ticket_id: it.ticket_id,
                ..Default::default()
            }
        })
        .with_all_bots(),
        call(TIMER, "ListDueEntries", Shared, |_| {
            timer::ListDueEntriesRequest::default()
        })
        .with_all_bots()
        .may_be_empty(),
        call(TIMER, "ListQuarantinedEntries", Shared, |_| {
            timer::ListQuarantinedEntriesRequest::default()
        })
        .with_all_bots()
        .may_be_empty(),
    ]
}

/// Long enough for any clock.
fn period() -> api::ConversationFilter {
    api::ConversationFilter {
        closed_from_time: Some(BEGIN),
        closed_until_time: Some(END),
        ..Default::default()
    }
}

const BEGIN: Timestamp = Timestamp {
    seconds: 1_600_000_000,
    nanos: 0,
};
const END: Timestamp = Timestamp {
    seconds: 4_000_000_000,
    nanos: 0,
};

fn of_bot(things: &Things) -> api::ConversationFilter {
    api::ConversationFilter {
        bot_ids: vec![things.bot_id],
        ..period()
    }
}

fn of_agent(things: &Things) -> api::ConversationFilter {
    api::ConversationFilter {
        agent_ids: vec![things.agent_id],
        queue_ids: vec![things.queue_id],
        ..period()
    }
}

fn report(filter: api::ConversationFilter) -> api::GetReportRequest {
    api::GetReportRequest {
        filter: Some(filter),
        grouping: api::ReportGrouping::Tag.into(),
        ..Default::default()
    }
}

fn lateness(bot_ids: Vec<i64>) -> api::GetLatenessReportRequest {
    api::GetLatenessReportRequest {
        fired_from_time: Some(BEGIN),
        fired_until_time: Some(END),
        bot_ids,
        ..Default::default()
    }
}
