//! Requests that can't be read. tonic refuses them before any handler, with codes that blame the server and without
//! details; callers get the code, reason and field that all other errors have.

use axum::response::Response;
use tonic::{Code, Status};

use crate::status::{FieldViolations, invalid_with, with_reason};

const DECODE_ERROR: &str = "failed to decode Protobuf message: ";
const TOO_LARGE: &str = "decoded message length too large";

/// The response, or what it should have been if it says that the request can't be read.
pub(super) fn explain(response: Response) -> Response {
    let explained = Status::from_header_map(response.headers())
        .filter(|status| status.details().is_empty())
        .and_then(|status| explain_status(&status));
    match explained {
        Some(status) => status.into_http(),
        None => response,
    }
}

fn explain_status(status: &Status) -> Option<Status> {
    if let Some(error) = status.message().strip_prefix(DECODE_ERROR) {
        let (field, problem) = field_and_problem(error);
        let mut violations = FieldViolations::new();
        violations.add(field, format!("can't be read: {problem}"));
        return Some(invalid_with("MESSAGE_MALFORMED", violations));
    }
    if status.message().contains(TOO_LARGE) {
        return Some(with_reason(
            Code::ResourceExhausted,
            "MESSAGE_TOO_LARGE",
            status.message(),
        ));
    }
    None
}

/// `Bot.name: CreateBotRequest.bot: invalid string value` is `bot.name` and what is wrong with it: the innermost message
/// comes first.
fn field_and_problem(error: &str) -> (String, &str) {
    let mut rest = error;
    let mut fields = Vec::new();
    while let Some((place, after)) = rest.split_once(": ")
        && let Some((message, field)) = place.split_once('.')
        && !message.contains(' ')
    {
        fields.push(field);
        rest = after;
    }
    fields.reverse();
    let field = if fields.is_empty() {
        "request".to_owned()
    } else {
        fields.join(".")
    };
    (field, rest)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::status::{reason_of, violations_of};

    #[test]
    fn a_field_that_is_no_text_is_named() {
        // Field 1 of FieldMask is a text; these two bytes are not.
        let error = prost_types::FieldMask::decode([0x0a, 0x02, 0xff, 0xfe].as_slice())
            .expect_err("it is no UTF-8");
        let status = explain_status(&Status::internal(error.to_string())).expect("it is known");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(reason_of(&status).as_deref(), Some("MESSAGE_MALFORMED"));
        assert_eq!(violations_of(&status)[0].0, "paths");
    }

    #[test]
    fn fields_of_messages_within_messages_are_named_from_the_outside() {
        // ListValue.values (1) holds a Value whose string_value (3) is no UTF-8.
        let bytes = [0x0a, 0x04, 0x1a, 0x02, 0xff, 0xfe];
        let error = prost_types::ListValue::decode(bytes.as_slice()).expect_err("it is no UTF-8");
        let status = explain_status(&Status::internal(error.to_string())).expect("it is known");
        let field = &violations_of(&status)[0].0;
        assert!(field.starts_with("values."), "{field} of {error}");
    }

    #[test]
    fn bytes_that_are_no_message_and_other_errors() {
        let error = prost_types::FieldMask::decode([0xff].as_slice()).expect_err("it is cut off");
        let status = explain_status(&Status::internal(error.to_string())).expect("it is known");
        assert_eq!(violations_of(&status)[0].0, "request");
        assert!(explain_status(&Status::internal("internal error")).is_none());

        let text = "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes";
        let status = explain_status(&Status::out_of_range(text)).expect("it is known");
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(reason_of(&status).as_deref(), Some("MESSAGE_TOO_LARGE"));
    }
}
