//! The active messages that stages call for.

use plazo_domain::{
    AutoClose, InactivityPolicy, MAX_TEXT_CHARS, Template, TemplateValues, Warning,
};
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageKind};

use crate::instants::to_proto;
use crate::store::clocks::{LockedClock, TicketKey};
use crate::store::parties::Recipient;
use crate::store::tickets::BotSettings;

/// Why a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Purpose {
    kind: ActiveMessageKind,
    name: &'static str,
}

/// The warning before a close.
pub(super) const WARNING: Purpose = Purpose {
    kind: ActiveMessageKind::Warning,
    name: "warning",
};
/// The text after a close.
pub(super) const CLOSING: Purpose = Purpose {
    kind: ActiveMessageKind::ClosingText,
    name: "closing",
};

/// The key that makes a message one, however often it is handed over.
pub(super) fn idempotency_key(key: TicketKey, cycle: i32, purpose: Purpose) -> String {
    format!("ticket/{}/cycle/{cycle}/{}", key.ticket_id, purpose.name)
}

/// The cycle whose warning a key names; none for other keys.
pub(crate) fn warned_cycle(key: TicketKey, idempotency_key: &str) -> Option<i32> {
    idempotency_key
        .strip_prefix(&format!("ticket/{}/cycle/", key.ticket_id))?
        .strip_suffix("/warning")?
        .parse()
        .ok()
}

/// The message for a purpose; none when the policy has no text for it.
pub(super) fn compose(
    purpose: Purpose,
    cycle: i32,
    policy: &InactivityPolicy,
    recipient: &Recipient,
    settings: &BotSettings,
    locked: &LockedClock,
) -> Option<ActiveMessage> {
    let (text, placeholders, image_url) = if purpose == WARNING {
        let warning = policy.warning.as_ref()?;
        (
            warning.text.as_str(),
            Warning::PLACEHOLDERS.as_slice(),
            warning.image_url.clone(),
        )
    } else {
        let text = policy.auto_close.as_ref()?.closing_text.as_deref()?;
        (text, AutoClose::PLACEHOLDERS.as_slice(), None)
    };
    let values = TemplateValues {
        contact_name: &recipient.name,
        // Also what is left when the warning goes out late: the close moves with it.
        time_left_ms: policy.warning_gap_ms().unwrap_or_default(),
    };
    // Policies are checked before they are saved; one that is broken all the same goes out as it was written.
    let text = Template::parse(text, placeholders)
        .map_or_else(|_| text.to_owned(), |template| template.render(&values));
    // The name may have made it too long, and what notification can't store is never accepted.
    let text = text.chars().take(MAX_TEXT_CHARS).collect();
    Some(ActiveMessage {
        tenant_id: recipient.key.tenant_id,
        idempotency_key: idempotency_key(recipient.key, cycle, purpose),
        kind: purpose.kind.into(),
        bot_id: locked.bot_id,
        ticket_id: recipient.key.ticket_id,
        contact_id: recipient.contact_id,
        recipient: Some(recipient.identity.clone()),
        channel_account_id: settings.channel_account_id,
        text,
        image_url: image_url.unwrap_or_default(),
        last_customer_message_time: locked.last_customer_message_at.map(to_proto),
        // The close moves with the acceptance of its warning, so no instant that is known now would be the right one;
        // notification calls the warning off when it sees the close.
        valid_until_time: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warnings_key_tells_its_cycle() {
        let key = TicketKey {
            tenant_id: 1,
            ticket_id: 42,
        };
        assert_eq!(
            warned_cycle(key, &idempotency_key(key, 7, WARNING)),
            Some(7)
        );
        assert_eq!(warned_cycle(key, &idempotency_key(key, 7, CLOSING)), None);
        let other = TicketKey {
            tenant_id: 1,
            ticket_id: 4,
        };
        assert_eq!(warned_cycle(other, &idempotency_key(key, 7, WARNING)), None);
    }
}
