//! An active message as it is asked for, checked.

use jiff::Timestamp;
use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageKind};
use plazo_service::Redacted;

/// What providers know our messages by begins with it.
pub(crate) const REFERENCE_PREFIX: &str = "msg_";

/// What providers know a message by, and give back.
pub(crate) fn reference_of(message_id: i64) -> String {
    format!("{REFERENCE_PREFIX}{message_id}")
}

const KEY_BYTES_MAX: usize = 128;
const TEXT_CHARS_MAX: usize = 4_096;
const ADDRESS_CHARS_MAX: usize = 256;
const URL_BYTES_MAX: usize = 2_048;

/// A message that can be stored. Whether it can be delivered is seen when it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewMessage {
    pub(crate) tenant_id: i64,
    pub(crate) idempotency_key: String,
    pub(crate) kind: ActiveMessageKind,
    pub(crate) bot_id: i64,
    /// 0 for none.
    pub(crate) ticket_id: i64,
    pub(crate) contact_id: i64,
    pub(crate) channel: Channel,
    pub(crate) recipient_address: Redacted<String>,
    /// 0 for none.
    pub(crate) channel_account_id: i64,
    pub(crate) text: Redacted<String>,
    /// Empty for none.
    pub(crate) image_url: Redacted<String>,
    pub(crate) last_customer_message_at: Option<Timestamp>,
    /// Not sent at or after this instant.
    pub(crate) valid_until: Option<Timestamp>,
}

/// Why a message can't be stored: the first field that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidField {
    /// Dotted path in the message.
    pub(crate) field: &'static str,
    /// What it must be; never what it is.
    pub(crate) reason: &'static str,
}

impl NewMessage {
    /// Refuses only what can't be stored or is beyond the limits of the contract. A close waits for the
    /// acceptance of its warning, so what merely can't be delivered is accepted, and then fails visibly.
    pub(crate) fn check(message: ActiveMessage) -> Result<Self, InvalidField> {
        let kind = ActiveMessageKind::try_from(message.kind)
            .ok()
            .filter(|kind| *kind != ActiveMessageKind::Unspecified);
        let needs_ticket = kind != Some(ActiveMessageKind::Outreach);
        let recipient = message.recipient.unwrap_or_default();
        let channel = Channel::try_from(recipient.channel)
            .ok()
            .filter(|c| *c != Channel::Unspecified);
        let last_customer_message_at = message
            .last_customer_message_time
            .map(|time| from_proto_time(&time));
        let valid_until = message.valid_until_time.map(|time| from_proto_time(&time));

        require(message.tenant_id > 0, "tenant_id", "must be above zero")?;
        require(
            is_key(&message.idempotency_key),
            "idempotency_key",
            "must have 1 to 128 printable ASCII characters",
        )?;
        let kind = kind.ok_or(InvalidField {
            field: "kind",
            reason: "must be a known kind",
        })?;
        require(message.bot_id > 0, "bot_id", "must be above zero")?;
        require(
            message.ticket_id > 0 || (message.ticket_id == 0 && !needs_ticket),
            "ticket_id",
            "must be above zero, or zero for an outreach without a ticket",
        )?;
        require(message.contact_id > 0, "contact_id", "must be above zero")?;
        let channel = channel.ok_or(InvalidField {
            field: "recipient.channel",
            reason: "must be a known channel",
        })?;
        require(
            is_line(&recipient.address, ADDRESS_CHARS_MAX) && !recipient.address.is_empty(),
            "recipient.address",
            "must have 1 to 256 characters, none of them a control character",
        )?;
        require(
            message.channel_account_id >= 0,
            "channel_account_id",
            "must not be negative",
        )?;
        require(
            is_text(&message.text),
            "text",
            "must have 1 to 4096 characters, no control characters but tabs and line ends",
        )?;
        require(
            message.image_url.len() <= URL_BYTES_MAX
                && !message.image_url.contains(char::is_control),
            "image_url",
            "must have at most 2048 bytes and no control characters",
        )?;
        require(
            last_customer_message_at != Some(None),
            "last_customer_message_time",
            "must be an instant from year 1 to 9999",
        )?;
        require(
            valid_until != Some(None),
            "valid_until_time",
            "must be an instant from year 1 to 9999",
        )?;
        Ok(Self {
            tenant_id: message.tenant_id,
            idempotency_key: message.idempotency_key,
            kind,
            bot_id: message.bot_id,
            ticket_id: message.ticket_id,
            contact_id: message.contact_id,
            channel,
            recipient_address: Redacted(recipient.address),
            channel_account_id: message.channel_account_id,
            text: Redacted(message.text),
            image_url: Redacted(message.image_url),
            last_customer_message_at: last_customer_message_at.flatten(),
            valid_until: valid_until.flatten(),
        })
    }
}

/// Whether the key could be one of ours: then at least its failure can be reported.
pub(crate) fn is_key(key: &str) -> bool {
    (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|b| (b' '..=b'~').contains(&b))
}

/// At most so many characters, none of them a control character.
pub(crate) fn is_line(text: &str, chars_max: usize) -> bool {
    text.chars().take(chars_max + 1).count() <= chars_max && !text.contains(char::is_control)
}

fn is_text(text: &str) -> bool {
    let is_allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    (1..=TEXT_CHARS_MAX).contains(&text.chars().take(TEXT_CHARS_MAX + 1).count())
        && text.chars().all(is_allowed)
}

fn require(is_valid: bool, field: &'static str, reason: &'static str) -> Result<(), InvalidField> {
    if is_valid {
        Ok(())
    } else {
        Err(InvalidField { field, reason })
    }
}

