//! Answers of batches: one for each item.

use plazo_proto::ticketing::v1::{
    BatchItemError, Message, MessageResult, RecordMessageResponse, Ticket, TicketResult,
    message_result, ticket_result,
};
use plazo_service::status;
use sqlx::PgConnection;
use tonic::Status;

use crate::error::Error;
use crate::store::settings::PolicyCache;
use crate::tickets::bulk::Outcomes;
use crate::tickets::read;
use crate::tickets::view::TicketView;

/// The most bytes of a batch's answer: what callers take in one message, with room to spare.
const ANSWER_BYTES: usize = 7 << 19;

/// The answer of a batch, if its caller can take it. Otherwise nothing must be changed: the caller would never learn
/// what was done.
pub(super) fn fitting<A: prost::Message>(answer: A, field: &str) -> Result<A, Error> {
    let bytes = answer.encoded_len();
    if bytes <= ANSWER_BYTES {
        return Ok(answer);
    }
    let reason = format!(
        "must be fewer: the answer would have {bytes} bytes, and has at most {ANSWER_BYTES}"
    );
    Err(Error::invalid(field, reason))
}

/// The answers for tickets.
pub(super) async fn ticket_results(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    outcomes: Outcomes,
) -> Result<Vec<TicketResult>, Error> {
    let views: Vec<TicketView> = outcomes
        .iter()
        .filter_map(|(_, outcome)| outcome.as_ref().ok().cloned())
        .collect();
    let mut told = read::to_protos(connection, policies, &views)
        .await?
        .into_iter();
    let results = outcomes.into_iter().map(|(ticket_id, outcome)| {
        let result = match outcome {
            Ok(_) => ticket_result::Result::Ticket(told.next().unwrap_or_default()),
            Err(error) => ticket_result::Result::Error(item_error(error)),
        };
        TicketResult {
            ticket_id,
            result: Some(result),
        }
    });
    Ok(results.collect())
}

/// The answers for messages.
pub(super) async fn message_results(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    outcomes: Vec<Result<(Message, TicketView), Error>>,
) -> Result<Vec<MessageResult>, Error> {
    let views: Vec<TicketView> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().ok().map(|(_, view)| view.clone()))
        .collect();
    let mut told = read::to_protos(connection, policies, &views)
        .await?
        .into_iter();
    let results = outcomes.into_iter().map(|outcome| {
        let result = match outcome {
            Ok((message, _)) => {
                let ticket: Option<Ticket> = told.next();
                message_result::Result::Recorded(RecordMessageResponse {
                    message: Some(message),
                    ticket,
                })
            }
            Err(error) => message_result::Result::Error(item_error(error)),
        };
        MessageResult {
            result: Some(result),
        }
    });
    Ok(results.collect())
}

/// What a call for this item alone would have been answered.
fn item_error(error: Error) -> BatchItemError {
    let status = Status::from(error);
    let field = status::violations_of(&status)
        .into_iter()
        .next()
        .map(|(field, _)| field)
        .unwrap_or_default();
    BatchItemError {
        code: status.code().into(),
        reason: status::reason_of(&status).unwrap_or_default(),
        field,
        description: status.message().to_owned(),
    }
}
