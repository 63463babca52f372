//! The types under which subscribers know ticketing's events.

use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{Stage, TicketEvent};

/// Every type that a subscription can name, sorted.
pub(crate) const ALL: [&str; 22] = [
    "active_message.reported",
    "active_message.requested",
    "automation.paused",
    "automation.resumed",
    "message.recorded",
    "ticket.alert_cleared",
    "ticket.alert_raised",
    "ticket.assigned",
    "ticket.close_reached",
    "ticket.closed",
    "ticket.contact_changed",
    "ticket.held",
    "ticket.hold_ended",
    "ticket.opened",
    "ticket.personal_data_erased",
    "ticket.policy_applied",
    "ticket.reopened",
    "ticket.set_open",
    "ticket.tags_changed",
    "ticket.transferred",
    "ticket.unlinked",
    "ticket.warning_reached",
];

/// The type of an event; none for one of a newer ticketing, which subscribers don't get.
pub(super) fn of(event: &TicketEvent) -> Option<&'static str> {
    Some(match event.payload.as_ref()? {
        Payload::Opened(_) => "ticket.opened",
        Payload::Assigned(_) => "ticket.assigned",
        Payload::MessageRecorded(_) => "message.recorded",
        Payload::StageFired(fired) => match fired.stage() {
            Stage::FirstAlert | Stage::SecondAlert => "ticket.alert_raised",
            Stage::Warning => "ticket.warning_reached",
            Stage::Close => "ticket.close_reached",
            Stage::Unspecified => return None,
        },
        Payload::AlertCleared(_) => "ticket.alert_cleared",
        Payload::Closed(_) => "ticket.closed",
        Payload::Reopened(_) => "ticket.reopened",
        Payload::ActiveMessageRequested(_) => "active_message.requested",
        Payload::ActiveMessageReported(_) => "active_message.reported",
        Payload::Held(_) => "ticket.held",
        Payload::HoldEnded(_) => "ticket.hold_ended",
        Payload::Transferred(_) => "ticket.transferred",
        Payload::Unlinked(_) => "ticket.unlinked",
        Payload::SetOpen(_) => "ticket.set_open",
        Payload::TagsChanged(_) => "ticket.tags_changed",
        Payload::AutomationPaused(_) => "automation.paused",
        Payload::AutomationResumed(_) => "automation.resumed",
        Payload::PolicyApplied(_) => "ticket.policy_applied",
        Payload::ContactChanged(_) => "ticket.contact_changed",
        Payload::PersonalDataErased(_) => "ticket.personal_data_erased",
    })
}

/// Whether a subscription can name it: a type, or all of a kind as `ticket.*`.
pub(crate) fn is_filter(text: &str) -> bool {
    match text.strip_suffix('*') {
        Some(kind) => kind.ends_with('.') && ALL.iter().any(|one| one.starts_with(kind)),
        None => ALL.contains(&text),
    }
}

/// Whether filters take a type; none of them takes all.
pub(super) fn is_wanted(filters: &[String], event_type: &str) -> bool {
    let takes = |filter: &String| match filter.strip_suffix('*') {
        Some(kind) => event_type.starts_with(kind),
        None => filter == event_type,
    };
    filters.is_empty() || filters.iter().any(takes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use plazo_proto::ticketing::v1::StageFired;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// Events with each payload that the contract has, empty, by the field's name.
    fn all_payloads() -> Vec<(String, TicketEvent)> {
        let files =
            FileDescriptorSet::decode(plazo_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
        let messages = files.file.iter().flat_map(|file| &file.message_type);
        let event = messages
            .into_iter()
            .find(|message| message.name() == "TicketEvent")
            .expect("the contract has events");
        let payloads = event
            .field
            .iter()
            .filter(|field| field.oneof_index.is_some());
        payloads
            .map(|field| {
                let mut bytes = Vec::new();
                let length_delimited = 2;
                let key = u64::from(field.number().unsigned_abs()) << 3 | length_delimited;
                prost::encoding::encode_varint(key, &mut bytes);
                bytes.push(0);
                let event = TicketEvent::decode(bytes.as_slice()).expect("an empty message");
                (field.name().to_owned(), event)
            })
            .collect()
    }

    #[test]
    fn each_payload_of_the_contract_has_a_type_and_each_type_a_payload() {
        let mut found = BTreeSet::new();
        let payloads = all_payloads();
        assert!(payloads.len() >= 18);
        for (name, mut event) in payloads {
            assert!(event.payload.is_some(), "{name}");
            if let Some(Payload::StageFired(_)) = event.payload {
                assert_eq!(of(&event), None, "a stage that this program doesn't know");
                for stage in [
                    Stage::FirstAlert,
                    Stage::SecondAlert,
                    Stage::Warning,
                    Stage::Close,
                ] {
                    event.payload = Some(Payload::StageFired(StageFired {
                        stage: stage.into(),
                        ..StageFired::default()
                    }));
                    found.insert(of(&event).expect("a known stage"));
                }
            } else {
                let event_type = of(&event);
                assert!(event_type.is_some_and(|one| found.insert(one)), "{name}");
            }
            let body = super::super::event_body::body(&event, "some", true);
            let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert!(body["data"]["ticket_id"].is_string(), "{name}");
        }
        assert!(found.iter().eq(&ALL), "{found:?}");
        assert!(ALL.is_sorted());
    }

    #[test]
    fn filters_name_types_or_kinds() {
        for text in ["ticket.closed", "ticket.*", "automation.*", "message.*"] {
            assert!(is_filter(text), "{text}");
        }
        for text in [
            "",
            "*",
            "ticket",
            "ticket.",
            "tick*",
            "ticket.c*",
            "other.*",
            "Ticket.closed",
            ".*",
            "test",
        ] {
            assert!(!is_filter(text), "{text}");
        }
        let filters = ["ticket.*".to_owned(), "message.recorded".to_owned()];
        for event_type in ALL {
            let expected = event_type.starts_with("ticket.") || event_type == "message.recorded";
            assert_eq!(is_wanted(&filters, event_type), expected, "{event_type}");
            assert!(is_wanted(&[], event_type));
        }
    }
}
