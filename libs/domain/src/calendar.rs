//! Business time: when a desk is open, and how much open time lies between two instants.
//!
//! An instant is open when its local time of day lies in an open interval of its local date. Local
//! time runs through spans of constant UTC offset, and within such a span it is only shifted: so the
//! day's intervals are moved by the span's offset and cut to the span. An hour that a change of the
//! offset repeats is therefore open twice, one that it leaves out is not open at all, and no local
//! time ever has to be turned into an instant by choosing between two.

pub(crate) mod check;
pub(crate) mod spec;

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::violation::Violation;
use spec::{CalendarSpec, OpenInterval};

/// How many years of 365.25 days the arithmetic looks ahead: what lies beyond is no open time. The
/// bound keeps the work small where a calendar is hardly ever open.
pub const MAX_CALENDAR_YEARS: i64 = 20;

const SECONDS_IN_MINUTE: i64 = 60;
const SECONDS_IN_DAY: i64 = 86_400;
const NANOS_IN_SECOND: i128 = 1_000_000_000;
const NANOS_IN_MILLI: i128 = 1_000_000;
/// 20 years are 7,305 days.
const MAX_NANOS: i128 = (MAX_CALENDAR_YEARS * SECONDS_IN_DAY * 1_461 / 4) as i128 * NANOS_IN_SECOND;
const DAYS_IN_WEEK: i64 = 7;
/// 1 January 1970 was a Thursday, which is day 3 of a week that begins with Monday as day 0.
const WEEKDAY_OF_DAY_0: i64 = 3;
const DAY_0: Date = Date::constant(1970, 1, 1);

/// When a desk is open: intervals for each weekday in a time zone, and dates with their own.
///
/// The rules of the time zones are those built into the program, whatever the machine has: two
/// machines with one version of the program agree on each instant.
///
/// Made once from a [`CalendarSpec`] and then cheap to ask. Cloning copies the lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    spec: CalendarSpec,
    zone: TimeZone,
    /// The open intervals of Monday to Sunday, each day's in the order of the day.
    week: [Vec<OpenInterval>; 7],
    /// The same for the dates that differ, by days since 1 January 1970.
    exceptions: BTreeMap<i64, Vec<OpenInterval>>,
}

/// A stretch of time with one UTC offset.
struct OffsetSpan {
    /// In seconds since 1970.
    utc_s: Range<i64>,
    /// What is added to UTC for local time.
    offset_s: i64,
}

