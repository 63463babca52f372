//! What services ask of each other, and nobody else may.

use plazo_proto::history::v1::{GetProjectionRequest, RebuildProjectionRequest};
use plazo_proto::notification::v1::{ActiveMessageState, SendActiveMessagesRequest};
use plazo_proto::ticketing::v1 as ticketing;
use plazo_proto::timer::v1 as timer;
use prost_types::Timestamp;
use uuid::Uuid;

use super::{Call, ERASURES, NOTIFICATIONS, TIMER, call};
use crate::access::desk::TENANT;
use crate::access::things::{SAID, Things};
use crate::access::values;
use crate::access::world::Needs::Shared;

const FEED: &str = "/plazo.ticketing.v1.FeedService";
const INBOUND: &str = "/plazo.ticketing.v1.InboundService";
const MESSAGE_STATES: &str = "/plazo.ticketing.v1.MessageStateService";
const OUTREACH: &str = "/plazo.ticketing.v1.OutreachService";
const SNAPSHOT: &str = "/plazo.ticketing.v1.SnapshotService";
const HANDLER: &str = "/plazo.timer.v1.TicketHandlerService";
const PROJECTION: &str = "/plazo.history.v1.ProjectionService";

pub(super) fn calls() -> Vec<Call> {
    let mut calls = of_ticketing();
    calls.extend(others());
    calls
}

fn of_ticketing() -> Vec<Call> {
    vec![
        call(ERASURES, "ReportErasure", Shared, |it| {
            ticketing::ReportErasureRequest {
                tenant_id: TENANT,
                erasure_id: it.erasure_id,
                done: Some(ticketing::ServiceErasure {
                    service: "history".to_owned(),
                    ..Default::default()
                }),
            }
        }),
        call(FEED, "StreamEvents", Shared, |_| {
            ticketing::StreamEventsRequest::default()
        }),
        call(INBOUND, "RecordInboundMessages", Shared, |it| {
            ticketing::RecordInboundMessagesRequest {
                messages: vec![ticketing::InboundMessage {
                    tenant_id: TENANT,
                    bot_id: it.bot_id,
                    channel_account_id: it.account_id,
                    provider_message_id: Uuid::new_v4().to_string(),
                    sender: Some(values::identity(&it.address)),
                    text: SAID.to_owned(),
                    ..Default::default()
                }],
            }
        }),
        call(MESSAGE_STATES, "ReportMessageStates", Shared, |it| {
            ticketing::ReportMessageStatesRequest {
                reports: vec![ticketing::MessageStateReport {
                    tenant_id: TENANT,
                    ticket_id: it.ticket_id,
                    idempotency_key: it.new_word.clone(),
                    state: ActiveMessageState::Sent.into(),
                    state_time: Some(LATER),
                    ..Default::default()
                }],
            }
        }),
        call(OUTREACH, "StartOutreach", Shared, |it| {
            ticketing::StartOutreachRequest {
                tenant_id: TENANT,
                agent_id: it.agent_id,
                ticket_id: it.ticket_id,
                text: SAID.to_owned(),
                request_id: Uuid::new_v4().to_string(),
                ..Default::default()
            }
        }),
        call(SNAPSHOT, "StreamSnapshot", Shared, |_| {
            ticketing::StreamSnapshotRequest::default()
        }),
        call(SNAPSHOT, "GetCalendarVersion", Shared, |_| {
            ticketing::GetCalendarVersionRequest {
                tenant_id: TENANT,
                calendar_version: 1,
            }
        }),
        call(HANDLER, "HandleDueTickets", Shared, |it| {
            timer::HandleDueTicketsRequest {
                tickets: vec![generation(it)],
            }
        }),
        call(HANDLER, "ListPendingTickets", Shared, |_| {
            timer::ListPendingTicketsRequest::default()
        }),
    ]
}

fn others() -> Vec<Call> {
    vec![
        call(NOTIFICATIONS, "SendActiveMessages", Shared, |it| {
            SendActiveMessagesRequest {
                messages: vec![values::active_message(it, SAID)],
            }
        }),
        call(TIMER, "ArmTickets", Shared, |it| timer::ArmTicketsRequest {
            arms: vec![arm(it)],
        }),
        call(TIMER, "StreamArms", Shared, |it| timer::StreamArmsRequest {
            arms: vec![arm(it)],
        }),
        call(TIMER, "RepairTickets", Shared, |it| {
            timer::RepairTicketsRequest {
                tickets: vec![timer::PendingTicket {
                    ticket: Some(generation(it)),
                    due_time: Some(LATER),
                }],
            }
        }),
        call(TIMER, "ReleaseQuarantinedEntries", Shared, |it| {
            timer::ReleaseQuarantinedEntriesRequest {
                tickets: vec![generation(it)],
            }
        }),
        call(TIMER, "GetTimerStats", Shared, |_| {
            timer::GetTimerStatsRequest {}
        }),
        call(PROJECTION, "GetProjection", Shared, |_| {
            GetProjectionRequest {}
        }),
        call(PROJECTION, "RebuildProjection", Shared, |_| {
            RebuildProjectionRequest {}
        }),
    ]
}

/// Not while the test lasts.
const LATER: Timestamp = Timestamp {
    seconds: 4_000_000_000,
    nanos: 0,
};

fn generation(things: &Things) -> timer::TicketGeneration {
    timer::TicketGeneration {
        tenant_id: TENANT,
        ticket_id: things.ticket_id,
        generation: 1,
    }
}

fn arm(things: &Things) -> timer::TicketArm {
    timer::TicketArm {
        ticket: Some(generation(things)),
        due_time: Some(LATER),
        ..Default::default()
    }
}
