//! Callbacks of Blip: notifications about our messages, and what customers write. Each body is one of either.

use jiff::Timestamp;
use plazo_proto::notification::v1::ActiveMessageState;
use plazo_service::Redacted;
use serde_json::Value;

use super::message_id_of;
use super::news::{
    Inbound, News, Status, Unreadable, clean_name, clean_text, described, provider_id,
};

const ADDRESS_CHARS_MAX: usize = 256;
const URL_CHARS_MAX: usize = 2_048;

/// Reads the body of a callback.
pub(crate) fn read(body: &[u8]) -> Result<News, Unreadable> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Unreadable)?;
    if !body.is_object() {
        return Err(Unreadable);
    }
    let mut news = News::default();
    if let Some(event) = body.get("event") {
        match read_notification(&body, event) {
            Some(status) => news.statuses.push(status),
            None => news.skipped += 1,
        }
    } else if body.get("content").is_some() {
        match read_message(&body) {
            Some(message) => news.inbound.push(message),
            None => news.skipped += 1,
        }
    } else {
        return Err(Unreadable);
    }
    Ok(news)
}

fn read_notification(body: &Value, event: &Value) -> Option<Status> {
    let state = match event.as_str()? {
        "accepted" | "dispatched" => ActiveMessageState::Sent,
        "received" => ActiveMessageState::Delivered,
        "consumed" => ActiveMessageState::Read,
        "failed" => ActiveMessageState::Failed,
        _ => return None,
    };
    let id = provider_id(body["id"].as_str()?)?;
    let is_failed = state == ActiveMessageState::Failed;
    let failure_code = body["reason"]["code"].as_i64().filter(|_| is_failed);
    Some(Status {
        // The ids of our messages are ours; those of other senders by the same contract are not.
        message_id: message_id_of(&id),
        provider_message_id: Some(id),
        state,
        failure_reason: match failure_code {
            Some(code) => format!("BLIP_{code}"),
            None if is_failed => "BLIP_FAILED".to_owned(),
            None => String::new(),
        },
        failure_code,
        is_window_closed: false,
    })
}

fn read_message(body: &Value) -> Option<Inbound> {
    // A node is identity/instance: the customer is the identity, whatever device he uses.
    let node = body["from"].as_str()?;
    let address = node.split('/').next().unwrap_or_default();
    let is_address = !address.is_empty()
        && address.chars().count() <= ADDRESS_CHARS_MAX
        && address.contains('@')
        && !address.contains(|c: char| c.is_control() || c.is_whitespace());
    if !is_address {
        return None;
    }
    let (text, attachment_urls) = content_of(body)?;
    if text.trim().is_empty() && attachment_urls.is_empty() {
        return None;
    }
    let metadata = &body["metadata"];
    let name = ["#contact.name", "contact.name"]
        .into_iter()
        .find_map(|field| metadata[field].as_str());
    Some(Inbound {
        provider_message_id: provider_id(body["id"].as_str()?)?,
        address: Redacted(address.to_owned()),
        sender_name: Redacted(clean_name(name.unwrap_or_default())),
        text: Redacted(text),
        attachment_urls: Redacted(attachment_urls),
        sent_at: sent_at(metadata),
    })
}

/// What the customer said, in words, and the addresses of what he sent along. None for what is no message: that he is
/// typing, for instance.
fn content_of(body: &Value) -> Option<(String, Vec<String>)> {
    let kind = body["type"].as_str()?;
    let content = &body["content"];
    let told = match kind {
        "application/vnd.lime.chatstate+json" => return None,
        "text/plain" => (clean_text(content.as_str()?), Vec::new()),
        "application/vnd.lime.media-link+json" => {
            let words = ["text", "title"]
                .into_iter()
                .find_map(|field| content[field].as_str());
            let uri = content["uri"].as_str().unwrap_or_default();
            let urls = is_url(uri).then(|| uri.to_owned()).into_iter().collect();
            let media = content["type"].as_str().unwrap_or("media");
            let media = media.split('/').next().unwrap_or_default();
            (described(media, words.unwrap_or_default()), urls)
        }
        _ => match content.as_str() {
            Some(text) => (clean_text(text), Vec::new()),
            None => (described(kind, ""), Vec::new()),
        },
    };
    Some(told)
}

/// Whether ticketing takes it as the address of an attachment.
fn is_url(text: &str) -> bool {
    let is_absolute = ["https://", "http://"]
        .iter()
        .any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
    is_absolute
        && text.chars().count() <= URL_CHARS_MAX
        && !text.contains(|c: char| c.is_control() || c.is_whitespace())
}

