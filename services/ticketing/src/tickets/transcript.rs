//! The conversation as plain text, to be handed to people.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::{Message, MessageKind};
use sqlx::PgConnection;

use crate::error::Error;
use crate::instants::from_proto;
use crate::store::names::{self, Names};
use crate::store::tickets::TicketFacts;

/// What begins each further line of a message: nothing that somebody wrote can pass for another message.
const FURTHER_LINE: &str = "    ";

/// The time zone of that name; UTC for none. INVALID with `time_zone` when there is no such zone.
pub fn zone(name: &str) -> Result<TimeZone, Error> {
    const NOT_SET: &str = "Factory";
    if name.is_empty() {
        return Ok(TimeZone::UTC);
    }
    // `Etc/Unknown` is a zone without a name.
    TimeZoneDatabase::bundled()
        .get(name)
        .ok()
        .filter(|zone| zone.iana_name().is_some_and(|known| known != NOT_SET))
        .ok_or_else(|| {
            Error::invalid(
                "time_zone",
                "must be the name of a time zone in the IANA database, as America/Sao_Paulo is, or empty for UTC",
            )
        })
}

/// Whether customers must not see a message.
pub fn is_internal(message: &Message) -> bool {
    matches!(message.kind(), MessageKind::Note | MessageKind::Comment)
}

/// Messages of a ticket as text, a paragraph each, with an empty line after each.
pub async fn write(
    connection: &mut PgConnection,
    facts: &TicketFacts,
    messages: &[Message],
    zone: &TimeZone,
) -> Result<String, Error> {
    let agent_ids: BTreeSet<i64> = messages
        .iter()
        .filter_map(|message| message.author)
        .filter(|author| author.kind() == AuthorKind::Agent)
        .map(|author| author.id)
        .collect();
    let agent_ids: Vec<i64> = agent_ids.into_iter().collect();
    let names = names::of_conversation(
        connection,
        facts.key.tenant_id,
        facts.contact_id,
        facts.bot_id,
        &agent_ids,
    )
    .await?;
    let paragraphs = messages
        .iter()
        .map(|message| paragraph(message, &names, zone));
    Ok(paragraphs.collect())
}

fn paragraph(message: &Message, names: &Names, zone: &TimeZone) -> String {
    let at = message.record_time.as_ref().and_then(from_proto);
    let at = at.unwrap_or_default().to_zoned(zone.clone());
    let mark = match message.kind() {
        MessageKind::Note => " (internal note)",
        MessageKind::Comment => " (internal comment)",
        MessageKind::Unspecified | MessageKind::Chat => "",
    };
    let time = at.strftime("%Y-%m-%d %H:%M:%S %:z");
    let mut text = format!("[{time}] {}{mark}:", author(message, names));
    for (index, line) in lines(&message.text).into_iter().enumerate() {
        text.push_str(if index == 0 { " " } else { FURTHER_LINE });
        text.push_str(line.trim_end());
        text.push('\n');
    }
    if message.text.is_empty() {
        text.push('\n');
    }
    for url in &message.attachment_urls {
        let _ = writeln!(text, "{FURTHER_LINE}Attachment: {}", one_line(url));
    }
    text.push('\n');
    text
}

/// What kind of author it is, and the name.
fn author(message: &Message, names: &Names) -> String {
    let author = message.author.unwrap_or_default();
    let of_kind = |kind: &str, name: &str| {
        let whole = format!("{kind} {}", one_line(name));
        whole.trim_end().to_owned()
    };
    match author.kind() {
        AuthorKind::Customer => of_kind("Customer", &names.contact),
        AuthorKind::Agent => match names.agents.get(&author.id) {
            Some(name) => of_kind("Agent", name),
            None => of_kind("Agent", &author.id.to_string()),
        },
        AuthorKind::Bot => of_kind("Bot", &names.bot),
        AuthorKind::Administrator => of_kind("Administrator", &author.id.to_string()),
        AuthorKind::System | AuthorKind::Service | AuthorKind::Unspecified => "System".to_owned(),
    }
}

/// The lines of a text, by whatever some reader takes for the end of a line. None for an empty text.
fn lines(text: &str) -> Vec<&str> {
    const ENDS: [char; 7] = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}',
    ];
    if text.is_empty() {
        return Vec::new();
    }
    let mut lines = Vec::new();
    for line in text.split('\n') {
        lines.extend(line.strip_suffix('\r').unwrap_or(line).split(ENDS));
    }
    lines
}

fn one_line(text: &str) -> String {
    lines(text).join(" ")
}

#[cfg(test)]
mod tests {
    use plazo_proto::common::v1::Author;

    use super::*;

    fn message(kind: AuthorKind, text: &str) -> Message {
        Message {
            author: Some(Author {
                kind: kind.into(),
                id: 3,
            }),
            text: text.to_owned(),
            record_time: Some(prost_types::Timestamp {
                seconds: 1_795_352_400,
                nanos: 999_000_000,
            }),
            ..Message::default()
        }
    }

    fn names() -> Names {
        Names {
            contact: "Bea".to_owned(),
            bot: "Vendas".to_owned(),
            agents: [(3, "Ana".to_owned())].into(),
        }
    }

    #[test]
    fn each_author_is_named_in_the_time_of_the_zone() {
        let zone = zone("America/Sao_Paulo").expect("a zone");
        for (kind, expected) in [
            (AuthorKind::Agent, "Agent Ana"),
            (AuthorKind::Customer, "Customer Bea"),
            (AuthorKind::Bot, "Bot Vendas"),
            (AuthorKind::System, "System"),
        ] {
            assert_eq!(
                paragraph(&message(kind, "Hola"), &names(), &zone),
                format!("[2026-11-22 10:00:00 -03:00] {expected}: Hola\n\n")
            );
        }
    }

    #[test]
    fn nothing_that_somebody_wrote_passes_for_another_message() {
        let forged =
            "\n[2026-11-22 10:00:00 +00:00] Agent Ana: yes\r\n\u{2028}[x] Agent Ana: no\rz";
        let text = paragraph(
            &message(AuthorKind::Customer, forged),
            &names(),
            &TimeZone::UTC,
        );
        let starts = text.lines().filter(|line| line.starts_with('['));
        assert_eq!(starts.count(), 1, "{text}");
        assert_eq!(lines("a\rb\u{85}c").len(), 3);
    }

    #[test]
    fn attachments_and_internal_messages_are_marked() {
        let mut note = message(AuthorKind::Agent, "");
        note.kind = MessageKind::Note.into();
        note.attachment_urls = vec!["https://example.com/a".to_owned()];
        assert_eq!(
            paragraph(&note, &names(), &TimeZone::UTC),
            "[2026-11-22 13:00:00 +00:00] Agent Ana (internal note):\n    Attachment: https://example.com/a\n\n"
        );
    }

    #[test]
    fn a_zone_that_does_not_exist_is_refused() {
        assert!(zone("").is_ok() && zone("Asia/Kathmandu").is_ok());
        for name in ["Etc/Unknown", "Factory", "Mars/Olympus", "+03:00", "../UTC"] {
            assert!(
                matches!(zone(name), Err(Error::Invalid(violations)) if violations[0].field == "time_zone"),
                "{name}"
            );
        }
    }
}
