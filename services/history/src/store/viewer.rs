//! For whom something is read. The rules are in SQL: see `migrations/0002_access.sql`.

use plazo_service::{Actor, BotScope};

/// An actor, as the functions of the database take him.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Viewer {
    /// His tenant; nothing of others is read.
    pub(crate) tenant_id: i64,
    /// The agent; none for anybody else, who is bound to no contacts and no spans of time.
    pub(crate) agent_id: Option<i64>,
    /// The bots that he may use; none for all of the tenant.
    pub(crate) bot_ids: Option<Vec<i64>>,
}

impl Viewer {
    /// Whether he may know when a contact last interacted with whichever bot.
    pub(crate) fn knows_all_interactions(&self) -> bool {
        self.agent_id.is_none() && self.bot_ids.is_none()
    }
}

impl From<&Actor> for Viewer {
    fn from(actor: &Actor) -> Self {
        Self {
            tenant_id: actor.tenant_id,
            agent_id: actor.agent_id(),
            bot_ids: match &actor.bots {
                BotScope::All => None,
                BotScope::Only(bot_ids) => Some(bot_ids.clone()),
            },
        }
    }
}
