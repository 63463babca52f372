//! `plazo.ticketing.v1.InboundService`: notification hands over what customers wrote.

use std::sync::Arc;

use plazo_domain::Violation;
use plazo_proto::ticketing::v1::inbound_service_server::InboundService as Api;
use plazo_proto::ticketing::v1::{
    InboundMessage, InboundOutcome, InboundResult, RecordInboundMessagesRequest,
    RecordInboundMessagesResponse,
};
use plazo_service::commit_in_background;
use tonic::{Request, Response, Status};

use super::ticket_service::requests::{check_attachments, check_text};
use crate::changes::Changes;
use crate::inbound::{self, Conversation, Inbound, Taken};
use crate::instants::from_proto;
use crate::store::inbound::AccountKey;
use crate::store::settings::PolicyCache;
use crate::validate::Checks;

const MAX_MESSAGES: usize = 200;
const MAX_ID_CHARS: usize = 256;

/// Takes what customers wrote.
#[derive(Debug, Clone)]
pub struct InboundService {
    changes: Changes,
    policies: Arc<PolicyCache>,
}

impl InboundService {
    /// Wiring.
    pub fn new(changes: Changes, policies: Arc<PolicyCache>) -> Self {
        Self { changes, policies }
    }
}

#[tonic::async_trait]
impl Api for InboundService {
    async fn record_inbound_messages(
        &self,
        request: Request<RecordInboundMessagesRequest>,
    ) -> Result<Response<RecordInboundMessagesResponse>, Status> {
        let request = request.into_inner();
        let mut checks = Checks::new();
        let count = request.messages.len();
        checks.check(
            "messages",
            (1..=MAX_MESSAGES).contains(&count),
            "must be 1 to 200",
        );
        checks.finish()?;

        // One that is ill-formed stops none of the others.
        let mut results = Vec::with_capacity(count);
        let mut places = Vec::with_capacity(count);
        let mut well_formed = Vec::with_capacity(count);
        for (place, message) in request.messages.into_iter().enumerate() {
            match read(message) {
                Ok(message) => {
                    results.push(InboundResult::default());
                    places.push(place);
                    well_formed.push(message);
                }
                Err(violation) => results.push(invalid(violation)),
            }
        }
        let (changes, policies) = (self.changes.clone(), Arc::clone(&self.policies));
        let taken = commit_in_background(async move {
            inbound::take_all(&changes, &policies, &well_formed).await
        })
        .await;
        for (place, taken) in places.into_iter().zip(taken) {
            results[place] = result(taken);
        }
        Ok(Response::new(RecordInboundMessagesResponse { results }))
    }
}

fn result(taken: Taken) -> InboundResult {
    let (outcome, ticket_id) = match taken {
        Taken::Recorded(ticket_id) => (InboundOutcome::Recorded, ticket_id),
        Taken::Duplicate(ticket_id) => (InboundOutcome::Duplicate, ticket_id.unwrap_or_default()),
        Taken::Ignored => (InboundOutcome::Ignored, 0),
        Taken::NotNow => (InboundOutcome::NotNow, 0),
        Taken::NoBot => return invalid(Violation::new("bot_id", "names no bot")),
    };
    InboundResult {
        outcome: outcome.into(),
        ticket_id,
        ..InboundResult::default()
    }
}

fn invalid(violation: Violation) -> InboundResult {
    InboundResult {
        outcome: InboundOutcome::Invalid.into(),
        invalid_field: violation.field,
        invalid_reason: violation.reason,
        ..InboundResult::default()
    }
}

/// A message, or the first thing that is wrong with it.
fn read(message: InboundMessage) -> Result<Inbound, Violation> {
    let mut checks = Checks::new();
    checks.id("tenant_id", message.tenant_id);
    checks.optional_id("bot_id", message.bot_id);
    checks.id("channel_account_id", message.channel_account_id);
    let id = &message.provider_message_id;
    checks.filled_line("provider_message_id", id, MAX_ID_CHARS);
    let sender = checks.channel_identity("sender", message.sender.as_ref());
    let has_attachments = !message.attachment_urls.is_empty();
    check_text(&mut checks, &message.text, has_attachments);
    check_attachments(&mut checks, &message.attachment_urls);
    let sent_at = message.sent_time.as_ref().map(|time| {
        let at = from_proto(time);
        checks.check(
            "sent_time",
            at.is_some(),
            "must be an instant between the years 1 and 9999",
        );
        at
    });
    let (channel, address) = match (checks.into_violations().into_iter().next(), sender) {
        (None, Some(sender)) => sender,
        (violation, _) => {
            return Err(violation.unwrap_or_else(|| Violation::new("sender", "must be set")));
        }
    };
    Ok(Inbound {
        conversation: Conversation {
            account: AccountKey {
                tenant_id: message.tenant_id,
                channel_account_id: message.channel_account_id,
            },
            bot_id: (message.bot_id != 0).then_some(message.bot_id),
            channel,
            address,
        },
        provider_message_id: message.provider_message_id,
        sender_name: message.sender_name,
        text: message.text,
        attachment_urls: message.attachment_urls,
        sent_at: sent_at.flatten(),
    })
}