impl Calendar {
    /// Checks the settings and makes them ready for use.
    ///
    /// Violations name fields below `calendar`, for instance `calendar.time_zone` or
    /// `calendar.exceptions[2].open[0].end_minute`; all are told at once.
    pub fn new(spec: CalendarSpec) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        let zone = find_zone(&spec.time_zone, &mut violations);
        check::check_week(&spec.week, &mut violations);
        check::check_exceptions(&spec.exceptions, &mut violations);
        let Some(zone) = zone.filter(|_| violations.is_empty()) else {
            return Err(violations);
        };
        let mut week: [Vec<OpenInterval>; 7] = Default::default();
        for weekly in &spec.week {
            let index = weekly.weekday.to_monday_zero_offset().unsigned_abs();
            week[usize::from(index)].push(weekly.open);
        }
        for intervals in &mut week {
            intervals.sort_unstable();
        }
        let exceptions = spec.exceptions.iter().map(|exception| {
            let mut intervals = exception.open.clone();
            intervals.sort_unstable();
            (day_number(exception.date), intervals)
        });
        Ok(Self {
            exceptions: exceptions.collect(),
            week,
            zone,
            spec,
        })
    }

    /// The settings as they were given, in the same order.
    pub fn spec(&self) -> &CalendarSpec {
        &self.spec
    }

    /// Whether `at` lies in open time. Intervals hold their first instant, not their last.
    pub fn is_open(&self, at: Timestamp) -> bool {
        let local_s = floor_to_seconds(at) + self.offset_s(at);
        let second_of_day = local_s.rem_euclid(SECONDS_IN_DAY);
        let mut intervals = self.intervals(local_s.div_euclid(SECONDS_IN_DAY)).iter();
        intervals.any(|interval| seconds_of_day(*interval).contains(&second_of_day))
    }

    /// The open time between two instants in whole milliseconds, a part of one left out.
    ///
    /// 0 when `until` is not after `from`. Looks at most [`MAX_CALENDAR_YEARS`] ahead of `from`.
    pub fn open_between(&self, from: Timestamp, until: Timestamp) -> i64 {
        let until = until.as_nanosecond().min(last_nanos_from(from));
        let open = self.open_spans(from.as_nanosecond(), until);
        let nanos: i128 = open.map(|span| span.end - span.start).sum();
        // At most 20 years: far below the largest i64.
        i64::try_from(nanos / NANOS_IN_MILLI).unwrap_or(i64::MAX)
    }

    /// The instant at which `millis` of open time have passed since `from`: the earliest one, not
    /// rounded, so that the end of an interval comes before the start of the next.
    ///
    /// `from` itself when `millis` is not above zero. [`Timestamp::MAX`], the last instant there is,
    /// when so much open time has not passed [`MAX_CALENDAR_YEARS`] after `from` or by the end of
    /// time: never early, and a deadline that nobody reaches.
    pub fn add_open_time(&self, from: Timestamp, millis: i64) -> Timestamp {
        if millis <= 0 {
            return from;
        }
        let mut left = i128::from(millis) * NANOS_IN_MILLI;
        for span in self.open_spans(from.as_nanosecond(), last_nanos_from(from)) {
            let length = span.end - span.start;
            if left <= length {
                // What lies beyond the end of time is not reached.
                return Timestamp::from_nanosecond(span.start + left).unwrap_or(Timestamp::MAX);
            }
            left -= length;
        }
        Timestamp::MAX
    }

    /// The stretches of open time between two instants in nanoseconds, in their order; none is empty.
    fn open_spans(&self, from: i128, until: i128) -> impl Iterator<Item = Range<i128>> {
        let shifted = self.offset_spans(from, until).flat_map(move |span| {
            let OffsetSpan { utc_s, offset_s } = span;
            let first_day = (utc_s.start + offset_s).div_euclid(SECONDS_IN_DAY);
            let last_day = (utc_s.end - 1 + offset_s).div_euclid(SECONDS_IN_DAY);
            (first_day..=last_day).flat_map(move |day| {
                let midnight_s = day * SECONDS_IN_DAY - offset_s;
                let (first_s, end_s) = (utc_s.start, utc_s.end);
                self.intervals(day).iter().map(move |interval| {
                    let open = seconds_of_day(*interval);
                    (midnight_s + open.start).max(first_s)..(midnight_s + open.end).min(end_s)
                })
            })
        });
        let clipped = shifted.map(move |span| {
            let start = i128::from(span.start) * NANOS_IN_SECOND;
            let end = i128::from(span.end) * NANOS_IN_SECOND;
            start.max(from)..end.min(until)
        });
        clipped.filter(|span| span.start < span.end)
    }

    /// The spans of constant offset that cover `from` to `until` (nanoseconds), in their order.
    fn offset_spans(&self, from: i128, until: i128) -> impl Iterator<Item = OffsetSpan> {
        // Whole seconds around the two instants: offsets change on whole seconds only.
        let mut start_s = seconds(from.div_euclid(NANOS_IN_SECOND));
        let until_s = seconds((until + NANOS_IN_SECOND - 1).div_euclid(NANOS_IN_SECOND));
        let first = Timestamp::from_second(start_s).unwrap_or(Timestamp::MIN);
        let mut offset_s = self.offset_s(first);
        let mut changes = self.zone.following(first);
        std::iter::from_fn(move || {
            if start_s >= until_s {
                return None;
            }
            let change = changes.next();
            let end_s = change.as_ref().map_or(until_s, |change| {
                change.timestamp().as_second().min(until_s)
            });
            let span = OffsetSpan {
                utc_s: start_s..end_s,
                offset_s,
            };
            start_s = end_s;
            if let Some(change) = change {
                offset_s = i64::from(change.offset().seconds());
            }
            Some(span)
        })
    }

    /// The open intervals of a local date, by days since 1 January 1970.
    fn intervals(&self, day: i64) -> &[OpenInterval] {
        let exception = self.exceptions.get(&day);
        exception.unwrap_or(&self.week[weekday_index(day)])
    }

    fn offset_s(&self, at: Timestamp) -> i64 {
        i64::from(self.zone.to_offset(at).seconds())
    }
}

/// The time zone of that name, as the IANA database spells it.
///
/// Names that mean "not known" are refused as well: their local time is a guess.
fn find_zone(name: &str, violations: &mut Vec<Violation>) -> Option<TimeZone> {
    const NOT_SET: &str = "Factory";
    let zone = TimeZoneDatabase::bundled().get(name).ok();
    // `Etc/Unknown` is a zone without a name.
    let known = zone.as_ref().and_then(TimeZone::iana_name);
    let reason = match known.filter(|known| *known != NOT_SET) {
        Some(known) if known == name => return zone,
        Some(known) => format!("must be spelled as the IANA database does: {known}"),
        None => "must be the name of a time zone in the IANA database, as Europe/Berlin is".into(),
    };
    violations.push(Violation::new("calendar.time_zone", reason));
    None
}

/// The index in [`Calendar::week`] of a local date, by days since 1 January 1970.
fn weekday_index(day: i64) -> usize {
    let index = (day + WEEKDAY_OF_DAY_0).rem_euclid(DAYS_IN_WEEK);
    usize::try_from(index).unwrap_or_default()
}

/// How many days after 1 January 1970 this is; below zero before it.
fn day_number(date: Date) -> i64 {
    date.duration_since(DAY_0).as_secs() / SECONDS_IN_DAY
}

/// An open interval in seconds from local midnight.
fn seconds_of_day(interval: OpenInterval) -> Range<i64> {
    let [start, end] =
        [interval.start_minute, interval.end_minute].map(|m| i64::from(m) * SECONDS_IN_MINUTE);
    start..end
}

/// The last whole second that is not after `at`. `Timestamp::as_second` cuts towards 1970 instead.
fn floor_to_seconds(at: Timestamp) -> i64 {
    seconds(at.as_nanosecond().div_euclid(NANOS_IN_SECOND))
}

/// Seconds of a [`Timestamp`], or one more, as the smaller type, in which they always fit.
fn seconds(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How far the arithmetic looks from `from`, in nanoseconds; may lie beyond [`Timestamp::MAX`].
fn last_nanos_from(from: Timestamp) -> i128 {
    from.as_nanosecond() + MAX_NANOS
}
