//! `NotificationService`.

use plazo_database::{TenantPool, first_answer, keep_answer};
use plazo_proto::notification::v1::notification_service_server::NotificationService;
use plazo_proto::notification::v1::{
    AcceptedMessage, ActiveMessage, ActiveMessageState, CancelActiveMessageRequest,
    CancelActiveMessageResponse, GetActiveMessageRequest, GetActiveMessageResponse,
    ListActiveMessagesRequest, ListActiveMessagesResponse, ResendActiveMessageRequest,
    ResendActiveMessageResponse, Resolution, ResolveActiveMessageRequest,
    ResolveActiveMessageResponse, SendActiveMessagesRequest, SendActiveMessagesResponse,
    SendOutcome, SentMessage,
};
use plazo_service::status::FieldViolations;
use plazo_service::{Actor, BotScope, RequestKey, commit_in_background, paging, status};
use prost::Message;
use sqlx::PgConnection;
use tonic::{Request, Response, Status};

use super::convert::accepted_message;
use super::tenant_actor;
use crate::accepting::{Accepting, Wakers};
use crate::error::Error;
use crate::message::{InvalidField, NewMessage, to_proto_time};
use crate::metrics::{NotificationMetrics, Source};
use crate::store::messages::{self, Accepted, Filter};
use crate::store::state;

const MESSAGES_MAX: usize = 500;
const DEFAULT_PAGE_SIZE: i32 = 50;

/// Reason of messages that somebody called off.
const CANCELLED_BY_CALL: &str = "CANCELLED_BY_CALL";
/// Reason of uncertain messages that somebody gave up.
const GIVEN_UP: &str = "GIVEN_UP";

/// Active messages.
#[derive(Debug, Clone)]
pub(crate) struct Notifications {
    pub(crate) requests: TenantPool,
    pub(crate) accepting: Accepting,
    pub(crate) wakers: Wakers,
    pub(crate) metrics: NotificationMetrics,
}

#[tonic::async_trait]
impl NotificationService for Notifications {
    async fn send_active_messages(
        &self,
        request: Request<SendActiveMessagesRequest>,
    ) -> Result<Response<SendActiveMessagesResponse>, Status> {
        let actor = Actor::of(&request)?.clone();
        let all = request.into_inner().messages;
        if !(1..=MESSAGES_MAX).contains(&all.len()) {
            return Err(status::invalid("messages", "must be 1 to 500 messages"));
        }
        let mut valid = Vec::with_capacity(all.len());
        let mut verdicts = Vec::with_capacity(all.len());
        for message in all {
            verdicts.push(check(&actor, message).map(|message| valid.push(message)));
        }
        let invalid = verdicts.len() - valid.len();
        let mut accepted = self.accepting.accept(valid).await?.into_iter();
        self.metrics
            .count_accepted(Source::Call, "invalid", invalid);
        let mut results = Vec::with_capacity(verdicts.len());
        for verdict in verdicts {
            results.push(match (verdict, &mut accepted) {
                (Err(invalid), _) => invalid_message(invalid),
                (Ok(()), accepted) => stored_message(accepted.next()),
            });
        }
        Ok(Response::new(SendActiveMessagesResponse { results }))
    }

    async fn get_active_message(
        &self,
        request: Request<GetActiveMessageRequest>,
    ) -> Result<Response<GetActiveMessageResponse>, Status> {
        let actor = tenant_actor(&request)?;
        let message_id = request.into_inner().message_id;
        check_message_id(message_id)?;
        let message = self.get(&actor, message_id).await?;
        Ok(Response::new(GetActiveMessageResponse {
            message: Some(message),
        }))
    }

    async fn list_active_messages(
        &self,
        request: Request<ListActiveMessagesRequest>,
    ) -> Result<Response<ListActiveMessagesResponse>, Status> {
        let actor = tenant_actor(&request)?;
        let request = request.into_inner();
        let filter = filter_of(&actor, &request)?;
        let page_size = paging::page_size(request.page_size, DEFAULT_PAGE_SIZE)?;
        let bound_to = token_filter(&actor, &request);
        let before = paging::decode_page_token::<1>(&bound_to, &request.page_token)?
            .map_or(i64::MAX, |[before]| before);

        let reading = self.requests.read(actor.tenant_id);
        let mut connection = reading.await.map_err(Error::from)?;
        let mut page = messages::list(
            &mut connection,
            actor.tenant_id,
            &filter,
            before,
            page_size + 1,
        )
        .await
        .map_err(Error::from)?;
        let size = usize::try_from(page_size).unwrap_or(usize::MAX);
        let has_more = page.len() > size;
        page.truncate(size);
        let next_page_token = match page.last() {
            Some(last) if has_more => paging::encode_page_token(&bound_to, [last.message_id]),
            _ => String::new(),
        };
        let messages = page
            .into_iter()
            .map(|one| accepted_message(one, Vec::new()))
            .collect();
        Ok(Response::new(ListActiveMessagesResponse {
            messages,
            next_page_token,
        }))
    }

