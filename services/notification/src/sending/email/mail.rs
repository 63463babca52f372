//! A message as a mail.

use std::time::SystemTime;

use jiff::Timestamp;
use lettre::Address;
use lettre::message::header::{ContentType, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Message};
use plazo_proto::notification::v1::EmailSettings;

use crate::sending::webhook::is_image_url;
use crate::store::queue::Claimed;

/// What goes to the server.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) from: Address,
    pub(super) to: Address,
    /// The Message-ID with its brackets, the same at each attempt.
    pub(super) id: String,
    /// In the form of RFC 5322, ASCII alone.
    pub(super) content: Vec<u8>,
}

impl Mail {
    /// The mail; or why the message can't be sent.
    pub(super) fn new(
        message: &Claimed,
        settings: &EmailSettings,
        attempt_at: Timestamp,
    ) -> Result<Self, &'static str> {
        let from = address(&settings.from_address).ok_or("SENDER_INVALID")?;
        let to = address(&message.recipient_address.0).ok_or("RECIPIENT_INVALID")?;
        if !is_image_url(&message.image_url.0) {
            return Err("IMAGE_URL_INVALID");
        }
        let id = format!("<{}@{}>", message.message_id, from.domain());
        let name = (!settings.from_name.is_empty()).then(|| settings.from_name.clone());
        let mail = Message::builder()
            .message_id(Some(id.clone()))
            .date(SystemTime::from(attempt_at))
            .from(Mailbox::new(name, from.clone()))
            .to(Mailbox::new(None, to.clone()))
            .subject(&settings.subject)
            .header(MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN)
            .body(text(message))
            .map_err(|_| "MAIL_INVALID")?;
        Ok(Self {
            from,
            to,
            id,
            content: mail.formatted(),
        })
    }
}

/// The text, and the image's link below it. Line ends of all kinds become those of mails.
fn text(message: &Claimed) -> String {
    let mut text = message
        .body_text
        .0
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    if !message.image_url.0.is_empty() {
        text.push_str("\n\n");
        text.push_str(&message.image_url.0);
    }
    text.push('\n');
    text.replace('\n', "\r\n")
}

/// An address that needs no quotes, no brackets and no extension of the server.
pub(super) fn address(text: &str) -> Option<Address> {
    let is_plain = |c: char| {
        c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | ',' | ';' | '(' | ')' | '\\')
    };
    if text.len() > 254 || !text.chars().all(is_plain) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_hold_nothing_that_means_something_to_a_server() {
        for good in [
            "ana@example.com",
            "ana.b+desk@mail.example.com",
            "a_b-c@example.org",
        ] {
            assert!(address(good).is_some(), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(250));
        for wrong in [
            "",
            "ana",
            "@example.com",
            "ana@",
            "ana@exa mple.com",
            "ana@example.com\r\nRCPT TO:<eva@example.com>",
            "ana@example.com>\r\nBcc: eva@example.com",
            "ana@example.com, eva@example.com",
            "Ana <ana@example.com>",
            "<ana@example.com>",
            "\"a b\"@example.com",
            "ana@example.com\0",
            "ána@example.com",
            &long,
        ] {
            assert!(address(wrong).is_none(), "{wrong:?}");
        }
    }
}
