//! Checks of requests. They collect everything that is wrong, so that a caller sees it all at once.

mod email;
mod phone;

use plazo_domain::{TimeValue, Violation};
use plazo_proto::common::v1::{Channel, ChannelIdentity};
use plazo_service::{RequestIdInvalid, parse_request_id};
use prost_types::FieldMask;

use crate::error::Error;
use crate::policy_proto::{time_value_from_proto, unit_from_proto};

/// The most characters of the name of a bot, queue, agent or contact.
pub const MAX_NAME_CHARS: usize = 200;
/// The most characters of an address in a channel.
pub const MAX_ADDRESS_CHARS: usize = 256;

const MUST_BE_SET: &str = "must be set";

/// What was found wrong with a request so far. Fields are dotted paths in the request, as in
/// `bot.reopen_window`; reasons follow the field's name, and never repeat a customer's data.
#[derive(Debug, Default)]
pub struct Checks(Vec<Violation>);

impl Checks {
    /// Nothing wrong yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that a field is wrong.
    pub fn refuse(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.0.push(Violation::new(field, reason));
    }

    /// Notes that a field is wrong unless `is_valid`.
    pub fn check(&mut self, field: &str, is_valid: bool, reason: &str) {
        if !is_valid {
            self.refuse(field, reason);
        }
    }

    /// Notes what another check found.
    pub fn extend(&mut self, violations: impl IntoIterator<Item = Violation>) {
        self.0.extend(violations);
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// INVALID with everything that was noted, if anything was.
    pub fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(self.0))
        }
    }

    /// The value, unless anything was noted. No value means that its field was noted.
    pub fn finish_with<T>(self, value: Option<T>) -> Result<T, Error> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Error::Invalid(self.0)),
        }
    }

    /// INVALID with everything that was noted, for a request that lacks a message with most of what could
    /// be checked.
    pub fn finish_without(mut self, field: &str) -> Error {
        self.refuse(field, MUST_BE_SET);
        Error::Invalid(self.0)
    }

    /// Everything that was noted.
    pub fn into_violations(self) -> Vec<Violation> {
        self.0
    }

    /// A field that the service sets, and a request doesn't.
    pub fn left_to_service<V: PartialEq + Default>(&mut self, field: &str, value: &V) {
        self.check(
            field,
            *value == V::default(),
            "must not be set in this request",
        );
    }

    /// The id of something: above zero.
    pub fn id(&mut self, field: &str, id: i64) {
        self.check(field, id > 0, "must be above zero");
    }

    /// The id of something, or zero for nothing.
    pub fn optional_id(&mut self, field: &str, id: i64) {
        self.check(field, id >= 0, "must not be negative");
    }

    /// A UUID chosen by the caller, or nothing.
    pub fn request_id(&mut self, request_id: &str) {
        let is_valid = parse_request_id(request_id).is_ok();
        self.check("request_id", is_valid, RequestIdInvalid::REASON);
    }

    /// A text of one line, which may be empty.
    pub fn line(&mut self, field: &str, text: &str, max_chars: usize) {
        let count = text.chars().count();
        if count > max_chars {
            self.refuse(
                field,
                format!("must be at most {max_chars} characters, is {count}"),
            );
        }
        let has_control = text.chars().any(char::is_control);
        self.check(field, !has_control, "must not contain control characters");
    }

    /// A text of one line with something in it.
    pub fn filled_line(&mut self, field: &str, text: &str, max_chars: usize) {
        self.check(field, !text.trim().is_empty(), "must not be blank");
        self.line(field, text, max_chars);
    }

    /// The name of a bot, queue, agent or contact.
    pub fn name(&mut self, field: &str, name: &str) {
        self.filled_line(field, name, MAX_NAME_CHARS);
    }

    /// An e-mail address, or nothing.
    pub fn optional_email(&mut self, field: &str, email: &str) {
        if !email.is_empty() {
            self.check(field, email::is_email(email), email::MUST_BE);
        }
    }

    /// A phone number, or nothing.
    pub fn optional_phone(&mut self, field: &str, phone: &str) {
        if !phone.is_empty() {
            self.check(field, phone::is_phone(phone), phone::MUST_BE);
        }
    }

    /// A value of an enum that has no zero in requests; none, noted as wrong, for zero and for numbers
    /// that stand for nothing.
    pub fn known<E: TryFrom<i32>>(&mut self, field: &str, number: i32) -> Option<E> {
        let value = if number == 0 {
            None
        } else {
            E::try_from(number).ok()
        };
        let reason = if number == 0 {
            MUST_BE_SET
        } else {
            "must be one of the known values"
        };
        self.check(field, value.is_some(), reason);
        value
    }

    /// A length of time; none, noted as wrong, when it is missing, zero, negative or too long.
    pub fn time_value(
        &mut self,
        field: &str,
        value: Option<&plazo_proto::common::v1::TimeValue>,
    ) -> Option<TimeValue> {
        let Some(value) = value else {
            self.refuse(field, MUST_BE_SET);
            return None;
        };
        if unit_from_proto(value.unit).is_none() {
            self.refuse(format!("{field}.unit"), "must be one of the known units");
        }
        match time_value_from_proto(value) {
            Ok(value) => return Some(value),
            Err(Some(error)) => self.refuse(field, error.to_string()),
            Err(None) if value.value <= 0 => {
                self.refuse(field, format!("must be above zero, is {}", value.value));
            }
            Err(None) => {}
        }
        None
    }

    /// Where a contact is reached; none, noted as wrong, when it is missing or is no address of its
    /// channel.
    pub fn channel_identity(
        &mut self,
        field: &str,
        identity: Option<&ChannelIdentity>,
    ) -> Option<(Channel, String)> {
        let Some(identity) = identity else {
            self.refuse(field, MUST_BE_SET);
            return None;
        };
        let channel = self.known(&format!("{field}.channel"), identity.channel);
        let field = format!("{field}.address");
        let address = &identity.address;
        match channel {
            Some(Channel::Whatsapp) => self.check(&field, phone::is_phone(address), phone::MUST_BE),
            Some(Channel::Email) => self.check(&field, email::is_email(address), email::MUST_BE),
            _ => self.filled_line(&field, address, MAX_ADDRESS_CHARS),
        }
        channel.map(|channel| (channel, address.clone()))
    }

    /// The fields that an update changes: those of the mask, or all of `known` when it is empty. Other
    /// paths are noted as wrong.
    pub fn update_mask(&mut self, mask: Option<&FieldMask>, known: &[&str]) -> Mask {
        let paths = mask.map(|mask| mask.paths.clone()).unwrap_or_default();
        if paths.iter().any(|path| !known.contains(&path.as_str())) {
            let reason = format!("names another field than {}", known.join(", "));
            self.refuse("update_mask", reason);
        }
        Mask(paths)
    }
}

