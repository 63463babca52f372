//! What names and addresses are searched and ordered by.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// The text in small letters and without accents, as Portuguese and Spanish readers look for it: `José` and `JOSE` are
/// both `jose`. Blanks at the ends go, and runs of them become one space.
#[must_use]
pub fn search_key(text: &str) -> String {
    let plain: String = text
        .nfkd()
        .filter(|letter| !is_combining_mark(*letter))
        .flat_map(char::to_lowercase)
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
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
    fn a_phone_number_is_its_digits() {
        assert_eq!(phone_digits("+55 (11) 98765-4321"), "5511987654321");
    }
}
