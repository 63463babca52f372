//! What the provider's answers mean. The code of an error decides, never its text.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use crate::callbacks::news::provider_id;
use crate::sending::channel::Outcome;
use crate::sending::provider::{asked_wait, uncertain};

/// Attempts at an "unknown error" (code 1), which may also mean that the request is wrong.
const UNKNOWN_ERROR_ATTEMPTS: i32 = 4;

/// After a refusal "to keep the customers' engagement healthy" (code 131049), which sooner attempts only prolong.
const LONG_WAIT: Duration = Duration::from_hours(6);

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// None when it could not be read to its end.
    pub(crate) body: Option<Vec<u8>>,
}

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// That is what came of the attempt.
    Settled(Outcome),
    /// Free text was refused, a template would do.
    OutsideWindow,
}

#[derive(Debug, Default, Deserialize)]
struct AnswerBody {
    #[serde(default)]
    messages: Vec<TakenMessage>,
    error: Option<ApiError>,
}

#[derive(Debug, Deserialize)]
struct TakenMessage {
    id: String,
}

#[derive(Debug, Deserialize)]
struct ApiError {
    code: i64,
}

/// The meaning of an answer to attempt number `attempt` at the instant `now`.
pub(crate) fn of_answer(
    answer: &Answer,
    now: Timestamp,
    attempt: i32,
    recipient_interval: Duration,
) -> Verdict {
    let asked = asked_wait(&answer.headers, now);
    let body = answer.body.as_deref();
    let read = body.and_then(|body| serde_json::from_slice::<AnswerBody>(body).ok());
    let outcome = match (answer.status, read) {
        (status, Some(AnswerBody { messages, .. })) if status.is_success() => {
            let taken = messages.into_iter().next();
            // What can't be an id can't be stored either, nor would the outcomes that are written along with it.
            match taken.and_then(|TakenMessage { id }| provider_id(&id)) {
                Some(provider_message_id) => Outcome::Sent {
                    provider_message_id,
                },
                None => uncertain("ANSWER_UNREADABLE"),
            }
        }
        (status, None) if status.is_success() => uncertain(if answer.body.is_none() {
            "ANSWER_LOST"
        } else {
            "ANSWER_UNREADABLE"
        }),
        (
            status,
            Some(AnswerBody {
                error: Some(ApiError { code }),
                ..
            }),
        ) => {
            if code == 131_047 {
                return Verdict::OutsideWindow;
            }
            of_code(code, status, asked, attempt, recipient_interval)
        }
        (status, _) => of_status(status, asked),
    };
    Verdict::Settled(outcome)
}

fn of_code(
    code: i64,
    status: StatusCode,
    asked: Duration,
    attempt: i32,
    recipient_interval: Duration,
) -> Outcome {
    let reason = format!("WHATSAPP_{code}");
    let retry = |reason| Outcome::Retry {
        reason,
        at_least: asked,
    };
    match code {
        1 if attempt >= UNKNOWN_ERROR_ATTEMPTS => Outcome::Failed { reason },
        // 4, 131016 and 131057: the application's rate, the service, or the account's maintenance.
        1 | 2 | 4 | 131_000 | 131_016 | 131_057 | 130_429 | 80_007 => retry(reason),
        131_056 => Outcome::RetryOne {
            reason,
            at_least: asked.max(recipient_interval),
        },
        131_049 => Outcome::RetryOne {
            reason,
            at_least: asked.max(LONG_WAIT),
        },
        131_048 | 131_031 | 131_042 | 368 | 0 | 190 | 10 | 200..=299 => {
            Outcome::StopAccount { reason }
        }
        // Of a code that nobody foresaw, the status says whose fault it is.
        _ if status.is_server_error() => retry(reason),
        // 131026, 100, 131008, and all others about the recipient or the request.
        _ => Outcome::Failed { reason },
    }
}

