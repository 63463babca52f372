//! The signed webhook channel (Standard Webhooks). README.md describes the body.

use std::error::Error;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::ActiveMessageKind;
use plazo_proto::notification::v1::channel_account::Settings;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, redirect};
use serde_json::json;

use super::address::{AddressPolicy, AddressRefused, UrlError};
use super::channel::{ChannelSender, Outcome};
use super::roots::Roots;
use super::signing;
use crate::account::decode_settings;
use crate::config::WebhookConfig;
use crate::message::reference_of;
use crate::store::queue::Claimed;

/// An endpoint can't put a message off for longer.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// The HTTP client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("an HTTP client can't be made")]
pub struct WebhookClientError(#[from] reqwest::Error);

/// A call to an endpoint.
#[derive(Debug)]
pub(crate) struct SignedCall<'a> {
    pub(crate) url: &'a str,
    /// Each of them signs it.
    pub(crate) secrets: Vec<&'a [u8]>,
    /// The same at each attempt.
    pub(crate) id: String,
    pub(crate) body: Vec<u8>,
}

/// Calls endpoints.
#[derive(Debug, Clone)]
pub(crate) struct WebhookSender {
    client: Client,
    policy: AddressPolicy,
    max_response_bytes: usize,
}

impl WebhookSender {
    pub(crate) fn new(config: &WebhookConfig, roots: &Roots) -> Result<Self, WebhookClientError> {
        let policy = AddressPolicy::new(config);
        let client = Client::builder()
            .user_agent(concat!("plazo-notification/", env!("CARGO_PKG_VERSION")))
            // A redirect would lead past the checks, and so would a proxy.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .dns_resolver(policy)
            .tls_certs_merge(roots.http())
            .https_only(!config.allow_http)
            .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
            .timeout(Duration::from_millis(config.request_timeout_ms))
            .pool_idle_timeout(Duration::from_secs(30))
            // As many as an account may have in flight by default: fewer would be opened anew all the time.
            .pool_max_idle_per_host(8)
            .build()?;
        Ok(Self {
            client,
            policy,
            max_response_bytes: config.max_response_bytes,
        })
    }

    pub(crate) fn policy(&self) -> AddressPolicy {
        self.policy
    }

    async fn call(&self, message: &Claimed, attempt_at: Timestamp) -> Outcome {
        let settings = message.account_settings.as_deref();
        let (Some(Settings::Webhook(webhook)), Some(secret)) =
            (settings.and_then(decode_settings), &message.signing_secret)
        else {
            return Outcome::failed("CHANNEL_ACCOUNT_UNKNOWN");
        };
        if !is_image_url(&message.image_url.0) {
            return Outcome::failed("IMAGE_URL_INVALID");
        }
        let call = SignedCall {
            url: &webhook.url,
            secrets: vec![secret],
            id: reference_of(message.message_id),
            body: body(message),
        };
        self.post(call, attempt_at).await.0
    }

    /// Makes a signed call; what came of it, and the status of the answer, 0 without one.
    pub(crate) async fn post(&self, call: SignedCall<'_>, attempt_at: Timestamp) -> (Outcome, u16) {
        // The resolver sees names alone; addresses in the URL are checked here, and again at each attempt,
        // since the settings may have become stricter.
        let url = match self.policy.check_form(call.url) {
            Ok(url) => url,
            Err(UrlError::Private) => return (Outcome::failed("ADDRESS_NOT_ALLOWED"), 0),
            Err(_) => return (Outcome::failed("URL_NOT_ALLOWED"), 0),
        };
        let timestamp = attempt_at.as_second();
        let signatures: Vec<_> = call
            .secrets
            .iter()
            .map(|secret| signing::sign(secret, &call.id, timestamp, &call.body))
            .collect();
        let answer = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &call.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signatures.join(" "))
            .body(call.body)
            .send()
            .await;
        match answer {
            Ok(response) => {
                let status = response.status();
                let outcome = judge(status, response.headers(), attempt_at);
                self.read_away(response).await;
                (outcome, status.as_u16())
            }
            Err(error) => (judge_error(&error), 0),
        }
    }

    /// Reads what little there is of an answer, so that the connection can be used again. The answer counts
    /// already, whatever happens here.
    async fn read_away(&self, mut response: Response) {
        let mut left = self.max_response_bytes;
        while let Ok(Some(chunk)) = response.chunk().await {
            let Some(rest) = left.checked_sub(chunk.len()) else {
                return;
            };
            left = rest;
        }
    }
}

impl ChannelSender for WebhookSender {
    fn send<'a>(&'a self, message: &'a Claimed, attempt_at: Timestamp) -> BoxFuture<'a, Outcome> {
        Box::pin(self.call(message, attempt_at))
    }
}

