//! Lengths of time as people set them.

use std::cmp::Ordering;

use crate::code::stable_codes;

/// The longest value that may be set, in days.
pub const MAX_DAYS: i64 = 400;

const MAX_MILLIS: i64 = MAX_DAYS * TimeUnit::Day.millis();

/// A unit of time in which people write settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeUnit {
    /// 1,000 milliseconds.
    Second,
    /// 60 seconds.
    Minute,
    /// 3,600 seconds.
    Hour,
    /// 86,400 seconds.
    Day,
}

stable_codes!(TimeUnit {
    Second = 1,
    Minute = 2,
    Hour = 3,
    Day = 4
});

impl TimeUnit {
    /// All units, the longest first.
    pub const LONGEST_FIRST: [Self; 4] = [Self::Day, Self::Hour, Self::Minute, Self::Second];

    /// The length of one unit in milliseconds.
    pub const fn millis(self) -> i64 {
        match self {
            Self::Second => 1_000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// The sign of the unit, the same in every language: `s`, `min`, `h` or `d`.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "h",
            Self::Day => "d",
        }
    }
}

/// Why a length of time is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeValueError {
    /// The value is zero or negative.
    #[error("must be above zero, is {value}")]
    NotAboveZero {
        /// What was given.
        value: i32,
    },
    /// The value is longer than [`MAX_DAYS`].
    #[error("must be at most {MAX_DAYS} days, is {value} {}", unit.symbol())]
    TooLong {
        /// What was given.
        value: i32,
        /// Its unit.
        unit: TimeUnit,
    },
}

/// A length of time as somebody set it: a whole number above zero and a unit, at most 400 days.
///
/// Equal means set alike: 60 seconds and 1 minute are two settings. They are of one length, though, so
/// there is no `<` here that would disagree with `==`: lengths compare by [`TimeValue::cmp_length`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeValue {
    value: i32,
    unit: TimeUnit,
}

impl TimeValue {
    /// Checks and keeps a value with the unit that was set.
    pub fn new(value: i32, unit: TimeUnit) -> Result<Self, TimeValueError> {
        if value <= 0 {
            return Err(TimeValueError::NotAboveZero { value });
        }
        let time_value = Self { value, unit };
        if time_value.as_millis() > MAX_MILLIS {
            return Err(TimeValueError::TooLong { value, unit });
        }
        Ok(time_value)
    }

    /// The number that was set, in [`TimeValue::unit`]s.
    pub const fn value(self) -> i32 {
        self.value
    }

    /// The unit that was set.
    pub const fn unit(self) -> TimeUnit {
        self.unit
    }

    /// The length in milliseconds. Cannot overflow: the largest `i32` in days is below 2^58.
    pub const fn as_millis(self) -> i64 {
        self.value as i64 * self.unit.millis()
    }

    /// Compares the lengths, whatever the units: 60 seconds are as long as 1 minute.
    pub fn cmp_length(self, other: Self) -> Ordering {
        self.as_millis().cmp(&other.as_millis())
    }

    /// Whether this is less time than `other`.
    pub fn is_shorter_than(self, other: Self) -> bool {
        self.cmp_length(other).is_lt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: i32, unit: TimeUnit) -> TimeValue {
        TimeValue::new(value, unit).expect("valid")
    }

    #[test]
    fn keeps_the_unit_that_was_set() {
        let ninety = of(90, TimeUnit::Minute);
        assert_eq!((ninety.value(), ninety.unit()), (90, TimeUnit::Minute));
        assert_eq!(ninety.as_millis(), 5_400_000);
    }

    #[test]
    fn lengths_compare_across_units() {
        let seconds = of(60, TimeUnit::Second);
        let minute = of(1, TimeUnit::Minute);
        assert_eq!(seconds.cmp_length(minute), Ordering::Equal);
        assert_ne!(seconds, minute);
        assert!(of(59, TimeUnit::Second).is_shorter_than(minute));
        assert!(!of(1, TimeUnit::Day).is_shorter_than(of(24, TimeUnit::Hour)));
        assert!(of(23, TimeUnit::Hour).is_shorter_than(of(1, TimeUnit::Day)));
    }

    #[test]
    fn refuses_what_is_not_above_zero() {
        for value in [0, -1, i32::MIN] {
            assert_eq!(
                TimeValue::new(value, TimeUnit::Hour),
                Err(TimeValueError::NotAboveZero { value })
            );
        }
    }

    #[test]
    fn refuses_more_than_400_days() {
        for (last, unit) in [
            (400, TimeUnit::Day),
            (9_600, TimeUnit::Hour),
            (576_000, TimeUnit::Minute),
            (34_560_000, TimeUnit::Second),
        ] {
            assert!(TimeValue::new(last, unit).is_ok());
            for value in [last + 1, i32::MAX] {
                assert_eq!(
                    TimeValue::new(value, unit),
                    Err(TimeValueError::TooLong { value, unit })
                );
            }
        }
        let error = TimeValue::new(401, TimeUnit::Day).expect_err("too long");
        assert_eq!(error.to_string(), "must be at most 400 days, is 401 d");
    }
}
