//! Recording messages: half by agents, half by customers, each in a ticket that nobody else writes to meanwhile.

use std::time::Duration;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::ticket_service_client::TicketServiceClient;
use plazo_tests::desk::{Desk, SignedChannel, sign};
use plazo_tests::load::{put_tickets, start_clocks};
use plazo_tests::solo::Solo;

use crate::measure::{Caller, side_by_side};
use crate::ticketing::bed::Bed;
use crate::ticketing::raw::RawMessages;
use crate::ticketing::{DATABASE, Effort, FAR_STAGES, Measured, Rates};

/// Callers at the same time.
const CALLERS: [usize; 3] = [1, 8, 64];
/// Callers that share a connection to ticketing.
const CALLERS_PER_CHANNEL: usize = 16;
const TENANT: i64 = 1;
pub(super) const TEXT: &str = "Good morning! Could you send me the invoice of March once more?";

/// Tickets to write to.
pub(super) struct Messages<'bed> {
    bed: &'bed Bed,
    service: &'bed Solo,
    desk: Desk,
    ticket_ids: Vec<i64>,
    duration: Duration,
}

impl<'bed> Messages<'bed> {
    pub(super) async fn set_up(bed: &'bed Bed, service: &'bed Solo, effort: Effort) -> Self {
        let channel = service.channel();
        let desk = Desk::set_up_at(channel.clone(), channel, TENANT, FAR_STAGES).await;
        let pool = bed.pool(DATABASE, 1).await;
        let seeds = put_tickets(&pool, &desk, effort.tickets, 1_000).await;
        start_clocks(&pool, &desk, &seeds).await;
        Self {
            bed,
            service,
            desk,
            ticket_ids: seeds.iter().map(|seed| seed.ticket_id).collect(),
            duration: effort.duration,
        }
    }

    pub(super) async fn round(&mut self, rates: &mut Rates) {
        for callers in CALLERS {
            let raw = self.raw(callers).await;
            let measured = self.through_ticketing(callers, false).await;
            let s = if callers == 1 { "" } else { "s" };
            rates.add(
                &format!("messages, {callers} caller{s}"),
                &format!("messages_per_s.{callers}"),
                measured,
                Some((
                    &format!("raw_messages_per_s.{callers}"),
                    &format!("messages_ratio.{callers}"),
                    raw,
                )),
            );
        }
        let callers = CALLERS[CALLERS.len() - 1];
        let measured = self.through_ticketing(callers, true).await;
        rates.add(
            &format!("messages with request_id, {callers} callers"),
            &format!("messages_with_request_id_per_s.{callers}"),
            measured,
            None,
        );
    }

    /// Each caller's own tickets.
    fn shares(&self, callers: usize) -> impl Iterator<Item = Tickets> {
        let share = self.ticket_ids.len() / CALLERS[CALLERS.len() - 1];
        self.ticket_ids
            .chunks(share)
            .take(callers)
            .map(|ids| Tickets {
                ids: ids.to_vec(),
                next: 0,
            })
    }

    async fn through_ticketing(&self, callers: usize, with_request_id: bool) -> Measured {
        let channels: Vec<SignedChannel> = (0..callers.div_ceil(CALLERS_PER_CHANNEL))
            .map(|_| sign(self.service.channel(), TENANT))
            .collect();
        let callers = self
            .shares(callers)
            .enumerate()
            .map(|(number, tickets)| Writer {
                client: TicketServiceClient::new(channels[number % channels.len()].clone()),
                desk: self.desk.clone(),
                tickets,
                with_request_id,
            });
        let mut before = self.bed.cpu(self.service);
        let started = || before = self.bed.cpu(self.service);
        let (done, _callers) = side_by_side(callers.collect(), self.duration, started).await;
        self.bed.measured(self.service, before, done)
    }

    async fn raw(&self, callers: usize) -> Measured {
        let mut raw = Vec::with_capacity(callers);
        for tickets in self.shares(callers) {
            let connection = self.bed.connection(DATABASE).await;
            raw.push(RawMessages::new(connection, &self.desk, tickets));
        }
        let mut before = self.bed.cpu(self.service);
        let started = || before = self.bed.cpu(self.service);
        let (done, _callers) = side_by_side(raw, self.duration, started).await;
        self.bed.measured(self.service, before, done)
    }
}

/// Goes round some tickets; agent and customer take turns in each, and are as many at any moment.
pub(super) struct Tickets {
    ids: Vec<i64>,
    next: usize,
}

impl Tickets {
    /// The next ticket, and who writes in it.
    pub(super) fn next(&mut self) -> (i64, AuthorKind) {
        let (pass, place) = (self.next / self.ids.len(), self.next % self.ids.len());
        self.next += 1;
        let kind = if (pass + place).is_multiple_of(2) {
            AuthorKind::Agent
        } else {
            AuthorKind::Customer
        };
        (self.ids[place], kind)
    }
}

struct Writer {
    client: TicketServiceClient<SignedChannel>,
    desk: Desk,
    tickets: Tickets,
    with_request_id: bool,
}

impl Caller for Writer {
    async fn step(&mut self) -> u64 {
        let (ticket_id, kind) = self.tickets.next();
        let mut request = self.desk.message(ticket_id, kind, TEXT);
        if !self.with_request_id {
            request.request_id.clear();
        }
        let answer = self.client.record_message(request).await;
        answer.expect("a message is recorded");
        1
    }
}
