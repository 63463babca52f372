//! What the channels have in common whose provider must not get a message twice.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use plazo_service::status;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::channel::Outcome;
use super::webhook::retry_after;
use crate::credentials::{Credential, Credentials};
use crate::store::queue::Claimed;

/// The secrets of the message's account; or what becomes of the message without them.
pub(super) async fn secrets_of(
    credentials: &Credentials,
    message: &Claimed,
) -> Result<Arc<Credential>, Outcome> {
    let name = message.credential_name.as_deref().unwrap_or_default();
    credentials
        .get(message.tenant_id, name)
        .await
        .map_err(|error| {
            tracing::warn!(
                tenant_id = message.tenant_id,
                channel_account_id = message.channel_account_id,
                error = status::chain(&error),
                "an account's credential can't be used; its messages are tried again"
            );
            credential_missing()
        })
}

/// A secret is not there, or lacks what the channel needs.
pub(super) fn credential_missing() -> Outcome {
    Outcome::retry("CREDENTIAL_MISSING")
}

/// How long an answer asks to be left alone.
pub(super) fn asked_wait(headers: &HeaderMap, now: Timestamp) -> Duration {
    headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| retry_after(value, now))
        .unwrap_or_default()
}

/// What a request without an answer means.
pub(super) fn of_error(error: &reqwest::Error) -> Outcome {
    if error.is_connect() {
        // Nothing went out.
        Outcome::retry("CONNECTION_FAILED")
    } else if error.is_builder() {
        Outcome::failed("REQUEST_INVALID")
    } else if error.is_timeout() {
        uncertain("TIMEOUT")
    } else {
        uncertain("ANSWER_LOST")
    }
}

/// The provider may have taken the message.
pub(super) fn uncertain(reason: &str) -> Outcome {
    Outcome::Uncertain {
        reason: reason.to_owned(),
    }
}
