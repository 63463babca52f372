//! Paths in URLs.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Encodes everything but letters, digits, `-`, `.`, `_` and `~`, also slashes, so that the result fits into any part
/// of a URL.
pub(crate) fn percent_encode(path: &Path) -> String {
    let mut encoded = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_bytes_are_encoded() {
        assert_eq!(
            percent_encode(Path::new("/a b/ü,%.sock")),
            "%2Fa%20b%2F%C3%BC%2C%25.sock"
        );
    }
}
