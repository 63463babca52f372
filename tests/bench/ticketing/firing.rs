//! Handling due tickets in batches, as the timer asks for them.

use plazo_proto::timer::v1::ticket_handler_service_client::TicketHandlerServiceClient;
use plazo_proto::timer::v1::{HandleDueTicketsRequest, HandleOutcome, TicketGeneration};
use plazo_tests::desk::{Desk, SignedChannel, Stages, sign_as_timer};
use plazo_tests::load::{Seed, put_tickets};
use plazo_tests::solo::Solo;
use sqlx::PgPool;

use crate::measure::{Caller, until_done};
use crate::ticketing::bed::Bed;
use crate::ticketing::clocks::{self, GENERATION, NO_ALERT, RED_ALERT};
use crate::ticketing::raw::RawFiring;
use crate::ticketing::{DATABASE, Effort, Measured, Rates};

/// Tickets in a call, and calls at the same time: the timer's defaults.
const BATCH: usize = 256;
const IN_FLIGHT: usize = 8;
const TENANT: i64 = 3;
const HOUR_S: i32 = 3_600;
/// When the first stage that is measured is due after its anchor.
const FIRST_S: i32 = HOUR_S;

/// Two desks with tickets that fall due over and over: one with alerts alone, one with warning and close.
pub(super) struct Firing<'bed> {
    bed: &'bed Bed,
    service: &'bed Solo,
    pool: PgPool,
    alerts: (Desk, Vec<Seed>),
    closes: (Desk, Vec<Seed>),
    raw: Vec<RawFiring>,
    rounds: usize,
}

impl<'bed> Firing<'bed> {
    pub(super) async fn set_up(bed: &'bed Bed, service: &'bed Solo, effort: Effort) -> Self {
        let channel = service.channel();
        let pool = bed.pool(DATABASE, 2).await;
        let alerts = Stages {
            first_alert_s: FIRST_S,
            second_alert_s: 24 * HOUR_S,
            warning_and_close_s: None,
        };
        let closes = Stages {
            first_alert_s: HOUR_S / 3,
            second_alert_s: HOUR_S / 2,
            warning_and_close_s: Some((FIRST_S, 2 * HOUR_S)),
        };
        let mut sets = Vec::new();
        for (stages, count) in [
            (alerts, effort.due_tickets),
            (closes, effort.due_tickets / 2),
        ] {
            let desk = Desk::set_up_at(channel.clone(), channel.clone(), TENANT, stages).await;
            let seeds = put_tickets(&pool, &desk, count, 1_000).await;
            clocks::put(&pool, &desk, &seeds).await;
            sets.push((desk, seeds));
        }
        let closes = sets.pop().expect("two desks");
        let alerts = sets.pop().expect("two desks");
        let mut raw = Vec::with_capacity(IN_FLIGHT);
        for _ in 0..IN_FLIGHT {
            raw.push(RawFiring::new(bed.connection(DATABASE).await, &alerts.0).await);
        }
        Self {
            bed,
            service,
            pool,
            alerts,
            closes,
            raw,
            rounds: 0,
        }
    }

    pub(super) async fn round(&mut self, rates: &mut Rates) {
        let seeds = self.alerts.1.clone();
        let (mut raw, mut measured) = (None, None);
        // Each side is the first one in turn.
        for raw_now in [
            self.rounds.is_multiple_of(2),
            !self.rounds.is_multiple_of(2),
        ] {
            clocks::make_due(&self.pool, &self.alerts.0, FIRST_S, NO_ALERT).await;
            if raw_now {
                raw = Some(self.raw(&seeds).await);
            } else {
                measured = Some(self.through_ticketing(&seeds, 0).await);
            }
        }
        self.rounds += 1;
        let (Some(raw), Some(measured)) = (raw, measured) else {
            panic!("each side had its turn");
        };
        rates.add(
            &format!("first alerts, {IN_FLIGHT} batches of {BATCH}"),
            "handle_due_per_s",
            measured,
            Some(("raw_fenced_update_per_s", "handle_due_ratio", raw)),
        );

        let (desk, seeds) = &self.closes;
        clocks::reopen(&self.pool, desk).await;
        clocks::make_due(&self.pool, desk, FIRST_S, RED_ALERT).await;
        let measured = self.through_ticketing(seeds, 1).await;
        rates.add("warnings", "handle_due_warnings_per_s", measured, None);
        clocks::make_close_due(&self.pool, desk, FIRST_S).await;
        let measured = self.through_ticketing(seeds, 1).await;
        rates.add("closes", "handle_due_closes_per_s", measured, None);
    }

    async fn through_ticketing(&self, seeds: &[Seed], messages_each: u64) -> Measured {
        let client = TicketHandlerServiceClient::new(sign_as_timer(self.service.channel()))
            .max_decoding_message_size(16 << 20);
        let callers = shares(seeds).map(|share| Timer {
            client: client.clone(),
            batches: share.chunks(BATCH).map(<[Seed]>::to_vec).collect(),
            messages_each,
        });
        let callers = callers.collect();
        let before = self.bed.cpu(self.service);
        let (done, _callers) = until_done(callers).await;
        assert_eq!(done.count, seeds.len() as u64, "all tickets were handled");
        self.bed.measured(self.service, before, done)
    }

    async fn raw(&mut self, seeds: &[Seed]) -> Measured {
        let mut callers = std::mem::take(&mut self.raw);
        for (caller, share) in callers.iter_mut().zip(shares(seeds)) {
            caller.give(share.chunks(BATCH).map(<[Seed]>::to_vec).collect());
        }
        let before = self.bed.cpu(self.service);
        let (done, callers) = until_done(callers).await;
        assert_eq!(done.count, seeds.len() as u64, "all rows were written");
        self.raw = callers;
        self.bed.measured(self.service, before, done)
    }
}

fn shares(seeds: &[Seed]) -> impl Iterator<Item = &[Seed]> {
    seeds.chunks(seeds.len().div_ceil(IN_FLIGHT))
}

struct Timer {
    client: TicketHandlerServiceClient<SignedChannel>,
    batches: Vec<Vec<Seed>>,
    messages_each: u64,
}

impl Caller for Timer {
    async fn step(&mut self) -> u64 {
        let Some(batch) = self.batches.pop() else {
            return 0;
        };
        let tickets = batch.iter().map(|seed| TicketGeneration {
            tenant_id: TENANT,
            ticket_id: seed.ticket_id,
            generation: GENERATION,
        });
        let request = HandleDueTicketsRequest {
            tickets: tickets.collect(),
        };
        let answer = self.client.handle_due_tickets(request).await;
        let results = answer.expect("a batch is handled").into_inner().results;
        for result in &results {
            assert_eq!(result.outcome(), HandleOutcome::Fired);
            assert!(result.active_messages.len() as u64 >= self.messages_each);
        }
        results.len() as u64
    }
}
