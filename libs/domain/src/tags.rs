//! How many tags a ticket carries.

use crate::violation::MAX_TAGS;

/// The most tags that a ticket ever carries: those that people may set, and as many of a close.
pub const MAX_TAGS_WITH_CLOSE: usize = 2 * MAX_TAGS;

/// Whether people may change the tags of a ticket that carries `before` so that it carries `after`: up to [`MAX_TAGS`],
/// and where a close has left more, as long as they don't become more still.
pub const fn may_carry(before: usize, after: usize) -> bool {
    after <= MAX_TAGS || after <= before
}

/// Which of its tags a close adds to a ticket that carries `present`: those that are not there, in the order of the
/// settings, up to [`MAX_TAGS_WITH_CLOSE`] in all. The rest is left out; a ticket with no more than [`MAX_TAGS`] gets
/// all of them. A close never fails by its tags.
pub fn tags_added_by_close(present: &[String], of_close: &[String]) -> Vec<String> {
    let room = MAX_TAGS_WITH_CLOSE.saturating_sub(present.len());
    let new = of_close.iter().filter(|tag| !present.contains(tag));
    new.take(room).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|number| format!("tag {number}")).collect()
    }

    #[test]
    fn people_go_up_to_the_limit_and_never_beyond_what_a_close_left() {
        for (before, after, expected) in [
            (0, 20, true),
            (20, 20, true),
            (20, 21, false),
            (19, 21, false),
            (25, 25, true),
            (25, 26, false),
            (25, 24, true),
            (25, 3, true),
        ] {
            assert_eq!(may_carry(before, after), expected, "{before} {after}");
        }
    }

    #[test]
    fn a_close_adds_what_is_new_and_fits() {
        assert_eq!(tags_added_by_close(&tags(0..3), &tags(2..5)), tags(3..5));
        assert_eq!(
            tags_added_by_close(&tags(0..20), &tags(20..40)),
            tags(20..40)
        );
        assert_eq!(
            tags_added_by_close(&tags(0..35), &tags(30..50)),
            tags(35..40)
        );
        assert!(tags_added_by_close(&tags(0..40), &tags(40..41)).is_empty());
        assert!(tags_added_by_close(&tags(0..41), &tags(41..42)).is_empty());
    }
}
