//! What requests say.

use serde_json::json;

use crate::sending::webhook::is_image_url;
use crate::store::queue::Claimed;

/// The id of this attempt, which no other attempt has. Comes back in Blip's notifications, also in those of a message
/// whose answer was lost.
pub(super) fn id(message: &Claimed) -> String {
    match message.attempts {
        ..=1 => format!("msg_{}", message.message_id),
        attempt => format!("msg_{}_{attempt}", message.message_id),
    }
}

/// The text, with its image if it has one; or why the message can't be sent.
pub(super) fn request(message: &Claimed, id: &str) -> Result<Vec<u8>, &'static str> {
    let (text, image_url) = (&message.body_text.0, &message.image_url.0);
    let to = &message.recipient_address.0;
    if !is_node(to) {
        return Err("RECIPIENT_INVALID");
    }
    if !is_image_url(image_url) {
        return Err("IMAGE_URL_INVALID");
    }
    let request = if image_url.is_empty() {
        json!({ "id": id, "to": to, "type": "text/plain", "content": text })
    } else {
        json!({
            "id": id,
            "to": to,
            "type": "application/vnd.lime.media-link+json",
            "content": { "type": media_type(image_url), "uri": image_url, "text": text },
        })
    };
    Ok(request.to_string().into_bytes())
}

/// Whether it is a customer in a channel of Blip, as `5511987654321@wa.gw.msging.net` is.
fn is_node(address: &str) -> bool {
    address
        .split_once('@')
        .is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty())
        && !address.contains(|c: char| c.is_control() || c.is_whitespace())
}

/// The image's type, as far as its URL tells. Blip wants one.
fn media_type(image_url: &str) -> &'static str {
    let path = url::Url::parse(image_url).map(|url| url.path().to_ascii_lowercase());
    let extension = path
        .as_deref()
        .ok()
        .and_then(|path| path.rsplit_once('.'))
        .map_or("", |(_, extension)| extension);
    match extension {
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        _ => "image/jpeg",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_a_name_and_a_domain() {
        assert!(is_node("5511987654321@wa.gw.msging.net"));
        assert!(is_node("ana%40example.com@mailgun.gw.msging.net"));
        for wrong in ["", "@", "ana", "ana@", "@wa", "a b@wa", "a@wa\r\nx: y"] {
            assert!(!is_node(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_type_of_an_image_is_read_from_its_url() {
        for (url, kind) in [
            ("https://example.com/clock.png", "image/png"),
            ("https://example.com/a.PNG?x=.gif", "image/png"),
            ("https://example.com/a.gif", "image/gif"),
            ("https://example.com/a.webp", "image/webp"),
            ("https://example.com/a.jpg", "image/jpeg"),
            ("https://example.com/a", "image/jpeg"),
        ] {
            assert_eq!(media_type(url), kind, "{url}");
        }
    }
}
