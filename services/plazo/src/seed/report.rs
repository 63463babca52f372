//! What was seeded, and what to try with it.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::progress::shown_time;
use super::rows::RowCounts;
use super::write::SeenAgent;
use crate::load::progress::grouped;

/// What was seeded.
#[derive(Debug, Clone)]
pub struct SeedReport {
    /// The tenant.
    pub tenant_id: i64,
    /// Rows that were written.
    pub counts: RowCounts,
    /// The first and the last ticket's id.
    pub ticket_ids: (i64, i64),
    /// The first instant and the last one.
    pub span: (Timestamp, Timestamp),
    /// How long the tickets and contacts took.
    pub took: Duration,
    /// Whether somebody ended it early.
    pub is_interrupted: bool,
    /// An agent with many tickets in the last 90 days, and one with few, both with the permission for the history.
    pub agents: Vec<SeenAgent>,
    /// The port of history.
    pub history_port: u16,
}

impl SeedReport {
    fn call(
        &self,
        f: &mut fmt::Formatter<'_>,
        actor: &str,
        method: &str,
        data: &str,
    ) -> fmt::Result {
        let permissions = if actor.starts_with("agent") {
            "history:view"
        } else {
            "history:view,reports:view"
        };
        writeln!(
            f,
            "  grpcurl -plaintext -H 'plazo-tenant: {}' -H 'plazo-actor: {actor}' -H 'plazo-bots: *' \\\n    \
             -H 'plazo-permissions: {permissions}' -d '{data}' \\\n    127.0.0.1:{} plazo.history.v1.{method}",
            self.tenant_id, self.history_port
        )
    }
}

impl fmt::Display for SeedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts;
        if self.is_interrupted {
            writeln!(f, "Interrupted: what follows was written, whole.")?;
        }
        writeln!(
            f,
            "{} tickets with {} entries, {} stages and {} dealings, and {} contacts in {}.",
            grouped(counts.tickets),
            grouped(counts.entries),
            grouped(counts.firings),
            grouped(counts.dealings),
            grouped(counts.contacts),
            shown_time(self.took.as_secs()),
        )?;
        writeln!(
            f,
            "Tenant {}, tickets {} to {}, from {} to {}.",
            self.tenant_id, self.ticket_ids.0, self.ticket_ids.1, self.span.0, self.span.1
        )?;
        let Some(agent) = self.agents.first() else {
            return Ok(());
        };
        for agent in &self.agents {
            writeln!(
                f,
                "Agent {} dealt with {} tickets of the last 90 days: with ticket {} of contact {}, {}.",
                agent.agent_id,
                grouped(agent.tickets),
                agent.ticket_id,
                agent.contact_id,
                agent.contact_name
            )?;
        }
        writeln!(f, "\nTo try, while the cluster runs:")?;
        let who = format!("agent/{}", agent.agent_id);
        let word = agent
            .contact_name
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_lowercase();
        self.call(
            f,
            &who,
            "HistoryService/SearchContacts",
            &format!("{{\"query\": \"{word}\"}}"),
        )?;
        let contact = format!("{{\"contact_id\": {}}}", agent.contact_id);
        self.call(f, &who, "HistoryService/ListContactTickets", &contact)?;
        let ticket = format!("{{\"ticket_id\": {}}}", agent.ticket_id);
        self.call(f, &who, "HistoryService/ListConversation", &ticket)?;
        self.call(
            f,
            "administrator/1",
            "HistoryService/ListClosedTickets",
            "{\"page_size\": 3}",
        )
    }
}
