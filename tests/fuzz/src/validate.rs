//! What ticketing checks of texts.

#[path = "../../../services/ticketing/src/validate/email.rs"]
#[expect(dead_code, reason = "a part is enough here")]
mod email;
#[path = "../../../services/ticketing/src/validate/phone.rs"]
#[expect(dead_code, reason = "a part is enough here")]
mod phone;

/// Whether ticketing takes it as a phone number.
pub(crate) fn is_phone(text: &str) -> bool {
    phone::is_phone(text)
}

/// Whether ticketing takes it as an e-mail address.
pub(crate) fn is_email(text: &str) -> bool {
    email::is_email(text)
}
