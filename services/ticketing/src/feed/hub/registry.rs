//! Who watches what, and from there which watchers a change concerns. Pure: no waiting, no database.
//!
//! Each watcher stands under the narrowest condition of its filter: its agent, its queue, its bot or bots, or its tenant.
//! A change concerns the watchers that stand under what the ticket now is, and those that hold the ticket. So it
//! touches nobody else, and what leaves a filter reaches exactly those who had it.
//!
//! Why a read by a watcher of its own and the changes from the hub fit together: a watcher is registered before it
//! reads. What was committed before that is in what it reads; what the hub learns later is routed to it. In between
//! a read may be older than a change that was routed while it went on, so every change of the tenant during a read is
//! noted with its number, and what was read is dropped where the ticket has left since. What was read is told before
//! what waits in the inbox, which therefore keeps only what is newer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use plazo_proto::ticketing::v1::Ticket;

use super::inbox::{Ending, Inbox};
use crate::store::tickets::{TicketFacts, TicketQuery};

/// A ticket after a change.
#[derive(Debug, Clone)]
pub struct ChangedTicket {
    /// To tell whom it concerns.
    pub facts: TicketFacts,
    /// Number of its last event.
    pub ticket_seq: i64,
    /// As it is told.
    pub ticket: Arc<Ticket>,
}

/// Bounds of what watchers hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Tickets that wait for one watcher.
    pub backlog: usize,
    /// Tickets that one watcher holds.
    pub tickets_each: usize,
    /// Tickets that all watchers hold.
    pub tickets_in_all: usize,
}

/// Names a watcher as long as it is registered.
pub type WatcherId = u64;

/// Under what a watcher stands, or a ticket is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Tenant,
    Bot(i64),
    Queue(i64),
    Agent(i64),
}

/// All watchers of a replica.
#[derive(Debug)]
pub struct Registry {
    limits: Limits,
    next_id: WatcherId,
    watchers: HashMap<WatcherId, Watcher>,
    tenants: HashMap<i64, TenantWatchers>,
    /// How many tickets all watchers hold.
    held: usize,
    /// Set when no more watchers are taken.
    closed: Option<Ending>,
}

#[derive(Debug)]
struct Watcher {
    query: TicketQuery,
    places: Vec<Place>,
    inbox: Arc<Inbox>,
    /// The tickets that match, as far as the watcher was or will be told, with the number of their last event.
    held: HashMap<i64, i64>,
    /// What was changed since the watcher began to read; none while it doesn't.
    passed: Option<HashMap<i64, i64>>,
    /// Whether the caller may have tickets that are not in `held` yet.
    resumes: bool,
}

#[derive(Debug, Default)]
struct TenantWatchers {
    places: HashMap<Place, HashSet<WatcherId>>,
    /// Who holds a ticket, of those that its bot does not lead to.
    holders: HashMap<i64, Vec<WatcherId>>,
    reading: HashSet<WatcherId>,
}

