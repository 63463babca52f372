//! The WhatsApp Cloud API.
//!
//! The provider has no key that would make a repeated request harmless. So whatever may have been taken is never
//! sent again by this program: a request that went out and has no answer that can be read ends as uncertain.

mod body;
pub(crate) mod verdict;

use std::time::Duration;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use plazo_proto::notification::v1::WhatsAppSettings;
use plazo_proto::notification::v1::channel_account::Settings;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, StatusCode, redirect};
use tokio::time::Instant;

use super::channel::{ChannelSender, Outcome};
use super::provider::{credential_missing, of_error, secrets_of};
use super::roots::Roots;
use super::webhook::WebhookClientError;
use crate::account::decode_settings;
use crate::config::WhatsAppConfig;
use crate::credentials::Credentials;
use crate::store::queue::Claimed;
use verdict::{Answer, Verdict};

/// How long after a customer's message free text may be sent.
const WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// The template is sent in place of the text only while so much of the attempt's time is left.
const TIME_FOR_TEMPLATE: Duration = Duration::from_millis(500);

/// Sends by the numbers of accounts.
#[derive(Debug, Clone)]
pub(crate) struct WhatsAppSender {
    client: Client,
    credentials: Credentials,
    /// Up to the number's id.
    base: String,
    request_timeout: Duration,
    recipient_interval: Duration,
    max_response_bytes: usize,
}

/// Where a request goes, and as whom.
struct Target<'a> {
    url: String,
    access_token: &'a str,
    until: Instant,
    now: Timestamp,
}

impl WhatsAppSender {
    pub(crate) fn new(
        config: &WhatsAppConfig,
        credentials: Credentials,
        roots: &Roots,
    ) -> Result<Self, WebhookClientError> {
        let client = Client::builder()
            .user_agent(concat!("plazo-notification/", env!("CARGO_PKG_VERSION")))
            // The credential must not follow one.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .tls_certs_merge(roots.http())
            .https_only(config.base_url.starts_with("https:"))
            .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
            // Shorter than the provider keeps them: one that it closes as a request goes out leaves uncertainty.
            .pool_idle_timeout(Duration::from_secs(10))
            .build()?;
        Ok(Self {
            client,
            credentials,
            base: format!(
                "{}/{}",
                config.base_url.trim_end_matches('/'),
                config.api_version
            ),
            request_timeout: Duration::from_millis(config.request_timeout_ms),
            recipient_interval: Duration::from_millis(config.recipient_interval_ms),
            max_response_bytes: config.max_response_bytes,
        })
    }

    async fn call(&self, message: &Claimed, attempt_at: Timestamp) -> Outcome {
        let until = Instant::now() + self.request_timeout;
        let stored = message.account_settings.as_deref();
        let Some(Settings::Whatsapp(settings)) = stored.and_then(decode_settings) else {
            return Outcome::failed("CHANNEL_ACCOUNT_UNKNOWN");
        };
        let credential = match secrets_of(&self.credentials, message).await {
            Ok(credential) => credential,
            Err(outcome) => return outcome,
        };
        let Some(access_token) = credential.get_or_alone("access_token") else {
            return credential_missing();
        };
        let target = Target {
            url: format!("{}/{}/messages", self.base, settings.phone_number_id),
            access_token,
            until,
            now: attempt_at,
        };
        if !is_in_window(message, attempt_at) {
            return self.send_template(message, &settings, &target).await;
        }
        let body = match body::free(message) {
            Ok(body) => body,
            Err(reason) => return Outcome::failed(reason),
        };
        match self.post(&target, body, message.round_attempts).await {
            Verdict::OutsideWindow if until - Instant::now() < TIME_FOR_TEMPLATE => {
                Outcome::retry("WHATSAPP_131047")
            }
            // It was refused, so this is no second copy.
            Verdict::OutsideWindow => self.send_template(message, &settings, &target).await,
            Verdict::Settled(outcome) => outcome,
        }
    }

    async fn send_template(
        &self,
        message: &Claimed,
        settings: &WhatsAppSettings,
        target: &Target<'_>,
    ) -> Outcome {
        let body = match body::template(message, settings) {
            Ok(body) => body,
            Err(reason) => return Outcome::failed(reason),
        };
        match self.post(target, body, message.round_attempts).await {
            Verdict::OutsideWindow => Outcome::failed("OUTSIDE_WINDOW"),
            Verdict::Settled(outcome) => outcome,
        }
    }

    async fn post(&self, target: &Target<'_>, body: Vec<u8>, attempt: i32) -> Verdict {
        let left = target.until.saturating_duration_since(Instant::now());
        let sent = self
            .client
            .post(&target.url)
            .bearer_auth(target.access_token)
            .header(CONTENT_TYPE, "application/json")
            .timeout(left)
            .body(body)
            .send()
            .await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Verdict::Settled(of_error(&error)),
        };
        let status: StatusCode = response.status();
        let headers: HeaderMap = response.headers().clone();
        let answer = Answer {
            status,
            headers,
            body: self.read(response).await,
        };
        verdict::of_answer(&answer, target.now, attempt, self.recipient_interval)
    }

    /// The body; none when it can't be read to its end.
    async fn read(&self, mut response: reqwest::Response) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.ok()? {
            if body.len() + chunk.len() > self.max_response_bytes {
                return None;
            }
            body.extend_from_slice(&chunk);
        }
        Some(body)
    }
}

impl ChannelSender for WhatsAppSender {
    fn send<'a>(&'a self, message: &'a Claimed, attempt_at: Timestamp) -> BoxFuture<'a, Outcome> {
        Box::pin(self.call(message, attempt_at))
    }
}

fn is_in_window(message: &Claimed, now: Timestamp) -> bool {
    !message.text_refused
        && message
            .last_customer_message_at
            .is_some_and(|at| now.duration_since(at.to_jiff()) < WINDOW)
}