/// An answer without a code did not come from the API itself, but from something on the way there.
fn of_status(status: StatusCode, asked: Duration) -> Outcome {
    let reason = format!("HTTP_{}", status.as_u16());
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Outcome::Retry {
            reason,
            at_least: asked,
        },
        // The API behind it may have taken the message.
        status if status.is_server_error() => Outcome::Uncertain { reason },
        _ => Outcome::Failed { reason },
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::RETRY_AFTER;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(6);

    fn judged(status: u16, body: Option<&str>, retry_after: Option<&str>, attempt: i32) -> Verdict {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, value.parse().expect("a header's value"));
        }
        let answer = Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            headers,
            body: body.map(|text| text.as_bytes().to_vec()),
        };
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        of_answer(&answer, now, attempt, INTERVAL)
    }

    fn of(status: u16, code: i64) -> Outcome {
        let body = format!(r#"{{"error": {{"message": "text", "code": {code}}}}}"#);
        match judged(status, Some(&body), None, 1) {
            Verdict::Settled(outcome) => outcome,
            Verdict::OutsideWindow => panic!("{code}"),
        }
    }

    #[test]
    fn each_code_has_its_class() {
        for code in [1, 2, 131_000, 130_429, 80_007] {
            let reason = format!("WHATSAPP_{code}");
            assert_eq!(of(400, code), Outcome::retry(&reason));
        }
        let one = |code, secs| Outcome::RetryOne {
            reason: format!("WHATSAPP_{code}"),
            at_least: Duration::from_secs(secs),
        };
        assert_eq!(of(400, 131_056), one(131_056, 6));
        assert_eq!(of(400, 131_049), one(131_049, 6 * 3_600));
        for code in [131_026, 100, 131_008, 132_000, 777] {
            assert_eq!(of(400, code), Outcome::failed(&format!("WHATSAPP_{code}")));
        }
        for code in [131_048, 131_031, 131_042, 368, 0, 190, 10, 200, 250, 299] {
            let reason = format!("WHATSAPP_{code}");
            assert_eq!(of(401, code), Outcome::StopAccount { reason });
        }
        assert_eq!(of(500, 777), Outcome::retry("WHATSAPP_777"));
        let outside = judged(400, Some(r#"{"error": {"code": 131047}}"#), None, 1);
        assert_eq!(outside, Verdict::OutsideWindow);
        let unknown = judged(500, Some(r#"{"error": {"code": 1}}"#), None, 4);
        assert_eq!(unknown, Verdict::Settled(Outcome::failed("WHATSAPP_1")));
    }

    #[test]
    fn what_may_have_been_taken_is_uncertain() {
        let settled = |outcome| Verdict::Settled(outcome);
        let taken = judged(200, Some(r#"{"messages": [{"id": "wamid.1"}]}"#), None, 1);
        let sent = Outcome::Sent {
            provider_message_id: "wamid.1".to_owned(),
        };
        assert_eq!(taken, settled(sent));
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"messages": []}"#,
            r#"{"messages": [{}]}"#,
            r#"{"messages": [{"id": ""}]}"#,
            r#"{"messages": [{"id": "a\u0000b"}]}"#,
        ] {
            assert_eq!(
                judged(200, Some(body), None, 1),
                settled(uncertain("ANSWER_UNREADABLE"))
            );
        }
        assert_eq!(
            judged(200, None, None, 1),
            settled(uncertain("ANSWER_LOST"))
        );
        for status in [500, 502, 504] {
            let reason = format!("HTTP_{status}");
            assert_eq!(
                judged(status, Some("<html>"), None, 1),
                settled(uncertain(&reason))
            );
        }
        let busy = Outcome::Retry {
            reason: "HTTP_503".to_owned(),
            at_least: Duration::from_secs(30),
        };
        assert_eq!(judged(503, None, Some("30"), 1), settled(busy));
        assert_eq!(
            judged(404, Some("no"), None, 1),
            settled(Outcome::failed("HTTP_404"))
        );
    }
}