impl Registry {
    /// Nobody yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            next_id: 0,
            watchers: HashMap::new(),
            tenants: HashMap::new(),
            held: 0,
            closed: None,
        }
    }

    /// Registers a watcher that holds nothing. `resumes` says that its caller has tickets from an earlier stream, until
    /// [`Self::take_resumed`] tells which.
    pub fn add(
        &mut self,
        query: TicketQuery,
        resumes: bool,
    ) -> Result<(WatcherId, Arc<Inbox>), Ending> {
        if let Some(ending) = self.closed {
            return Err(ending);
        }
        let id = self.next_id;
        self.next_id += 1;
        let places = places_of(&query);
        let tenant = self.tenants.entry(query.tenant_id).or_default();
        for place in &places {
            tenant.places.entry(*place).or_default().insert(id);
        }
        let inbox = Arc::new(Inbox::new(self.limits.backlog));
        let watcher = Watcher {
            query,
            places,
            inbox: Arc::clone(&inbox),
            held: HashMap::new(),
            passed: None,
            resumes,
        };
        self.watchers.insert(id, watcher);
        Ok((id, inbox))
    }

    /// Forgets a watcher, if it is still there.
    pub fn remove(&mut self, id: WatcherId) {
        let Some(watcher) = self.watchers.remove(&id) else {
            return;
        };
        self.held -= watcher.held.len();
        let Some(tenant) = self.tenants.get_mut(&watcher.query.tenant_id) else {
            return;
        };
        for place in &watcher.places {
            if let Some(standing) = tenant.places.get_mut(place) {
                standing.remove(&id);
                if standing.is_empty() {
                    tenant.places.remove(place);
                }
            }
        }
        tenant.reading.remove(&id);
        if watcher.is_narrow() {
            for ticket_id in watcher.held.keys() {
                tenant.let_go(*ticket_id, id);
            }
        }
        if tenant.places.is_empty() {
            self.tenants.remove(&watcher.query.tenant_id);
        }
    }

    /// Ends a watcher with a reason.
    pub fn end(&mut self, id: WatcherId, ending: Ending) {
        if let Some(watcher) = self.watchers.get(&id) {
            watcher.inbox.end(ending);
        }
        self.remove(id);
    }

    /// Ends all watchers; no others are taken if `for_good`.
    pub fn end_all(&mut self, ending: Ending, for_good: bool) {
        for watcher in self.watchers.values() {
            watcher.inbox.end(ending);
        }
        self.watchers.clear();
        self.tenants.clear();
        self.held = 0;
        self.closed = for_good.then_some(ending);
    }

    /// How many tickets all watchers hold.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether anybody watches a tenant.
    pub fn watches(&self, tenant_id: i64) -> bool {
        self.tenants.contains_key(&tenant_id)
    }

    /// Tells a change to whom it concerns. `touched` collects the inboxes that were empty-handed before: their watchers
    /// are to be woken after the batch. Answers who had to be ended, and why.
    pub fn route(
        &mut self,
        change: &ChangedTicket,
        touched: &mut Vec<Arc<Inbox>>,
    ) -> Vec<(WatcherId, Ending)> {
        let Some(tenant) = self.tenants.get(&change.facts.key.tenant_id) else {
            return Vec::new();
        };
        let mut ended = Vec::new();
        for id in tenant.concerned(&change.facts) {
            match self.offer(id, change) {
                Ok(Some(inbox)) => touched.push(inbox),
                Ok(None) => {}
                Err(ending) => {
                    self.end(id, ending);
                    ended.push((id, ending));
                }
            }
        }
        ended
    }

    /// Offering the same again does nothing.
    fn offer(
        &mut self,
        id: WatcherId,
        change: &ChangedTicket,
    ) -> Result<Option<Arc<Inbox>>, Ending> {
        let Some(watcher) = self.watchers.get_mut(&id) else {
            return Ok(None);
        };
        let facts = &change.facts;
        let (ticket_id, seq) = (facts.key.ticket_id, change.ticket_seq);
        if let Some(passed) = &mut watcher.passed
            && watcher.query.may_see(facts)
        {
            passed.insert(ticket_id, seq);
        }
        let held_seq = watcher.held.get(&ticket_id).copied();
        if held_seq.is_some_and(|held_seq| held_seq >= seq) {
            return Ok(None);
        }
        let was_told = held_seq.is_some() || watcher.resumes;
        let state = if watcher.query.matches(facts) {
            self.hold(id, ticket_id, seq)?;
            Some(Arc::clone(&change.ticket))
        } else if held_seq.is_some() {
            self.let_go(id, ticket_id);
            None
        } else {
            return Ok(None);
        };
        let Some(watcher) = self.watchers.get(&id) else {
            return Ok(None);
        };
        let is_first = watcher.inbox.put((ticket_id, seq), state, was_told)?;
        Ok(is_first.then(|| Arc::clone(&watcher.inbox)))
    }

    /// A watcher begins to read.
    pub fn begin_read(&mut self, id: WatcherId) {
        if let Some(watcher) = self.watchers.get_mut(&id)
            && let Some(tenant) = self.tenants.get_mut(&watcher.query.tenant_id)
        {
            watcher.passed = Some(HashMap::new());
            tenant.reading.insert(id);
        }
    }

    /// The end of a read. Answers what has passed since [`Self::begin_read`]; nothing for a watcher that was ended.
    fn end_read(&mut self, id: WatcherId) -> HashMap<i64, i64> {
        let Some(watcher) = self.watchers.get_mut(&id) else {
            return HashMap::new();
        };
        if let Some(tenant) = self.tenants.get_mut(&watcher.query.tenant_id) {
            tenant.reading.remove(&id);
        }
        watcher.passed.take().unwrap_or_default()
    }

    /// Takes tickets that a watcher has read since [`Self::begin_read`]. Answers those that it is to be told before it
    /// takes anything out of its inbox.
    pub fn take_read(
        &mut self,
        id: WatcherId,
        read: Vec<ChangedTicket>,
    ) -> Result<Vec<Arc<Ticket>>, Ending> {
        let passed = self.end_read(id);
        let mut told = Vec::with_capacity(read.len());
        for ticket in read {
            let Some(watcher) = self.watchers.get(&id) else {
                break;
            };
            let ticket_id = ticket.facts.key.ticket_id;
            let seq = ticket.ticket_seq;
            // What passed and is not held has left since.
            let has_left = passed.get(&ticket_id).is_some_and(|passed| *passed > seq)
                && !watcher.held.contains_key(&ticket_id);
            if has_left || !watcher.query.matches(&ticket.facts) {
                continue;
            }
            watcher.inbox.supersede(ticket_id, seq);
            self.hold_or_end(id, ticket_id, seq)?;
            told.push(ticket.ticket);
        }
        Ok(told)
    }

    /// For a caller that goes on from a position: takes the ids that match, and those of tickets that were changed after
    /// the position, read in this order since [`Self::begin_read`]. Answers the ids of what the caller may have and must remove.
    pub fn take_resumed(
        &mut self,
        id: WatcherId,
        matching: &[i64],
        changed: &[i64],
    ) -> Result<Vec<i64>, Ending> {
        let passed = self.end_read(id);
        if let Some(watcher) = self.watchers.get_mut(&id) {
            watcher.resumes = false;
        }
        for ticket_id in matching {
            // What has passed is held already, or has left.
            if !passed.contains_key(ticket_id) {
                self.hold_or_end(id, *ticket_id, 0)?;
            }
        }
        let Some(watcher) = self.watchers.get(&id) else {
            return Ok(Vec::new());
        };
        let mut gone: Vec<i64> = changed
            .iter()
            .chain(passed.keys())
            .filter(|ticket_id| !watcher.held.contains_key(ticket_id))
            .copied()
            .collect();
        gone.sort_unstable();
        gone.dedup();
        Ok(gone)
    }

    fn hold_or_end(&mut self, id: WatcherId, ticket_id: i64, seq: i64) -> Result<(), Ending> {
        self.hold(id, ticket_id, seq)
            .inspect_err(|ending| self.end(id, *ending))
    }

    fn hold(&mut self, id: WatcherId, ticket_id: i64, seq: i64) -> Result<(), Ending> {
        let Some(watcher) = self.watchers.get_mut(&id) else {
            return Ok(());
        };
        if let Some(held_seq) = watcher.held.get_mut(&ticket_id) {
            *held_seq = seq.max(*held_seq);
            return Ok(());
        }
        if watcher.held.len() >= self.limits.tickets_each {
            return Err(Ending::TooLarge);
        }
        if self.held >= self.limits.tickets_in_all {
            return Err(Ending::Full);
        }
        watcher.held.insert(ticket_id, seq);
        self.held += 1;
        if watcher.is_narrow()
            && let Some(tenant) = self.tenants.get_mut(&watcher.query.tenant_id)
        {
            tenant.holders.entry(ticket_id).or_default().push(id);
        }
        Ok(())
    }

    fn let_go(&mut self, id: WatcherId, ticket_id: i64) {
        let Some(watcher) = self.watchers.get_mut(&id) else {
            return;
        };
        if watcher.held.remove(&ticket_id).is_some() {
            self.held -= 1;
            if watcher.is_narrow()
                && let Some(tenant) = self.tenants.get_mut(&watcher.query.tenant_id)
            {
                tenant.let_go(ticket_id, id);
            }
        }
    }
}

