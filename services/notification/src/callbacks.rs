//! Callbacks of providers over HTTP: what became of messages, and what customers wrote.
//!
//! [`server`] takes connections and [`routes`] answers requests; [`secrets`] tells who calls, [`whatsapp`] and [`blip`]
//! read what they say, and [`taking`] stores it. A provider hears 200 when what it told is committed, and sends it
//! again otherwise.

pub(crate) mod blip;
pub(crate) mod metrics;
pub(crate) mod news;
mod routes;
pub(crate) mod secrets;
mod server;
mod taking;
pub(crate) mod whatsapp;

pub(crate) use server::CallbackServer;
pub(crate) use taking::Taking;

use crate::message::REFERENCE_PREFIX;

/// Our id of a message in what a provider gives back. It may be followed by an underscore and the number of an attempt,
/// where a provider wants another id for each.
pub(crate) fn message_id_of(reference: &str) -> Option<i64> {
    let (message_id, attempt) = match reference.strip_prefix(REFERENCE_PREFIX)?.split_once('_') {
        Some((message_id, attempt)) => (message_id, attempt),
        None => (reference.strip_prefix(REFERENCE_PREFIX)?, "0"),
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(message_id) || !is_number(attempt) {
        return None;
    }
    message_id.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::message_id_of;

    #[test]
    fn references_are_ours_or_nothing() {
        for (reference, message_id) in [
            ("msg_42", Some(42)),
            ("msg_42_3", Some(42)),
            ("msg_", None),
            ("msg_-1", None),
            ("msg_+1", None),
            ("msg_4x", None),
            ("msg_42_", None),
            ("msg_42_x", None),
            ("42", None),
            ("msg_99999999999999999999", None),
        ] {
            assert_eq!(message_id_of(reference), message_id, "{reference}");
        }
    }
}
