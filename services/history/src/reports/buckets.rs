//! The buckets of a series: hours, days or weeks by the clock of a time zone.

use std::ops::Range;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan as _, Zoned};

/// The most buckets that a series may have.
pub(crate) const MAX_BUCKETS: usize = 1_000;

const HOUR_SECONDS: i32 = 3_600;

/// How long a bucket is. The numbers are those of `ReportInterval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interval {
    Hour = 1,
    Day = 2,
    Week = 3,
}

/// Why there are no buckets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BucketError {
    /// More than [`MAX_BUCKETS`].
    #[error("more than {MAX_BUCKETS} buckets")]
    TooMany,
    /// The calendar ends before the period does.
    #[error("out of the years that calendars have")]
    OutOfRange,
}

/// The buckets of a period, cut to it.
#[derive(Debug, Clone)]
pub(crate) struct Buckets {
    /// Where they begin, and where the last one ends; these rise.
    edges: Vec<Timestamp>,
    zone: TimeZone,
}

/// The zone with this IANA name, if there is one. The zones are the program's own: all replicas agree on them.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" {
        return Some(TimeZone::UTC);
    }
    TimeZoneDatabase::bundled().get(name).ok()
}

impl Buckets {
    /// The buckets of the period from one instant to before another, which is later.
    pub(crate) fn new(
        interval: Interval,
        zone: &TimeZone,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Self, BucketError> {
        let mut edges = vec![from];
        let mut edge = from;
        loop {
            edge = next_edge(interval, zone, edge).ok_or(BucketError::OutOfRange)?;
            if edge >= until {
                edges.push(until);
                break;
            }
            edges.push(edge);
            if edges.len() > MAX_BUCKETS {
                return Err(BucketError::TooMany);
            }
        }
        Ok(Self {
            edges,
            zone: zone.clone(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.edges.len() - 1
    }

    /// Beginning and end of each.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Range<Timestamp>> {
        self.edges.windows(2).map(|edges| edges[0]..edges[1])
    }

    /// An instant as the zone's clock shows it, with its offset.
    pub(crate) fn local(&self, at: Timestamp) -> String {
        let offset = self.zone.to_offset(at);
        at.display_with_offset(offset).to_string()
    }
}

/// The first edge after an instant.
fn next_edge(interval: Interval, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    match interval {
        Interval::Hour => next_hour(zone, after),
        Interval::Day => next_day(after.to_zoned(zone.clone()), 1),
        Interval::Week => {
            let local = after.to_zoned(zone.clone());
            let days = 7 - i64::from(local.weekday().to_monday_zero_offset());
            next_day(local, days)
        }
    }
}

/// The next full hour of the clock, or the instant at which the clock is changed, whichever comes first: where it is changed by
/// half an hour, that is not the same.
fn next_hour(zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let shown = after.as_second() + i64::from(zone.to_offset(after).seconds());
    let to_hour = i64::from(HOUR_SECONDS) - shown.rem_euclid(i64::from(HOUR_SECONDS));
    let full_hour = Timestamp::from_second(after.as_second())
        .ok()?
        .checked_add(SignedDuration::from_secs(to_hour))
        .ok()?;
    let change = zone
        .following(after)
        .next()
        .map(|change| change.timestamp());
    Some(change.map_or(full_hour, |change| full_hour.min(change)))
}

/// The beginning of the day that comes so many days after this one. A day begins later than midnight where the clock is put
/// forward at midnight, and a day that the zone left out is as long as nothing.
fn next_day(local: Zoned, days: i64) -> Option<Timestamp> {
    let date = local.date().checked_add(days.days()).ok()?;
    let beginning = date.to_zoned(local.time_zone().clone()).ok()?;
    let beginning = beginning.start_of_day().ok()?.timestamp();
    if beginning > local.timestamp() {
        Some(beginning)
    } else {
        next_day(local, days + 1)
    }
}
