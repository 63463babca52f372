//! What the fuzz targets of `tests/fuzz` reach of this crate. Nothing else uses it.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};

use crate::callbacks::news::{Inbound, News, Status};
use crate::callbacks::{blip, secrets, whatsapp};
use crate::config::WebhookConfig;
use crate::sending::address::AddressPolicy;
use crate::sending::channel::Outcome;
use crate::sending::whatsapp::verdict::{Answer, Verdict, of_answer};

/// What a callback told: the keys under which its items are remembered, and how many it told of but couldn't be used.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// Of statuses.
    pub status_keys: Vec<String>,
    /// Of messages of customers.
    pub message_keys: Vec<String>,
    /// Texts and names of customers.
    pub texts: Vec<String>,
    /// Items that were passed over.
    pub skipped: usize,
}

impl From<News> for Told {
    fn from(news: News) -> Self {
        Self {
            status_keys: news.statuses.iter().map(Status::key).collect(),
            message_keys: news.inbound.iter().map(Inbound::key).collect(),
            texts: news
                .inbound
                .into_iter()
                .flat_map(|message| [message.text.0, message.sender_name.0])
                .collect(),
            skipped: news.skipped,
        }
    }
}

/// A callback of the WhatsApp Cloud API for the number with this id.
pub fn read_whatsapp(body: &[u8], phone_number_id: &str) -> Option<Told> {
    whatsapp::read(body, phone_number_id).ok().map(Told::from)
}

/// A callback of Blip.
pub fn read_blip(body: &[u8]) -> Option<Told> {
    blip::read(body).ok().map(Told::from)
}

/// Whether the header signs the body.
pub fn is_signed(header: &[u8], body: &[u8], secret: &str) -> bool {
    secrets::is_signed(secret, header, body)
}

/// What the WhatsApp Cloud API's answer to an attempt came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Answered {
    /// The id under which the message was taken.
    pub message_id: Option<String>,
    /// The stable reason for which it was not, or may not have been.
    pub reason: Option<String>,
    /// How long the next attempt waits at least.
    pub wait: Duration,
}

/// An answer of the WhatsApp Cloud API: its HTTP status, its `Retry-After`, and its body. None for what means that free text
/// was refused where a template would do.
pub fn read_whatsapp_answer(status: u16, retry_after: &[u8], body: &[u8]) -> Option<Answered> {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(retry_after) {
        headers.insert(RETRY_AFTER, value);
    }
    let answer = Answer {
        status: StatusCode::from_u16(status).unwrap_or_default(),
        headers,
        body: Some(body.to_vec()),
    };
    let outcome = match of_answer(&answer, Timestamp::UNIX_EPOCH, 1, Duration::from_secs(6)) {
        Verdict::Settled(outcome) => outcome,
        Verdict::OutsideWindow => return None,
    };
    let (mut message_id, mut wait) = (None, Duration::ZERO);
    let reason = match outcome {
        Outcome::Sent {
            provider_message_id,
        } => {
            message_id = Some(provider_message_id);
            None
        }
        Outcome::Retry { reason, at_least } | Outcome::RetryOne { reason, at_least } => {
            wait = at_least;
            Some(reason)
        }
        Outcome::Failed { reason }
        | Outcome::Uncertain { reason }
        | Outcome::StopAccount { reason } => Some(reason),
        Outcome::Delivered | Outcome::Gone | Outcome::PutOff { .. } => None,
    };
    Some(Answered {
        message_id,
        reason,
        wait,
    })
}

/// The URL of a webhook as it will be called, if it may be, with the strictest configuration.
pub fn webhook_url(text: &str) -> Option<String> {
    let policy = AddressPolicy::new(&WebhookConfig {
        connect_timeout_ms: 1,
        request_timeout_ms: 1,
        max_response_bytes: 1,
        allow_private_networks: false,
        allow_http: false,
    });
    policy.check_form(text).ok().map(String::from)
}
