//! Building and reading gRPC errors.
//!
//! Every error carries a `google.rpc.ErrorInfo` with the domain [`DOMAIN`] and a stable reason in
//! `UPPER_SNAKE`; callers branch on code and reason, never on the message. What the codes tell a
//! caller: UNAVAILABLE is safe to retry, ABORTED means read again, FAILED_PRECONDITION means don't.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::{Display, Write as _};
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "plazo";
/// The reason of errors made by [`FieldViolations`] and [`invalid`].
pub const REASON_FIELD_INVALID: &str = "FIELD_INVALID";

/// The reason with which a stream ends, or a call is refused, because the certificate of the connection has ended.
pub const REASON_CERTIFICATE_EXPIRED: &str = "CERTIFICATE_EXPIRED";
/// The reason with which the stream of a service ends because it has gone on for long, and for nothing else.
pub const REASON_RENEWAL_DUE: &str = "STREAM_RENEWAL_DUE";

/// More violations than this tell a caller nothing new, and details travel in a header of limited
/// size.
const MAX_VIOLATIONS: usize = 32;

/// Collects everything that is wrong with a request, so that a caller sees it all at once.
#[derive(Debug, Default)]
pub struct FieldViolations(Vec<FieldViolation>);

impl FieldViolations {
    /// Nothing wrong yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that `field` (a dotted path in the request, as in `policy.close.value`) is wrong unless
    /// `is_valid`. The description says what it must be, and never repeats a customer's data.
    pub fn check(&mut self, field: &str, is_valid: bool, description: &str) {
        if !is_valid {
            self.add(field, description);
        }
    }

    /// Notes that `field` is wrong.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        if self.0.len() < MAX_VIOLATIONS {
            self.0.push(FieldViolation::new(field, description));
        }
    }

    /// Whether nothing wrong was noted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// INVALID_ARGUMENT with reason [`REASON_FIELD_INVALID`] and all violations, if there are any.
    pub fn into_result(self) -> Result<(), Status> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(invalid_with(REASON_FIELD_INVALID, self))
        }
    }
}

/// INVALID_ARGUMENT for one field, with reason [`REASON_FIELD_INVALID`].
pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Status {
    let mut violations = FieldViolations::new();
    violations.add(field, description);
    invalid_with(REASON_FIELD_INVALID, violations)
}

/// INVALID_ARGUMENT with a reason of its own, for what a caller may want to tell apart
/// (`PAGE_TOKEN_INVALID`).
pub fn invalid_with(reason: &str, violations: FieldViolations) -> Status {
    let mut message = String::from("invalid request");
    for (index, violation) in violations.0.iter().enumerate() {
        let separator = if index == 0 { ": " } else { "; " };
        let _ = write!(
            message,
            "{separator}{} {}",
            violation.field, violation.description
        );
    }
    let mut details = error_info(reason, &[]);
    details.set_bad_request(violations.0);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// NOT_FOUND. `kind` is the kind of thing (`ticket`), `name` what the caller asked for. Also the
/// answer for what exists but is out of the actor's reach.
pub fn not_found(reason: &str, kind: &str, name: &dyn Display) -> Status {
    let name = name.to_string();
    let message = format!("no {kind} {name}");
    let mut details = error_info(reason, &[]);
    details.set_resource_info(kind, name, "", "");
    Status::with_error_details(Code::NotFound, message, details)
}

/// ALREADY_EXISTS, for example a request id that was used with another body.
pub fn already_exists(reason: &str, description: &str) -> Status {
    with_reason(Code::AlreadyExists, reason, description)
}

/// ALREADY_EXISTS with metadata in the `ErrorInfo`, such as the id of what exists.
pub fn already_exists_with(reason: &str, description: &str, metadata: &[(&str, &str)]) -> Status {
    let details = error_info(reason, metadata);
    Status::with_error_details(Code::AlreadyExists, description, details)
}

/// FAILED_PRECONDITION: the same call fails again until something else changes. `subject` is what
/// stands in the way (`ticket/7`).
pub fn failed_precondition(reason: &str, subject: &str, description: &str) -> Status {
    let mut details = error_info(reason, &[]);
    details.add_precondition_failure_violation(reason, subject, description);
    Status::with_error_details(Code::FailedPrecondition, description, details)
}

/// ABORTED: somebody else was faster; read again and decide anew.
pub fn aborted(reason: &str, description: &str) -> Status {
    with_reason(Code::Aborted, reason, description)
}

/// UNAVAILABLE: the same call may be sent again after `retry_after`.
pub fn unavailable(reason: &str, description: &str, retry_after: Duration) -> Status {
    with_retry(Code::Unavailable, reason, description, retry_after)
}

/// RESOURCE_EXHAUSTED: a limit is reached; there may be room again after `retry_after`.
pub fn resource_exhausted(reason: &str, description: &str, retry_after: Duration) -> Status {
    with_retry(Code::ResourceExhausted, reason, description, retry_after)
}

/// DEADLINE_EXCEEDED.
pub fn deadline_exceeded() -> Status {
    with_reason(
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        "the call's deadline has passed",
    )
}

/// UNIMPLEMENTED. `what` names the feature in words.
pub fn unimplemented(reason: &str, what: &str) -> Status {
    with_reason(
        Code::Unimplemented,
        reason,
        &format!("{what} is not implemented"),
    )
}

/// UNAUTHENTICATED. `metadata_key` is the request metadata that is missing or ill-formed.
pub fn unauthenticated(reason: &str, metadata_key: &str, description: &str) -> Status {
    Status::with_error_details(
        Code::Unauthenticated,
        format!("metadata {metadata_key} {description}"),
        error_info(reason, &[("metadata_key", metadata_key)]),
    )
}

/// PERMISSION_DENIED. The description must not depend on what exists.
pub fn permission_denied(reason: &str, description: &str) -> Status {
    with_reason(Code::PermissionDenied, reason, description)
}

/// INTERNAL. The error is logged here, with its sources, and does not reach the caller; don't log it
/// again.
pub fn internal(error: &(dyn Error + 'static)) -> Status {
    tracing::error!(error = chain(error), "internal error");
    internal_unlogged()
}

/// INTERNAL for a failure that is logged already.
pub(crate) fn internal_unlogged() -> Status {
    with_reason(Code::Internal, "INTERNAL", "internal error")
}

/// Any code with a reason and nothing else, for what the functions above don't cover.
pub fn with_reason(code: Code, reason: &str, description: &str) -> Status {
    Status::with_error_details(code, description, error_info(reason, &[]))
}

/// The reason in an error's `ErrorInfo`.
pub fn reason_of(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// The (field, description) pairs of an error's `BadRequest`, in the order in which they were found.
pub fn violations_of(status: &Status) -> Vec<(String, String)> {
    let violations = status
        .get_details_bad_request()
        .map(|bad| bad.field_violations);
    violations
        .into_iter()
        .flatten()
        .map(|v| (v.field, v.description))
        .collect()
}

/// How long the server asks to wait before the call is sent again.
pub fn retry_after_of(status: &Status) -> Option<Duration> {
    status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay)
}

/// How long to wait before a stream is opened again that was open and ended with this, if it ended in the course of things:
/// because the service's certificate has ended, and there is a new one by now, or because the stream has gone on for long.
/// None of that is a failure, to be warned of, counted, or waited for longer and longer. Not for a call that was refused
/// from the start: what lets it in may be gone for good.
pub fn renewal_of(status: &Status) -> Option<Duration> {
    let reason = reason_of(status)?;
    let is_renewal = reason == REASON_CERTIFICATE_EXPIRED || reason == REASON_RENEWAL_DUE;
    is_renewal.then(|| retry_after_of(status).unwrap_or_default())
}

/// An error and its sources in one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        // Many libraries print their source in their own message.
        if !line.ends_with(&text) {
            let _ = write!(line, ": {text}");
        }
        source = error.source();
    }
    line
}

