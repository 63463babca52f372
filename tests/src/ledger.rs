//! The ledger: judges a whole run by the events that ticketing kept, by the rules of the product, and shares no code
//! with the services.

mod acknowledged;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plazo_proto::notification::v1::ActiveMessageState;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{Stage, TicketEvent};
use prost::Message as _;
use sqlx::PgPool;

use crate::desk::Desk;
use crate::traffic::Acknowledged;
use crate::truth::{Databases, now_us};
use walk::Walk;

/// Violations that a failed check shows.
const SHOWN: usize = 20;

/// An event as it was kept.
#[derive(Debug, Clone)]
struct Kept {
    seq: i64,
    bot_id: i64,
    at_us: i64,
    payload: Payload,
}

/// All events of one tenant, by ticket.
#[derive(Debug)]
pub struct Ledger {
    tenant_id: i64,
    tickets: BTreeMap<i64, Vec<Kept>>,
    /// The database's time before the events were read: what was due until then must have happened.
    until_us: i64,
}

/// A stage that took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fired {
    /// The ticket.
    pub ticket_id: i64,
    /// The cycle.
    pub cycle: i32,
    /// The stage.
    pub stage: Stage,
    /// When it was due, or when changed settings or tags first let it act, in microseconds since 1970.
    pub due_us: i64,
    /// When it took effect.
    pub at_us: i64,
}

impl Fired {
    /// How late it was, in microseconds; never negative in a run that was checked.
    pub fn lateness_us(&self) -> i64 {
        self.at_us - self.due_us
    }
}

/// What a violation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViolationKind {
    /// Something that should have happened did not, or an acknowledged write is missing.
    Lost,
    /// Something happened again.
    Twice,
    /// A stage acted before its deadline.
    Early,
    /// A stage acted later than is allowed.
    Late,
    /// Anything else that doesn't follow from the rules.
    Wrong,
}

/// Something that is wrong with a run.
#[derive(Debug, Clone)]
pub struct Violation {
    /// What it is about.
    pub kind: ViolationKind,
    /// In words, with the ticket.
    pub text: String,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Account {
    /// Every stage that took effect.
    pub fired: Vec<Fired>,
    /// Keys of all active messages that were asked for.
    pub requested: BTreeSet<String>,
    /// Tickets closed by inactivity, each time counted.
    pub inactivity_closes: usize,
    /// Those of them that a late reply superseded.
    pub superseded_closes: usize,
    /// Holds that were over by themselves when somebody noticed it.
    pub expired_holds: usize,
    /// Those of them that a message found over, before the timer.
    pub found_over_holds: usize,
    /// Every message: its ticket, id and text.
    messages: Vec<Acknowledged>,
    /// Every ticket.
    tickets: BTreeSet<i64>,
    /// How often each ticket was closed by others than the clock.
    closes_by_people: BTreeMap<i64, usize>,
    /// How often each ticket was put on hold.
    holds: BTreeMap<i64, usize>,
    violations: Vec<Violation>,
}

impl Account {
    /// How many stages of this kind took effect.
    pub fn count(&self, stage: Stage) -> usize {
        self.fired
            .iter()
            .filter(|fired| fired.stage == stage)
            .count()
    }

    /// How often tickets were put on hold.
    pub fn hold_count(&self) -> usize {
        self.holds.values().sum()
    }

    /// Notes a violation.
    pub fn violate(&mut self, kind: ViolationKind, text: String) {
        self.violations.push(Violation { kind, text });
    }

    /// The lateness below which this share of the stages lies, 1 for the highest, in milliseconds.
    pub fn lateness_ms(&self, share: f64) -> f64 {
        let mut all: Vec<i64> = self.fired.iter().map(Fired::lateness_us).collect();
        all.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a list"
        )]
        let place = ((all.len() as f64 * share).ceil() as usize).clamp(1, all.len().max(1)) - 1;
        #[expect(clippy::cast_precision_loss, reason = "hours at most")]
        let lateness_us = all.get(place).copied().unwrap_or_default() as f64;
        lateness_us / 1_000.0
    }

    /// What is wrong.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How many violations are of this kind.
    pub fn violation_count(&self, kind: ViolationKind) -> usize {
        let is_it = |violation: &&Violation| violation.kind == kind;
        self.violations.iter().filter(is_it).count()
    }

    /// Panics with some of the violations if there are any.
    pub fn assert_clean(&self) {
        let lines: Vec<&str> = self
            .violations
            .iter()
            .take(SHOWN)
            .map(|violation| violation.text.as_str())
            .collect();
        assert!(
            lines.is_empty(),
            "{} violations, of which some:\n{}",
            self.violations.len(),
            lines.join("\n")
        );
    }
}

