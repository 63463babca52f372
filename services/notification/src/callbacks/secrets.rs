//! Whether a callback comes from whom it says. All comparisons take as long whatever is right of what was sent.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

const SIGNATURE_PREFIX: &str = "sha256=";
const SIGNATURE_BYTES: usize = 32;

/// Whether `header`, the value of `X-Hub-Signature-256`, is the HMAC-SHA256 of the raw body under the app's secret.
pub(crate) fn is_signed(app_secret: &str, header: &[u8], body: &[u8]) -> bool {
    let Some(signature) = signature(header) else {
        return false;
    };
    // An empty secret would make anybody's signature good.
    if app_secret.is_empty() {
        return false;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(app_secret.as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

fn signature(header: &[u8]) -> Option<[u8; SIGNATURE_BYTES]> {
    let text = std::str::from_utf8(header).ok()?;
    let digits = text.strip_prefix(SIGNATURE_PREFIX)?.as_bytes();
    if digits.len() != 2 * SIGNATURE_BYTES {
        return None;
    }
    let mut signature = [0; SIGNATURE_BYTES];
    for (byte, pair) in signature.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(signature)
}

/// Whether a token that was sent is the one that is known. An empty one is never.
pub(crate) fn is_token(known: &str, sent: &str) -> bool {
    // Digests are of one length, and tell nothing about where the tokens differ.
    let (known_digest, sent_digest) = (Sha256::digest(known), Sha256::digest(sent));
    let difference = known_digest
        .iter()
        .zip(sent_digest.iter())
        .fold(0, |difference, (a, b)| difference | (a ^ b));
    difference == 0 && !known.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// From RFC 4231, test case 2.
    const PUBLISHED: &str =
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

    #[test]
    fn a_published_signature_is_taken_and_others_are_not() {
        let body = b"what do ya want for nothing?";
        assert!(is_signed("Jefe", PUBLISHED.as_bytes(), body));
        let upper = PUBLISHED.to_uppercase().replace("SHA256", "sha256");
        assert!(is_signed("Jefe", upper.as_bytes(), body));
        assert!(!is_signed("jefe", PUBLISHED.as_bytes(), body));
        assert!(!is_signed(
            "Jefe",
            PUBLISHED.as_bytes(),
            b"what do ya want?"
        ));
        assert!(!is_signed("", PUBLISHED.as_bytes(), body));
        for header in [
            "",
            "sha256=",
            "sha1=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            &PUBLISHED[7..],
            &PUBLISHED[..70],
            &format!("{PUBLISHED}0"),
            &PUBLISHED.replace('5', "g"),
            &PUBLISHED.replace("5b", "5\u{e9}"),
        ] {
            assert!(!is_signed("Jefe", header.as_bytes(), body), "{header}");
        }
    }

    #[test]
    fn a_token_is_itself_alone() {
        assert!(is_token("right", "right"));
        for sent in ["", "wrong", "righ", "right ", "RIGHT"] {
            assert!(!is_token("right", sent), "{sent}");
        }
        assert!(!is_token("", ""));
    }

    proptest! {
        #[test]
        fn no_header_brings_it_down(header: Vec<u8>, body: Vec<u8>) {
            prop_assert!(!is_signed("secret", &header, &body));
        }
    }
}
