//! Callbacks of the WhatsApp Cloud API: statuses of our messages, and what customers write.

use std::collections::HashMap;

use jiff::Timestamp;
use plazo_proto::notification::v1::ActiveMessageState;
use plazo_service::Redacted;
use serde_json::Value;

use super::message_id_of;
use super::news::{
    Inbound, News, Status, Unreadable, clean_name, clean_text, described, provider_id,
};

/// An E.164 number has so many digits at most.
const PHONE_DIGITS_MAX: usize = 15;
/// The code of free text whose customer wrote too long ago.
const OUTSIDE_WINDOW: i64 = 131_047;

/// Reads the body of a callback for the number with this id. A body may tell of several numbers and of other things than
/// messages: these are passed over.
pub(crate) fn read(body: &[u8], phone_number_id: &str) -> Result<News, Unreadable> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Unreadable)?;
    let entries = body.get("entry").and_then(Value::as_array);
    let mut news = News::default();
    for change in entries
        .ok_or(Unreadable)?
        .iter()
        .flat_map(|entry| items(entry, "changes"))
    {
        let value = &change["value"];
        let (statuses, messages) = (items(value, "statuses"), items(value, "messages"));
        if value["metadata"]["phone_number_id"].as_str() != Some(phone_number_id) {
            news.skipped += statuses.len() + messages.len();
            continue;
        }
        for status in statuses {
            match read_status(status) {
                Some(status) => news.statuses.push(status),
                None => news.skipped += 1,
            }
        }
        let names = names(value);
        for message in messages {
            match read_message(message, &names) {
                Some(message) => news.inbound.push(message),
                None => news.skipped += 1,
            }
        }
    }
    Ok(news)
}

/// Whether a code says that the number must send no more until somebody has looked.
pub(crate) fn stops_number(code: i64) -> bool {
    matches!(
        code,
        131_048 | 131_031 | 131_042 | 368 | 0 | 190 | 10 | 200..=299
    )
}

/// The items of a list; none when there is no such list.
fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value
        .get(field)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// How those who wrote call themselves, by their numbers.
fn names(value: &Value) -> HashMap<&str, &str> {
    items(value, "contacts")
        .iter()
        .filter_map(|contact| {
            let number = contact["wa_id"].as_str()?;
            Some((number, contact["profile"]["name"].as_str()?))
        })
        .collect()
}

fn read_status(status: &Value) -> Option<Status> {
    let state = match status["status"].as_str()? {
        "sent" => ActiveMessageState::Sent,
        "delivered" => ActiveMessageState::Delivered,
        "read" | "played" => ActiveMessageState::Read,
        "failed" => ActiveMessageState::Failed,
        _ => return None,
    };
    let is_failed = state == ActiveMessageState::Failed;
    let mut errors = items(status, "errors").iter();
    let failure_code = errors
        .find_map(|error| error["code"].as_i64())
        .filter(|_| is_failed);
    Some(Status {
        message_id: status["biz_opaque_callback_data"]
            .as_str()
            .and_then(message_id_of),
        provider_message_id: Some(provider_id(status["id"].as_str()?)?),
        state,
        is_window_closed: failure_code == Some(OUTSIDE_WINDOW),
        failure_reason: match failure_code {
            Some(OUTSIDE_WINDOW) => "OUTSIDE_WINDOW".to_owned(),
            Some(code) => format!("WHATSAPP_{code}"),
            None if is_failed => "WHATSAPP_FAILED".to_owned(),
            None => String::new(),
        },
        failure_code,
    })
}

fn read_message(message: &Value, names: &HashMap<&str, &str>) -> Option<Inbound> {
    let number = message["from"].as_str()?;
    let is_number = (1..=PHONE_DIGITS_MAX).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return None;
    }
    let text = text_of(message)?;
    if text.trim().is_empty() {
        return None;
    }
    Some(Inbound {
        provider_message_id: provider_id(message["id"].as_str()?)?,
        address: Redacted(format!("+{number}")),
        sender_name: Redacted(clean_name(names.get(number).unwrap_or(&""))),
        text: Redacted(text),
        attachment_urls: Redacted(Vec::new()),
        sent_at: sent_at(&message["timestamp"]),
    })
}

