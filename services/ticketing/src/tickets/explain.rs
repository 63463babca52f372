//! What fired in a ticket, when, how late and why: told from its events, in words and as data.

mod closes;
mod cycles;
mod fold;
mod other;
mod statements;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use plazo_domain::InactivityPolicy;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{CycleStart, ExplainTicketResponse, Ticket, TicketEvent};
use plazo_service::Actor;
use sqlx::PgConnection;

use crate::error::Error;
use crate::fitting::fitting;
use crate::policy_proto::policy_to_proto;
use crate::store::settings::{self, PolicyCache, PolicyKey};
use crate::store::{events, tickets};
use crate::tickets::explain::fold::Fold;
use crate::tickets::read;

/// The last so many events of a ticket are explained,
const MAX_EVENTS: usize = 5_000;
/// and of them at most so many bytes.
const MAX_EVENT_BYTES: i64 = 8 << 20;
/// The last so many cycles and closes are told one by one.
const MAX_LISTED: usize = 100;
/// Of closes, and of policies, the last so many bytes are told.
const MAX_LIST_BYTES: usize = 512 * 1024;
/// The policies of the last so many versions are read.
const MAX_VERSIONS: usize = 100;

/// What an explanation is made from.
#[derive(Debug, Clone, Copy)]
pub struct Story<'a> {
    /// The ticket's events, in order.
    pub events: &'a [TicketEvent],
    /// Other events lie before these.
    pub is_truncated: bool,
    /// The policies that the events name, by version, as far as they are known.
    pub policies: &'a HashMap<i64, Arc<InactivityPolicy>>,
    /// The ticket after the last of the events.
    pub ticket: &'a Ticket,
    /// The last ticket that continues it.
    pub continued_by: Option<i64>,
    /// The time.
    pub now: Timestamp,
}

/// Explains a ticket. `NotFound` when it does not exist for this actor. Reads what a page of events would, however long
/// the ticket's history is.
pub async fn explain_ticket(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    actor: &Actor,
    ticket_id: i64,
) -> Result<ExplainTicketResponse, Error> {
    let view = read::ticket(&mut *connection, actor, ticket_id).await?;
    let (key, now, until_seq) = (view.facts.key, view.now(), view.ticket_seq());
    let ticket = read::to_protos(&mut *connection, policies, &[view]).await?;
    let ticket = ticket.into_iter().next().unwrap_or_default();
    let limit = i64::try_from(MAX_EVENTS).unwrap_or(i64::MAX);
    let events =
        events::last_of_ticket(&mut *connection, key, until_seq, limit, MAX_EVENT_BYTES).await?;

    let keys: Vec<PolicyKey> = last_versions(&ticket, &events)
        .into_iter()
        .map(|version| (key.tenant_id, version))
        .collect();
    let continued_by = tickets::continuation(&mut *connection, key).await?;
    let policies = policies.policies(&mut *connection, &keys).await?;
    let policies = policies
        .into_iter()
        .map(|((_, version), policy)| (version, policy))
        .collect();
    let mut explained = explain(&Story {
        // Events are dropped when they are very old.
        is_truncated: events
            .first()
            .map_or(until_seq > 0, |first| first.ticket_seq > 1),
        events: &events,
        policies: &policies,
        ticket: &ticket,
        continued_by,
        now,
    });
    for policy in explained.policies.iter_mut().filter(|it| it.business_time) {
        let version = policy.version;
        let stored = settings::policies::get(&mut *connection, key.tenant_id, version).await?;
        policy.calendar = stored.calendar;
    }
    Ok(explained)
}

/// The versions of policies that matter: those of the running cycles, then those that events name, the last named first.
fn last_versions(ticket: &Ticket, events: &[TicketEvent]) -> Vec<i64> {
    let running = ticket.inactivity_cycle.iter().chain(&ticket.agent_cycle);
    let named = events.iter().rev().flat_map(|event| {
        let own = match &event.payload {
            Some(Payload::PolicyApplied(applied)) => Some(applied.policy_version),
            Some(Payload::StageFired(fired)) => Some(fired.policy_version),
            _ => None,
        };
        let starts = starts(event).iter().map(|start| start.policy_version);
        own.into_iter().chain(starts)
    });
    let mut versions: Vec<i64> = Vec::new();
    for version in running.map(|cycle| cycle.policy_version).chain(named) {
        if versions.len() < MAX_VERSIONS && version != 0 && !versions.contains(&version) {
            versions.push(version);
        }
    }
    versions
}

/// The cycles that began with an event.
fn starts(event: &TicketEvent) -> &[CycleStart] {
    match &event.payload {
        Some(Payload::Opened(opened)) => &opened.cycles,
        Some(Payload::MessageRecorded(recorded)) => &recorded.cycles,
        Some(Payload::HoldEnded(ended)) => &ended.cycles,
        Some(Payload::PolicyApplied(applied)) => &applied.cycles,
        _ => &[],
    }
}

/// Explains what happened in a ticket. Names people by their numbers, and repeats nothing that anybody wrote but the
/// reasons of holds, which are meant for who asks.
pub fn explain(story: &Story<'_>) -> ExplainTicketResponse {
    let mut fold = Fold::new(story);
    for place in 0..story.events.len() {
        fold.take(place);
    }
    fold.reconcile();
    fold.standing();
    let text = fold.text();

    let is_cut = fold.is_cut || story.is_truncated || fold.cycles.len() > MAX_LISTED;
    let listed = &fold.cycles[fold.cycles.len().saturating_sub(MAX_LISTED)..];
    let cycles: Vec<_> = listed
        .iter()
        .map(|traced| traced.explained(fold.policy(traced.cycle.policy_version), story.now))
        .collect();
    let mut versions: Vec<i64> = listed
        .iter()
        .flat_map(|traced| [traced.first_version(), traced.cycle.policy_version])
        .collect();
    versions.sort_unstable();
    versions.dedup();
    let known = versions.into_iter().filter_map(|version| {
        let policy = fold.policy(version)?;
        Some(policy_to_proto(version, policy, None))
    });
    let policies = last_that_fit(known.collect(), prost::Message::encoded_len);
    let closes = fold.closes.iter().map(|close| close.clone().explained());
    let closes = last_that_fit(closes.collect(), prost::Message::encoded_len);
    let holds = last_that_fit(std::mem::take(&mut fold.holds), prost::Message::encoded_len);
    ExplainTicketResponse {
        text,
        ticket: Some(story.ticket.clone()),
        truncated: is_cut || policies.1 || closes.1 || holds.1,
        cycles,
        closes: closes.0,
        policies: policies.0,
        holds: holds.0,
        continued_by_ticket_id: story.continued_by.unwrap_or_default(),
    }
}

/// The last things of a list that fit, and whether others were left out.
fn last_that_fit<T>(mut things: Vec<T>, bytes: impl Fn(&T) -> usize) -> (Vec<T>, bool) {
    let fits = fitting(things.iter().rev().map(bytes), MAX_LIST_BYTES);
    let skipped = things.len().saturating_sub(fits.min(MAX_LISTED));
    (things.split_off(skipped), skipped > 0)
}
