//! Texts as PostgreSQL can hold them.

/// Joins the items of a list in one SQL text; see `queries/save_tickets.sql`.
pub(crate) const UNIT_SEPARATOR: char = '\u{1f}';

/// PostgreSQL holds no NUL in a text. An event that has one must not stop the feed.
pub(super) fn storable(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}

/// The items that a list joined by [`UNIT_SEPARATOR`] can hold: not empty, and without it.
pub(super) fn storable_list(items: Vec<String>) -> Vec<String> {
    let items = items.into_iter().filter(|item| !item.is_empty());
    items
        .map(|item| storable(item).replace(UNIT_SEPARATOR, "\u{fffd}"))
        .collect()
}
