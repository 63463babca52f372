//! The shape of e-mail addresses.

/// What an address that is refused is told.
pub(super) const MUST_BE: &str = "must be an e-mail address of at most 254 characters";

const MAX_CHARS: usize = 254;
const MAX_LOCAL_CHARS: usize = 64;
const MAX_LABEL_CHARS: usize = 63;

/// Whether this looks like an address that mail can be sent to: a name without quotes or comments, and a
/// domain of at least two parts. Letters of all scripts will do.
pub(super) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    text.chars().count() <= MAX_CHARS && is_local(local) && is_domain(domain)
}

fn is_local(local: &str) -> bool {
    let is_allowed = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    local.chars().count() <= MAX_LOCAL_CHARS
        && local
            .split('.')
            .all(|part| !part.is_empty() && part.chars().all(is_allowed))
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=MAX_LABEL_CHARS).contains(&label.chars().count())
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let top = domain.rsplit('.').next().unwrap_or_default();
    let is_number = top.bytes().all(|b| b.is_ascii_digit());
    domain.contains('.') && domain.split('.').all(is_label) && !is_number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_texts() {
        for email in [
            "ana@example.com",
            "ana.maría+desk@correo.example.com.br",
            "o'neil@xn--d1acufc.example",
            "用户@例子.公司",
            "a@b.co",
        ] {
            assert!(is_email(email), "{email}");
        }
        let long = format!("{}@example.com", "a".repeat(65));
        let longer = format!("a@{}com", "abcdefgh.".repeat(30));
        for text in [
            "",
            "@",
            "ana",
            "ana@",
            "@example.com",
            "ana@example",
            "ana@@example.com",
            "a b@example.com",
            ".ana@example.com",
            "ana..b@example.com",
            "ana@-example.com",
            "ana@example..com",
            "ana@example.com.",
            "ana@127.0.0.1",
            "Ana <ana@example.com>",
            "ana@example.com\n",
            "\"ana\"@example.com",
            "ana@exa_mple.com",
            "a\0@example.com",
            &long,
            &longer,
        ] {
            assert!(!is_email(text), "{text:?}");
        }
    }
}
