//! Many stories at the same pace: one clock for all, and one timer.

use std::collections::HashMap;
use std::ops::Range;

use futures::StreamExt as _;
use futures::stream;
use plazo_model::{START_MS, TICK_MS, Ticks};
use plazo_proto::ticketing::v1::TicketEvent;
use plazo_proto::timer::v1::{HandleDueTicketsRequest, HandleOutcome, TicketGeneration};
use prost::Message as _;

use super::clock::MovableClock;
use super::player::{Player, Reminder, Told};
use super::report;
use crate::support::{Clients, Fixture, TENANT};

/// So many stories are told to the service at the same time.
const AT_ONCE: usize = 16;
/// Tickets in one question of the timer.
const BATCH: usize = 200;
/// More rounds of questions within one instant than any ticket needs.
const MAX_ROUNDS: u32 = 8;
/// The service's own relay and sweep find no timer, and keep still.
const FOR_EVER_MS: &str = "3600000";

/// What was done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) inputs: u64,
    /// Tickets that the timer asked about.
    pub(super) looks: u64,
    /// Effects that the model and the service agree on.
    pub(super) effects: u64,
}

/// A service with its clock, and the test in the place of the timer.
pub(super) struct Lockstep {
    pub(super) clock: MovableClock,
    fixture: Fixture,
    service: Clients,
    contact_id: i64,
    /// The last event that was read: its transaction and id.
    read: (i64, i64),
    pub(super) counts: Counts,
}

impl Lockstep {
    /// A fresh service.
    pub(super) async fn start() -> Self {
        let settings = [
            ("RELAY__MAX_BACKOFF_MS", FOR_EVER_MS),
            ("SWEEP__PERIOD_MS", FOR_EVER_MS),
        ];
        let (fixture, clock) = MovableClock::start(START_MS, &settings).await;
        let contact = fixture.administrator().create_contact("Ana", "ana").await;
        Self {
            clock,
            service: fixture.service(),
            fixture,
            contact_id: contact.contact_id,
            read: (0, 0),
            counts: Counts::default(),
        }
    }

    /// The desks of stories. Their tick 0 is at `origin_ms`.
    pub(super) async fn prepare(&self, seeds: Range<u64>, origin_ms: i64) -> Vec<Player> {
        let prepare = |seed| Player::new(&self.fixture, seed, origin_ms, self.contact_id);
        stream::iter(seeds.map(prepare))
            .buffered(AT_ONCE)
            .collect()
            .await
    }

    /// Plays stories to their ends, and tells of those that failed.
    pub(super) async fn play(&mut self, seeds: Range<u64>, origin_ms: i64) -> Vec<String> {
        self.clock.set(origin_ms).await;
        let mut players = self.prepare(seeds, origin_ms).await;
        let lengths = players.iter().map(|player| player.script.moments.len());
        let end = Ticks::try_from(lengths.max().unwrap_or_default()).expect("few ticks");
        for tick in 0..end {
            let is_quiet = |player: &Player| {
                let moment = player.moment(tick);
                moment.is_none_or(plazo_model::Moment::is_quiet) && !player.is_due(tick)
            };
            if !players.iter().all(is_quiet) {
                self.clock.set(origin_ms + tick * TICK_MS).await;
                self.play_tick(&mut players, tick).await;
            }
        }
        let mut failures = Vec::new();
        for player in &players {
            self.counts.effects += report::agreed_effects(player);
            if player.failure.is_some() {
                failures.push(report::failure(player).await);
            }
        }
        failures
    }

    async fn play_tick(&mut self, players: &mut [Player], tick: Ticks) {
        let with_inputs = players.iter_mut().filter(|player| {
            let moment = player.moment(tick);
            moment.is_some_and(|moment| !moment.inputs.is_empty())
        });
        let told = with_inputs.map(|player| async move {
            player.tell_inputs(tick).await;
            u64::try_from(player.bounds()).expect("few inputs")
        });
        let told = stream::iter(told).buffer_unordered(AT_ONCE);
        self.counts.inputs += told.fold(0, async |sum, count| sum + count).await;

        let by_ticket: HashMap<i64, usize> = players
            .iter()
            .enumerate()
            .map(|(place, player)| (player.ticket_id, place))
            .collect();
        self.arm(players, &by_ticket).await;
        let mut looked_at = Vec::new();
        for _ in 0..MAX_ROUNDS {
            let due: Vec<usize> = (0..players.len())
                .filter(|place| players[*place].is_due(tick))
                .collect();
            if due.is_empty() {
                break;
            }
            for due in due.chunks(BATCH) {
                self.ask(players, due, tick).await;
            }
            looked_at.extend(due);
            self.arm(players, &by_ticket).await;
        }
        for player in players.iter_mut().filter(|player| player.is_due(tick)) {
            player.fail(tick, "it is due after each look");
        }

        let mut concerned = self.read_events(players, &by_ticket).await;
        concerned.extend(looked_at);
        let mut concerned_now = vec![false; players.len()];
        for place in concerned {
            concerned_now[place] = true;
        }
        let compare = players
            .iter_mut()
            .zip(concerned_now)
            .filter(|(player, is_concerned)| {
                let moment = player.moment(tick);
                moment.is_some_and(|moment| *is_concerned || !moment.is_quiet())
            });
        stream::iter(compare)
            .for_each_concurrent(AT_ONCE, async |(player, _)| match player.ticket().await {
                Ok(ticket) => player.compare(tick, &ticket),
                Err(status) => player.fail(tick, &format!("it can't be read: {status:?}")),
            })
            .await;
    }

