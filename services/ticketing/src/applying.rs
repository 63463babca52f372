//! Applies policies to open tickets: page by page, in the order of ids, in the background.
//!
//! The row of an application is kept until all its tickets are done, and moves on in the transaction that changes a
//! page of them: after a crash the next page is the one that was not committed. A cycle only moves to a higher version,
//! so a ticket that the policy was applied to is not touched again.
//!
//! An application ends early when its version is no longer the one in force in its scope: another policy was set since,
//! and cycles that began under it must not fall back.

use std::sync::Arc;

use plazo_domain::TicketState;
use plazo_proto::ticketing::v1::PolicyApplied;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_service::TaskError;
use plazo_service::status::chain;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::changes::Changes;
use crate::error::Error;
use crate::metrics::ApplyingMetrics;
use crate::store::clocks::{self, TicketKey};
use crate::store::settings::applications::{self, Application};
use crate::store::settings::{PolicyCache, PolicyKey};
use crate::tickets::SYSTEM;
use crate::tickets::change::{self, PolicyInForce, TicketChange};
use crate::tickets::told::cycles_to_proto;
use crate::turns::{Pieces, Turns};

/// Tickets a transaction: their rows are locked for as long as it takes.
const PAGE: i64 = 200;

/// Applies policies to open tickets.
#[derive(Debug, Clone)]
pub struct Applying {
    changes: Changes,
    policies: Arc<PolicyCache>,
    turns: Turns,
    metrics: ApplyingMetrics,
}

impl Applying {
    /// Wiring.
    pub fn new(changes: Changes, policies: Arc<PolicyCache>, metrics: ApplyingMetrics) -> Self {
        Self {
            changes,
            policies,
            turns: Turns::default(),
            metrics,
        }
    }

    /// Says that there may be something to apply.
    pub fn wake(&self) {
        self.turns.wake();
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        self.turns.run(&self, &stop).await;
        Ok(())
    }

    /// Returns how many tickets changed.
    async fn apply_page(
        &self,
        connection: &mut PgConnection,
        application: &Application,
    ) -> Result<u64, Error> {
        let Application {
            tenant_id,
            policy_version: version,
            scope,
            after_ticket_id,
        } = *application;
        let in_force = applications::version_in_force(connection, tenant_id, scope).await?;
        if in_force != Some(version) {
            applications::remove(connection, application).await?;
            return Ok(0);
        }
        let keys =
            applications::open_tickets(connection, tenant_id, scope, after_ticket_id, PAGE).await?;
        let applied = self.apply(connection, &keys, version).await?;
        match keys.last() {
            Some(last) if i64::try_from(keys.len()) == Ok(PAGE) => {
                applications::advance(connection, application, last.ticket_id).await?;
            }
            _ => applications::remove(connection, application).await?,
        }
        Ok(applied)
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        keys: &[TicketKey],
        version: i64,
    ) -> Result<u64, Error> {
        let Some(first) = keys.first() else {
            return Ok(0);
        };
        let policy = self
            .policies
            .policy(connection, first.tenant_id, version)
            .await?;
        let locked = clocks::lock(connection, keys).await?;
        let running: Vec<PolicyKey> = locked
            .iter()
            .flat_map(|row| {
                let versions = row.clock.policy_versions();
                versions.map(|version| (row.key.tenant_id, version))
            })
            .collect();
        let running = self.policies.policies(connection, &running).await?;
        let of_version = |version| {
            running
                .get(&(first.tenant_id, version))
                .map(|policy| &**policy)
        };
        let mut changed = Vec::with_capacity(locked.len());
        for mut change in TicketChange::of_locked(connection, locked).await? {
            // It may have been closed or transferred before it was locked.
            let is_in_scope = change.settings.policy_version == Some(version);
            if change.facts.state == TicketState::Closed || !is_in_scope {
                continue;
            }
            let in_force = PolicyInForce::new(version, Arc::clone(&policy), &change.facts.tags);
            let now = change.now();
            let applied = change
                .clock()
                .apply_policy(in_force.as_rules(), of_version, now);
            if applied.is_any() {
                let payload = PolicyApplied {
                    policy_version: version,
                    cycles: cycles_to_proto(&applied.started),
                    ended_cycles: applied.ended,
                };
                change.record(SYSTEM, Payload::PolicyApplied(payload));
                changed.push(change);
            }
        }
        let count = changed.len() as u64;
        if count > 0 {
            change::save(connection, changed).await?;
        }
        Ok(count)
    }
}

impl Pieces for Applying {
    async fn do_page(&self, last_version: &mut i64) -> Result<bool, Error> {
        let pool = self.changes.pool();
        let Some(free) = applications::find_free(pool, *last_version).await? else {
            return Ok(false);
        };
        *last_version = free.policy_version;
        if free.after_ticket_id == 0 {
            applications::wait_for_openings(pool, free.tenant_id, free.scope.bot_id).await?;
        }
        let mut transaction = pool.begin().await?;
        // None: another replica was faster.
        if let Some(application) = applications::take(&mut transaction, &free).await? {
            let applied = self.apply_page(&mut transaction, &application).await?;
            transaction.commit().await?;
            if applied > 0 {
                self.changes.announce();
                self.metrics.tickets.inc_by(applied);
            }
        }
        Ok(true)
    }

    fn log_failure(&self, policy_version: i64, error: &Error) {
        tracing::warn!(
            policy_version,
            error = chain(error),
            "a policy could not be applied"
        );
    }
}