/// When the channel behind Blip says that it was written, in seconds; else when Blip took it, in milliseconds.
fn sent_at(metadata: &Value) -> Option<Timestamp> {
    let number = |field: &str| -> Option<i64> {
        let value = &metadata[field];
        value
            .as_i64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
    };
    let by_channel = number("#wa.timestamp").and_then(|at| Timestamp::from_second(at).ok());
    by_channel
        .or_else(|| number("#date_processed").and_then(|at| Timestamp::from_millisecond(at).ok()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn told(body: &Value) -> News {
        read(body.to_string().as_bytes()).expect("readable")
    }

    #[test]
    fn notifications_are_read_with_the_reason() {
        for (event, state) in [
            ("accepted", ActiveMessageState::Sent),
            ("dispatched", ActiveMessageState::Sent),
            ("received", ActiveMessageState::Delivered),
            ("consumed", ActiveMessageState::Read),
            ("failed", ActiveMessageState::Failed),
        ] {
            let news = told(&json!({
                "id": "msg_42", "from": "551199@wa.gw.msging.net", "to": "desk@msging.net", "event": event,
                "reason": {"code": 81, "description": "not delivered"},
            }));
            let status = news.statuses.first().expect("a status");
            assert_eq!(
                (status.state, status.message_id),
                (state, Some(42)),
                "{event}"
            );
            let is_failed = state == ActiveMessageState::Failed;
            assert_eq!(
                status.failure_reason,
                if is_failed { "BLIP_81" } else { "" }
            );
        }
        let other = told(&json!({"id": "a-b", "event": "received"}));
        assert_eq!(other.statuses.first().map(|it| it.message_id), Some(None));
        assert_eq!(told(&json!({"id": "a-b", "event": "smelled"})).skipped, 1);
        assert_eq!(told(&json!({"id": 7, "event": "received"})).skipped, 1);
    }

    #[test]
    fn messages_are_read_with_their_attachments() {
        let message = json!({
            "id": "fc1", "from": "5511987654321@wa.gw.msging.net/device", "to": "desk@msging.net",
            "type": "text/plain", "content": "Oi\u{0}", "metadata": {"#wa.timestamp": "1750030073"},
        });
        let news = told(&message);
        let inbound = news.inbound.first().expect("a message");
        assert_eq!(inbound.address.0, "5511987654321@wa.gw.msging.net");
        assert_eq!(inbound.text.0, "Oi");
        assert_eq!(inbound.sent_at, Timestamp::from_second(1_750_030_073).ok());

        let mut media = message.clone();
        media["type"] = json!("application/vnd.lime.media-link+json");
        media["content"] =
            json!({"uri": "https://example.com/a.png", "type": "image/png", "text": "here"});
        let news = told(&media);
        let inbound = news.inbound.first().expect("a message");
        assert_eq!(inbound.text.0, "[image] here");
        assert_eq!(inbound.attachment_urls.0, ["https://example.com/a.png"]);

        media["content"] = json!({"uri": "javascript:alert(1)"});
        let news = told(&media);
        let inbound = news.inbound.first().expect("a message");
        assert_eq!(
            (inbound.text.0.as_str(), inbound.attachment_urls.0.len()),
            ("[media]", 0)
        );

        let mut typing = message.clone();
        typing["type"] = json!("application/vnd.lime.chatstate+json");
        typing["content"] = json!({"state": "composing"});
        assert_eq!(told(&typing).skipped, 1);
        for from in [
            json!("nobody"),
            json!(""),
            json!(7),
            json!("a b@c"),
            json!("x".repeat(300) + "@y"),
        ] {
            let mut message = message.clone();
            message["from"] = from;
            assert_eq!(told(&message).skipped, 1);
        }
        for unreadable in ["", "[]", "7", "{}", "{\"id\": 1}"] {
            assert_eq!(read(unreadable.as_bytes()), Err(Unreadable), "{unreadable}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(bytes: Vec<u8>) {
            prop_assert_eq!(read(&bytes), Err(Unreadable));
        }

        #[test]
        fn no_values_bring_it_down(
            field in prop::sample::select(vec!["id", "from", "type", "content", "event", "reason", "metadata"]),
            text in ".{0,20}",
            number: i64,
        ) {
            let mut body = json!({"id": "x", "from": "a@b", "type": "text/plain", "content": "x",
                "metadata": {"#wa.timestamp": number, "#date_processed": text}});
            let _ = told(&body);
            for value in [json!(text), json!(number), json!(null), json!([text]), json!({"code": number})] {
                body[field] = value;
                let _ = told(&body);
            }
        }
    }
}
