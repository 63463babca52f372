//! What the fuzz targets of `tests/fuzz` reach of this crate. Nothing else uses it.

use crate::callbacks::news::{Inbound, News, Status};
use crate::callbacks::{blip, secrets, whatsapp};
use crate::config::WebhookConfig;
use crate::sending::address::AddressPolicy;

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
