//! What people set: bots, their policies, calendars, queues and agents.
//!
//! An actor who may use some bots only sees those bots, their queues and their agents, and nothing else
//! exists for him but the calendars of his tenant.

pub mod agents;
pub mod bots;
pub mod calendars;
pub mod policies;
pub mod preview;
pub mod queues;

use plazo_service::{Actor, BotScope};

use crate::error::Error;

/// NOT_FOUND unless the actor may use the bot: the same answer as for a bot that does not exist.
pub fn check_reach(actor: &Actor, bot_id: i64) -> Result<(), Error> {
    if actor.may_use_bot(bot_id) {
        Ok(())
    } else {
        Err(no_bot(bot_id))
    }
}

fn no_bot(bot_id: i64) -> Error {
    Error::NotFound {
        kind: "bot",
        id: bot_id,
    }
}

/// The bots of an actor as stores take them: none means every bot of the tenant.
pub fn permitted_bots(actor: &Actor) -> Option<&[i64]> {
    match &actor.bots {
        BotScope::All => None,
        BotScope::Only(bot_ids) => Some(bot_ids),
    }
}

/// The etag of something with this revision.
pub fn etag(revision: i64) -> String {
    revision.to_string()
}

/// CHANGED unless the caller sent no etag, or that of this revision.
pub fn check_etag(sent: &str, revision: i64) -> Result<(), Error> {
    if sent.is_empty() || sent == etag(revision) {
        Ok(())
    } else {
        Err(Error::Changed)
    }
}
