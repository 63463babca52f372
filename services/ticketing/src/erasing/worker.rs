//! Erases what tickets, events and first answers say of contacts: page by page, in the background.
//!
//! The row of an erasure moves on in the transaction that erases a page: after a crash the next page is the one that was
//! not committed. Tickets come first. When all of them are marked as erased nobody writes of the contact any more, so that
//! one walk through the first answers finds all of his.

use plazo_proto::ticketing::v1::PersonalDataErased;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_service::TaskError;
use plazo_service::status::chain;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, Subject};
use super::payload::without_personal_data;
use super::{TICKETING, close};
use crate::changes::Changes;
use crate::error::Error;
use crate::metrics::ErasingMetrics;
use crate::store::clocks::{self, TicketKey};
use crate::store::erasing::{self as rows, Span};
use crate::store::erasures::{self, Erasure, Stage};
use crate::store::tickets;
use crate::tickets::change::{TicketChange, save};
use crate::turns::{Pieces, Turns};

/// Tickets a transaction: their rows are locked for as long as it takes.
const TICKETS_A_PAGE: usize = 50;
/// Events a transaction, for the same reason. A ticket with more is erased in several.
const EVENTS_A_PAGE: i64 = 2_000;
const ANSWERS_A_PAGE: i64 = 1_000;

/// Erases in the background.
#[derive(Debug, Clone)]
pub struct Eraser {
    changes: Changes,
    turns: Turns,
    metrics: ErasingMetrics,
}

/// A ticket of a page.
#[derive(Debug)]
struct Erased {
    change: TicketChange,
    span: Span,
    /// Whether its last events are in the page.
    is_whole: bool,
}

impl Eraser {
    /// Wiring.
    pub fn new(changes: Changes, metrics: ErasingMetrics) -> Self {
        Self {
            changes,
            turns: Turns::default(),
            metrics,
        }
    }

    /// Says that there may be something to erase.
    pub fn wake(&self) {
        self.turns.wake();
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        self.turns.run(&self, &stop).await;
        Ok(())
    }
}

impl Pieces for Eraser {
    async fn do_page(&self, last_id: &mut i64) -> Result<bool, Error> {
        let pool = self.changes.pool();
        self.metrics.running.set(erasures::running(pool).await?);
        let mut transaction = pool.begin().await?;
        let Some(mut erasure) = erasures::take(&mut transaction, *last_id).await? else {
            return Ok(false);
        };
        *last_id = erasure.erasure_id;
        let (rows_before, was_in_tickets) = (erasure.row_count, erasure.stage == Stage::Tickets);
        let erased = match erasure.stage {
            Stage::Tickets => erase_tickets(&mut transaction, &mut erasure).await,
            Stage::Answers | Stage::Done => erase_answers(&mut transaction, &mut erasure).await,
        };
        if let Err(error) = erased {
            // Waited for: what failed must not hold the tickets a moment longer.
            transaction.rollback().await?;
            return Err(error);
        }
        erasures::save(&mut transaction, &erasure).await?;
        transaction.commit().await?;
        let rows = (erasure.row_count - rows_before).unsigned_abs();
        self.metrics.rows.inc_by(rows);
        if was_in_tickets {
            self.changes.announce();
        }
        Ok(true)
    }
    fn log_failure(&self, erasure_id: i64, error: &Error) {
        tracing::warn!(
            erasure_id,
            error = chain(error),
            "personal data could not be erased"
        );
    }
}

