//! Follows ticketing's events.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{Stage, StreamEventsRequest, StreamEventsResponse, TicketEvent};
use plazo_service::status::renewal_of;
use plazo_service::{ClientConfig, ServiceChannel};
use prost_types::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Duration, sleep};
use tonic::{Code, Status};

use super::Cluster;
use crate::load::LoadError;
use crate::load::handler::now_us;
use crate::load::ledger::SharedLedger;

/// An event that is no older has just happened.
const RECENT_US: i64 = 1_000_000;
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// Batches are at most a thousand events; messages are short.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// The tickets of the load, by their numbers and by their ids.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By number: the id, 0 for none yet, and how many cycles the agent's messages have begun.
    tickets: Vec<(i64, i32)>,
    numbers: HashMap<i64, u32>,
}

impl Tickets {
    /// A ticket was opened.
    pub(super) fn add(&self, index: u32, ticket_id: i64) {
        let mut known = self.lock();
        let place = index as usize;
        if known.tickets.len() <= place {
            known.tickets.resize(place + 1, (0, 0));
        }
        known.tickets[place].0 = ticket_id;
        known.numbers.insert(ticket_id, index);
    }

    /// An agent writes, and thereby begins a cycle.
    pub(super) fn begin_cycle(&self, index: u32) {
        if let Some((_, cycle)) = self.lock().tickets.get_mut(index as usize) {
            *cycle += 1;
        }
    }

    /// The id of a ticket.
    pub(super) fn id_of(&self, index: u32) -> Option<i64> {
        let (id, _) = self.lock().tickets.get(index as usize).copied()?;
        (id > 0).then_some(id)
    }

    /// The number of a ticket, and its last cycle.
    fn find(&self, ticket_id: i64) -> Option<(u32, i32)> {
        let known = self.lock();
        let index = *known.numbers.get(&ticket_id)?;
        let (_, cycle) = known.tickets.get(index as usize)?;
        Some((index, *cycle))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the events for ever, from the beginning; connects again when the stream breaks.
pub(super) async fn watch(
    cluster: &Cluster<'_>,
    tickets: &Tickets,
    ledger: &SharedLedger,
    caught_up: &Notify,
) -> LoadError {
    let config = ClientConfig::new(cluster.endpoint);
    let channel = match cluster.caller.connect(config) {
        Ok(channel) => channel.for_streams(),
        Err(error) => return error,
    };
    let client = FeedServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut position = String::new();
    loop {
        let followed = follow(client.clone(), &mut position, tickets, ledger, caught_up);
        let Err(status) = followed.await else {
            continue;
        };
        let is_passing = renewal_of(&status).is_some()
            || matches!(
                status.code(),
                Code::Unavailable
                    | Code::DeadlineExceeded
                    | Code::Unknown
                    | Code::Cancelled
                    | Code::Internal
            );
        if !is_passing {
            return LoadError::call_at(cluster.endpoint, "StreamEvents", status);
        }
        sleep(RECONNECT_PAUSE).await;
    }
}

async fn follow(
    mut client: FeedServiceClient<ServiceChannel>,
    position: &mut String,
    tickets: &Tickets,
    ledger: &SharedLedger,
    caught_up: &Notify,
) -> Result<(), Status> {
    let request = StreamEventsRequest {
        position: position.clone(),
    };
    let mut stream = client.stream_events(request).await?.into_inner();
    while let Some(batch) = stream.message().await? {
        if is_recent(&batch) {
            caught_up.notify_one();
        }
        for event in &batch.events {
            apply(event, tickets, ledger);
        }
        *position = batch.position;
    }
    Ok(())
}

/// Whether there was nothing more to tell, or only what happened just now.
fn is_recent(batch: &StreamEventsResponse) -> bool {
    let last = batch
        .events
        .last()
        .and_then(|event| event.event_time.as_ref());
    last.is_none_or(|time| now_us() - unix_us(time) < RECENT_US)
}

fn apply(event: &TicketEvent, tickets: &Tickets, ledger: &SharedLedger) {
    let Some(Payload::StageFired(fired)) = &event.payload else {
        return;
    };
    if fired.stage() != Stage::FirstAlert {
        return;
    }
    let Some((index, last_cycle)) = tickets.find(event.ticket_id) else {
        return;
    };
    if fired.cycle < last_cycle {
        ledger.lock().told_of_overtaken();
        return;
    }
    let (Some(at), Some(due)) = (&event.event_time, &fired.due_time) else {
        return;
    };
    let (at_us, due_us) = (unix_us(at), unix_us(due));
    let mut ledger = ledger.lock();
    ledger.told_of_firing(index as usize, at_us - due_us, at_us);
}

fn unix_us(time: &Timestamp) -> i64 {
    time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000
}
