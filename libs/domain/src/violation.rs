//! What is wrong with settings, and the checks that settings and requests share.

use std::collections::BTreeSet;

/// The most characters of a warning or closing text, before placeholders are replaced.
pub const MAX_TEXT_CHARS: usize = 4_096;
/// The most tags of an automatic close, and the most that people may set in a ticket.
pub const MAX_TAGS: usize = 20;
/// The most characters of a tag.
pub const MAX_TAG_CHARS: usize = 64;
/// The most characters of a closing note's category.
pub const MAX_CATEGORY_CHARS: usize = 100;
/// The most characters of a closing note's summary.
pub const MAX_SUMMARY_CHARS: usize = 4_000;
/// The most characters of a URL.
pub const MAX_URL_CHARS: usize = 2_048;

/// One field that is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in the request, for instance `policy.alerts.second_alert` or
    /// `policy.auto_close.tags[2]`.
    pub field: String,
    /// What is wrong, so that it can follow the field's name: `must be …`.
    pub reason: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

/// A note that is left when a ticket is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosingNote {
    /// What the conversation was about. At most 100 characters, without control characters.
    pub category: String,
    /// What happened. At most 4,000 characters, without control characters other than line breaks and
    /// tabs.
    pub summary: String,
}

/// Checks the tags at `field`: at most 20, each 1 to 64 characters without control characters, none
/// twice.
pub fn check_tags(field: &str, tags: &[String]) -> Vec<Violation> {
    let mut violations = Vec::new();
    if tags.len() > MAX_TAGS {
        let reason = format!("must be at most {MAX_TAGS}, are {}", tags.len());
        violations.push(Violation::new(field, reason));
    }
    let mut seen = BTreeSet::new();
    for (index, tag) in tags.iter().enumerate() {
        let field = format!("{field}[{index}]");
        if tag.is_empty() {
            violations.push(Violation::new(&field, "must not be empty"));
        } else if !seen.insert(tag) {
            violations.push(Violation::new(&field, "must not repeat an earlier tag"));
        }
        check_length(&field, tag, MAX_TAG_CHARS, &mut violations);
        check_line(&field, tag, &mut violations);
    }
    violations
}

/// Checks the closing note at `field`. Either part may be empty.
pub fn check_note(field: &str, note: &ClosingNote) -> Vec<Violation> {
    let mut violations = Vec::new();
    let category = format!("{field}.category");
    check_length(
        &category,
        &note.category,
        MAX_CATEGORY_CHARS,
        &mut violations,
    );
    check_line(&category, &note.category, &mut violations);
    let summary = format!("{field}.summary");
    check_length(&summary, &note.summary, MAX_SUMMARY_CHARS, &mut violations);
    check_text(&summary, &note.summary, &mut violations);
    violations
}

/// Refuses more than `max` characters.
pub(crate) fn check_length(field: &str, value: &str, max: usize, violations: &mut Vec<Violation>) {
    let count = value.chars().count();
    if count > max {
        let reason = format!("must be at most {max} characters, is {count}");
        violations.push(Violation::new(field, reason));
    }
}

/// Refuses control characters, line breaks too.
pub(crate) fn check_line(field: &str, value: &str, violations: &mut Vec<Violation>) {
    if value.chars().any(char::is_control) {
        violations.push(Violation::new(field, "must not contain control characters"));
    }
}

/// Refuses control characters other than line breaks and tabs. The character with number zero would
/// otherwise be refused by PostgreSQL, long after the settings were accepted.
pub(crate) fn check_text(field: &str, value: &str, violations: &mut Vec<Violation>) {
    let is_forbidden = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if value.chars().any(is_forbidden) {
        let reason = "must not contain control characters other than line breaks and tabs";
        violations.push(Violation::new(field, reason));
    }
}

/// Refuses what is not an absolute https URL with a host, of printable ASCII characters, without a
/// user or password.
pub fn check_https_url(field: &str, value: &str, violations: &mut Vec<Violation>) {
    const SCHEME: &str = "https://";
    check_length(field, value, MAX_URL_CHARS, violations);
    let has_scheme = value
        .get(..SCHEME.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(SCHEME));
    if !has_scheme {
        let reason = "must be an absolute URL that begins with https://";
        violations.push(Violation::new(field, reason));
        return;
    }
    let is_forbidden = |c: char| !c.is_ascii_graphic() || "\"<>\\^`{|}".contains(c);
    if value.chars().any(is_forbidden) {
        let reason = "must be a URL: other characters than those of URLs are to be percent-encoded";
        violations.push(Violation::new(field, reason));
    }
    let rest = value.get(SCHEME.len()..).unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if !is_host_and_port(authority) {
        let reason = "must name a host after https://, without user or password";
        violations.push(Violation::new(field, reason));
    }
}

/// Whether this is a host name or an address, with or without a port.
fn is_host_and_port(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an IPv6 address stand between brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_port_right = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let is_host_right = match host.strip_prefix('[') {
        Some(bracketed) => bracketed
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => host.split('.').all(|label| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !label.is_empty() && label.chars().all(allowed)
        }),
    };
    is_port_right && is_host_right
}