/// What is written in whole seconds, as text.
fn sent_at(timestamp: &Value) -> Option<Timestamp> {
    let seconds = timestamp.as_str()?.parse().ok()?;
    Timestamp::from_second(seconds).ok()
}

/// What the customer said, in words. None for what he didn't say himself.
fn text_of(message: &Value) -> Option<String> {
    let kind = message["type"].as_str()?;
    let content = &message[kind];
    let words = |field: &str| content[field].as_str().unwrap_or_default();
    let text = match kind {
        "text" => clean_text(words("body")),
        "button" => clean_text(words("text")),
        "interactive" => {
            let reply = ["button_reply", "list_reply"]
                .into_iter()
                .find_map(|reply| content[reply]["title"].as_str());
            reply.map_or_else(|| described(kind, ""), clean_text)
        }
        "image" | "video" | "document" | "audio" | "sticker" => described(kind, words("caption")),
        "location" => described(kind, &place(content)),
        // One that is taken back has no emoji.
        "reaction" => described(kind, content["emoji"].as_str().filter(|it| !it.is_empty())?),
        // The customer changed his number, or opened the chat for the first time.
        "system" | "request_welcome" => return None,
        "contacts" | "order" => described(kind, ""),
        _ => described("unsupported", ""),
    };
    Some(text)
}

