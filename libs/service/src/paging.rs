//! Pages of lists (AIP-158): sizes are capped, and tokens are opaque and bound to the request.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tonic::Status;

use crate::status::{FieldViolations, invalid, invalid_with};

/// The largest page of any list.
pub const MAX_PAGE_SIZE: i32 = 500;

const VERSION: u8 = 1;
/// Of tokens whose cursor has a text.
const TEXT_VERSION: u8 = 2;
const MAX_TEXT_BYTES: usize = 16_384;
const HEAD_BYTES: usize = 1 + 8;

/// The size of the page to serve: 0 means `default`, more than [`MAX_PAGE_SIZE`] means that. INVALID_ARGUMENT on
/// `page_size` when negative.
pub fn page_size(requested: i32, default: i32) -> Result<i64, Status> {
    match requested {
        ..0 => Err(invalid("page_size", "must not be negative")),
        0 => Ok(i64::from(default)),
        _ => Ok(i64::from(requested.min(MAX_PAGE_SIZE))),
    }
}

/// The token of the page that begins after `cursor`. `filter` is whatever else the request says, encoded; a token
/// is of use only with the same filter.
pub fn encode_page_token<const N: usize>(filter: &[u8], cursor: [i64; N]) -> String {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + 8 * N);
    bytes.push(VERSION);
    bytes.extend(checksum(filter, &cursor).to_be_bytes());
    bytes.extend(cursor.iter().flat_map(|value| value.to_be_bytes()));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The cursor in a token; none for the first page, whose token is empty. INVALID_ARGUMENT (`PAGE_TOKEN_INVALID`)
/// on `page_token` for anything that [`encode_page_token`] did not make for the same filter.
pub fn decode_page_token<const N: usize>(
    filter: &[u8],
    token: &str,
) -> Result<Option<[i64; N]>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    read_token(filter, token)
        .map(Some)
        .ok_or_else(page_token_invalid)
}

/// Like [`encode_page_token`], for lists that are ordered by a text, of at most 16,384 bytes, and an id. Of a longer text
/// the beginning counts: the next page begins with those that begin alike.
pub fn encode_text_page_token(filter: &[u8], text: &str, id: i64) -> String {
    let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
    let mut bytes = Vec::with_capacity(HEAD_BYTES + 8 + text.len());
    bytes.push(TEXT_VERSION);
    bytes.extend(text_checksum(filter, text, id).to_be_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend(text.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The cursor in a token of [`encode_text_page_token`]; otherwise as [`decode_page_token`].
pub fn decode_text_page_token(filter: &[u8], token: &str) -> Result<Option<(String, i64)>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    read_text_token(filter, token)
        .map(Some)
        .ok_or_else(page_token_invalid)
}

/// INVALID_ARGUMENT (`PAGE_TOKEN_INVALID`) on `page_token`.
pub fn page_token_invalid() -> Status {
    let mut violations = FieldViolations::new();
    violations.add(
        "page_token",
        "is not the next_page_token of a page with the same filter",
    );
    invalid_with("PAGE_TOKEN_INVALID", violations)
}

fn read_text_token(filter: &[u8], token: &str) -> Option<(String, i64)> {
    if token.len() > (HEAD_BYTES + 8 + MAX_TEXT_BYTES).div_ceil(3) * 4 {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let (id, text) = rest.split_at_checked(8)?;
    let id = i64::from_be_bytes(id.try_into().ok()?);
    let text = std::str::from_utf8(text).ok()?;
    let is_ours =
        head[0] == TEXT_VERSION && head[1..] == text_checksum(filter, text, id).to_be_bytes();
    // PostgreSQL takes no NUL in a text.
    (is_ours && !text.contains('\0')).then(|| (text.to_owned(), id))
}

fn text_checksum(filter: &[u8], text: &str, id: i64) -> u64 {
    checksum(&[filter, text.as_bytes()].concat(), &[id])
}

fn read_token<const N: usize>(filter: &[u8], token: &str) -> Option<[i64; N]> {
    let longest = (HEAD_BYTES + 8 * N).div_ceil(3) * 4;
    if token.len() > longest {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (head, values) = bytes.split_at_checked(HEAD_BYTES)?;
    if head[0] != VERSION || values.len() != 8 * N {
        return None;
    }
    let mut cursor = [0; N];
    for (value, bytes) in cursor.iter_mut().zip(values.chunks_exact(8)) {
        *value = i64::from_be_bytes(bytes.try_into().ok()?);
    }
    (head[1..] == checksum(filter, &cursor).to_be_bytes()).then_some(cursor)
}

/// FNV-1a. It tells mistakes, not forgeries: a cursor only says where to go on among what the actor may see.
fn checksum(filter: &[u8], cursor: &[i64]) -> u64 {
    let cursor_bytes = cursor.iter().flat_map(|value| value.to_be_bytes());
    filter
        .iter()
        .copied()
        .chain(cursor_bytes)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::reason_of;

    #[test]
    fn a_token_gives_its_cursor_back_for_the_same_filter_only() {
        let token = encode_page_token(b"bot 7", [1_700_000_000_000, -5]);
        assert_eq!(
            decode_page_token(b"bot 7", &token).expect("it is ours"),
            Some([1_700_000_000_000, -5])
        );
        let error = decode_page_token::<2>(b"bot 8", &token).expect_err("another filter");
        assert_eq!(reason_of(&error).as_deref(), Some("PAGE_TOKEN_INVALID"));
        assert!(
            decode_page_token::<1>(b"bot 7", &token).is_err(),
            "another list's token"
        );
        assert_eq!(
            decode_page_token::<2>(b"bot 7", "").expect("the first page"),
            None
        );
    }

    #[test]
    fn a_token_with_a_text_gives_it_back() {
        for text in ["", "ana conceicao", "木村"] {
            let token = encode_text_page_token(b"bot 7", text, 5);
            let cursor = decode_text_page_token(b"bot 7", &token).expect("it is ours");
            assert_eq!(cursor, Some((text.to_owned(), 5)));
            assert!(decode_text_page_token(b"bot 8", &token).is_err());
            assert!(decode_page_token::<1>(b"bot 7", &token).is_err());
        }
        let long = encode_text_page_token(b"", &"é".repeat(10_000), 5);
        let (cut, _) = decode_text_page_token(b"", &long)
            .expect("it is ours")
            .expect("it has a cursor");
        assert_eq!(cut, "é".repeat(8_192));
        let number = encode_page_token(b"", [42]);
        for nonsense in ["x", "%%%", &number, &long[1..], &"A".repeat(30_000)] {
            assert!(decode_text_page_token(b"", nonsense).is_err());
        }
        assert_eq!(
            decode_text_page_token(b"", "").expect("the first page"),
            None
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let token = encode_page_token(b"", [42]);
        for nonsense in [
            "x",
            "%%%",
            "AAAA",
            &token[1..],
            &format!("{token}A"),
            &"A".repeat(10_000),
        ] {
            assert!(
                decode_page_token::<1>(b"", nonsense).is_err(),
                "{nonsense:.20}"
            );
        }
    }

    #[test]
    fn sizes_are_capped() {
        assert_eq!(page_size(0, 50).expect("default"), 50);
        assert_eq!(page_size(7, 50).expect("as asked"), 7);
        assert_eq!(
            page_size(i32::MAX, 50).expect("capped"),
            i64::from(MAX_PAGE_SIZE)
        );
        assert!(page_size(-1, 50).is_err());
    }
}
