//! How much goes into one message.

/// How many of the first things fit, by their sizes in bytes; at least one, if there is one.
pub(crate) fn fitting(sizes: impl Iterator<Item = usize>, max_bytes: usize) -> usize {
    let mut total = 0;
    let count = sizes
        .take_while(|size| {
            total += size;
            total <= max_bytes
        })
        .count();
    count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_fit_and_one_at_least() {
        assert_eq!(fitting([3, 3, 3].into_iter(), 9), 3);
        assert_eq!(fitting([3, 3, 3].into_iter(), 8), 2);
        assert_eq!(fitting([30, 3].into_iter(), 8), 1);
    }
}