impl Ledger {
    /// Reads all events of a tenant from ticketing's database.
    pub async fn read(ticketing: &PgPool, tenant_id: i64) -> Self {
        let until_us = now_us(ticketing).await;
        let rows: Vec<(i64, i64, i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT ticket_id, ticket_seq, bot_id, (extract(epoch FROM recorded_at) * 1000000)::bigint, payload
             FROM ticket_events WHERE tenant_id = $1 ORDER BY ticket_id, ticket_seq",
        )
        .bind(tenant_id)
        .fetch_all(ticketing)
        .await
        .expect("events can be read");
        let mut tickets: BTreeMap<i64, Vec<Kept>> = BTreeMap::new();
        for (ticket_id, seq, bot_id, at_us, payload) in rows {
            let event = TicketEvent::decode(payload.as_slice()).expect("an event can be decoded");
            tickets.entry(ticket_id).or_default().push(Kept {
                seq,
                bot_id,
                at_us,
                payload: event.payload.expect("an event has a payload"),
            });
        }
        Self {
            tenant_id,
            tickets,
            until_us,
        }
    }

    /// How many events there are, without reading them.
    pub async fn count_events(ticketing: &PgPool, tenant_id: i64) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM ticket_events WHERE tenant_id = $1")
            .bind(tenant_id)
            .fetch_one(ticketing)
            .await
            .expect("events can be counted")
    }

    /// How many stages of this kind took effect, whether rightly or not.
    pub fn fired_count(&self, stage: Stage) -> usize {
        let is_it = |kept: &&Kept| matches!(&kept.payload, Payload::StageFired(fired) if fired.stage() == stage);
        self.tickets.values().flatten().filter(is_it).count()
    }

    /// Judges the run. Every event must follow from the ones before it by the rules; every stage must have acted in
    /// its cycle, once, not early, and no later than `lateness_max` after its deadline, unless a higher one acted or
    /// the cycle ended by then.
    pub fn judge(&self, desks: &[&Desk], lateness_max: Duration) -> Account {
        let lateness_max_us = i64::try_from(lateness_max.as_micros()).expect("a short time");
        let mut account = Account::default();
        for (ticket_id, events) in &self.tickets {
            let desk = desks
                .iter()
                .find(|desk| desk.bot_id == events[0].bot_id)
                .expect("the ticket belongs to one of the desks");
            let mut walk = Walk::new(
                *ticket_id,
                &desk.policies,
                &desk.started_under,
                lateness_max_us,
                &mut account,
            );
            for event in events {
                walk.step(event);
            }
            walk.end(self.until_us);
        }
        account
    }

    /// Reads and judges the run once it has settled, and holds notification and history against it. Panics with what is
    /// wrong.
    pub async fn settle_and_check(
        databases: &Databases,
        desks: &[&Desk],
        lateness_max: Duration,
    ) -> Account {
        let account = Self::settle_and_judge(databases, desks, lateness_max).await;
        account.assert_clean();
        account
    }

    /// Reads and judges the run once it has settled, and holds notification and history against it.
    pub async fn settle_and_judge(
        databases: &Databases,
        desks: &[&Desk],
        lateness_max: Duration,
    ) -> Account {
        databases.settle(Duration::from_mins(4)).await;
        let tenant_id = desks[0].tenant_id;
        let ledger = Self::read(&databases.ticketing, tenant_id).await;
        let mut account = ledger.judge(desks, lateness_max);
        let messages = databases.messages(ledger.tenant_id).await;
        let held: BTreeSet<String> = messages.keys().cloned().collect();
        let lost: Vec<_> = account.requested.difference(&held).cloned().collect();
        let made_up: Vec<_> = held.difference(&account.requested).cloned().collect();
        for key in lost {
            account.violate(ViolationKind::Lost, format!("notification lacks {key}"));
        }
        for key in made_up {
            let text = format!("notification has {key} that nobody asked for");
            account.violate(ViolationKind::Wrong, text);
        }
        let is_over = |state| {
            matches!(
                state,
                ActiveMessageState::Sent
                    | ActiveMessageState::Delivered
                    | ActiveMessageState::Cancelled
            )
        };
        for (key, state) in messages {
            if !is_over(state) {
                account.violate(ViolationKind::Wrong, format!("message {key} is {state:?}"));
            }
        }
        databases.check_history(tenant_id).await;
        account
    }
}
