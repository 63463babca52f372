//! What Blip's answers mean. The status alone decides.

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::sending::channel::Outcome;
use crate::sending::provider::asked_wait;

/// The meaning of an answer at the instant `now` to the attempt with this id.
pub(super) fn of_answer(
    status: StatusCode,
    headers: &HeaderMap,
    now: Timestamp,
    id: String,
) -> Outcome {
    if status.is_success() {
        return Outcome::Sent {
            provider_message_id: id,
        };
    }
    let reason = format!("HTTP_{}", status.as_u16());
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::StopAccount { reason },
        // The request was not read to its end, or turned away.
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE => Outcome::Retry {
            reason,
            at_least: asked_wait(headers, now),
        },
        // What is behind it may have taken the message.
        status if status.is_server_error() => Outcome::Uncertain { reason },
        _ => Outcome::Failed { reason },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::RETRY_AFTER;

    use super::*;

    fn of(status: u16) -> Outcome {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "30".parse().expect("a header's value"));
        let status = StatusCode::from_u16(status).expect("a status");
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        of_answer(status, &headers, now, "msg_1".to_owned())
    }

    #[test]
    fn each_status_has_its_class() {
        for status in [200, 202, 204] {
            let provider_message_id = "msg_1".to_owned();
            assert_eq!(
                of(status),
                Outcome::Sent {
                    provider_message_id
                }
            );
        }
        let reason = |status| format!("HTTP_{status}");
        for status in [401, 403] {
            let reason = reason(status);
            assert_eq!(of(status), Outcome::StopAccount { reason });
        }
        for status in [408, 429, 503] {
            let at_least = Duration::from_secs(30);
            let reason = reason(status);
            assert_eq!(of(status), Outcome::Retry { reason, at_least });
        }
        for status in [500, 502, 504] {
            let reason = reason(status);
            assert_eq!(of(status), Outcome::Uncertain { reason });
        }
        for status in [302, 400, 404, 413, 422] {
            assert_eq!(of(status), Outcome::failed(&reason(status)));
        }
    }
}
