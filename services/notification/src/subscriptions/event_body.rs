//! The bodies of subscribers' calls. README.md documents them.
//!
//! Ids are strings, since many readers of JSON have no 64-bit integers; instants are RFC 3339 in UTC. What a customer
//! wrote, or is called, or can be reached at is there only for subscriptions that ask for it.

use jiff::Timestamp;
use plazo_proto::common::v1::{Author, AuthorKind, Channel, ChannelIdentity};
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageKind, ActiveMessageState};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Alert, Automation, AutomationResumeCause, AutomationState, CloseSource, Closure, Contact,
    CycleKind, CycleStart, HoldEnd, Message, MessageKind, Stage, TicketEvent, TicketState,
};
use serde_json::{Map, Value, json};

use crate::message::from_proto_time;

/// The body of an event, the same whenever it is made.
pub(super) fn body(event: &TicketEvent, event_type: &str, with_customer_data: bool) -> String {
    let mut data = json!({
        "event_id": event.event_id.to_string(),
        "tenant_id": event.tenant_id.to_string(),
        "bot_id": event.bot_id.to_string(),
        "ticket_id": event.ticket_id.to_string(),
        "ticket_seq": event.ticket_seq.to_string(),
        "author": author(event.author.as_ref()),
    });
    if let (Value::Object(data), Some(payload)) = (&mut data, &event.payload) {
        data.extend(fields(payload, with_customer_data));
    }
    json!({"type": event_type, "timestamp": time(event.event_time.as_ref()), "data": data})
        .to_string()
}

/// A body as it is without what a customer wrote, or is called, or can be reached at; none when it has nothing of it.
pub(crate) fn without_customer_data(body: &str) -> Option<String> {
    let mut event: Value = serde_json::from_str(body).ok()?;
    let data = event.get_mut("data")?.as_object_mut()?;
    let mut is_changed = false;
    for (part, fields) in CUSTOMER_DATA {
        if let Some(Value::Object(part)) = data.get_mut(part) {
            for field in fields {
                is_changed |= part.remove(*field).is_some();
            }
        }
    }
    is_changed.then(|| event.to_string())
}

/// The fields with customers' data, in the parts of `data` that have such.
const CUSTOMER_DATA: [(&str, &[&str]); 4] = [
    ("hold", &["reason"]),
    ("closure", &["summary"]),
    ("contact", &["name", "email", "phone", "address"]),
    (
        "message",
        &["text", "attachment_urls", "image_url", "address"],
    ),
];

/// The body of a test.
pub(crate) fn test_body(tenant_id: i64, subscription_id: i64, now: Timestamp) -> String {
    let data = json!({
        "tenant_id": tenant_id.to_string(),
        "subscription_id": subscription_id.to_string(),
    });
    json!({"type": "test", "timestamp": now.to_string(), "data": data}).to_string()
}

fn fields(payload: &Payload, with_customer_data: bool) -> Map<String, Value> {
    let fields = match payload {
        Payload::Opened(opened) => json!({
            "queue_id": id(opened.queue_id),
            "agent_id": id(opened.agent_id),
            "previous_ticket_id": id(opened.previous_ticket_id),
            "contact": contact(opened.contact.as_ref(), with_customer_data),
            "cycles": cycles(&opened.cycles),
        }),
        Payload::Assigned(assigned) => json!({
            "agent_id": id(assigned.agent_id),
            "previous_agent_id": id(assigned.previous_agent_id),
        }),
        Payload::MessageRecorded(recorded) => json!({
            "message": recorded.message.as_ref().map(|one| message(one, with_customer_data)),
            "state": ticket_state(recorded.state()),
            "cycles": cycles(&recorded.cycles),
        }),
        Payload::StageFired(fired) => json!({
            "cycle": fired.cycle,
            "cycle_kind": cycle_kind(fired.kind()),
            "stage": stage(fired.stage()),
            "alert": alert(fired.alert()),
            "due_time": time(fired.due_time.as_ref()),
            "policy_version": id(fired.policy_version),
        }),
        Payload::AlertCleared(cleared) => json!({
            "previous_alert": alert(cleared.previous_alert()),
            "previous_agent_alert": alert(cleared.previous_agent_alert()),
        }),
        Payload::Closed(closed) => json!({
            "closure": closed.closure.as_ref().map(|one| closure(one, with_customer_data)),
            "cycle": (closed.cycle != 0).then_some(closed.cycle),
            "tags": closed.tags,
            "unassigned_agent_id": id(closed.unassigned_agent_id),
        }),
        Payload::Reopened(reopened) => json!({
            "state": ticket_state(reopened.state()),
            "agent_id": id(reopened.agent_id),
            "supersedes_close": reopened.supersedes_close,
            "tags": reopened.tags,
            "contact": contact(reopened.contact.as_ref(), with_customer_data),
        }),
        Payload::ContactChanged(changed) => json!({
            "contact": contact(changed.contact.as_ref(), with_customer_data),
            "previous_contact_id": id(changed.previous_contact_id),
        }),
        Payload::PersonalDataErased(erased) => json!({
            "erasure_id": id(erased.erasure_id),
            "contact_id": id(erased.contact_id),
        }),
        Payload::ActiveMessageRequested(requested) => json!({
            "message": requested.message.as_ref().map(|one| active_message(one, with_customer_data)),
        }),
        Payload::ActiveMessageReported(reported) => json!({
            "idempotency_key": reported.idempotency_key,
            "state": message_state(reported.state()),
            "state_time": time(reported.state_time.as_ref()),
            "failure_reason": text(&reported.failure_reason),
        }),
        other => return ticket_fields(other, with_customer_data),
    };
    object(fields)
}

