//! Erasing the personal data of a contact, here and by other services, and the proof of it.
//!
//! The call that asks for it closes the contact's open tickets, empties the contact and frees its channel identity, all
//! in one transaction: from then on nothing new is written of it, and who writes again is a new contact. The tickets, old
//! events and first answers of changes are the [`worker`]'s: bit by bit, and over crashes.
//!
//! The event that tells of it stands behind all that it erased: a consumer that reads the feed from any place, or a
//! snapshot that is older than the event, comes to the event after what it has to erase.

pub mod answer;
pub mod payload;
pub mod worker;

use jiff::Timestamp;
use plazo_domain::CloseSource;
use plazo_proto::common::v1::Author;
use plazo_service::{Actor, BotScope};
use sqlx::PgConnection;

use crate::contacts::{lock_open_tickets, no_contact, require_unmerged};
use crate::error::Error;
use crate::store::contacts;
use crate::store::erasures::{self as rows, Erasure, Report, Stage};
use crate::store::tickets::{self, Closure};
use crate::tickets::change::{TicketChange, save};

/// This service, as it stands in the proof.
pub const TICKETING: &str = "ticketing";
/// The services that keep personal data besides this one. An erasure is complete when all have reported.
pub const OTHERS: [&str; 2] = ["notification", "history"];

/// An erasure with what services have reported of it.
#[derive(Debug)]
pub struct Known {
    /// The erasure.
    pub erasure: Erasure,
    /// The reports, in no order.
    pub reports: Vec<Report>,
}

impl Known {
    /// What a service has reported.
    pub fn report(&self, service: &str) -> Option<&Report> {
        self.reports.iter().find(|report| report.service == service)
    }

    /// Whether all services have erased.
    pub fn is_complete(&self) -> bool {
        let mut services = OTHERS.into_iter().chain([TICKETING]);
        services.all(|service| self.report(service).is_some())
    }
}

/// Denied to an actor who may use some bots only: the contact may have tickets with others.
pub fn check_may_erase(actor: &Actor) -> Result<(), Error> {
    match actor.bots {
        BotScope::All => Ok(()),
        BotScope::Only(_) => Err(Error::Denied {
            reason: "BOT_NOT_PERMITTED",
            description: "the actor may use some bots only, and erase nobody",
        }),
    }
}

/// Begins the erasure of a contact, or finds the one that there is.
pub async fn erase(
    connection: &mut PgConnection,
    tenant_id: i64,
    author: Author,
    contact_id: i64,
) -> Result<Known, Error> {
    let contact = contacts::lock_wholly(connection, tenant_id, &[contact_id])
        .await?
        .pop()
        .ok_or_else(|| no_contact(contact_id))?;
    if contact.is_erased {
        // With the one that it was part of.
        let erased_id = contact.merged_into.unwrap_or(contact_id);
        let erasure = rows::of_contact(connection, tenant_id, erased_id).await?;
        let erasure = erasure.ok_or(Error::OutOfRange("contacts.erased_at"))?;
        return with_reports(connection, erasure).await;
    }
    require_unmerged(&contact)?;

    let mut changes = lock_open_tickets(connection, tenant_id, contact_id).await?;
    for change in &mut changes {
        close(change, author);
    }
    if !changes.is_empty() {
        save(connection, changes).await?;
    }
    let row_count = contacts::erase(connection, tenant_id, contact_id).await?;
    let ticket_count = tickets::count_of_contact(connection, tenant_id, contact_id).await?;
    let row_count = i64::try_from(row_count).unwrap_or(i64::MAX);
    let erasure = rows::insert(
        connection,
        tenant_id,
        contact_id,
        author,
        ticket_count,
        row_count,
    )
    .await?;
    if ticket_count == 0 {
        // They learn of customers by tickets' events: they have nothing, and no event would tell them to report it.
        for service in OTHERS {
            let now = Some(erasure.requested_at);
            rows::report(connection, tenant_id, erasure.erasure_id, service, now, 0).await?;
        }
    }
    with_reports(connection, erasure).await
}

/// Closes an open ticket without a word to the customer.
fn close(change: &mut TicketChange, author: Author) {
    let closure = Closure {
        closed_at: change.now(),
        source: CloseSource::Api,
        author,
        note: None,
        exit_route: String::new(),
    };
    let ended = change.clock().closed();
    change.close(closure, 0, &[], ended);
}

/// Reads an erasure.
pub async fn get(
    connection: &mut PgConnection,
    tenant_id: i64,
    erasure_id: i64,
) -> Result<Known, Error> {
    let erasure = rows::find(connection, tenant_id, erasure_id).await?;
    let erasure = erasure.ok_or_else(|| no_erasure(erasure_id))?;
    with_reports(connection, erasure).await
}

/// Erasures before one, the last first, at most `limit`.
pub async fn list(
    connection: &mut PgConnection,
    tenant_id: i64,
    before_erasure_id: i64,
    limit: i64,
) -> Result<Vec<Known>, Error> {
    let erasures = rows::list(connection, tenant_id, before_erasure_id, limit).await?;
    let erasure_ids: Vec<i64> = erasures.iter().map(|it| it.erasure_id).collect();
    let reports = rows::reports(connection, tenant_id, &erasure_ids).await?;
    let known = erasures.into_iter().map(|erasure| {
        let own = reports
            .iter()
            .filter(|it| it.erasure_id == erasure.erasure_id);
        let reports = own.cloned().collect();
        Known { erasure, reports }
    });
    Ok(known.collect())
}

/// What another service says that it has erased.
#[derive(Debug, Clone)]
pub struct Told {
    /// The tenant.
    pub tenant_id: i64,
    /// The erasure.
    pub erasure_id: i64,
    /// Which service, one of [`OTHERS`].
    pub service: String,
    /// When its data were gone; none for now.
    pub erased_at: Option<Timestamp>,
    /// How many rows it changed or deleted.
    pub row_count: i64,
}

/// Takes a report. Whether all services have erased now. `ERASURE_RUNNING` while not all tickets have been told of it: what the
/// service has erased can't be all.
pub async fn take_report(connection: &mut PgConnection, told: &Told) -> Result<bool, Error> {
    let Told {
        tenant_id,
        erasure_id,
        ..
    } = *told;
    let erasure = rows::find(connection, tenant_id, erasure_id).await?;
    let erasure = erasure.ok_or_else(|| no_erasure(erasure_id))?;
    if erasure.stage == Stage::Tickets {
        return Err(Error::NotYet {
            reason: "ERASURE_RUNNING",
            description: "not all tickets have been told of the erasure yet",
        });
    }
    rows::report(
        connection,
        tenant_id,
        erasure_id,
        &told.service,
        told.erased_at,
        told.row_count,
    )
    .await?;
    Ok(with_reports(connection, erasure).await?.is_complete())
}

async fn with_reports(connection: &mut PgConnection, erasure: Erasure) -> Result<Known, Error> {
    let reports = rows::reports(connection, erasure.tenant_id, &[erasure.erasure_id]).await?;
    Ok(Known { erasure, reports })
}

fn no_erasure(erasure_id: i64) -> Error {
    Error::NotFound {
        kind: "erasure",
        id: erasure_id,
    }
}
