//! What timer, notification and history ask for.

use plazo_proto::notification::v1::ActiveMessageState;
use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_proto::ticketing::v1::message_state_service_client::MessageStateServiceClient;
use plazo_proto::ticketing::v1::{
    MessageStateReport, ReportMessageStatesRequest, StreamEventsRequest,
};
use plazo_proto::timer::v1::{
    HandleDueTicketsRequest, HandleOutcome, ListPendingTicketsRequest, TicketGeneration,
};
use plazo_tests::truth::proto_timestamp;

use crate::ticketing::clocks;
use crate::ticketing::scale::calls::{BATCH, Call, SELDOM, SOMETIMES, call, take};
use crate::ticketing::scale::shape::CALLED_TENANT;

/// All of them.
pub(super) fn all() -> Vec<Call> {
    [by_timer(), by_others()].into_iter().flatten().collect()
}

fn by_timer() -> Vec<Call> {
    vec![
        call!(
            "HandleDueTickets, 256 first alerts",
            SOMETIMES,
            |world| {
                let tickets = take(&world.supply.ticking, BATCH);
                let ids: Vec<i64> = tickets.iter().map(|ticket| ticket.ticket_id).collect();
                clocks::make_some_due(&world.pool, CALLED_TENANT, &ids).await;
                tickets
            },
            |world, tickets| {
                let generation = 2;
                let asked = tickets.iter().map(|ticket| TicketGeneration {
                    tenant_id: CALLED_TENANT,
                    ticket_id: ticket.ticket_id,
                    generation,
                });
                let request = HandleDueTicketsRequest {
                    tickets: asked.collect(),
                };
                let answer = world.handler().handle_due_tickets(request).await;
                let results = answer.expect("the batch is handled").into_inner().results;
                let fired = results
                    .iter()
                    .filter(|result| result.outcome() == HandleOutcome::Fired);
                assert!(fired.count() > BATCH / 2);
            }
        ),
        call!(
            "ListPendingTickets, 5,000, second page",
            SELDOM,
            |world| vec![world.shape.some(true)],
            |world, _tickets| {
                let mut request = ListPendingTicketsRequest::default();
                for _ in 0..2 {
                    let answer = world.handler().list_pending_tickets(request.clone()).await;
                    let answer = answer.expect("a page comes").into_inner();
                    assert!(!answer.tickets.is_empty());
                    request.page_token = answer.next_page_token;
                }
            }
        ),
    ]
}

fn by_others() -> Vec<Call> {
    vec![
        call!(
            "ReportMessageStates, 256",
            SOMETIMES,
            |world| take(&world.supply.warned, BATCH),
            |world, tickets| {
                let reports = tickets.iter().map(|ticket| MessageStateReport {
                    tenant_id: CALLED_TENANT,
                    ticket_id: ticket.ticket_id,
                    idempotency_key: format!("ticket/{}/cycle/1/warning", ticket.ticket_id),
                    state: ActiveMessageState::Read.into(),
                    state_time: Some(proto_timestamp(1_700_000_000_000_000)),
                    failure_reason: String::new(),
                });
                let request = ReportMessageStatesRequest {
                    reports: reports.collect(),
                };
                let mut client = MessageStateServiceClient::new(world.service.clone());
                let answer = client.report_message_states(request).await;
                answer.expect("reports are taken")
            }
        ),
        call!(
            "StreamEvents, 3 batches from the beginning",
            SOMETIMES,
            |world| vec![world.shape.some(true)],
            |world, _tickets| {
                let mut client = FeedServiceClient::new(world.service.clone())
                    .max_decoding_message_size(16 << 20);
                let answer = client.stream_events(StreamEventsRequest::default()).await;
                let mut batches = answer.expect("the stream begins").into_inner();
                for _ in 0..3 {
                    let batch = batches.message().await.expect("the stream goes on");
                    assert!(!batch.expect("a batch").events.is_empty());
                }
            }
        ),
    ]
}