/// None outside of the years 1 to 9999, or with nanoseconds that are none.
pub(crate) fn from_proto_time(time: &prost_types::Timestamp) -> Option<Timestamp> {
    const YEAR_1: i64 = -62_135_596_800;
    let is_valid = time.seconds >= YEAR_1 && (0..1_000_000_000).contains(&time.nanos);
    is_valid
        .then(|| Timestamp::new(time.seconds, time.nanos).ok())
        .flatten()
}

/// As the contracts carry an instant.
pub(crate) fn to_proto_time(at: Timestamp) -> prost_types::Timestamp {
    // Protobuf's nanoseconds count forward, also before 1970.
    let (mut seconds, mut nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    prost_types::Timestamp { seconds, nanos }
}

#[cfg(test)]
mod tests {
    use plazo_proto::common::v1::ChannelIdentity;

    use super::*;

    fn message() -> ActiveMessage {
        ActiveMessage {
            tenant_id: 1,
            idempotency_key: "ticket/1/cycle/1/warning".to_owned(),
            kind: ActiveMessageKind::Warning.into(),
            bot_id: 2,
            ticket_id: 3,
            contact_id: 4,
            recipient: Some(ChannelIdentity {
                channel: Channel::Log.into(),
                address: "+5511987654321".to_owned(),
            }),
            channel_account_id: 0,
            text: "Are you still there?\nWe close in 5 minutes.".to_owned(),
            image_url: String::new(),
            last_customer_message_time: None,
            valid_until_time: None,
        }
    }

    fn broken(change: impl FnOnce(&mut ActiveMessage)) -> Option<&'static str> {
        let mut message = message();
        change(&mut message);
        NewMessage::check(message)
            .err()
            .map(|invalid| invalid.field)
    }

    fn recipient(message: &mut ActiveMessage) -> &mut ChannelIdentity {
        message.recipient.get_or_insert_default()
    }

    #[test]
    fn each_wrong_field_is_named() {
        assert_eq!(broken(|_| ()), None);
        assert_eq!(broken(|m| m.tenant_id = 0), Some("tenant_id"));
        assert_eq!(broken(|m| m.tenant_id = -1), Some("tenant_id"));
        assert_eq!(
            broken(|m| m.idempotency_key = String::new()),
            Some("idempotency_key")
        );
        assert_eq!(
            broken(|m| m.idempotency_key = "k".repeat(129)),
            Some("idempotency_key")
        );
        assert_eq!(
            broken(|m| m.idempotency_key = "ключ".to_owned()),
            Some("idempotency_key")
        );
        assert_eq!(
            broken(|m| m.idempotency_key = "a\nb".to_owned()),
            Some("idempotency_key")
        );
        assert_eq!(broken(|m| m.kind = 0), Some("kind"));
        assert_eq!(broken(|m| m.kind = 99), Some("kind"));
        assert_eq!(broken(|m| m.bot_id = 0), Some("bot_id"));
        assert_eq!(broken(|m| m.ticket_id = 0), Some("ticket_id"));
        assert_eq!(broken(|m| m.ticket_id = -7), Some("ticket_id"));
        assert_eq!(broken(|m| m.contact_id = 0), Some("contact_id"));
        assert_eq!(broken(|m| m.recipient = None), Some("recipient.channel"));
        assert_eq!(
            broken(|m| recipient(m).channel = 77),
            Some("recipient.channel")
        );
        assert_eq!(
            broken(|m| recipient(m).address.clear()),
            Some("recipient.address")
        );
        assert_eq!(
            broken(|m| recipient(m).address = "é".repeat(257)),
            Some("recipient.address")
        );
        assert_eq!(
            broken(|m| recipient(m).address.push('\0')),
            Some("recipient.address")
        );
        assert_eq!(
            broken(|m| m.channel_account_id = -1),
            Some("channel_account_id")
        );
        assert_eq!(broken(|m| m.text.clear()), Some("text"));
        assert_eq!(broken(|m| m.text = "x".repeat(4_097)), Some("text"));
        assert_eq!(broken(|m| m.text.push('\u{7}')), Some("text"));
        assert_eq!(
            broken(|m| m.image_url = "x".repeat(2_049)),
            Some("image_url")
        );
        let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
        let field = Some("last_customer_message_time");
        assert_eq!(
            broken(|m| m.last_customer_message_time = time(i64::MAX, 0)),
            field
        );
        assert_eq!(
            broken(|m| m.last_customer_message_time = time(0, -1)),
            field
        );
        assert_eq!(
            broken(|m| m.valid_until_time = time(i64::MAX, 0)),
            Some("valid_until_time")
        );
    }

    #[test]
    fn what_merely_cannot_be_delivered_is_taken() {
        assert_eq!(broken(|m| m.channel_account_id = 999_999), None);
        assert_eq!(
            broken(|m| recipient(m).channel = Channel::Email.into()),
            None
        );
        assert_eq!(broken(|m| m.image_url = "not a url".to_owned()), None);
        assert_eq!(broken(|m| m.text = "é".repeat(4_096)), None);
        let outreach = |m: &mut ActiveMessage| {
            m.kind = ActiveMessageKind::Outreach.into();
            m.ticket_id = 0;
        };
        assert_eq!(broken(outreach), None);
    }

    #[test]
    fn times_before_1970_survive_both_ways() {
        for (second, nanosecond) in [(0, 0), (-1, 500_000_000), (1_700_000_000, 1)] {
            let time = prost_types::Timestamp {
                seconds: second,
                nanos: nanosecond,
            };
            assert_eq!(from_proto_time(&time).map(to_proto_time), Some(time));
        }
    }
}
