//! What is kept of events when their time in the feed is over.
//!
//! The feed keeps events for so many days, and then drops the partition of a week as a whole. A consumer that begins anew
//! needs more than that: snapshots reach back to the first ticket. So before a partition goes, what its events say about the
//! past of their tickets is copied to `kept_events`:
//!
//! * not those kinds that say nothing about it any more ([`says_something`]),
//! * and the text of messages not twice: it stands in `messages`, and comes back from there ([`restore`]).
//!
//! It is done in bounded batches, each a transaction with the place that it came to, so a crash costs a batch. Only a week
//! that is done is dropped (`drop_event_week`). While events stand in both tables they are the same, and readers take one.
//!
//! The events of a batch are locked as they are read. So who changes what they say (an erasure) changes `ticket_events` first
//! and `kept_events` after it, each in a statement of its own ([`PAYLOAD_TABLES`](crate::store::events::PAYLOAD_TABLES)): what is being copied then waits
//! for the change, or is there to be changed.

use std::time::Duration;

use jiff::Timestamp;
use plazo_proto::ticketing::v1::TicketEvent;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use prost::Message as _;
use sqlx::PgPool;

use crate::error::Error;
use crate::store::kept_events::{self, StoredEvent, Week};

/// So many events are looked at in a transaction.
const BATCH: i64 = 500;
/// A partition that somebody reads can't be dropped; so often it is tried in a round,
const DROP_ATTEMPTS: u32 = 10;
/// with such a pause between.
const DROP_PAUSE: Duration = Duration::from_secs(1);

/// Drops the partitions of weeks that ended more than so many days ago, and keeps what is to be kept of them. Returns how
/// many were dropped.
pub async fn drop_expired(pool: &PgPool, keep_days: i32) -> Result<u32, Error> {
    let mut dropped = 0;
    for begins_at in kept_events::expired_weeks(pool, keep_days).await? {
        while keep_some(pool, begins_at).await? {}
        if drop_week(pool, begins_at).await? {
            dropped += 1;
        }
    }
    Ok(dropped)
}

/// Copies the next events of a week. Returns whether there are more.
pub async fn keep_some(pool: &PgPool, begins_at: Timestamp) -> Result<bool, Error> {
    let mut transaction = pool.begin().await?;
    let week = Week::lock(&mut transaction, begins_at).await?;
    let Some(mut week) = week.filter(|week| !week.is_done) else {
        return Ok(false);
    };
    let events = week.read(&mut transaction, BATCH).await?;
    let found = events.len();
    let kept: Vec<StoredEvent> = events
        .into_iter()
        .filter_map(|event| shorten(event).transpose())
        .collect::<Result<_, _>>()?;
    kept_events::insert(&mut transaction, &kept).await?;
    week.is_done = i64::try_from(found).unwrap_or(BATCH) < BATCH;
    week.save(&mut transaction).await?;
    transaction.commit().await?;
    Ok(!week.is_done)
}

async fn drop_week(pool: &PgPool, begins_at: Timestamp) -> Result<bool, Error> {
    let mut attempt = 1;
    loop {
        match kept_events::drop_week(pool, begins_at).await {
            Err(error) if is_lock_timeout(&error) && attempt < DROP_ATTEMPTS => attempt += 1,
            dropped => return dropped,
        }
        tokio::time::sleep(DROP_PAUSE).await;
    }
}

fn is_lock_timeout(error: &Error) -> bool {
    let Error::Database(sqlx::Error::Database(error)) = error else {
        return false;
    };
    error.code().as_deref() == Some("55P03")
}

/// What is kept of an event; none when it is not.
fn shorten(mut event: StoredEvent) -> Result<Option<StoredEvent>, Error> {
    let mut told = TicketEvent::decode(event.payload.as_slice())?;
    match &mut told.payload {
        Some(payload) if !says_something(payload) => return Ok(None),
        Some(Payload::MessageRecorded(recorded)) => {
            if let Some(message) = &mut recorded.message {
                message.text.clear();
                message.attachment_urls.clear();
            }
            event.payload = told.encode_to_vec();
        }
        // What is none is of a later version: it stays as it is.
        Some(_) | None => {}
    }
    Ok(Some(event))
}

/// Gives a kept event the text of its message back.
pub(crate) fn restore(event: &mut TicketEvent, text: String, attachment_urls: Vec<String>) {
    if let Some(Payload::MessageRecorded(recorded)) = &mut event.payload
        && let Some(message) = &mut recorded.message
    {
        message.text = text;
        message.attachment_urls = attachment_urls;
    }
}

/// Whether an event of this kind says something about the past of its ticket. The others were of use while the ticket ran:
/// which alert went away, whether the bot may speak, how a message was delivered, which settings are counted by.
pub fn says_something(payload: &Payload) -> bool {
    match payload {
        Payload::AlertCleared(_)
        | Payload::ActiveMessageReported(_)
        | Payload::AutomationPaused(_)
        | Payload::AutomationResumed(_)
        | Payload::PolicyApplied(_) => false,
        Payload::Opened(_)
        | Payload::Assigned(_)
        | Payload::MessageRecorded(_)
        | Payload::StageFired(_)
        | Payload::Closed(_)
        | Payload::Reopened(_)
        | Payload::ActiveMessageRequested(_)
        | Payload::Held(_)
        | Payload::HoldEnded(_)
        | Payload::Transferred(_)
        | Payload::Unlinked(_)
        | Payload::SetOpen(_)
        | Payload::TagsChanged(_)
        | Payload::ContactChanged(_)
        | Payload::PersonalDataErased(_) => true,
    }
}