impl Watcher {
    /// Whether it stands under what changes in a ticket. Bot and tenant never do, and lead to it anyhow.
    fn is_narrow(&self) -> bool {
        matches!(self.places[..], [Place::Agent(_) | Place::Queue(_)])
    }
}

impl TenantWatchers {
    /// Each once, or twice at most.
    fn concerned(&self, facts: &TicketFacts) -> Vec<WatcherId> {
        let places = [
            Some(Place::Tenant),
            Some(Place::Bot(facts.bot_id)),
            facts.queue_id.map(Place::Queue),
            facts.agent_id.map(Place::Agent),
        ];
        places
            .into_iter()
            .flatten()
            .filter_map(|place| self.places.get(&place))
            .flatten()
            .chain(self.holders.get(&facts.key.ticket_id).into_iter().flatten())
            .chain(&self.reading)
            .copied()
            .collect()
    }

    fn let_go(&mut self, ticket_id: i64, id: WatcherId) {
        if let Some(holders) = self.holders.get_mut(&ticket_id) {
            holders.retain(|holder| *holder != id);
            if holders.is_empty() {
                self.holders.remove(&ticket_id);
            }
        }
    }
}

fn places_of(query: &TicketQuery) -> Vec<Place> {
    if let Some(agent_id) = query.agent_id {
        return vec![Place::Agent(agent_id)];
    }
    if let Some(queue_id) = query.queue_id {
        return vec![Place::Queue(queue_id)];
    }
    match (query.bot_id, &query.permitted_bots) {
        (Some(bot_id), _) => vec![Place::Bot(bot_id)],
        (None, Some(bot_ids)) => bot_ids.iter().copied().map(Place::Bot).collect(),
        (None, None) => vec![Place::Tenant],
    }
}

#[cfg(test)]
mod tests;
