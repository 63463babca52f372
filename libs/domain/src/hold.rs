//! How long a ticket may be on hold.

use jiff::Timestamp;

use crate::instant::plus_millis;
use crate::time_value::TimeValue;

/// A hold that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningHold {
    /// When it began, however often it was changed since.
    pub began_at: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
}

/// A hold would last longer than the bot allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldTooLong {
    /// What is left of the longest hold, in milliseconds; not below 0.
    pub left_ms: i64,
}

/// When a hold ends by itself that is asked for at `now`, for `length` from now or as long as possible. `longest` is the
/// longest hold of the bot; it counts from the beginning of the hold that is `running`, so that no row of holds lasts
/// longer than one. What ends no later than the running hold is allowed in any case: the limit may have been lowered
/// since that began.
pub fn hold_until(
    now: Timestamp,
    length: Option<TimeValue>,
    longest: TimeValue,
    running: Option<RunningHold>,
) -> Result<Timestamp, HoldTooLong> {
    let began_at = running.map_or(now, |hold| hold.began_at);
    let by_limit = plus_millis(began_at, longest.as_millis());
    let latest = running.map_or(by_limit, |hold| hold.until.max(by_limit));
    let Some(length) = length else {
        return Ok(latest);
    };
    let until = plus_millis(now, length.as_millis());
    if until <= latest {
        Ok(until)
    } else {
        let left_ms = latest.as_millisecond() - now.as_millisecond();
        Err(HoldTooLong {
            left_ms: left_ms.max(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time_value::TimeUnit;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn minutes(value: i32) -> TimeValue {
        TimeValue::new(value, TimeUnit::Minute).expect("valid")
    }

    #[test]
    fn a_hold_lasts_no_longer_than_the_longest_however_often_it_is_asked_for() {
        let running = |began, until| {
            Some(RunningHold {
                began_at: at(began),
                until: at(until),
            })
        };
        let too_long = |seconds: i64| {
            Err(HoldTooLong {
                left_ms: seconds * 1_000,
            })
        };
        let hour = minutes(60);
        for (why, now, length, longest, before, expected) in [
            ("the longest by default", 0, None, hour, None, Ok(at(3_600))),
            ("as asked for", 0, Some(5), hour, None, Ok(at(300))),
            ("the longest", 0, Some(60), hour, None, Ok(at(3_600))),
            ("longer", 0, Some(61), hour, None, too_long(3_600)),
            (
                "again, to the end that the first could have had",
                600,
                Some(50),
                hour,
                running(0, 900),
                Ok(at(3_600)),
            ),
            (
                "again by default",
                600,
                None,
                hour,
                running(0, 900),
                Ok(at(3_600)),
            ),
            (
                "again, beyond that",
                600,
                Some(51),
                hour,
                running(0, 900),
                too_long(3_000),
            ),
            (
                "again, shorter",
                600,
                Some(1),
                hour,
                running(0, 900),
                Ok(at(660)),
            ),
            (
                "the limit was lowered: no longer than it was",
                600,
                Some(5),
                minutes(1),
                running(0, 900),
                Ok(at(900)),
            ),
            (
                "the limit was lowered: longer",
                600,
                Some(6),
                minutes(1),
                running(0, 900),
                too_long(300),
            ),
            (
                "the limit was lowered, by default",
                600,
                None,
                minutes(1),
                running(0, 900),
                Ok(at(900)),
            ),
        ] {
            let length = length.map(minutes);
            assert_eq!(
                hold_until(at(now), length, longest, before),
                expected,
                "{why}"
            );
        }
    }
}