/// 2xx alone is success; 410 switches the endpoint off; everything else is tried again.
fn judge(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Outcome {
    if status.is_success() {
        return Outcome::Delivered;
    }
    if status == StatusCode::GONE {
        return Outcome::Gone;
    }
    let may_slow_down = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    );
    let at_least = headers
        .get(RETRY_AFTER)
        .filter(|_| may_slow_down)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| retry_after(value, now))
        .unwrap_or_default();
    Outcome::Retry {
        reason: format!("HTTP_{}", status.as_u16()),
        at_least,
    }
}

/// Seconds, or an HTTP date.
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let wait = if let Ok(seconds) = value.trim().parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let until = rfc2822::DateTimeParser::new()
            .parse_timestamp(value.trim())
            .ok()?;
        Duration::try_from(until.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

fn judge_error(error: &reqwest::Error) -> Outcome {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(source) = next {
        if source.is::<AddressRefused>() {
            return Outcome::failed("ADDRESS_NOT_ALLOWED");
        }
        next = source.source();
    }
    let reason = if error.is_timeout() {
        "TIMEOUT"
    } else if error.is_connect() {
        "CONNECTION_FAILED"
    } else {
        // It may have arrived all the same.
        "ANSWER_LOST"
    };
    Outcome::Retry {
        reason: reason.to_owned(),
        at_least: Duration::ZERO,
    }
}

/// The same at each attempt, so that a receiver may compare. Ids are strings, since many readers of JSON have no
/// 64-bit integers.
fn body(message: &Claimed) -> Vec<u8> {
    let text_or_null = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let id_or_null = |id: i64| (id != 0).then(|| id.to_string());
    json!({
        "type": format!("active_message.{}", kind_name(message.kind)),
        "timestamp": message.accepted_at.to_string(),
        "data": {
            "message_id": message.message_id.to_string(),
            "tenant_id": message.tenant_id.to_string(),
            "bot_id": message.bot_id.to_string(),
            "ticket_id": id_or_null(message.ticket_id),
            "contact_id": message.contact_id.to_string(),
            "recipient": {
                "channel": channel_name(message.channel),
                "address": message.recipient_address.0,
            },
            "text": message.body_text.0,
            "image_url": text_or_null(&message.image_url.0),
            "last_customer_message_time":
                message.last_customer_message_at.map(|at| at.to_jiff().to_string()),
        },
    })
    .to_string()
    .into_bytes()
}

/// A kind as it stands in bodies and logs.
pub(super) fn kind_name(number: i16) -> &'static str {
    match ActiveMessageKind::try_from(i32::from(number)).unwrap_or_default() {
        ActiveMessageKind::Unspecified => "unknown",
        ActiveMessageKind::Warning => "warning",
        ActiveMessageKind::ClosingText => "closing_text",
        ActiveMessageKind::Outreach => "outreach",
    }
}

fn channel_name(number: i16) -> &'static str {
    match Channel::try_from(i32::from(number)).unwrap_or_default() {
        Channel::Webhook => "webhook",
        _ => "unknown",
    }
}

pub(super) fn is_image_url(text: &str) -> bool {
    text.is_empty()
        || url::Url::parse(text).is_ok_and(|url| url.scheme() == "https" && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, retry_after: Option<&str>) -> Outcome {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, value.parse().expect("a header's value"));
        }
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        judge(
            StatusCode::from_u16(status).expect("a status"),
            &headers,
            now,
        )
    }

    fn retry(reason: &str, seconds: u64) -> Outcome {
        Outcome::Retry {
            reason: reason.to_owned(),
            at_least: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn answers_are_judged_as_standard_webhooks_says() {
        assert_eq!(judged(200, None), Outcome::Delivered);
        assert_eq!(judged(204, None), Outcome::Delivered);
        assert_eq!(judged(410, None), Outcome::Gone);
        for status in [301, 302, 400, 401, 404, 408, 500, 502] {
            assert_eq!(
                judged(status, Some("60")),
                retry(&format!("HTTP_{status}"), 0)
            );
        }
        assert_eq!(judged(429, Some("60")), retry("HTTP_429", 60));
        assert_eq!(
            judged(503, Some("Thu, 01 Jan 2026 00:02:00 GMT")),
            retry("HTTP_503", 120)
        );
        assert_eq!(
            judged(503, Some("Wed, 31 Dec 2025 00:02:00 GMT")),
            retry("HTTP_503", 0)
        );
        assert_eq!(judged(429, Some("soon")), retry("HTTP_429", 0));
        assert_eq!(
            judged(429, Some("99999999999")),
            retry("HTTP_429", 24 * 3_600)
        );
        assert_eq!(judged(429, None), retry("HTTP_429", 0));
    }
}
