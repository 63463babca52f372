//! Business time: a week of open minutes, in a zone whose clocks are never changed.

use crate::story::{TICK_MS, TICKS_IN_SECOND, Ticks};

/// The instant of tick 0 in milliseconds since 1970, in UTC: a Tuesday at 22:13:20. Who plays stories from
/// another instant must keep to this one modulo a week, if they count business time.
pub const START_MS: i64 = 1_700_000_000_000;

/// The minute of the week in which tick 0 lies, Monday 00:00 UTC being minute 0.
pub const START_MINUTE_OF_WEEK: i64 = minute_of_week(0);

const MS_IN_MINUTE: i64 = 60_000;
const MINUTES_IN_WEEK: i64 = 7 * 1_440;
/// 1 January 1970 was a Thursday.
const MINUTE_OF_WEEK_IN_1970: i64 = 3 * 1_440;
/// More ticks than any story lasts.
const FAR_TICKS: Ticks = 100_000;

/// Open from the start of a minute of the week up to the start of another one of the same day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenMinutes {
    /// The first open minute; Monday 00:00 UTC is 0.
    pub from: i64,
    /// The first closed minute after it.
    pub until: i64,
}

const fn minute_of_week(tick: Ticks) -> i64 {
    ((START_MS + tick * TICK_MS) / MS_IN_MINUTE + MINUTE_OF_WEEK_IN_1970) % MINUTES_IN_WEEK
}

/// The tick at which so many seconds have passed since `from`: open ones where there is a week.
pub(crate) fn ticks_after(from: Ticks, seconds: i64, week: Option<&[OpenMinutes]>) -> Ticks {
    let mut left = seconds * TICKS_IN_SECOND;
    let Some(week) = week else {
        return from + left;
    };
    let mut tick = from;
    while left > 0 && tick < from + FAR_TICKS {
        let minute = minute_of_week(tick);
        if week
            .iter()
            .any(|open| open.from <= minute && minute < open.until)
        {
            left -= 1;
        }
        tick += 1;
    }
    tick
}