/// Of events that are about the ticket as a whole.
fn ticket_fields(payload: &Payload, with_customer_data: bool) -> Map<String, Value> {
    let fields = match payload {
        Payload::Held(held) => json!({
            "hold": held.hold.as_ref().map(|hold| {
                let mut fields = json!({
                    "start_time": time(hold.start_time.as_ref()),
                    "end_time": time(hold.end_time.as_ref()),
                    "author": author(hold.author.as_ref()),
                });
                if with_customer_data {
                    fields["reason"] = json!(hold.reason);
                }
                fields
            }),
        }),
        Payload::HoldEnded(ended) => json!({
            "cause": hold_end(ended.cause()),
            "due_time": time(ended.due_time.as_ref()),
            "cycles": cycles(&ended.cycles),
        }),
        Payload::Transferred(transferred) => json!({
            "queue_id": id(transferred.queue_id),
            "previous_queue_id": id(transferred.previous_queue_id),
            "previous_agent_id": id(transferred.previous_agent_id),
        }),
        Payload::TagsChanged(changed) => json!({
            "added": changed.added,
            "removed": changed.removed,
            "tags": changed.tags,
        }),
        Payload::AutomationPaused(paused) => json!({
            "automation": paused.automation.as_ref().map(automation),
        }),
        Payload::AutomationResumed(resumed) => json!({
            "cause": resume_cause(resumed.cause()),
            "due_time": time(resumed.due_time.as_ref()),
        }),
        Payload::PolicyApplied(applied) => json!({
            "policy_version": id(applied.policy_version),
            "cycles": cycles(&applied.cycles),
            "ended_cycles": applied.ended_cycles,
        }),
        // Unlinked and SetOpen say all by their type; the rest has fields of its own.
        _ => json!({}),
    };
    object(fields)
}

