//! What providers tell, in one form for all of them.

use jiff::Timestamp;
use plazo_proto::notification::v1::ActiveMessageState;
use plazo_service::Redacted;

/// The most characters of a text that ticketing takes.
const TEXT_CHARS_MAX: usize = 16_384;
const NAME_CHARS_MAX: usize = 200;
const ID_CHARS_MAX: usize = 256;

/// What one callback tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) statuses: Vec<Status>,
    pub(crate) inbound: Vec<Inbound>,
    /// Items that say nothing that is of use: ill-formed, or of a number that is not the account's.
    pub(crate) skipped: usize,
}

/// What became of a message of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// Our id of the message, where the provider gives back what we passed along.
    pub(crate) message_id: Option<i64>,
    /// The provider's id.
    pub(crate) provider_message_id: Option<String>,
    /// SENT, DELIVERED, READ or FAILED.
    pub(crate) state: ActiveMessageState,
    /// Why it failed; empty otherwise.
    pub(crate) failure_reason: String,
    /// The provider's own code of the failure.
    pub(crate) failure_code: Option<i64>,
    /// It failed because the customer's last message is too old for free text.
    pub(crate) is_window_closed: bool,
}

/// What a customer wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inbound {
    pub(crate) provider_message_id: String,
    /// Where the customer is reached in the account's channel.
    pub(crate) address: Redacted<String>,
    /// Empty when it is not told.
    pub(crate) sender_name: Redacted<String>,
    pub(crate) text: Redacted<String>,
    pub(crate) attachment_urls: Redacted<Vec<String>>,
    /// When he wrote it, as the provider says.
    pub(crate) sent_at: Option<Timestamp>,
}

/// A callback that can't be read at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not what the provider sends")]
pub(crate) struct Unreadable;

impl Status {
    /// What is the same in each repetition.
    pub(crate) fn key(&self) -> String {
        let state = i32::from(self.state);
        match (&self.provider_message_id, self.message_id) {
            (Some(id), _) => format!("status/{state}/{id}"),
            (None, id) => format!("status/{state}/our/{}", id.unwrap_or_default()),
        }
    }
}

impl Inbound {
    /// What is the same in each repetition.
    pub(crate) fn key(&self) -> String {
        format!("message/{}", self.provider_message_id)
    }
}

/// An id of a provider, if it can be one.
pub(crate) fn provider_id(text: &str) -> Option<String> {
    let is_id = (1..=ID_CHARS_MAX).contains(&text.chars().count())
        && !text.contains(char::is_control)
        && !text.trim().is_empty();
    is_id.then(|| text.to_owned())
}

/// A customer's text as it can be stored: cut to what ticketing takes, without control characters but for line breaks
/// and tabs.
pub(crate) fn clean_text(text: &str) -> String {
    let is_kept = |c: &char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    text.chars().filter(is_kept).take(TEXT_CHARS_MAX).collect()
}

/// A customer's name as it can be stored.
pub(crate) fn clean_name(name: &str) -> String {
    let is_kept = |c: &char| !c.is_control();
    name.chars().filter(is_kept).take(NAME_CHARS_MAX).collect()
}

/// What was sent that is not text: what it is in brackets, and what was said with it.
pub(crate) fn described(kind: &str, words: &str) -> String {
    let text = if words.trim().is_empty() {
        format!("[{kind}]")
    } else {
        format!("[{kind}] {words}")
    };
    clean_text(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_cleaned() {
        assert_eq!(clean_text("a\0b\u{7}\r\n\tc\u{85}"), "ab\r\n\tc");
        assert_eq!(clean_text(&"ñ".repeat(20_000)).chars().count(), 16_384);
        assert_eq!(clean_name("Ana\n\0"), "Ana");
        assert_eq!(described("image", " "), "[image]");
        assert_eq!(described("image", "here"), "[image] here");
        assert_eq!(provider_id(""), None);
        assert_eq!(provider_id(" "), None);
        assert_eq!(provider_id("a\0"), None);
        assert_eq!(provider_id(&"x".repeat(257)), None);
        assert_eq!(provider_id("wamid.x"), Some("wamid.x".to_owned()));
    }
}
