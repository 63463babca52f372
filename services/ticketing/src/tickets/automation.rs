//! People pause the bot's automation in a ticket, and let it resume.

use plazo_domain::AutomationPause;
use plazo_proto::ticketing::v1::AutomationResumeCause;
use plazo_service::Actor;
use sqlx::PgConnection;

use crate::error::Error;
use crate::tickets::author_of;
use crate::tickets::change::TicketChange;
use crate::tickets::told::automation_resumed;
use crate::tickets::view::TicketView;

/// Pauses the automation of an open ticket, or extends its pause: either is an event. Never shortens a pause; what would
/// changes nothing.
pub async fn pause(
    connection: &mut PgConnection,
    actor: &Actor,
    ticket_id: i64,
    etag: &str,
    pause: AutomationPause,
) -> Result<TicketView, Error> {
    let mut change = TicketChange::lock(&mut *connection, actor, ticket_id, etag).await?;
    change.require_open()?;
    let now = change.now();
    if change.clock().pause_automation(now, pause).is_any() {
        change.record_paused(author_of(actor));
    }
    change.save(connection).await
}

/// Resumes the automation now; does nothing when it runs.
pub async fn resume(
    connection: &mut PgConnection,
    actor: &Actor,
    ticket_id: i64,
    etag: &str,
) -> Result<TicketView, Error> {
    let mut change = TicketChange::lock(&mut *connection, actor, ticket_id, etag).await?;
    if change.clock().resume_automation() {
        let payload = automation_resumed(AutomationResumeCause::Requested, None);
        change.record(author_of(actor), payload);
    }
    change.save(connection).await
}
