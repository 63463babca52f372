//! From stored messages to those of the contract.

use plazo_proto::common::v1::ChannelIdentity;
use plazo_proto::notification::v1::{AcceptedMessage, ActiveMessage, SendAttempt};

use crate::message::to_proto_time;
use crate::store::messages::{Attempt, StoredMessage};

/// A message with the given attempts.
pub(super) fn accepted_message(stored: StoredMessage, attempts: Vec<Attempt>) -> AcceptedMessage {
    let is_being_sent = stored.leased_until.is_some();
    let next_attempt_at = stored.next_attempt_at.filter(|_| !is_being_sent);
    AcceptedMessage {
        message_id: stored.message_id,
        message: Some(ActiveMessage {
            tenant_id: stored.tenant_id,
            idempotency_key: stored.idempotency_key,
            kind: stored.kind.into(),
            bot_id: stored.bot_id,
            ticket_id: stored.ticket_id,
            contact_id: stored.contact_id,
            recipient: Some(ChannelIdentity {
                channel: stored.channel.into(),
                address: stored.recipient_address.0,
            }),
            channel_account_id: stored.channel_account_id,
            text: stored.body_text.0,
            image_url: stored.image_url.0,
            last_customer_message_time: stored
                .last_customer_message_at
                .map(|at| to_proto_time(at.to_jiff())),
            valid_until_time: stored.valid_until.map(|at| to_proto_time(at.to_jiff())),
        }),
        state: stored.state.into(),
        accept_time: Some(to_proto_time(stored.accepted_at)),
        state_time: Some(to_proto_time(stored.state_at)),
        failure_reason: stored.failure_reason,
        next_attempt_time: next_attempt_at.map(|at| to_proto_time(at.to_jiff())),
        attempts: attempts
            .into_iter()
            .map(|one| SendAttempt {
                attempt: one.attempt,
                attempt_time: Some(to_proto_time(one.attempt_at)),
                outcome: one.outcome,
            })
            .collect(),
        provider_message_id: stored.provider_message_id.unwrap_or_default(),
    }
}
