//! The targets by name.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use plazo_domain::{Placeholder, Template, TemplateValues, check_https_url};
use plazo_notification::fuzzing as notification;
use plazo_service::config::{ServiceConfig as _, load_raw};
use plazo_service::{Actor, BotScope, paging};
use tonic::Request;
use uuid::Uuid;

use crate::access;
use crate::position::{FeedIdentity, Position, PositionError};
use crate::search_key::{phone_digits, search_key};
use crate::search_query::SearchQuery;
use crate::validate::{is_email, is_phone};

/// Of the app whose callbacks are tried.
const APP_SECRET: &str = "secret";

/// Tries one input.
pub(crate) type Target = fn(&[u8]);

/// All targets; each has a folder of seeds in `seeds`.
pub(crate) const ALL: [(&str, Target); 14] = [
    ("actors", actors),
    ("addresses", addresses),
    ("answers", answers),
    ("callbacks", callbacks),
    ("certificates", access::certificates),
    ("configuration", configuration),
    ("jwk-sets", access::jwk_sets),
    ("jwts", access::jwts),
    ("metadata", access::metadata),
    ("phones", phones),
    ("searches", searches),
    ("templates", templates),
    ("tokens", tokens),
    ("urls", urls),
];

pub(crate) fn find(name: &str) -> Option<Target> {
    ALL.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, target)| *target)
}

pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Up to the first NUL, and what follows.
pub(crate) fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    let middle = bytes.iter().position(|byte| *byte == 0);
    middle.map_or((bytes, &[]), |at| (&bytes[..at], &bytes[at + 1..]))
}

/// Metadata of calls, a line for each entry. What is read is written so that it is read again as the same.
fn actors(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next());
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_bytes(value.unwrap_or_default()),
        ) {
            headers.append(name, value);
        }
    }
    let Ok(actor) = Actor::read_for_fuzzing(&headers) else {
        return;
    };
    assert!(actor.tenant_id >= 0);
    if let BotScope::Only(bots) = &actor.bots {
        assert!(bots.iter().all(|id| *id > 0) && bots.is_sorted());
    }
    let written = actor
        .sign(Request::new(()))
        .metadata()
        .clone()
        .into_headers();
    let again = Actor::read_for_fuzzing(&written).expect("what was written is read");
    assert_eq!(format!("{actor:?}"), format!("{again:?}"));
}

/// Bodies of WhatsApp's and Blip's callbacks, and their signatures.
fn callbacks(bytes: &[u8]) {
    let (header, body) = halves(bytes);
    assert!(!notification::is_signed(header, body, ""));
    if notification::is_signed(header, body, APP_SECRET) {
        let longer = [body, b"!"].concat();
        assert!(!notification::is_signed(header, &longer, APP_SECRET));
        assert!(!notification::is_signed(header, body, "another"));
    }
    for told in [
        notification::read_whatsapp(bytes, "15550001111"),
        notification::read_blip(bytes),
    ]
    .into_iter()
    .flatten()
    {
        // PostgreSQL takes no NUL, and ticketing no text that is longer.
        assert!(told.texts.iter().all(|text| !text.contains('\0')));
        assert!(told.texts.iter().all(|text| text.chars().count() <= 16_384));
        for key in told.status_keys.iter().chain(&told.message_keys) {
            assert!(!key.contains(char::is_control), "{key:?}");
        }
    }
}

/// Addresses for mail, and of images. What is taken can stand in a header as it is.
fn addresses(bytes: &[u8]) {
    let Some(typed) = text(bytes) else { return };
    if is_email(typed) {
        assert!(typed.chars().count() <= 254);
        assert_eq!(typed.matches('@').count(), 1);
        let breaks_out = |letter: char| letter.is_control() || letter.is_whitespace();
        assert!(!typed.contains(breaks_out) && !typed.contains(['<', '>', '"', ',', ';', '(']));
    }
    let mut violations = Vec::new();
    check_https_url("url", typed, &mut violations);
    if violations.is_empty() {
        assert!(typed.is_ascii() && typed.len() <= 2_048);
        assert!(typed.bytes().all(|byte| byte.is_ascii_graphic()));
        let (scheme, rest) = typed.split_once("://").expect("it has a scheme");
        assert!(scheme.eq_ignore_ascii_case("https"));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        assert!(!authority.is_empty() && !authority.contains('@'));
    }
}

