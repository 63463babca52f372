//! Who a contact is.

use std::fmt::Write as _;

use plazo_history::search_key;
use plazo_proto::common::v1::Channel;

use super::random::{Kind, Random};
use super::words::{LANDS, Land, Language};

/// A contact's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactData {
    /// First and last names.
    pub name: String,
    /// Empty for some.
    pub email: String,
    /// E.164; empty for some.
    pub phone: String,
    /// Where he writes from.
    pub channel: Channel,
    /// His address there; unique.
    pub address: String,
}

/// A contact, and the language that he writes.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) data: ContactData,
    pub(super) language: &'static Language,
}

/// The contact with this number.
pub(super) fn person(seed: u64, number: u64) -> Person {
    let mut random = Random::of(seed, Kind::Contact, number);
    // The first number says which bot he writes to.
    random.next();
    let land = some_land(&mut random);
    let words = land.language;
    let first = random.pick(words.first_names);
    let last = random.pick(words.last_names);
    let mut name = format!("{first} {last}");
    if random.chance(600) {
        let _ = write!(name, " {}", random.pick(words.last_names));
    }
    let phone = phone(land, number, &mut random);
    let email = if random.chance(700) {
        email(first, last, number, &mut random)
    } else {
        String::new()
    };
    let (channel, address) = match random.below(100) {
        0..60 => (Channel::Whatsapp, phone.clone()),
        60..80 => (
            Channel::Blip,
            format!("{}@wa.gw.msging.net", phone.trim_start_matches('+')),
        ),
        80..90 if !email.is_empty() => (Channel::Email, email.clone()),
        _ => (Channel::Webhook, format!("customer-{number}")),
    };
    let hides_phone = channel != Channel::Whatsapp && random.chance(300);
    Person {
        data: ContactData {
            name,
            email,
            phone: if hides_phone { String::new() } else { phone },
            channel,
            address,
        },
        language: words,
    }
}

fn some_land(random: &mut Random) -> &'static Land {
    let mut left = random.below(100);
    for land in &LANDS {
        if left < land.percent {
            return land;
        }
        left -= land.percent;
    }
    &LANDS[0]
}

/// Numbers of one area are dealt out in another order than the contacts, each once as long as there are enough.
fn phone(land: &Land, number: u64, random: &mut Random) -> String {
    let area = random.pick(land.area_codes);
    let count = 10_u64.pow(land.digits);
    // Odd and no multiple of five: every number comes once.
    let subscriber = (number % count) * 7_654_321 % count;
    let digits = usize::try_from(land.digits).expect("a few");
    format!("{}{area}{subscriber:0digits$}", land.country_code)
}

fn email(first: &str, last: &str, number: u64, random: &mut Random) -> String {
    const DOMAINS: [&str; 4] = [
        "example.com",
        "example.com.br",
        "correo.example",
        "mail.example.org",
    ];
    format!(
        "{}.{}{number}@{}",
        search_key(first),
        search_key(last),
        random.pick(&DOMAINS)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use plazo_history::phone_digits;

    use super::*;

    #[test]
    fn contacts_look_like_people_and_have_addresses_of_their_own() {
        let mut addresses = HashSet::new();
        let (mut accents, mut emails) = (0, 0);
        for number in 0..5_000 {
            let person = person(7, number).data;
            assert!(person.name.contains(' '));
            accents += u32::from(search_key(&person.name) != person.name.to_lowercase());
            emails += u32::from(!person.email.is_empty());
            assert!(
                person.email.is_empty() || person.email.is_ascii() && person.email.contains('@')
            );
            let digits = phone_digits(&person.phone).len();
            assert!(
                digits == 0 || (11..=15).contains(&digits),
                "{}",
                person.phone
            );
            assert!(
                addresses.insert((person.channel, person.address)),
                "{number}"
            );
        }
        assert!(accents > 1_500, "{accents}");
        assert!((3_000..4_000).contains(&emails), "{emails}");
    }
}