    async fn resend_active_message(
        &self,
        request: Request<ResendActiveMessageRequest>,
    ) -> Result<Response<ResendActiveMessageResponse>, Status> {
        let actor = tenant_actor(&request)?;
        let request = request.into_inner();
        check_message_id(request.message_id)?;
        let key = RequestKey::new(&actor, "ResendActiveMessage", &request, |it| {
            &mut it.request_id
        })?;
        let message_id = request.message_id;
        let answer = self
            .change(actor, message_id, Change::Resend, key, |message| {
                ResendActiveMessageResponse {
                    message: Some(message),
                }
            })
            .await?;
        Ok(Response::new(answer))
    }

    async fn resolve_active_message(
        &self,
        request: Request<ResolveActiveMessageRequest>,
    ) -> Result<Response<ResolveActiveMessageResponse>, Status> {
        let actor = tenant_actor(&request)?;
        let request = request.into_inner();
        check_message_id(request.message_id)?;
        let change = match request.resolution() {
            Resolution::Sent => Change::Sent,
            Resolution::SendAgain => Change::SendAgain,
            Resolution::GiveUp => Change::GiveUp,
            Resolution::Unspecified => {
                return Err(status::invalid("resolution", "must be a known resolution"));
            }
        };
        let key = RequestKey::new(&actor, "ResolveActiveMessage", &request, |it| {
            &mut it.request_id
        })?;
        let message_id = request.message_id;
        let answer = self
            .change(actor, message_id, change, key, |message| {
                ResolveActiveMessageResponse {
                    message: Some(message),
                }
            })
            .await?;
        Ok(Response::new(answer))
    }

    async fn cancel_active_message(
        &self,
        request: Request<CancelActiveMessageRequest>,
    ) -> Result<Response<CancelActiveMessageResponse>, Status> {
        let actor = tenant_actor(&request)?;
        let request = request.into_inner();
        check_message_id(request.message_id)?;
        let key = RequestKey::new(&actor, "CancelActiveMessage", &request, |it| {
            &mut it.request_id
        })?;
        let message_id = request.message_id;
        let answer = self
            .change(actor, message_id, Change::Cancel, key, |message| {
                CancelActiveMessageResponse {
                    message: Some(message),
                }
            })
            .await?;
        Ok(Response::new(answer))
    }
}

impl Notifications {
    async fn get(&self, actor: &Actor, message_id: i64) -> Result<AcceptedMessage, Error> {
        let mut connection = self.requests.read(actor.tenant_id).await?;
        let found = messages::find(&mut connection, actor.tenant_id, message_id).await?;
        let message = found
            .filter(|message| actor.may_use_bot(message.bot_id))
            .ok_or(Error::NotFound {
                kind: "message",
                id: message_id,
            })?;
        let attempts = messages::attempts(&mut connection, actor.tenant_id, message_id).await?;
        Ok(accepted_message(message, attempts))
    }

    /// Changes a message as somebody asks; goes on when the caller goes away.
    async fn change<A: Message + Default + 'static>(
        &self,
        actor: Actor,
        message_id: i64,
        change: Change,
        key: RequestKey,
        answer: fn(AcceptedMessage) -> A,
    ) -> Result<A, Error> {
        let this = self.clone();
        commit_in_background(async move {
            let mut transaction = this.requests.begin(actor.tenant_id).await?;
            if let Some(first) = first_answer(&mut transaction, &key).await? {
                return Ok(first);
            }
            let message = apply(&mut transaction, &actor, message_id, change).await?;
            let answer = answer(message);
            keep_answer(&mut transaction, &key, &answer).await?;
            transaction.commit().await?;
            if change == Change::Cancel {
                this.metrics.cancelled.inc();
            }
            this.wakers.wake();
            Ok(answer)
        })
        .await
    }
}

/// What somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Resend,
    Cancel,
    /// Of an uncertain message.
    Sent,
    /// The same.
    SendAgain,
    /// The same.
    GiveUp,
}