/// Answers of the WhatsApp Cloud API: the first two bytes are the status, what follows up to a NUL asks for a wait.
fn answers(bytes: &[u8]) {
    let Some((status, rest)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let status = 100 + u16::from_le_bytes(*status) % 500;
    let (retry_after, body) = halves(rest);
    let Some(answered) = notification::read_whatsapp_answer(status, retry_after, body) else {
        return;
    };
    assert!(answered.wait <= Duration::from_hours(24));
    assert_eq!(answered.message_id.is_none(), answered.reason.is_some());
    if let Some(id) = answered.message_id {
        assert!((200..300).contains(&status));
        // PostgreSQL takes no NUL.
        assert!(!id.is_empty() && !id.contains(char::is_control), "{id:?}");
    }
    if let Some(reason) = answered.reason {
        let is_reason = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
        assert!(reason.chars().all(is_reason), "{reason:?}");
    }
}

/// A configuration file. What is wrong with it is one line; what was loaded is judged without a panic.
fn configuration(bytes: &[u8]) {
    let Some(toml) = text(bytes) else { return };
    let none = BTreeMap::new();
    let loaded = load_raw::<plazo_notification::Config>("notification", toml, None, &none);
    let problem = match loaded {
        Ok(config) => config.validate().err(),
        Err(problem) => Some(problem),
    };
    if let Some(problem) = problem {
        assert!(!problem.to_string().is_empty());
    }
}

/// Phone numbers.
fn phones(bytes: &[u8]) {
    let Some(number) = text(bytes) else { return };
    let digits = phone_digits(number);
    assert!(digits.bytes().all(|byte| byte.is_ascii_digit()));
    if is_phone(number) {
        assert_eq!(format!("+{digits}"), number);
        assert!((7..=15).contains(&digits.len()) && !digits.starts_with('0'));
    }
}

/// What people search for, and the keys that it is looked for in.
fn searches(bytes: &[u8]) {
    let Some(typed) = text(bytes) else { return };
    let key = search_key(typed);
    assert_eq!(key.trim(), key);
    assert!(!key.contains("  "));
    let Ok(query) = SearchQuery::parse(typed) else {
        return;
    };
    assert!(query.patterns().len() <= 10);
    for pattern in query.patterns() {
        let inner = pattern
            .strip_prefix('%')
            .and_then(|rest| rest.strip_suffix('%'))
            .expect("it is looked for anywhere");
        // A wildcard that somebody typed is escaped, and no escape is left open.
        let mut letters = inner.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => assert!(matches!(letters.next(), Some('%' | '_' | '\\'))),
                '%' | '_' => panic!("a wildcard in {pattern:?}"),
                _ => {}
            }
        }
    }
    assert_eq!(query.longest().is_some(), !query.patterns().is_empty());
    assert!(!query.has_long_number() || phone_digits(&key).len() >= 8);
}

/// Texts with placeholders.
fn templates(bytes: &[u8]) {
    let Some(written) = text(bytes) else { return };
    let values = |contact_name| TemplateValues {
        contact_name,
        time_left_ms: 300_000,
    };
    let Ok(template) = Template::parse(written, &Placeholder::ALL) else {
        // What is refused must at least have something that looks like a placeholder.
        assert!(written.contains("{{"));
        return;
    };
    let literal = !written.contains("{{");
    let rendered = template.render(&values("Ana {{time_left}}"));
    if literal {
        assert_eq!(rendered, written);
    }
    // What is inserted is never read as a placeholder itself.
    let names = rendered.matches("Ana {{time_left}}").count();
    let plain = template.render(&values("Bea"));
    assert!(plain.len() + names * "Ana {{time_left}}".len() >= rendered.len());
    if Template::parse(written, &[]).is_ok() {
        assert_eq!(rendered, plain);
    }
}

/// Page tokens and positions in the event feed: what is taken is what is written, letter by letter.
fn tokens(bytes: &[u8]) {
    let (filter, rest) = halves(bytes);
    let Some(token) = text(rest) else { return };
    if let Ok(Some(cursor)) = paging::decode_page_token::<2>(filter, token) {
        assert_eq!(paging::encode_page_token(filter, cursor), token);
    }
    if let Ok(Some((text, id))) = paging::decode_text_page_token(filter, token) {
        assert_eq!(paging::encode_text_page_token(filter, &text, id), token);
    }
    if let Some(name) = text(filter) {
        let written = paging::encode_text_page_token(rest, name, 7);
        let read = paging::decode_text_page_token(rest, &written);
        // A NUL is refused: PostgreSQL takes none.
        assert!(name.contains('\0') || matches!(read, Ok(Some((_, 7)))));
    }
    let mut values = [0; 2];
    for (value, bytes) in values.iter_mut().zip(rest.chunks_exact(8)) {
        *value = i64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    }
    let written = paging::encode_page_token(filter, values);
    let read = paging::decode_page_token::<2>(filter, &written);
    assert!(matches!(read, Ok(Some(cursor)) if cursor == values));

    let feed = FeedIdentity::new(Uuid::nil(), 1, 2);
    match Position::parse(token, &feed) {
        Ok(position) => assert_eq!(position.write(&feed), token),
        Err(PositionError::Invalid | PositionError::OtherFeed) => {}
    }
}

/// URLs of webhooks. What may be called leads to no private address, and is taken again as it is called.
fn urls(bytes: &[u8]) {
    let Some(typed) = text(bytes) else { return };
    let Some(url) = notification::webhook_url(typed) else {
        return;
    };
    assert!(url.starts_with("https://"));
    let rest = url.strip_prefix("https://").unwrap_or_default();
    let host = match rest.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => rest.split(['/', ':', '?']).next(),
    };
    match host.unwrap_or_default().parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => assert!(is_public(ip), "{url}"),
        Ok(IpAddr::V6(ip)) => {
            assert!(!ip.is_loopback() && !ip.is_unspecified(), "{url}");
            assert!(
                !ip.is_unique_local() && !ip.is_unicast_link_local(),
                "{url}"
            );
            assert!(ip.to_ipv4_mapped().is_none_or(is_public), "{url}");
        }
        // A name: where it leads is looked at when it is called.
        Err(_) => {}
    }
    assert_eq!(
        notification::webhook_url(&url).as_deref(),
        Some(url.as_str())
    );
}

fn is_public(ip: Ipv4Addr) -> bool {
    !(ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_unspecified()
        || ip.is_multicast()
        || ip.is_broadcast())
}
