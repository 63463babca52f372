//! Values that must never reach a log.

use std::fmt;

/// A customer's text, name, phone or address. `Debug` and `Display` print `[redacted]`, so that a
/// struct holding it can be logged; the value itself is the public field.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Redacted<T>(pub T);

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> From<T> for Redacted<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

#[cfg(test)]
mod tests {
    use super::Redacted;

    #[test]
    fn neither_debug_nor_display_shows_the_value() {
        let phone = Redacted("+55 11 91234-5678");
        assert_eq!(format!("{phone} {phone:?}"), "[redacted] [redacted]");
    }
}
