//! Texts with placeholders.
//!
//! `{{contact_name}}` and `{{time_left}}` are replaced, `{{{{` stands for two literal braces, and
//! everything else is literal. Whatever else begins with two braces is refused, so that no customer
//! reads a misspelt placeholder.

use crate::time_value::TimeUnit;

/// What a text may insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Placeholder {
    /// The name of the contact.
    ContactName,
    /// The time until the close, see [`write_time_left`].
    TimeLeft,
}

impl Placeholder {
    /// All placeholders.
    pub const ALL: [Self; 2] = [Self::ContactName, Self::TimeLeft];

    /// The name between the braces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ContactName => "contact_name",
            Self::TimeLeft => "time_left",
        }
    }
}

/// Why a text is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No such placeholder.
    #[error("unknown placeholder {{{{{name}}}}}; two literal braces are written as {{{{{{{{")]
    Unknown {
        /// What stands between the braces, at most 40 characters of it.
        name: String,
    },
    /// The placeholder exists, but not for this text.
    #[error("placeholder {{{{{}}}}} is not available in this text", .placeholder.name())]
    NotAllowed {
        /// The placeholder.
        placeholder: Placeholder,
    },
    /// Two opening braces without closing ones.
    #[error("{{{{{rest} is not closed by }}}}; two literal braces are written as {{{{{{{{")]
    Unclosed {
        /// What follows the braces, at most 40 characters of it.
        rest: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Insert(Placeholder),
}

/// What replaces the placeholders.
#[derive(Debug, Clone, Copy)]
pub struct TemplateValues<'a> {
    /// The name of the contact. Inserted as it is: braces in it mean nothing.
    pub contact_name: &'a str,
    /// The time until the close in milliseconds. Not looked at by texts that may not name it.
    pub time_left_ms: i64,
}

/// A text that was read and found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

impl Template {
    /// Reads a text that may use the placeholders in `allowed`.
    pub fn parse(text: &str, allowed: &[Placeholder]) -> Result<Self, TemplateError> {
        const OPEN: &str = "{{";
        const CLOSE: &str = "}}";
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after_open)) = rest.split_once(OPEN) {
            literal.push_str(before);
            if let Some(after_escape) = after_open.strip_prefix(OPEN) {
                literal.push_str(OPEN);
                rest = after_escape;
                continue;
            }
            let Some((name, after_close)) = after_open.split_once(CLOSE) else {
                return Err(TemplateError::Unclosed {
                    rest: shortened(after_open),
                });
            };
            let placeholder = find_placeholder(name, allowed)?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Insert(placeholder));
            rest = after_close;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }

    /// The text with the values in place.
    pub fn render(&self, values: &TemplateValues<'_>) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Insert(Placeholder::ContactName) => text.push_str(values.contact_name),
                Piece::Insert(Placeholder::TimeLeft) => {
                    text.push_str(&write_time_left(values.time_left_ms));
                }
            }
        }
        text
    }
}

/// A length of time as a number and a sign that every language knows: `5 min`, `30 s`, `2 h`, `1 d`,
/// in the largest unit that divides it evenly. Parts of a second count as a whole one; what is not above
/// zero is `0 s`.
pub fn write_time_left(millis: i64) -> String {
    let second_ms = TimeUnit::Second.millis();
    let seconds = millis.max(0) / second_ms + i64::from(millis.max(0) % second_ms != 0);
    let unit = TimeUnit::LONGEST_FIRST
        .into_iter()
        .find(|unit| seconds > 0 && seconds % (unit.millis() / second_ms) == 0)
        .unwrap_or(TimeUnit::Second);
    let count = seconds / (unit.millis() / second_ms);
    format!("{count} {}", unit.symbol())
}

fn find_placeholder(name: &str, allowed: &[Placeholder]) -> Result<Placeholder, TemplateError> {
    let found = Placeholder::ALL
        .into_iter()
        .find(|placeholder| placeholder.name() == name);
    match found {
        Some(placeholder) if allowed.contains(&placeholder) => Ok(placeholder),
        Some(placeholder) => Err(TemplateError::NotAllowed { placeholder }),
        None => Err(TemplateError::Unknown {
            name: shortened(name),
        }),
    }
}