/// Erases a page of tickets, and tells of it on those that are whole.
async fn erase_tickets(connection: &mut PgConnection, erasure: &mut Erasure) -> Result<(), Error> {
    let limit = i64::try_from(TICKETS_A_PAGE + 1).unwrap_or(i64::MAX);
    let mut keys = tickets::ids_of_contact(
        connection,
        erasure.tenant_id,
        erasure.contact_id,
        erasure.after_ticket_id,
        limit,
    )
    .await?;
    let is_last_page = keys.len() <= TICKETS_A_PAGE;
    keys.truncate(TICKETS_A_PAGE);
    let locked = clocks::lock(connection, &keys).await?;
    let mut changes = TicketChange::of_locked(connection, locked).await?;
    changes.sort_by_key(|change| change.facts.key);
    let locked_count = changes.len();
    let mut page = fit(changes, erasure);
    let ends_with_page = is_last_page && page.len() == locked_count;

    let last_id = page.last().map(|it| it.change.facts.key.ticket_id);
    for erased in &mut page {
        let change = &mut erased.change;
        // It was opened again before it was marked.
        if change.facts.state.is_open() {
            close(change, erasure.author);
        }
        if erased.is_whole {
            let payload = PersonalDataErased {
                erasure_id: erasure.erasure_id,
                contact_id: erasure.contact_id,
                last: ends_with_page && Some(change.facts.key.ticket_id) == last_id,
            };
            change.record(erasure.author, Payload::PersonalDataErased(payload));
        }
    }
    advance(erasure, &page, ends_with_page);
    let spans: Vec<Span> = page.iter().map(|erased| erased.span.clone()).collect();
    let changes = page.into_iter().map(|erased| erased.change).collect();
    save(connection, changes).await?;
    let keys: Vec<TicketKey> = spans.iter().map(|span| span.key).collect();
    let mut rows = rows::tickets(connection, &keys).await?;
    rows += rows::messages(connection, &spans).await?;
    rows += rows::inbound_messages(connection, &keys).await?;
    rows += rows::payloads(connection, &spans, without_personal_data).await?;
    erasure.row_count += i64::try_from(rows).unwrap_or(i64::MAX);
    Ok(())
}

/// The tickets, from the first one on, whose events are no more than a page; of the first one perhaps not all.
fn fit(changes: Vec<TicketChange>, erasure: &Erasure) -> Vec<Erased> {
    let mut page = Vec::with_capacity(changes.len());
    let mut room = EVENTS_A_PAGE;
    for (place, change) in changes.into_iter().enumerate() {
        let done = if place == 0 { erasure.after_seq } else { 0 };
        let events = change.locked.ticket_seq - done;
        let is_whole = events <= room;
        if !is_whole && place > 0 {
            break;
        }
        let span = Span {
            key: change.facts.key,
            seqs: done + 1..=done + events.min(room),
        };
        room -= events;
        page.push(Erased {
            change,
            span,
            is_whole,
        });
        if !is_whole {
            break;
        }
    }
    page
}

/// Notes what is done with this page.
fn advance(erasure: &mut Erasure, page: &[Erased], ends_with_page: bool) {
    match page.last() {
        Some(last) if !last.is_whole => erasure.after_seq = *last.span.seqs.end(),
        Some(last) => {
            erasure.after_ticket_id = last.span.key.ticket_id;
            erasure.after_seq = 0;
            if ends_with_page {
                erasure.stage = Stage::Answers;
            }
        }
        None => erasure.stage = Stage::Answers,
    }
}

/// Erases a page of the tenant's first answers, where they tell of the contact.
async fn erase_answers(connection: &mut PgConnection, erasure: &mut Erasure) -> Result<(), Error> {
    let (tenant_id, contact_id) = (erasure.tenant_id, erasure.contact_id);
    let after = erasure.after_request_id;
    let stored = rows::answers(connection, tenant_id, after, ANSWERS_A_PAGE).await?;
    let is_last_page = i64::try_from(stored.len()) != Ok(ANSWERS_A_PAGE);
    if let Some(last) = stored.last() {
        erasure.after_request_id = last.request_id;
    }
    let mut answers = Vec::with_capacity(stored.len());
    for stored in stored {
        if let Some(answer) = Answer::read(&stored.method, &stored.answer)? {
            answers.push((stored.request_id, answer));
        }
    }
    let named = answers.iter().flat_map(|(_, answer)| answer.ticket_ids());
    let named: Vec<i64> = named.collect();
    let ticket_ids = rows::tickets_of(connection, tenant_id, contact_id, &named).await?;
    let contact_ids = rows::contact_ids(connection, tenant_id, contact_id).await?;
    let subject = Subject {
        contact_ids: &contact_ids,
        ticket_ids: &ticket_ids,
    };
    let erased = answers.into_iter().filter_map(|(request_id, mut answer)| {
        let is_changed = answer.erase(&subject);
        is_changed.then(|| (request_id, answer.encode()))
    });
    let erased: Vec<_> = erased.collect();
    let rows = rows::set_answers(connection, tenant_id, &erased).await?;
    erasure.row_count += i64::try_from(rows).unwrap_or(i64::MAX);
    if is_last_page {
        erasure.stage = Stage::Done;
        let (id, rows) = (erasure.erasure_id, erasure.row_count);
        erasures::report(connection, tenant_id, id, TICKETING, None, rows).await?;
    }
    Ok(())
}