fn object(fields: Value) -> Map<String, Value> {
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn id(id: i64) -> Option<String> {
    (id != 0).then(|| id.to_string())
}

fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn time(time: Option<&prost_types::Timestamp>) -> Option<String> {
    Some(from_proto_time(time?)?.to_string())
}

/// `ALERT_RED` becomes `red`; what is unspecified becomes null.
fn name(proto_name: &'static str, prefix: &str) -> Option<String> {
    let name = proto_name.strip_prefix(prefix).unwrap_or(proto_name);
    (name != "UNSPECIFIED").then(|| name.to_ascii_lowercase())
}

fn author(author: Option<&Author>) -> Option<Value> {
    let author = author?;
    let kind = name(AuthorKind::as_str_name(&author.kind()), "AUTHOR_KIND_")?;
    Some(json!({"kind": kind, "id": id(author.id)}))
}

fn ticket_state(state: TicketState) -> Option<String> {
    name(state.as_str_name(), "TICKET_STATE_")
}

fn alert(alert: Alert) -> Option<String> {
    name(alert.as_str_name(), "ALERT_")
}

fn stage(stage: Stage) -> Option<String> {
    name(stage.as_str_name(), "STAGE_")
}

fn cycle_kind(kind: CycleKind) -> Option<String> {
    name(kind.as_str_name(), "CYCLE_KIND_")
}

fn hold_end(cause: HoldEnd) -> Option<String> {
    name(cause.as_str_name(), "HOLD_END_")
}

fn resume_cause(cause: AutomationResumeCause) -> Option<String> {
    name(cause.as_str_name(), "AUTOMATION_RESUME_CAUSE_")
}

fn message_state(state: ActiveMessageState) -> Option<String> {
    name(state.as_str_name(), "ACTIVE_MESSAGE_STATE_")
}

fn automation(automation: &Automation) -> Value {
    json!({
        "state": name(AutomationState::as_str_name(&automation.state()), "AUTOMATION_STATE_"),
        "resume_time": time(automation.resume_time.as_ref()),
    })
}

fn cycles(cycles: &[CycleStart]) -> Vec<Value> {
    let cycle = |start: &CycleStart| {
        json!({
            "cycle": start.cycle,
            "cycle_kind": cycle_kind(start.kind()),
            "anchor_time": time(start.anchor_time.as_ref()),
            "policy_version": id(start.policy_version),
        })
    };
    cycles.iter().map(cycle).collect()
}

fn closure(closure: &Closure, with_customer_data: bool) -> Value {
    let note = closure.note.as_ref();
    let mut fields = json!({
        "close_time": time(closure.close_time.as_ref()),
        "source": name(CloseSource::as_str_name(&closure.source()), "CLOSE_SOURCE_"),
        "author": author(closure.author.as_ref()),
        "category": note.and_then(|note| text(&note.category)),
        "exit_route": text(&closure.exit_route),
    });
    if with_customer_data {
        fields["summary"] = json!(note.and_then(|note| text(&note.summary)));
    }
    fields
}

fn contact(contact: Option<&Contact>, with_customer_data: bool) -> Option<Value> {
    let contact = contact?;
    let mut fields = json!({
        "contact_id": id(contact.contact_id),
        "channel": contact.channel_identity.as_ref().and_then(channel),
    });
    if with_customer_data {
        fields["name"] = json!(text(&contact.name));
        fields["email"] = json!(text(&contact.email));
        fields["phone"] = json!(text(&contact.phone));
        fields["address"] = json!(contact.channel_identity.as_ref().map(|one| &one.address));
    }
    Some(fields)
}

fn channel(identity: &ChannelIdentity) -> Option<String> {
    name(Channel::as_str_name(&identity.channel()), "CHANNEL_")
}

fn message(message: &Message, with_customer_data: bool) -> Value {
    let mut fields = json!({
        "message_id": id(message.message_id),
        "author": author(message.author.as_ref()),
        "kind": name(MessageKind::as_str_name(&message.kind()), "MESSAGE_KIND_"),
        "record_time": time(message.record_time.as_ref()),
        "channel_time": time(message.channel_time.as_ref()),
    });
    if with_customer_data {
        fields["text"] = json!(message.text);
        fields["attachment_urls"] = json!(message.attachment_urls);
    }
    fields
}

fn active_message(message: &ActiveMessage, with_customer_data: bool) -> Value {
    let mut fields = json!({
        "idempotency_key": message.idempotency_key,
        "kind": name(ActiveMessageKind::as_str_name(&message.kind()), "ACTIVE_MESSAGE_KIND_"),
        "contact_id": id(message.contact_id),
        "channel": message.recipient.as_ref().and_then(channel),
        "channel_account_id": id(message.channel_account_id),
    });
    if with_customer_data {
        fields["text"] = json!(message.text);
        fields["image_url"] = json!(text(&message.image_url));
        fields["address"] = json!(message.recipient.as_ref().map(|one| &one.address));
    }
    fields
}

#[cfg(test)]
mod tests {
    use plazo_proto::ticketing::v1::{
        ActiveMessageRequested, ClosingNote, ContactChanged, Hold, MessageRecorded, TicketClosed,
        TicketHeld, TicketOpened, TicketReopened, TicketTransferred,
    };

    use super::*;

    fn payloads() -> Vec<Payload> {
        let secret = || "secret".to_owned();
        let identity = || ChannelIdentity {
            channel: Channel::Whatsapp.into(),
            address: secret(),
        };
        let contact = || {
            Some(Contact {
                contact_id: 5,
                name: secret(),
                email: secret(),
                phone: secret(),
                channel_identity: Some(identity()),
                etag: String::new(),
            })
        };
        let written = Message {
            text: secret(),
            attachment_urls: vec![secret()],
            ..Message::default()
        };
        let sent = ActiveMessage {
            idempotency_key: "key".to_owned(),
            recipient: Some(identity()),
            text: secret(),
            image_url: secret(),
            ..ActiveMessage::default()
        };
        let closure = Closure {
            note: Some(ClosingNote {
                category: "sales".to_owned(),
                summary: secret(),
            }),
            ..Closure::default()
        };
        let hold = Hold {
            reason: secret(),
            ..Hold::default()
        };
        vec![
            Payload::Opened(TicketOpened {
                contact: contact(),
                ..Default::default()
            }),
            Payload::Reopened(TicketReopened {
                contact: contact(),
                ..Default::default()
            }),
            Payload::ContactChanged(ContactChanged {
                contact: contact(),
                ..Default::default()
            }),
            Payload::MessageRecorded(MessageRecorded {
                message: Some(written),
                ..Default::default()
            }),
            Payload::ActiveMessageRequested(ActiveMessageRequested {
                message: Some(sent),
            }),
            Payload::Closed(TicketClosed {
                closure: Some(closure),
                ..Default::default()
            }),
            Payload::Held(TicketHeld { hold: Some(hold) }),
        ]
    }

    #[test]
    fn a_body_can_lose_its_customer_data_later() {
        for payload in payloads() {
            let event = TicketEvent {
                event_id: 1,
                payload: Some(payload),
                ..TicketEvent::default()
            };
            let (with, without) = (body(&event, "type", true), body(&event, "type", false));
            assert!(
                with.contains("secret") && !without.contains("secret"),
                "{with}"
            );
            assert_eq!(without_customer_data(&with).as_deref(), Some(&*without));
            assert_eq!(without_customer_data(&without), None);
        }
        let event = TicketEvent {
            payload: Some(Payload::Transferred(TicketTransferred::default())),
            ..TicketEvent::default()
        };
        assert_eq!(without_customer_data(&body(&event, "type", true)), None);
    }
}