/// The fields that an update changes.
#[derive(Debug)]
pub struct Mask(Vec<String>);

impl Mask {
    /// Whether the field is to be changed.
    pub fn has(&self, field: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|path| path == field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(checks: Checks) -> Vec<String> {
        checks
            .into_violations()
            .into_iter()
            .map(|violation| violation.field)
            .collect()
    }

    #[test]
    fn names_are_bounded_in_characters_and_have_something_in_them() {
        for (name, is_valid) in [
            ("Ana".to_owned(), true),
            ("ñ".repeat(200), true),
            ("ñ".repeat(201), false),
            (String::new(), false),
            ("  ".to_owned(), false),
            ("a\nb".to_owned(), false),
            ("a\0".to_owned(), false),
            ("a\u{85}".to_owned(), false),
        ] {
            let mut checks = Checks::new();
            checks.name("bot.name", &name);
            assert_eq!(checks.finish().is_ok(), is_valid, "{name:?}");
        }
    }

    #[test]
    fn a_time_value_names_unit_and_value_at_once() {
        let value = |value, unit| plazo_proto::common::v1::TimeValue { value, unit };
        for (value, expected) in [
            (value(1, 4), vec![]),
            (value(0, 4), vec!["w"]),
            (value(401, 4), vec!["w"]),
            (value(1, 0), vec!["w.unit"]),
            (value(1, 9), vec!["w.unit"]),
            (value(-1, 70_000), vec!["w.unit", "w"]),
        ] {
            let mut checks = Checks::new();
            assert_eq!(
                checks.time_value("w", Some(&value)).is_some(),
                expected.is_empty()
            );
            assert_eq!(fields(checks), expected, "{value:?}");
        }
        let mut checks = Checks::new();
        assert_eq!(checks.time_value("w", None), None);
        assert_eq!(fields(checks), ["w"]);
    }

    #[test]
    fn an_identity_is_an_address_of_its_channel() {
        for (channel, address, expected) in [
            (Channel::Log, "anything", None),
            (Channel::Log, "", Some("i.address")),
            (Channel::Webhook, "a\u{7}", Some("i.address")),
            (Channel::Blip, "5511987654321@wa.gw.msging.net", None),
            (Channel::Whatsapp, "+5511987654321", None),
            (Channel::Whatsapp, "5511987654321", Some("i.address")),
            (Channel::Email, "ana@example.com", None),
            (Channel::Email, "ana", Some("i.address")),
            (Channel::Unspecified, "anything", Some("i.channel")),
        ] {
            let identity = ChannelIdentity {
                channel: channel.into(),
                address: address.to_owned(),
            };
            let mut checks = Checks::new();
            checks.channel_identity("i", Some(&identity));
            assert_eq!(
                fields(checks).first().map(String::as_str),
                expected,
                "{identity:?}"
            );
        }
    }

    #[test]
    fn an_empty_mask_means_all() {
        let mask = |paths: &[&str]| FieldMask {
            paths: paths.iter().map(|&p| p.to_owned()).collect(),
        };
        let mut checks = Checks::new();
        assert!(checks.update_mask(None, &["name"]).has("name"));
        assert!(checks.update_mask(Some(&mask(&[])), &["name"]).has("name"));
        let one = checks.update_mask(Some(&mask(&["name"])), &["name", "away"]);
        assert!(one.has("name") && !one.has("away"));
        assert!(checks.finish().is_ok());

        for path in ["names", "name.first", "*", ""] {
            let mut checks = Checks::new();
            checks.update_mask(Some(&mask(&["name", path])), &["name"]);
            assert_eq!(fields(checks), ["update_mask"], "{path}");
        }
    }
}
