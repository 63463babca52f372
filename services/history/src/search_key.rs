//! What names and addresses are searched and ordered by.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// A key takes no more bytes: it stands in indexes. Names and addresses stay below unless they are made of letters that
/// stand for many.
const MAX_BYTES: usize = 800;

/// The text in small letters and without accents, as Portuguese and Spanish readers look for it: `José` and `JOSE` are
/// both `jose`. Blanks at the ends go, and runs of them become one space. What is longer than 800 bytes is cut.
#[must_use]
pub fn search_key(text: &str) -> String {
    let plain: String = text
        .nfkd()
        .filter(|letter| !is_combining_mark(*letter))
        .flat_map(char::to_lowercase)
        .collect();
    let mut key = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    key.truncate(key.floor_char_boundary(MAX_BYTES));
    key.truncate(key.trim_end().len());
    key
}

/// The digits of a phone number in any notation.
#[must_use]
pub fn phone_digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_accents_and_blanks_make_no_difference() {
        for (text, key) in [
            ("  José  Núñez ", "jose nunez"),
            ("CONCEIÇÃO", "conceicao"),
            ("Ana\u{a0}Lúcia", "ana lucia"),
            ("", ""),
        ] {
            assert_eq!(search_key(text), key);
        }
    }

    #[test]
    fn a_letter_that_stands_for_many_makes_no_key_that_fits_no_index() {
        let key = search_key(&"\u{fdfa}".repeat(200));
        assert!((700..=MAX_BYTES).contains(&key.len()), "{}", key.len());
        assert_eq!(search_key(&"é".repeat(200)), "e".repeat(200));
    }

    #[test]
    fn a_key_that_is_cut_after_a_word_ends_with_the_word() {
        let word = "a".repeat(MAX_BYTES - 1);
        assert_eq!(search_key(&format!("{word} {word}")), word);
    }

    #[test]
    fn a_phone_number_is_its_digits() {
        assert_eq!(phone_digits("+55 (11) 98765-4321"), "5511987654321");
    }
}
