//! Every text of every payload, by its name: what is new in the contract has no place here, and fails.

use std::collections::BTreeSet;

use plazo_proto::FILE_DESCRIPTOR_SET;
use plazo_proto::ticketing::v1::ActiveMessageReported;
use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};

use super::*;

/// Texts that erasing leaves.
const KEPT: [&str; 11] = [
    "active_message_requested.message.idempotency_key",
    "active_message_reported.idempotency_key",
    "closed.closure.exit_route",
    "closed.closure.note.category",
    "closed.tags",
    "contact_changed.contact.etag",
    "opened.contact.etag",
    "reopened.contact.etag",
    "reopened.tags",
    "tags_changed.added",
    "tags_changed.removed",
];
/// The same.
const KEPT_TAGS: [&str; 1] = ["tags_changed.tags"];

/// Texts that erasing empties.
const ERASED: [&str; 20] = [
    "active_message_reported.failure_reason",
    "active_message_requested.message.image_url",
    "active_message_requested.message.recipient.address",
    "active_message_requested.message.text",
    "closed.closure.note.summary",
    "contact_changed.contact.channel_identity.address",
    "contact_changed.contact.email",
    "contact_changed.contact.name",
    "contact_changed.contact.phone",
    "held.hold.reason",
    "message_recorded.message.attachment_urls",
    "message_recorded.message.text",
    "opened.contact.channel_identity.address",
    "opened.contact.email",
    "opened.contact.name",
    "opened.contact.phone",
    "reopened.contact.channel_identity.address",
    "reopened.contact.email",
    "reopened.contact.name",
    "reopened.contact.phone",
];

const MARK: &str = "what nobody may read";

/// A text of a payload: its name, and the numbers of the fields on the way to it.
struct TextField {
    name: String,
    numbers: Vec<i32>,
}

/// The messages of the contract, by their full names.
fn messages() -> Vec<(String, DescriptorProto)> {
    let protos = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors");
    let of_file = |file: prost_types::FileDescriptorProto| {
        let package = file.package().to_owned();
        let messages = file.message_type.into_iter();
        messages.map(move |message| (format!(".{package}.{}", message.name()), message))
    };
    protos.file.into_iter().flat_map(of_file).collect()
}

fn add_texts(
    all: &[(String, DescriptorProto)],
    message: &str,
    way: &[(String, i32)],
    texts: &mut Vec<TextField>,
) {
    assert!(way.len() < 10, "a message within itself: {way:?}");
    let (_, descriptor) = all
        .iter()
        .find(|(name, _)| name == message)
        .unwrap_or_else(|| panic!("no message {message}"));
    for field in &descriptor.field {
        let is_payload = field.number() >= 10;
        if way.is_empty() && !is_payload {
            continue;
        }
        let mut way = way.to_vec();
        way.push((field.name().to_owned(), field.number()));
        match field.r#type() {
            Type::String | Type::Bytes => texts.push(TextField {
                name: way
                    .iter()
                    .map(|(name, _)| name.as_str())
                    .collect::<Vec<_>>()
                    .join("."),
                numbers: way.iter().map(|(_, number)| *number).collect(),
            }),
            Type::Message => add_texts(all, field.type_name(), &way, texts),
            _ => {}
        }
    }
}

fn texts() -> Vec<TextField> {
    let mut texts = Vec::new();
    add_texts(
        &messages(),
        ".plazo.ticketing.v1.TicketEvent",
        &[],
        &mut texts,
    );
    texts
}

/// An encoded event that has nothing but this text.
fn event_with(field: &TextField) -> Vec<u8> {
    let mut encoded = MARK.as_bytes().to_vec();
    for &number in field.numbers.iter().rev() {
        let mut outer = Vec::new();
        let key = (u64::try_from(number).expect("a field number") << 3) | 2;
        prost::encoding::encode_varint(key, &mut outer);
        prost::encoding::encode_varint(encoded.len() as u64, &mut outer);
        outer.extend(encoded);
        encoded = outer;
    }
    encoded
}

fn has_mark(encoded: &[u8]) -> bool {
    encoded
        .windows(MARK.len())
        .any(|bytes| bytes == MARK.as_bytes())
}

#[test]
fn each_text_of_each_payload_is_kept_or_erased_as_the_table_says() {
    let named: BTreeSet<String> = texts().into_iter().map(|field| field.name).collect();
    let kept = KEPT.iter().chain(&KEPT_TAGS);
    let table: BTreeSet<String> = kept.chain(&ERASED).map(|&name| name.to_owned()).collect();
    assert_eq!(named, table, "the contract and the table differ");

    for field in texts() {
        let encoded = event_with(&field);
        assert!(has_mark(&encoded));
        let erased = without_personal_data(&encoded).expect("an event");
        let after = erased.as_deref().unwrap_or(&encoded);
        let is_erased = ERASED.contains(&field.name.as_str());
        assert_eq!(!has_mark(after), is_erased, "{}", field.name);
        assert_eq!(erased.is_some(), is_erased, "{}", field.name);
        let again = without_personal_data(after).expect("an event");
        assert_eq!(again, None, "{} is erased once", field.name);
    }
}

#[test]
fn a_reason_that_is_a_code_stays() {
    let mut reported = Payload::ActiveMessageReported(ActiveMessageReported {
        failure_reason: "WHATSAPP_131026".to_owned(),
        ..ActiveMessageReported::default()
    });
    let before = reported.clone();
    assert!(!erase(&mut reported));
    assert_eq!(reported, before);
}
