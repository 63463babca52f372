//! What requests say.

use plazo_proto::notification::v1::{WhatsAppSettings, WhatsAppTemplate};
use serde_json::{Value, json};

use crate::message::reference_of;
use crate::sending::parameters;
use crate::sending::webhook::is_image_url;
use crate::store::queue::Claimed;

/// What the provider takes as an image's caption.
const CAPTION_CHARS_MAX: usize = 1_024;

/// Free text, with its image if it has one; or why the message can't be sent.
pub(super) fn free(message: &Claimed) -> Result<Vec<u8>, &'static str> {
    let (text, image_url) = (&message.body_text.0, &message.image_url.0);
    if image_url.is_empty() {
        let text = json!({ "preview_url": false, "body": text });
        return request(message, "text", text);
    }
    if !is_image_url(image_url) {
        return Err("IMAGE_URL_INVALID");
    }
    if text.chars().count() > CAPTION_CHARS_MAX {
        return Err("CAPTION_TOO_LONG");
    }
    request(
        message,
        "image",
        json!({ "link": image_url, "caption": text }),
    )
}

/// The account's template for the message's kind; or why the message can't be sent.
pub(super) fn template(
    message: &Claimed,
    settings: &WhatsAppSettings,
) -> Result<Vec<u8>, &'static str> {
    let is_for = |template: &&WhatsAppTemplate| {
        template.kinds.is_empty() || template.kinds.contains(&i32::from(message.kind))
    };
    let template = settings
        .templates
        .iter()
        .find(is_for)
        .ok_or("OUTSIDE_WINDOW")?;
    let mut components = Vec::new();
    if template.has_image_header {
        let own = &message.image_url.0;
        if !is_image_url(own) {
            return Err("IMAGE_URL_INVALID");
        }
        let link = if own.is_empty() {
            &template.header_image_url
        } else {
            own
        };
        let image = json!({ "type": "image", "image": { "link": link } });
        components.push(json!({ "type": "header", "parameters": [image] }));
    }
    if !template.body_parameters.is_empty() {
        let mut values = Vec::new();
        for parameter in &template.body_parameters {
            let value = parameters::render(parameter, &message.body_text.0)
                .map_err(|_| "TEMPLATE_INVALID")?;
            values.push(json!({ "type": "text", "text": value }));
        }
        components.push(json!({ "type": "body", "parameters": values }));
    }
    let content = json!({
        "name": template.name,
        "language": { "code": template.language_code },
        "components": components,
    });
    request(message, "template", content)
}

fn request(message: &Claimed, kind: &str, content: Value) -> Result<Vec<u8>, &'static str> {
    let number = phone_number(&message.recipient_address.0).ok_or("RECIPIENT_INVALID")?;
    let mut request = json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": number,
        "type": kind,
        // Comes back in the statuses, also in those of a message whose answer was lost.
        "biz_opaque_callback_data": reference_of(message.message_id),
    });
    request[kind] = content;
    Ok(request.to_string().into_bytes())
}

/// The digits of an E.164 number.
fn phone_number(address: &str) -> Option<&str> {
    let digits = address.strip_prefix('+').unwrap_or(address);
    let is_number = (7..=15).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits() {
        assert_eq!(phone_number("+5511987654321"), Some("5511987654321"));
        assert_eq!(phone_number("5511987654321"), Some("5511987654321"));
        for wrong in [
            "",
            "+",
            "ana",
            "+0551198765",
            "123456",
            "+55 11 98765",
            "1234567890123456",
        ] {
            assert_eq!(phone_number(wrong), None, "{wrong}");
        }
    }
}
