//! Numbers that look random and follow from a seed: whoever asks again gets the same.

/// A row of numbers (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

/// What a row of numbers is for: rows of other kinds have nothing to do with each other.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Which contact, bot and queue a ticket has.
    Place = 1,
    /// What happens in a ticket.
    Story = 2,
    /// Who a contact is.
    Contact = 3,
}

impl Random {
    /// The row that belongs to one thing.
    pub(super) fn of(seed: u64, kind: Kind, number: u64) -> Self {
        let mut row = Self(seed.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ (kind as u64) << 56);
        let start = row.next();
        let mut row = Self(start ^ number.wrapping_mul(0xff51_afd7_ed55_8ccd));
        // Neighbours begin far from each other.
        row.next();
        row
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from 0 on and below `count`, which is above zero.
    pub(super) fn below(&mut self, count: u64) -> u64 {
        // The upper half of the product is spread as evenly as anybody can see.
        let product = u128::from(self.next()) * u128::from(count);
        u64::try_from(product >> 64).expect("the upper half of 128 bits has 64")
    }

    /// From 0 on and below 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are left")]
    pub(super) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True so many times in a thousand.
    pub(super) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// One of these, which are at least one.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let place = self.below(from.len() as u64);
        from[usize::try_from(place).expect("below a length")]
    }

    /// Below `count`, small numbers more often; an exponent of 1 would make all alike.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "counts are far below 2^53"
    )]
    pub(super) fn skewed(&mut self, count: u64, exponent: f64) -> u64 {
        let place = self.share().powf(exponent) * count as f64;
        (place as u64).min(count - 1)
    }

    /// One of these, the first ones more often.
    pub(super) fn pick_skewed<T: Copy>(&mut self, from: &[T], exponent: f64) -> T {
        let place = self.skewed(from.len() as u64, exponent);
        from[usize::try_from(place).expect("below a length")]
    }

    /// A length of time, in whole milliseconds between two numbers of seconds: each order of magnitude is as likely.
    #[expect(clippy::cast_possible_truncation, reason = "lengths are small")]
    pub(super) fn length_ms(&mut self, from_s: f64, to_s: f64) -> i64 {
        (1e3 * from_s * (to_s / from_s).powf(self.share())) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_bounds_and_spread() {
        let mut random = Random::of(1, Kind::Story, 5);
        let (mut small, mut true_count) = (0, 0);
        for _ in 0..10_000 {
            assert!(random.below(7) < 7);
            assert!((0.0..1.0).contains(&random.share()));
            assert!((2_000..=60_000).contains(&random.length_ms(2.0, 60.0)));
            small += u32::from(random.skewed(100, 2.0) < 25);
            true_count += u32::from(random.chance(200));
        }
        assert!((4_500..5_500).contains(&small), "{small}");
        assert!((1_800..2_200).contains(&true_count), "{true_count}");
    }

    #[test]
    fn rows_repeat_and_differ() {
        let first = |seed, kind, number| Random::of(seed, kind, number).next();
        let one = first(1, Kind::Story, 5);
        assert_eq!(one, first(1, Kind::Story, 5));
        for other in [
            first(2, Kind::Story, 5),
            first(1, Kind::Place, 5),
            first(1, Kind::Story, 6),
        ] {
            assert_ne!(one, other);
        }
    }
}