/// The first characters of a text, for an error message.
fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 40;
    text.chars().take(MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALUES: TemplateValues<'static> = TemplateValues {
        contact_name: "Ana {{time_left}}",
        time_left_ms: 300_000,
    };

    fn rendered(text: &str) -> String {
        Template::parse(text, &Placeholder::ALL)
            .expect("valid")
            .render(&VALUES)
    }

    #[test]
    fn replaces_placeholders_once() {
        for (text, expected) in [
            ("", ""),
            ("no placeholder", "no placeholder"),
            ("Hi {{contact_name}}!", "Hi Ana {{time_left}}!"),
            ("{{time_left}}{{time_left}}", "5 min5 min"),
            ("{one} }} } {", "{one} }} } {"),
            ("write {{{{contact_name}}", "write {{contact_name}}"),
            ("{{{{{{time_left}}}}", "{{5 min}}"),
            ("{{{{{{{{", "{{{{"),
            ("ñ{{time_left}}日本", "ñ5 min日本"),
        ] {
            assert_eq!(rendered(text), expected, "{text}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        for (text, expected) in [
            (
                "{{contact}}",
                "unknown placeholder {{contact}}; two literal braces are written as {{{{",
            ),
            (
                "{{ contact_name }}",
                "unknown placeholder {{ contact_name }}; two literal braces are written as {{{{",
            ),
            (
                "{{}}",
                "unknown placeholder {{}}; two literal braces are written as {{{{",
            ),
            (
                "{{{contact_name}}",
                "unknown placeholder {{{contact_name}}; two literal braces are written as {{{{",
            ),
            (
                "a {{contact_name}",
                "{{contact_name} is not closed by }}; two literal braces are written as {{{{",
            ),
            (
                "a {{",
                "{{ is not closed by }}; two literal braces are written as {{{{",
            ),
        ] {
            let error = Template::parse(text, &Placeholder::ALL).expect_err(text);
            assert_eq!(error.to_string(), expected);
        }
        let error = Template::parse("in {{time_left}}", &[Placeholder::ContactName])
            .expect_err("time_left is not allowed");
        assert_eq!(
            error.to_string(),
            "placeholder {{time_left}} is not available in this text"
        );
    }

    #[test]
    fn an_error_quotes_no_more_than_forty_characters() {
        let text = format!("{{{{{}", "é".repeat(5_000));
        let error = Template::parse(&text, &[]).expect_err("unclosed");
        assert_eq!(
            error,
            TemplateError::Unclosed {
                rest: "é".repeat(40)
            }
        );
    }

    #[test]
    fn time_left_is_in_the_largest_even_unit() {
        for (millis, expected) in [
            (30_000, "30 s"),
            (60_000, "1 min"),
            (90_000, "90 s"),
            (300_000, "5 min"),
            (7_200_000, "2 h"),
            (5_400_000, "90 min"),
            (86_400_000, "1 d"),
            (90_000_000, "25 h"),
            (1, "1 s"),
            (0, "0 s"),
            (-5, "0 s"),
        ] {
            assert_eq!(write_time_left(millis), expected);
        }
    }

    /// Texts that are mostly braces and names.
    fn any_text() -> impl Strategy<Value = String> {
        const PARTS: [&str; 9] = [
            "{",
            "}",
            "{{",
            "}}",
            "contact_name",
            "time_left",
            "a",
            "é",
            " ",
        ];
        proptest::collection::vec(proptest::sample::select(&PARTS[..]), 0..30)
            .prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_read_or_refused(text in any_text()) {
            let values = TemplateValues { contact_name: "", time_left_ms: 0 };
            match Template::parse(&text, &Placeholder::ALL) {
                Ok(template) => prop_assert!(template.render(&values).len() <= text.len()),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }

        #[test]
        fn any_text_can_be_written_literally(text in any_text()) {
            let escaped = text.replace("{{", "{{{{");
            let template = Template::parse(&escaped, &[]).expect("nothing to insert");
            prop_assert_eq!(template.render(&VALUES), text);
        }
    }
}
