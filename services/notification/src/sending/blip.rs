//! The HTTP API of Blip.
//!
//! The ids of messages are ours, and each attempt has its own. What Blip does with an id that it knows is not promised
//! anywhere, so whatever may have been taken is never sent again by this program.

mod body;
mod verdict;

use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use plazo_proto::notification::v1::channel_account::Settings;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, redirect};

use super::channel::{ChannelSender, Outcome};
use super::provider::{credential_missing, of_error, secrets_of};
use super::roots::Roots;
use super::webhook::WebhookClientError;
use crate::account::decode_settings;
use crate::config::BlipConfig;
use crate::credentials::Credentials;
use crate::store::queue::Claimed;

/// Sends by the contracts of accounts.
#[derive(Debug, Clone)]
pub(crate) struct BlipSender {
    client: Client,
    credentials: Credentials,
    /// With a place for the contract's id.
    base_url: String,
    max_response_bytes: usize,
}

impl BlipSender {
    pub(crate) fn new(
        config: &BlipConfig,
        credentials: Credentials,
        roots: &Roots,
    ) -> Result<Self, WebhookClientError> {
        let client = Client::builder()
            .user_agent(concat!("plazo-notification/", env!("CARGO_PKG_VERSION")))
            // The key must not follow one.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .tls_certs_merge(roots.http())
            .https_only(config.base_url.starts_with("https:"))
            .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
            .timeout(Duration::from_millis(config.request_timeout_ms))
            // Shorter than the provider keeps them: one that it closes as a request goes out leaves uncertainty.
            .pool_idle_timeout(Duration::from_secs(10))
            .build()?;
        Ok(Self {
            client,
            credentials,
            base_url: config.base_url.trim_end_matches('/').to_owned(),
            max_response_bytes: config.max_response_bytes,
        })
    }

    async fn call(&self, message: &Claimed, attempt_at: Timestamp) -> Outcome {
        let stored = message.account_settings.as_deref();
        let Some(Settings::Blip(settings)) = stored.and_then(decode_settings) else {
            return Outcome::failed("CHANNEL_ACCOUNT_UNKNOWN");
        };
        let id = body::id(message);
        let body = match body::request(message, &id) {
            Ok(body) => body,
            Err(reason) => return Outcome::failed(reason),
        };
        let credential = match secrets_of(&self.credentials, message).await {
            Ok(credential) => credential,
            Err(outcome) => return outcome,
        };
        let authorization = credential
            .get_or_alone("key")
            .and_then(|key| HeaderValue::try_from(format!("Key {key}")).ok());
        let Some(mut authorization) = authorization else {
            return credential_missing();
        };
        authorization.set_sensitive(true);
        let base = self
            .base_url
            .replace(BlipConfig::CONTRACT, &settings.contract_id);
        let sent = self
            .client
            .post(format!("{base}/messages"))
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await;
        match sent {
            Ok(response) => {
                let outcome =
                    verdict::of_answer(response.status(), response.headers(), attempt_at, id);
                self.read_away(response).await;
                outcome
            }
            Err(error) => of_error(&error),
        }
    }

    /// Reads what little there is of an answer, so that the connection can be used again. Its status counts already.
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

impl ChannelSender for BlipSender {
    fn send<'a>(&'a self, message: &'a Claimed, attempt_at: Timestamp) -> BoxFuture<'a, Outcome> {
        Box::pin(self.call(message, attempt_at))
    }
}