/// Any code with a reason and the time after which the call may be sent again.
pub(crate) fn with_retry(
    code: Code,
    reason: &str,
    description: &str,
    retry_after: Duration,
) -> Status {
    let mut details = error_info(reason, &[]);
    details.set_retry_info(Some(retry_after));
    Status::with_error_details(code, description, details)
}

fn error_info(reason: &str, metadata: &[(&str, &str)]) -> ErrorDetails {
    debug_assert!(
        !reason.is_empty()
            && reason
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'),
        "reasons are UPPER_SNAKE: {reason}"
    );
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_violations_arrive_with_reason_and_domain() {
        let mut violations = FieldViolations::new();
        violations.check("policy.close.value", false, "must be above zero");
        violations.check("name", true, "must not be empty");
        violations.check(
            "alerts[1].after",
            false,
            "must be later than the one before",
        );
        let status = violations.into_result().expect_err("two fields are wrong");

        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(reason_of(&status).as_deref(), Some(REASON_FIELD_INVALID));
        let domain = status
            .get_details_error_info()
            .expect("it has an ErrorInfo")
            .domain;
        assert_eq!(domain, DOMAIN);
        let fields: Vec<_> = violations_of(&status)
            .into_iter()
            .map(|(field, _)| field)
            .collect();
        assert_eq!(fields, ["policy.close.value", "alerts[1].after"]);
        assert!(FieldViolations::new().into_result().is_ok());
    }

    #[test]
    fn violations_are_bounded() {
        let mut violations = FieldViolations::new();
        for index in 0..1_000 {
            violations.add(format!("alerts[{index}]"), "is one too many");
        }
        let status = violations.into_result().expect_err("many fields are wrong");
        assert_eq!(violations_of(&status).len(), MAX_VIOLATIONS);
    }

    #[test]
    fn internal_errors_keep_their_cause_from_the_caller() {
        let status = internal(&std::io::Error::other("password of the database"));
        assert_eq!(status.code(), Code::Internal);
        assert!(!format!("{status:?}").contains("password"));
    }

    #[test]
    fn retry_delays_can_be_read_back() {
        let status = unavailable(
            "DATABASE_DOWN",
            "the database is away",
            Duration::from_millis(30),
        );
        assert_eq!(retry_after_of(&status), Some(Duration::from_millis(30)));
    }
}
