//! What a policy would do at once to the open tickets, before anybody saves it.

use plazo_database::TenantPool;
use plazo_domain::{Alert, InForce, InactivityPolicy, Policies, Stage, advance};
use plazo_service::Actor;

use super::{bots, policies, queues};
use crate::error::Error;
use crate::policy_proto::ReadPolicy;
use crate::store::settings::applications::open_tickets;
use crate::store::settings::policies::PolicyScope;
use crate::store::settings::previews::{self, OpenTicket};

/// The most tickets that are looked at.
const MAX_EXAMINED: i64 = 1_000_000;
const PAGE: i64 = 2_000;
/// So many are worked out before other calls get their turn.
const STRETCH: usize = 100;

/// How many open tickets would be touched at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preview {
    /// An alert would be raised, on either side.
    pub alerted: i64,
    /// Their customers would be warned.
    pub warned: i64,
    /// They would be closed.
    pub closed: i64,
    /// They were looked at.
    pub examined: i64,
    /// There are more than were looked at.
    pub truncated: bool,
}

/// Tries a policy. INVALID with all that is wrong with it, as when it is put in force. Changes and locks nothing; the
/// tickets of a page are as of one moment, those of different pages are not.
pub async fn run(
    requests: &TenantPool,
    actor: &Actor,
    scope: PolicyScope,
    read: &ReadPolicy,
) -> Result<Preview, Error> {
    let policy = {
        let mut connection = requests.read(actor.tenant_id).await?;
        let bot = bots::get(&mut connection, actor, scope.bot_id).await?;
        if let Some(queue_id) = scope.queue_id {
            queues::of_bot(&mut connection, actor.tenant_id, scope.bot_id, queue_id).await?;
        }
        policies::checked(&mut connection, actor.tenant_id, &bot, read)
            .await?
            .0
    };
    let mut preview = Preview::default();
    let mut after_ticket_id = 0;
    loop {
        // Given back between the pages: a large preview must not keep others waiting for it.
        let mut connection = requests.read(actor.tenant_id).await?;
        let keys = open_tickets(
            &mut connection,
            actor.tenant_id,
            scope,
            after_ticket_id,
            PAGE,
        )
        .await?;
        let Some(last) = keys.last() else {
            return Ok(preview);
        };
        if preview.examined >= MAX_EXAMINED {
            preview.truncated = true;
            return Ok(preview);
        }
        after_ticket_id = last.ticket_id;
        let tickets = previews::open(&mut connection, &keys).await?;
        drop(connection);
        for stretch in tickets.chunks(STRETCH) {
            for ticket in stretch {
                preview.add(ticket, &policy);
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Preview {
    /// Works out what applying the policy would do to a ticket at once.
    fn add(&mut self, ticket: &OpenTicket, policy: &InactivityPolicy) {
        let in_force = InForce {
            // Above each that runs, as the version of a policy that is put in force is.
            version: i64::MAX,
            policy,
            is_excluded: policy.excludes(&ticket.tags),
        };
        let mut clock = ticket.clock.clone();
        let (alert, agent_alert) = (clock.alert(), clock.agent_alert());
        // How late something is does not matter here.
        clock.apply_policy(in_force, |_| None, ticket.now);
        let policies = Policies {
            cycle: Some(policy),
            agent_cycle: Some(policy),
            in_force: Some(in_force),
        };
        let advance = advance(&mut clock, policies, ticket.now);
        let is_raised = |before: Alert, after: Alert| after > before;
        self.examined += 1;
        self.alerted += i64::from(
            is_raised(alert, clock.alert()) || is_raised(agent_alert, clock.agent_alert()),
        );
        let is_warned = advance.stages().any(|fired| fired.stage == Stage::Warning);
        self.warned += i64::from(is_warned);
        self.closed += i64::from(advance.closed.is_some());
    }
}
