//! What people type to find a contact, as patterns for the text that contacts are searched in.

use crate::search_key::search_key;

const MAX_CHARACTERS: usize = 200;
const MAX_WORDS: usize = 10;
/// A shorter word must be the beginning of one: it occurs almost anywhere, and the index knows parts of words from three
/// characters on.
const PART_CHARACTERS: usize = 3;
/// So many digits stand for few contacts: with fewer it may be the codes of a country and a city alone.
const LONG_NUMBER_DIGITS: usize = 8;
/// A number keeps its leading zeros when fewer digits than this would be left: it is no phone number then.
const DIALLED_DIGITS: usize = 4;

/// A query, ready to be looked for in `contacts.search_text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SearchQuery {
    patterns: Vec<String>,
    has_long_number: bool,
}

/// A query that can't be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SearchQueryInvalid {
    #[error("must have at most {MAX_CHARACTERS} characters")]
    TooLong,
    #[error("must have at most {MAX_WORDS} words")]
    TooManyWords,
    #[error("must contain a letter or a digit")]
    NoWord,
}

impl SearchQuery {
    /// Reads a query. Words without a letter or a digit say nothing; words next to each other that are written like phone
    /// numbers are one number.
    pub(crate) fn parse(text: &str) -> Result<Self, SearchQueryInvalid> {
        if text.chars().count() > MAX_CHARACTERS {
            return Err(SearchQueryInvalid::TooLong);
        }
        let key = search_key(text);
        let mut words: Vec<String> = Vec::new();
        let mut in_number = false;
        for word in key
            .split(' ')
            .filter(|word| has_substance(word) || is_phone(word))
        {
            if !is_phone(word) {
                words.push(word.to_owned());
                in_number = false;
                continue;
            }
            let digits = word.chars().filter(char::is_ascii_digit);
            match words.last_mut().filter(|_| in_number) {
                Some(number) => number.extend(digits),
                None => words.push(digits.collect()),
            }
            in_number = true;
        }
        if words.len() > MAX_WORDS {
            return Err(SearchQueryInvalid::TooManyWords);
        }
        let patterns: Vec<String> = words.iter().filter_map(|word| pattern(word)).collect();
        if patterns.is_empty() && !key.is_empty() {
            return Err(SearchQueryInvalid::NoWord);
        }
        let is_long_number = |word: &String| word.len() >= LONG_NUMBER_DIGITS && is_number(word);
        Ok(Self {
            patterns,
            has_long_number: words.iter().any(is_long_number),
        })
    }

    /// Patterns for LIKE that must all match; none for all contacts.
    pub(crate) fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether a word is a number that few contacts can have.
    pub(crate) fn has_long_number(&self) -> bool {
        self.has_long_number
    }

    /// The longest pattern, which is found in the fewest contacts; none for all contacts.
    pub(crate) fn longest(&self) -> Option<&str> {
        let longest = self.patterns.iter().max_by_key(|pattern| pattern.len());
        longest.map(String::as_str)
    }
}

fn has_substance(word: &str) -> bool {
    word.chars().any(char::is_alphanumeric)
}

/// Whether a word is written like a phone number, or like a part of one.
fn is_phone(word: &str) -> bool {
    !word.is_empty()
        && word
            .chars()
            .all(|letter| letter.is_ascii_digit() || "+-().".contains(letter))
}

fn is_number(word: &str) -> bool {
    word.chars().all(|letter| letter.is_ascii_digit())
}

/// The pattern for a word; none for a number without digits. Leading zeros of a number are a prefix for dialling, which
/// stored numbers don't have.
fn pattern(word: &str) -> Option<String> {
    if word.is_empty() {
        return None;
    }
    let dialled = Some(word.trim_start_matches('0'));
    let dialled = dialled.filter(|digits| is_number(word) && digits.len() >= DIALLED_DIGITS);
    let word = dialled.unwrap_or(word);
    let mut pattern = String::from("%");
    if word.chars().count() < PART_CHARACTERS {
        pattern.push(' ');
    }
    for letter in word.chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    Some(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_patterns() {
        for (text, patterns) in [
            ("", &[][..]),
            ("  ", &[]),
            ("Núñez  JOSÉ", &["%nunez%", "%jose%"]),
            ("de Sá", &["% de%", "% sa%"]),
            ("ana@", &["%ana@%"]),
            ("50%_\\", &["%50\\%\\_\\\\%"]),
            ("Ana - Lima", &["%ana%", "%lima%"]),
        ] {
            let query = SearchQuery::parse(text).expect("it can be looked for");
            assert_eq!(query.patterns(), patterns, "{text}");
        }
    }

    #[test]
    fn phone_numbers_in_any_notation_are_one_number() {
        for text in [
            "5511987654321",
            "+55 (11) 98765-4321",
            "0055 11 98765 4321",
            "55.11.98765.4321",
        ] {
            let query = SearchQuery::parse(text).expect("it can be looked for");
            assert_eq!(query.patterns(), ["%5511987654321%"], "{text}");
        }
        let query = SearchQuery::parse("ana (011) 98765-4321 lima").expect("it can be looked for");
        assert_eq!(query.patterns(), ["%ana%", "%11987654321%", "%lima%"]);
        assert_eq!(query.longest(), Some("%11987654321%"));
        assert!(query.has_long_number());
        let codes = SearchQuery::parse("ana +55 11 98").expect("it can be looked for");
        assert!(!codes.has_long_number());
        let short = SearchQuery::parse("agent 007").expect("it can be looked for");
        assert_eq!(short.patterns(), ["%agent%", "%007%"]);
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for (text, problem) in [
            ("+", SearchQueryInvalid::NoWord),
            ("?! ( )", SearchQueryInvalid::NoWord),
            (&"a ".repeat(11), SearchQueryInvalid::TooManyWords),
            (&"a".repeat(201), SearchQueryInvalid::TooLong),
        ] {
            assert_eq!(SearchQuery::parse(text), Err(problem), "{text:.20}");
        }
    }
}