/// Makes the change; the message after it.
async fn apply(
    connection: &mut PgConnection,
    actor: &Actor,
    message_id: i64,
    change: Change,
) -> Result<AcceptedMessage, Error> {
    let tenant_id = actor.tenant_id;
    let not_found = || Error::NotFound {
        kind: "message",
        id: message_id,
    };
    let before = messages::find(connection, tenant_id, message_id)
        .await?
        .filter(|message| actor.may_use_bot(message.bot_id))
        .ok_or_else(not_found)?;
    let (is_changed, refusal) = match change {
        Change::Resend => (
            messages::resend(connection, tenant_id, message_id).await?,
            Error::NotFailed(message_id),
        ),
        Change::Cancel => (
            // One that was called off before is what was asked for.
            before.state == state::CANCELLED
                || messages::cancel(connection, tenant_id, message_id, CANCELLED_BY_CALL).await?,
            Error::NotWaiting(message_id),
        ),
        Change::Sent | Change::SendAgain | Change::GiveUp => {
            let new_state = match change {
                Change::Sent => state::SENT,
                Change::SendAgain => state::ACCEPTED,
                _ => state::FAILED,
            };
            let resolved =
                messages::resolve(connection, tenant_id, message_id, new_state, GIVEN_UP).await?;
            (resolved, Error::NotUncertain(message_id))
        }
    };
    if !is_changed {
        return Err(refusal);
    }
    let after = messages::find(connection, tenant_id, message_id).await?;
    let attempts = messages::attempts(connection, tenant_id, message_id).await?;
    Ok(accepted_message(after.ok_or_else(not_found)?, attempts))
}

/// A service that acts for one tenant brings messages of that tenant alone.
fn check(actor: &Actor, message: ActiveMessage) -> Result<NewMessage, InvalidField> {
    if actor.tenant_id != 0 && actor.tenant_id != message.tenant_id {
        return Err(InvalidField {
            field: "tenant_id",
            reason: "must be the actor's tenant",
        });
    }
    NewMessage::check(message)
}

fn invalid_message(invalid: InvalidField) -> SentMessage {
    SentMessage {
        outcome: SendOutcome::Invalid.into(),
        invalid_field: invalid.field.to_owned(),
        invalid_reason: invalid.reason.to_owned(),
        ..SentMessage::default()
    }
}

/// There is an answer for each valid message; a missing one would say nothing false.
fn stored_message(accepted: Option<Accepted>) -> SentMessage {
    let Some(accepted) = accepted else {
        return SentMessage::default();
    };
    let outcome = if accepted.is_new {
        SendOutcome::Accepted
    } else {
        SendOutcome::Duplicate
    };
    SentMessage {
        outcome: outcome.into(),
        message_id: accepted.message_id,
        accept_time: Some(to_proto_time(accepted.accepted_at)),
        ..SentMessage::default()
    }
}

fn check_message_id(message_id: i64) -> Result<(), Status> {
    if message_id > 0 {
        Ok(())
    } else {
        Err(status::invalid("message_id", "must be above zero"))
    }
}

fn filter_of(actor: &Actor, request: &ListActiveMessagesRequest) -> Result<Filter, Status> {
    let mut violations = FieldViolations::new();
    let mut states = Vec::new();
    for (index, state) in request.states.iter().enumerate() {
        let known = ActiveMessageState::try_from(*state)
            .is_ok_and(|s| s != ActiveMessageState::Unspecified);
        violations.check(&format!("states[{index}]"), known, "must be a known state");
        states.push(i16::try_from(*state).unwrap_or_default());
    }
    violations.check("ticket_id", request.ticket_id >= 0, "must not be negative");
    violations.check("bot_id", request.bot_id >= 0, "must not be negative");
    violations.into_result()?;
    if request.bot_id > 0 {
        actor.require_bot(request.bot_id)?;
    }
    Ok(Filter {
        states: (!states.is_empty()).then_some(states),
        ticket_id: (request.ticket_id > 0).then_some(request.ticket_id),
        bot_id: (request.bot_id > 0).then_some(request.bot_id),
        permitted_bots: match &actor.bots {
            BotScope::All => None,
            BotScope::Only(bot_ids) => Some(bot_ids.clone()),
        },
    })
}

/// All that makes a list what it is: a token of one list is of no use for another.
fn token_filter(actor: &Actor, request: &ListActiveMessagesRequest) -> Vec<u8> {
    let mut filter = request.clone();
    filter.page_size = 0;
    filter.page_token.clear();
    let mut bytes = format!("messages/{}/{:?}/", actor.tenant_id, actor.bots).into_bytes();
    bytes.extend(filter.encode_to_vec());
    bytes
}