    /// What relay and timer do: each new generation gets its entry.
    async fn arm(&self, players: &mut [Player], by_ticket: &HashMap<i64, usize>) {
        let rows: Vec<(i64, i64, Option<i64>)> = sqlx::query_as(
            "UPDATE ticket_clocks SET armed_generation = generation
             WHERE armed_generation < generation
             RETURNING ticket_id, generation, (extract(epoch FROM next_due_at) * 1000)::bigint",
        )
        .fetch_all(&self.fixture.pool)
        .await
        .expect("armed");
        for (ticket_id, generation, due_ms) in rows {
            if let Some(place) = by_ticket.get(&ticket_id) {
                players[*place].reminder = Some(Reminder { generation, due_ms });
            }
        }
    }

    /// What the timer does: asks about what seems due, and sets its entries by the answers.
    async fn ask(&mut self, players: &mut [Player], due: &[usize], tick: Ticks) {
        let mut asked = due.to_vec();
        while !asked.is_empty() {
            let tickets = asked.iter().map(|place| TicketGeneration {
                tenant_id: TENANT,
                ticket_id: players[*place].ticket_id,
                generation: players[*place].reminder.map_or(0, |it| it.generation),
            });
            let request = HandleDueTicketsRequest {
                tickets: tickets.collect(),
            };
            let answer = self.service.handler.handle_due_tickets(request).await;
            let answer = answer.expect("handled").into_inner();
            let mut busy = Vec::new();
            for (place, handled) in asked.into_iter().zip(answer.results) {
                let player = &mut players[place];
                match handled.outcome() {
                    // The relay's short look at it.
                    HandleOutcome::Busy => busy.push(place),
                    HandleOutcome::Fired | HandleOutcome::Already | HandleOutcome::NotDue => {
                        self.counts.looks += 1;
                        let now_ms = player.origin_ms + tick * TICK_MS;
                        let due_ms = handled.look_again_after.map(|after| {
                            now_ms + after.seconds * 1_000 + i64::from(after.nanos / 1_000_000)
                        });
                        if let Some(reminder) = &mut player.reminder {
                            reminder.due_ms = due_ms;
                        }
                    }
                    other => {
                        player.fail(tick, &format!("the timer is told {other:?} {handled:?}"));
                    }
                }
            }
            asked = busy;
        }
    }

    /// Reads what was told since the last time, in the order of the feed, and says whom it concerns.
    async fn read_events(
        &mut self,
        players: &mut [Player],
        by_ticket: &HashMap<i64, usize>,
    ) -> Vec<usize> {
        let rows: Vec<(i64, i64, i64, i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT transaction_id::text::bigint, event_id, ticket_id, ticket_seq,
                 (extract(epoch FROM recorded_at) * 1000)::bigint, payload
             FROM ticket_events
             WHERE (transaction_id, event_id) > ($1::text::xid8, $2)
             ORDER BY transaction_id, event_id",
        )
        .bind(self.read.0.to_string())
        .bind(self.read.1)
        .fetch_all(&self.fixture.pool)
        .await
        .expect("read");
        let mut concerned = Vec::new();
        for (transaction_id, event_id, ticket_id, seq, at_ms, payload) in rows {
            self.read = (transaction_id, event_id);
            let Some(&place) = by_ticket.get(&ticket_id) else {
                continue;
            };
            let event = TicketEvent::decode(&*payload).expect("an event");
            players[place].events.push(Told {
                seq,
                at_ms,
                payload: event.payload.expect("a payload"),
            });
            concerned.push(place);
        }
        concerned
    }
}
