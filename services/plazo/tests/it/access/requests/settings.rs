//! Settings, contacts and erasures.

use plazo_proto::ticketing::v1 as api;

use super::{CONTACTS, Call, ERASURES, SETTINGS, call};
use crate::access::things::SAID;
use crate::access::values;
use crate::access::world::Needs::{Contacts, Shared};

pub(super) fn calls() -> Vec<Call> {
    let mut calls = bots();
    calls.extend(policies());
    calls.extend(queues_and_agents());
    calls.extend(contacts());
    calls
}

fn bots() -> Vec<Call> {
    vec![
        call(SETTINGS, "CreateBot", Shared, |it| api::CreateBotRequest {
            bot: Some(values::bot(&it.new_word, it.calendar_id)),
            ..Default::default()
        })
        .with_all_bots(),
        call(SETTINGS, "GetBot", Shared, |it| api::GetBotRequest {
            bot_id: it.bot_id,
        }),
        call(SETTINGS, "ListBots", Shared, |_| {
            api::ListBotsRequest::default()
        }),
        call(SETTINGS, "UpdateBot", Shared, |it| api::UpdateBotRequest {
            bot: Some(api::Bot {
                bot_id: it.bot_id,
                ..values::bot(SAID, it.calendar_id)
            }),
            ..Default::default()
        }),
        call(SETTINGS, "SetExitRoute", Shared, |it| {
            api::SetExitRouteRequest {
                bot_id: it.bot_id,
                exit_route: SAID.to_owned(),
                ..Default::default()
            }
        }),
        call(SETTINGS, "CreateCalendar", Shared, |it| {
            api::CreateCalendarRequest {
                calendar: Some(values::calendar(&it.new_word)),
                ..Default::default()
            }
        })
        .with_all_bots(),
        call(SETTINGS, "GetCalendar", Shared, |it| {
            api::GetCalendarRequest {
                calendar_id: it.calendar_id,
            }
        }),
        call(SETTINGS, "ListCalendars", Shared, |_| {
            api::ListCalendarsRequest::default()
        }),
        call(SETTINGS, "UpdateCalendar", Shared, |it| {
            api::UpdateCalendarRequest {
                calendar: Some(api::Calendar {
                    calendar_id: it.calendar_id,
                    ..values::calendar(SAID)
                }),
                ..Default::default()
            }
        })
        .with_all_bots(),
    ]
}

fn policies() -> Vec<Call> {
    vec![
        call(SETTINGS, "GetInactivityPolicy", Shared, |it| {
            api::GetInactivityPolicyRequest {
                bot_id: it.bot_id,
                queue_id: it.queue_id,
            }
        }),
        call(SETTINGS, "SetInactivityPolicy", Shared, |it| {
            api::SetInactivityPolicyRequest {
                bot_id: it.bot_id,
                queue_id: it.queue_id,
                policy: Some(values::policy()),
                ..Default::default()
            }
        }),
        call(SETTINGS, "RemoveQueuePolicy", Shared, |it| {
            api::RemoveQueuePolicyRequest {
                bot_id: it.bot_id,
                queue_id: it.queue_id,
                ..Default::default()
            }
        }),
        call(SETTINGS, "PreviewSettings", Shared, |it| {
            api::PreviewSettingsRequest {
                bot_id: it.bot_id,
                queue_id: it.queue_id,
                policy: Some(values::policy()),
            }
        }),
    ]
}

fn queues_and_agents() -> Vec<Call> {
    vec![
        call(SETTINGS, "CreateQueue", Shared, |it| {
            api::CreateQueueRequest {
                queue: Some(values::queue(&it.new_word, it.bot_id)),
                ..Default::default()
            }
        }),
        call(SETTINGS, "ListQueues", Shared, |it| {
            api::ListQueuesRequest {
                bot_id: it.bot_id,
                ..Default::default()
            }
        }),
        call(SETTINGS, "CreateAgent", Shared, |it| {
            api::CreateAgentRequest {
                agent: Some(values::agent(&it.new_word, it.bot_id)),
                ..Default::default()
            }
        }),
        call(SETTINGS, "GetAgent", Shared, |it| api::GetAgentRequest {
            agent_id: it.agent_id,
        }),
        call(SETTINGS, "ListAgents", Shared, |_| {
            api::ListAgentsRequest::default()
        }),
        call(SETTINGS, "UpdateAgent", Shared, |it| {
            api::UpdateAgentRequest {
                agent: Some(api::Agent {
                    agent_id: it.agent_id,
                    ..values::agent(SAID, it.bot_id)
                }),
                ..Default::default()
            }
        }),
    ]
}

fn contacts() -> Vec<Call> {
    vec![
        call(CONTACTS, "CreateContact", Shared, |it| {
            api::CreateContactRequest {
                contact: Some(values::contact(SAID, &it.new_word)),
                ..Default::default()
            }
        }),
        call(CONTACTS, "GetContact", Shared, |it| {
            api::GetContactRequest {
                contact_id: it.contact_id,
            }
        }),
        call(CONTACTS, "UpdateContact", Contacts, |it| {
            api::UpdateContactRequest {
                contact: Some(api::Contact {
                    contact_id: it.contact_id,
                    name: SAID.to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            }
        }),
        call(CONTACTS, "LookUpContact", Shared, |it| {
            api::LookUpContactRequest {
                channel_identity: Some(values::identity(&it.address)),
            }
        }),
        call(CONTACTS, "MergeContacts", Contacts, |it| {
            api::MergeContactsRequest {
                survivor_contact_id: it.contact_id,
                merged_contact_id: it.other_contact_id,
                ..Default::default()
            }
        }),
        call(ERASURES, "EraseContact", Contacts, |it| {
            api::EraseContactRequest {
                contact_id: it.contact_id,
                ..Default::default()
            }
        })
        .with_all_bots(),
        call(ERASURES, "GetErasure", Shared, |it| {
            api::GetErasureRequest {
                erasure_id: it.erasure_id,
            }
        }),
        call(ERASURES, "ListErasures", Shared, |_| {
            api::ListErasuresRequest::default()
        }),
    ]
}
