//! A ticket as it is told.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use plazo_domain::{Clock, Cycle, InactivityPolicy, Stage, plan};
use plazo_proto::ticketing::v1::{
    ClosingNote, Closure as ProtoClosure, Hold, InactivityCycle, StageProgress, Ticket,
};

use crate::instants::to_proto;
use crate::store::clocks::LockedClock;
use crate::store::settings::PolicyKey;
use crate::store::tickets::{ClockView, Closure, TicketFacts};
use crate::tickets::told::automation_to_proto;

/// A ticket's rows at one moment.
#[derive(Debug, Clone)]
pub struct TicketView {
    /// What is known of it.
    pub facts: TicketFacts,
    clock: Clock,
    ticket_seq: i64,
    last_customer_message_at: Option<Timestamp>,
    now: Timestamp,
}

impl TicketView {
    /// As changed and locked.
    pub fn from_change(facts: TicketFacts, locked: LockedClock) -> Self {
        Self {
            facts,
            clock: locked.clock,
            ticket_seq: locked.ticket_seq,
            last_customer_message_at: locked.last_customer_message_at,
            now: locked.now,
        }
    }

    /// As read.
    pub fn from_rows(facts: TicketFacts, clock: ClockView) -> Self {
        Self {
            facts,
            clock: clock.clock,
            ticket_seq: clock.ticket_seq,
            last_customer_message_at: clock.last_customer_message_at,
            now: clock.now,
        }
    }

    /// The database's time when it was read.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The number of its last event.
    pub const fn ticket_seq(&self) -> i64 {
        self.ticket_seq
    }

    /// Which policies the running cycles go by: tenant and version.
    pub fn policy_keys(&self) -> impl Iterator<Item = PolicyKey> {
        let tenant_id = self.facts.key.tenant_id;
        self.clock
            .policy_versions()
            .map(move |version| (tenant_id, version))
    }

    /// The proto. `policies` has those of [`Self::policy_keys`].
    pub fn to_proto(&self, policies: &HashMap<PolicyKey, Arc<InactivityPolicy>>) -> Ticket {
        let facts = &self.facts;
        Ticket {
            ticket_id: facts.key.ticket_id,
            bot_id: facts.bot_id,
            queue_id: facts.queue_id.unwrap_or_default(),
            contact_id: facts.contact_id,
            agent_id: facts.agent_id.unwrap_or_default(),
            state: facts.state.code().into(),
            alert: self.clock.alert().code().into(),
            previous_ticket_id: facts.previous_ticket_id.unwrap_or_default(),
            tags: facts.tags.clone(),
            open_time: Some(to_proto(facts.opened_at)),
            first_assign_time: facts.first_assigned_at.map(to_proto),
            first_agent_message_time: facts.first_agent_message_at.map(to_proto),
            last_customer_message_time: self.last_customer_message_at.map(to_proto),
            closure: facts.closure.as_ref().map(closure_to_proto),
            inactivity_cycle: self
                .clock
                .cycle()
                .and_then(|cycle| self.cycle_to_proto(cycle, policies)),
            generation: self.clock.generation(),
            next_due_time: self.clock.next_due_at().map(to_proto),
            etag: self.ticket_seq.to_string(),
            unlinked: facts.is_unlinked,
            hold: hold_to_proto(facts, &self.clock),
            automation: Some(automation_to_proto(self.clock.state().automation)),
            agent_alert: self.clock.agent_alert().code().into(),
            agent_cycle: self
                .clock
                .agent_cycle()
                .and_then(|cycle| self.cycle_to_proto(cycle, policies)),
            turn: self.clock.state().turn.code().into(),
            turn_time: self
                .clock
                .state()
                .turn
                .times()
                .map(|(since, _)| to_proto(since)),
            excluded: self.clock.cycle().is_some_and(|cycle| cycle.is_excluded),
        }
    }

    fn cycle_to_proto(
        &self,
        cycle: &Cycle,
        policies: &HashMap<PolicyKey, Arc<InactivityPolicy>>,
    ) -> Option<InactivityCycle> {
        let policy = policies.get(&(self.facts.key.tenant_id, cycle.policy_version))?;
        let mut stages = plan(cycle, policy).stages(self.now);
        stages.sort_by_key(|planned| (planned.due_at, planned.stage));
        let stages = stages
            .into_iter()
            .map(|planned| StageProgress {
                stage: planned.stage.code().into(),
                due_time: Some(to_proto(planned.due_at)),
                over: planned.stage != Stage::Close && cycle.done.contains(planned.stage),
            })
            .collect();
        Some(InactivityCycle {
            cycle: cycle.number,
            anchor_time: Some(to_proto(cycle.anchor_at)),
            policy_version: cycle.policy_version,
            stages,
            warning_accept_time: cycle.warning_accepted_at.map(to_proto),
            kind: cycle.kind.code().into(),
            warning_settle_time: cycle.warning_settled_at.map(to_proto),
        })
    }
}

/// The hold of a ticket, if there is one.
pub fn hold_to_proto(facts: &TicketFacts, clock: &Clock) -> Option<Hold> {
    let hold = facts.hold.as_ref()?;
    Some(Hold {
        reason: hold.reason.clone(),
        start_time: Some(to_proto(hold.started_at)),
        end_time: clock.state().hold_until.map(to_proto),
        author: Some(hold.author),
    })
}

/// The proto of a close.
pub fn closure_to_proto(closure: &Closure) -> ProtoClosure {
    ProtoClosure {
        close_time: Some(to_proto(closure.closed_at)),
        source: closure.source.code().into(),
        author: Some(closure.author),
        note: closure.note.as_ref().map(|note| ClosingNote {
            category: note.category.clone(),
            summary: note.summary.clone(),
        }),
        exit_route: closure.exit_route.clone(),
    }
}
