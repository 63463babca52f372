//! What an agent must be to change anything, whatever permissions and bots his calls carry: these are told when he signs
//! in, and he may have been removed since.

use plazo_service::ActorKind;
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::parties;

/// Refuses an agent who does not exist. Asked once in each change of anything.
pub async fn require_known(
    connection: &mut PgConnection,
    tenant_id: i64,
    caller: &ActorKind,
) -> Result<(), Error> {
    match *caller {
        ActorKind::Agent(agent_id)
            if !parties::agent_exists(connection, tenant_id, agent_id).await? =>
        {
            Err(Error::Denied {
                reason: "AGENT_UNKNOWN",
                description: "the agent who calls does not exist",
            })
        }
        _ => Ok(()),
    }
}

/// Refuses an agent who does not attend the bot of a ticket. Asked for each ticket that is opened or changed.
pub fn require_of_bot(attends: bool) -> Result<(), Error> {
    if attends {
        return Ok(());
    }
    Err(Error::Denied {
        reason: "AGENT_NOT_OF_BOT",
        description: "the agent who calls is no agent of the ticket's bot",
    })
}
