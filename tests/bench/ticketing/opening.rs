//! Opening tickets, each with its agent.

use std::time::Duration;

use plazo_proto::ticketing::v1::OpenTicketRequest;
use plazo_proto::ticketing::v1::ticket_service_client::TicketServiceClient;
use plazo_tests::desk::{Desk, SignedChannel, sign};
use plazo_tests::solo::Solo;

use crate::measure::{Caller, side_by_side};
use crate::ticketing::bed::Bed;
use crate::ticketing::raw::RawOpening;
use crate::ticketing::{DATABASE, Effort, FAR_STAGES, Rates};

const CALLERS: usize = 64;
const CHANNELS: usize = 4;
const TENANT: i64 = 2;

/// A desk to open tickets at.
pub(super) struct Opening<'bed> {
    bed: &'bed Bed,
    service: &'bed Solo,
    desk: Desk,
    duration: Duration,
}

impl<'bed> Opening<'bed> {
    pub(super) async fn set_up(bed: &'bed Bed, service: &'bed Solo, effort: Effort) -> Self {
        let channel = service.channel();
        Self {
            bed,
            service,
            desk: Desk::set_up_at(channel.clone(), channel, TENANT, FAR_STAGES).await,
            duration: effort.duration,
        }
    }

    pub(super) async fn round(&mut self, rates: &mut Rates) {
        let mut raw = Vec::with_capacity(CALLERS);
        for _ in 0..CALLERS {
            let connection = self.bed.connection(DATABASE).await;
            raw.push(RawOpening::new(connection, &self.desk));
        }
        let mut before = self.bed.cpu(self.service);
        let started = || before = self.bed.cpu(self.service);
        let (done, _callers) = side_by_side(raw, self.duration, started).await;
        let raw = self.bed.measured(self.service, before, done);

        let channels: Vec<SignedChannel> = (0..CHANNELS)
            .map(|_| sign(self.service.channel(), TENANT))
            .collect();
        let callers = (0..CALLERS).map(|number| Opener {
            client: TicketServiceClient::new(channels[number % CHANNELS].clone()),
            request: OpenTicketRequest {
                bot_id: self.desk.bot_id,
                contact_id: self.desk.contact.contact_id,
                agent_id: self.desk.agent_id,
                ..OpenTicketRequest::default()
            },
        });
        let started = || before = self.bed.cpu(self.service);
        let (done, _callers) = side_by_side(callers.collect(), self.duration, started).await;
        let measured = self.bed.measured(self.service, before, done);
        rates.add(
            &format!("new tickets, {CALLERS} callers"),
            "open_tickets_per_s",
            measured,
            Some(("raw_open_tickets_per_s", "open_tickets_ratio", raw)),
        );
    }
}

struct Opener {
    client: TicketServiceClient<SignedChannel>,
    request: OpenTicketRequest,
}

impl Caller for Opener {
    async fn step(&mut self) -> u64 {
        let answer = self.client.open_ticket(self.request.clone()).await;
        answer.expect("a ticket is opened");
        1
    }
}
