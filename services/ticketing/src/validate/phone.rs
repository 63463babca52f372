//! Phone numbers in E.164.

/// What a number that is refused is told.
pub(super) const MUST_BE: &str =
    "must be a phone number in E.164: + and 7 to 15 digits that begin with the code of a country";

/// The shortest numbers in use, those of small islands, have so many digits with the country code.
const MIN_DIGITS: usize = 7;
const MAX_DIGITS: usize = 15;

/// The codes that the ITU has assigned to countries, areas and networks whose subscribers are people, in
/// ranges of codes of the same length. Codes of services (freephone, shared cost, premium rate) are left
/// out.
const COUNTRY_CODES: [(u16, u16); 44] = [
    (1, 1),
    (7, 7),
    (20, 20),
    (27, 27),
    (30, 34),
    (36, 36),
    (39, 41),
    (43, 49),
    (51, 58),
    (60, 66),
    (81, 82),
    (84, 84),
    (86, 86),
    (90, 95),
    (98, 98),
    (211, 213),
    (216, 216),
    (218, 218),
    (220, 258),
    (260, 269),
    (290, 291),
    (297, 299),
    (350, 359),
    (370, 383),
    (385, 387),
    (389, 389),
    (420, 421),
    (423, 423),
    (500, 509),
    (590, 599),
    (670, 670),
    (672, 683),
    (685, 692),
    (850, 850),
    (852, 853),
    (855, 856),
    (870, 870),
    (878, 878),
    (880, 883),
    (886, 886),
    (960, 968),
    (970, 977),
    (992, 996),
    (998, 998),
];

/// Whether this is a phone number in E.164 whose country code is assigned.
pub(super) fn is_phone(text: &str) -> bool {
    let Some(digits) = text.strip_prefix('+') else {
        return false;
    };
    (MIN_DIGITS..=MAX_DIGITS).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && has_country_code(digits)
}

/// No code is the beginning of another one, so at most one length fits.
fn has_country_code(digits: &str) -> bool {
    (1..=3).any(|length| {
        let code = digits.get(..length).filter(|code| !code.starts_with('0'));
        let code = code.and_then(|code| code.parse::<u16>().ok());
        code.is_some_and(|code| {
            COUNTRY_CODES
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&code))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_countries_are_told_from_other_texts() {
        for phone in [
            "+5511987654321",
            "+14155550123",
            "+6834000",
            "+299321000",
            "+998901234567",
            "+393331234567890",
            "+881612345678",
        ] {
            assert!(is_phone(phone), "{phone}");
        }
        for text in [
            "",
            "+",
            "5511987654321",
            "+0511987654321",
            "+55 11 98765-4321",
            "+551198",
            "+5511987654321012",
            "+2101234567",
            "+2591234567",
            "+8001234567",
            "+9991234567",
            "+9791234567",
            "++5511987654321",
            "+55１1987654321",
            "+5511987654321\n",
        ] {
            assert!(!is_phone(text), "{text:?}");
        }
    }

    #[test]
    fn no_code_begins_another() {
        let codes: Vec<_> = COUNTRY_CODES
            .iter()
            .flat_map(|(first, last)| *first..=*last)
            .map(|code| code.to_string())
            .collect();
        for code in &codes {
            let beginnings = codes
                .iter()
                .filter(|other| code.starts_with(other.as_str()))
                .count();
            assert_eq!(beginnings, 1, "{code}");
        }
    }
}
