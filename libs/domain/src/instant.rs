//! Arithmetic on instants: deadlines are whole milliseconds, rounded up so that nothing is early.

use jiff::Timestamp;

const NANOS_IN_MILLI: i128 = 1_000_000;

/// `at` rounded up to a whole millisecond.
pub(crate) fn ceil_to_millis(at: Timestamp) -> Timestamp {
    plus_millis(at, 0)
}

/// `at` plus `millis`, rounded up to a whole millisecond; the last instant there is when that lies
/// beyond it.
pub(crate) fn plus_millis(at: Timestamp, millis: i64) -> Timestamp {
    let nanos = at.as_nanosecond() + i128::from(millis) * NANOS_IN_MILLI;
    let whole = nanos.div_euclid(NANOS_IN_MILLI);
    let rounded_up = whole + i128::from(nanos.rem_euclid(NANOS_IN_MILLI) != 0);
    i64::try_from(rounded_up)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(us: i64) -> Timestamp {
        Timestamp::from_microsecond(us).expect("in range")
    }

    #[test]
    fn rounds_up_and_never_down() {
        assert_eq!(ceil_to_millis(micros(1_000)), micros(1_000));
        assert_eq!(ceil_to_millis(micros(1_001)), micros(2_000));
        assert_eq!(ceil_to_millis(micros(-1_500)), micros(-1_000));
        assert_eq!(plus_millis(micros(1), 5), micros(6_000));
    }

    #[test]
    fn the_end_of_time_is_no_panic() {
        assert_eq!(plus_millis(Timestamp::MAX, 1), Timestamp::MAX);
    }
}
