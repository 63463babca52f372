//! What the answers of mail servers mean. The code and the step that it answers decide, never the text.

use std::time::Duration;

use crate::sending::channel::Outcome;
use crate::sending::provider::uncertain;

/// What was asked of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The connection, its greeting, and our introduction.
    Connection,
    /// `STARTTLS`.
    Tls,
    /// `AUTH`.
    Authentication,
    /// `MAIL FROM`.
    Sender,
    /// `RCPT TO`.
    Recipient,
    /// `DATA`.
    Data,
    /// The message itself.
    Content,
}

/// A step that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) step: Step,
    /// The server's answer; none when there is none that can be read, or the server does not offer what was to be
    /// asked.
    pub(super) code: Option<u16>,
}

/// The meaning of a failure, when the message's final dot may have gone out or can't have.
pub(super) fn of_failure(failure: Failure, may_be_taken: bool) -> Outcome {
    let Failure { step, code } = failure;
    let Some(code) = code else {
        return match step {
            _ if may_be_taken => uncertain("ANSWER_LOST"),
            Step::Tls => Outcome::retry("TLS_FAILED"),
            Step::Authentication => Outcome::retry("AUTHENTICATION_FAILED"),
            _ => Outcome::retry("CONNECTION_FAILED"),
        };
    };
    let reason = format!("SMTP_{code}");
    let at_least = Duration::ZERO;
    match (code, step) {
        // The server wants authentication, or that of another kind; or it would be the same for each message.
        (530 | 534 | 535 | 538, _) | (500..=599, Step::Authentication | Step::Sender) => {
            Outcome::StopAccount { reason }
        }
        (500..=599, Step::Recipient | Step::Data | Step::Content) => Outcome::Failed { reason },
        // Greylisting, a full mailbox: other recipients have none of it. But 421 ends the connection.
        (400..=420 | 422..=499, Step::Recipient) => Outcome::RetryOne { reason, at_least },
        // The server has a problem, or turns us away before it knows the message.
        (400..=599, _) => Outcome::Retry { reason, at_least },
        _ if may_be_taken => uncertain("ANSWER_UNREADABLE"),
        _ => Outcome::retry("ANSWER_UNREADABLE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Step; 7] = [
        Step::Connection,
        Step::Tls,
        Step::Authentication,
        Step::Sender,
        Step::Recipient,
        Step::Data,
        Step::Content,
    ];

    fn of(step: Step, code: u16) -> Outcome {
        let code = Some(code);
        of_failure(Failure { step, code }, step == Step::Content)
    }

    #[test]
    fn each_code_has_its_class_at_each_step() {
        let at_least = Duration::ZERO;
        for step in STEPS {
            assert_eq!(of(step, 421), Outcome::retry("SMTP_421"), "{step:?}");
            let reason = "SMTP_535".to_owned();
            assert_eq!(of(step, 535), Outcome::StopAccount { reason }, "{step:?}");
            let reason = "SMTP_451".to_owned();
            let later = if step == Step::Recipient {
                Outcome::RetryOne { reason, at_least }
            } else {
                Outcome::Retry { reason, at_least }
            };
            assert_eq!(of(step, 451), later, "{step:?}");
            let reason = "SMTP_550".to_owned();
            let refused = match step {
                Step::Connection | Step::Tls => Outcome::Retry { reason, at_least },
                Step::Authentication | Step::Sender => Outcome::StopAccount { reason },
                Step::Recipient | Step::Data | Step::Content => Outcome::Failed { reason },
            };
            assert_eq!(of(step, 550), refused, "{step:?}");
        }
    }

    #[test]
    fn only_a_message_whose_dot_went_out_is_uncertain() {
        for step in STEPS {
            let silent = Failure { step, code: None };
            let retried = matches!(of_failure(silent, false), Outcome::Retry { .. });
            assert!(retried, "{step:?}");
            let stray = Failure {
                step,
                code: Some(354),
            };
            assert_eq!(
                of_failure(stray, false),
                Outcome::retry("ANSWER_UNREADABLE")
            );
        }
        let step = Step::Content;
        let silent = Failure { step, code: None };
        assert_eq!(of_failure(silent, true), uncertain("ANSWER_LOST"));
        assert_eq!(of(step, 354), uncertain("ANSWER_UNREADABLE"));
    }
}
