//! CSV by RFC 4180: conversations, a line each.

use jiff::tz::TimeZone;
use plazo_proto::ticketing::v1::CloseSource;

use super::Conversation;
use super::figures::METRICS;

/// By which some spreadsheet programs know UTF-8.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A text of lines.
#[derive(Debug, Default)]
pub(super) struct Csv {
    text: String,
    is_within_line: bool,
}

impl Csv {
    pub(super) fn new(has_byte_order_mark: bool) -> Self {
        let text = if has_byte_order_mark {
            BYTE_ORDER_MARK
        } else {
            ""
        };
        Self {
            text: text.to_owned(),
            is_within_line: false,
        }
    }

    /// A cell of the program's own: no text of people.
    pub(super) fn cell(&mut self, content: &str) {
        if self.is_within_line {
            self.text.push(',');
        }
        self.is_within_line = true;
        if content.contains([',', '"', '\r', '\n']) {
            self.text.push('"');
            self.text.push_str(&content.replace('"', "\"\""));
            self.text.push('"');
        } else {
            self.text.push_str(content);
        }
    }

    pub(super) fn number(&mut self, number: impl std::fmt::Display) {
        self.cell(&number.to_string());
    }

    /// A text of people, which no spreadsheet program shall run.
    pub(super) fn foreign(&mut self, text: &str) {
        if looks_like_formula(text) {
            self.cell(&format!("'{text}"));
        } else {
            self.cell(text);
        }
    }

    /// Seconds with three decimals; an empty cell for none.
    pub(super) fn seconds(&mut self, ms: Option<i64>) {
        match ms {
            None => self.cell(""),
            Some(ms) => self.cell(&format!("{}.{:03}", ms / 1_000, ms % 1_000)),
        }
    }

    pub(super) fn end_line(&mut self) {
        self.text.push_str("\r\n");
        self.is_within_line = false;
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text).into_bytes()
    }
}

/// Whether a spreadsheet program may take a cell for a formula or a part of one.
fn looks_like_formula(text: &str) -> bool {
    text.trim_start_matches([' ', '\u{a0}', '\n'])
        .starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'])
}

/// The name of a source without its prefix; the number of one of a later version.
pub(super) fn source_name(source: i32) -> String {
    match CloseSource::try_from(source) {
        Ok(known) => known
            .as_str_name()
            .trim_start_matches("CLOSE_SOURCE_")
            .to_owned(),
        Err(_) => source.to_string(),
    }
}

/// Conversations as lines, in pieces.
#[derive(Debug)]
pub(crate) struct ConversationLines {
    csv: Csv,
    zone: TimeZone,
}

impl ConversationLines {
    /// Begins with the header.
    pub(crate) fn new(zone: TimeZone, has_byte_order_mark: bool) -> Self {
        let mut csv = Csv::new(has_byte_order_mark);
        for column in [
            "ticket_id",
            "bot_id",
            "queue_id",
            "agent_id",
            "contact_id",
            "open_time",
            "close_time",
            "first_close_time",
            "source",
            "category",
            "summary",
            "tags",
            "unlinked",
            "reopen_count",
            "customer_message_count",
            "agent_message_count",
            "later_response_count",
        ] {
            csv.cell(column);
        }
        for prefix in ["", "business_"] {
            for metric in METRICS {
                csv.cell(&format!("{prefix}{}_seconds", metric.name()));
            }
        }
        csv.end_line();
        Self { csv, zone }
    }

    pub(crate) fn push(&mut self, conversation: &Conversation) {
        let csv = &mut self.csv;
        for id in [
            conversation.ticket_id,
            conversation.bot_id,
            conversation.queue_id,
            conversation.agent_id,
            conversation.contact_id,
        ] {
            csv.number(id);
        }
        for at in [
            conversation.opened_at,
            conversation.closed_at,
            conversation.first_closed_at,
        ] {
            let offset = self.zone.to_offset(at);
            csv.cell(&format!("{:.6}", at.display_with_offset(offset)));
        }
        csv.cell(&source_name(conversation.source));
        csv.foreign(&conversation.category);
        csv.foreign(&conversation.summary);
        csv.foreign(&conversation.tags.join("; "));
        csv.number(conversation.is_unlinked);
        for count in [
            conversation.reopen_count,
            conversation.customer_message_count,
            conversation.agent_message_count,
            conversation.later_response_count,
        ] {
            csv.number(count);
        }
        let business_times = conversation.business_times.unwrap_or_default();
        for time in conversation.times.into_iter().chain(business_times) {
            csv.seconds(time);
        }
        csv.end_line();
    }

    /// How many bytes [`Self::take`] would give.
    pub(crate) fn len(&self) -> usize {
        self.csv.len()
    }

    /// The lines that were not taken yet.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.csv.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(write: impl Fn(&mut Csv)) -> String {
        let mut csv = Csv::new(false);
        write(&mut csv);
        csv.end_line();
        String::from_utf8(csv.take()).expect("it is UTF-8")
    }

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        for (content, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"yes\"", "\"say \"\"yes\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("ação; ñ", "ação; ñ"),
        ] {
            let written = line(|csv| {
                csv.foreign(content);
                csv.foreign("end");
            });
            assert_eq!(written, format!("{expected},end\r\n"));
        }
    }

    #[test]
    fn texts_of_people_are_no_formulas() {
        for (content, expected) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("\r=1", "\"'\r=1\""),
            ("  =1", "'  =1"),
            ("\n=1", "\"'\n=1\""),
            ("＝1", "'＝1"),
            (
                "=HYPERLINK(\"x\",\"y\")",
                "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\"",
            ),
            ("a=1", "a=1"),
            ("'=1", "'=1"),
        ] {
            assert_eq!(line(|csv| csv.foreign(content)), format!("{expected}\r\n"));
        }
    }

    #[test]
    fn seconds_have_three_decimals() {
        for (ms, expected) in [
            (None, "\r\n"),
            (Some(0), "0.000\r\n"),
            (Some(61_005), "61.005\r\n"),
        ] {
            assert_eq!(line(|csv| csv.seconds(ms)), expected);
        }
    }
}