fn place(location: &Value) -> String {
    let named = ["name", "address"].into_iter();
    let mut words: Vec<String> = named
        .filter_map(|field| location[field].as_str())
        .map(str::to_owned)
        .collect();
    if let (Some(latitude), Some(longitude)) = (
        location["latitude"].as_f64(),
        location["longitude"].as_f64(),
    ) {
        words.push(format!("{latitude}, {longitude}"));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NUMBER: &str = "106540352242922";

    fn body(value: &Value) -> Vec<u8> {
        let body = json!({
            "object": "whatsapp_business_account",
            "entry": [{"id": "8856996819413533", "changes": [{"field": "messages", "value": value}]}],
        });
        body.to_string().into_bytes()
    }

    fn told(value: &Value) -> News {
        let mut value = value.clone();
        value["metadata"] =
            json!({"display_phone_number": "15550783881", "phone_number_id": NUMBER});
        read(&body(&value), NUMBER).expect("readable")
    }

    #[test]
    fn statuses_are_read_with_both_ids_and_the_code() {
        let news = told(&json!({"statuses": [
            {"id": "wamid.1", "status": "sent", "timestamp": "1750030073", "recipient_id": "16505551234",
             "biz_opaque_callback_data": "msg_42", "pricing": {"billable": true}},
            {"id": "wamid.2", "status": "failed", "timestamp": "1750030073", "recipient_id": "16505551234",
             "errors": [{"code": 131_026, "title": "Message undeliverable"}]},
            {"id": "wamid.3", "status": "deleted"},
            {"status": "read"},
            7,
        ]}));
        assert_eq!(news.skipped, 3);
        assert_eq!(
            news.statuses,
            [
                Status {
                    message_id: Some(42),
                    provider_message_id: Some("wamid.1".to_owned()),
                    state: ActiveMessageState::Sent,
                    failure_reason: String::new(),
                    failure_code: None,
                    is_window_closed: false,
                },
                Status {
                    message_id: None,
                    provider_message_id: Some("wamid.2".to_owned()),
                    state: ActiveMessageState::Failed,
                    failure_reason: "WHATSAPP_131026".to_owned(),
                    failure_code: Some(131_026),
                    is_window_closed: false,
                },
            ]
        );
    }

    #[test]
    fn what_customers_send_becomes_text() {
        for (kind, content, expected) in [
            ("text", json!({"body": "Oi\u{0}"}), Some("Oi")),
            ("text", json!({"body": ""}), None),
            (
                "image",
                json!({"id": "1", "caption": "here"}),
                Some("[image] here"),
            ),
            ("audio", json!({"id": "1", "voice": true}), Some("[audio]")),
            (
                "button",
                json!({"text": "Yes", "payload": "y"}),
                Some("Yes"),
            ),
            (
                "interactive",
                json!({"type": "list_reply", "list_reply": {"id": "1", "title": "Priority"}}),
                Some("Priority"),
            ),
            (
                "interactive",
                json!({"type": "nfm_reply"}),
                Some("[interactive]"),
            ),
            (
                "location",
                json!({"latitude": 37.5, "longitude": -122.25, "name": "Office"}),
                Some("[location] Office, 37.5, -122.25"),
            ),
            (
                "reaction",
                json!({"message_id": "x", "emoji": "👍"}),
                Some("[reaction] 👍"),
            ),
            ("reaction", json!({"message_id": "x", "emoji": ""}), None),
            ("system", json!({"body": "changed"}), None),
            ("contacts", json!([{}]), Some("[contacts]")),
            ("hologram", json!(null), Some("[unsupported]")),
        ] {
            let mut message = json!({"from": "5511987654321", "id": "wamid.1", "timestamp": "1750030073",
                "type": kind});
            message[kind] = content;
            let news = told(&json!({
                "contacts": [{"profile": {"name": "Ana"}, "wa_id": "5511987654321"}],
                "messages": [message],
            }));
            let text = news.inbound.first().map(|it| it.text.0.as_str());
            assert_eq!(text, expected, "{kind}");
            assert_eq!(news.skipped, usize::from(expected.is_none()));
            if let Some(inbound) = news.inbound.first() {
                assert_eq!(inbound.address.0, "+5511987654321");
                assert_eq!(inbound.sender_name.0, "Ana");
                assert_eq!(inbound.sent_at, Timestamp::from_second(1_750_030_073).ok());
            }
        }
    }

    #[test]
    fn other_numbers_and_other_things_are_passed_over() {
        let value = json!({
            "metadata": {"phone_number_id": "1"},
            "statuses": [{"id": "wamid.1", "status": "read"}],
            "messages": [{"from": "55", "id": "wamid.2", "type": "text", "text": {"body": "Oi"}}],
        });
        let news = read(&body(&value), NUMBER).expect("readable");
        assert_eq!(
            news,
            News {
                skipped: 2,
                ..News::default()
            }
        );
        let update = json!({"event": "PARTNER_REMOVED"});
        assert_eq!(read(&body(&update), NUMBER), Ok(News::default()));
        for unreadable in [
            "",
            "[]",
            "7",
            "{}",
            "{\"entry\": 7}",
            "{\"entry\": []",
            "\u{feff}{}",
        ] {
            assert_eq!(
                read(unreadable.as_bytes(), NUMBER),
                Err(Unreadable),
                "{unreadable}"
            );
        }
        let from_letters = json!({"messages": [
            {"from": "55a", "id": "wamid.2", "type": "text", "text": {"body": "Oi"}},
            {"from": "", "id": "wamid.2", "type": "text", "text": {"body": "Oi"}},
            {"from": "5511987654321", "id": "", "type": "text", "text": {"body": "Oi"}},
        ]});
        assert_eq!(told(&from_letters).skipped, 3);
    }

    /// Any JSON, with the field names that mean something.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            prop::sample::select(vec![
                NUMBER,
                "text",
                "image",
                "location",
                "failed",
                "sent",
                "5511987654321"
            ])
            .prop_map(Value::from),
        ];
        let field = prop::sample::select(vec![
            "entry",
            "changes",
            "value",
            "metadata",
            "phone_number_id",
            "statuses",
            "messages",
            "status",
            "id",
            "errors",
            "code",
            "from",
            "type",
            "text",
            "body",
            "image",
            "caption",
            "location",
            "latitude",
            "longitude",
            "contacts",
            "profile",
            "name",
            "wa_id",
            "timestamp",
            "interactive",
            "list_reply",
            "biz_opaque_callback_data",
        ]);
        leaf.prop_recursive(8, 96, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((field.clone(), inner), 0..6).prop_map(|fields| {
                    fields
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect::<serde_json::Map<_, _>>()
                        .into()
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_brings_it_down(value in any_json()) {
            let _ = read(value.to_string().as_bytes(), NUMBER);
            let _ = told_any(&value);
        }

        #[test]
        fn no_bytes_bring_it_down(bytes: Vec<u8>) {
            prop_assert_eq!(read(&bytes, NUMBER), Err(Unreadable));
        }
    }

    /// As the items of a body that is right so far.
    fn told_any(value: &Value) -> Result<News, Unreadable> {
        let value = json!({
            "metadata": {"phone_number_id": NUMBER},
            "contacts": [value],
            "messages": [value],
            "statuses": [value],
        });
        read(&body(&value), NUMBER)
    }
}
