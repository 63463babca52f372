//! Business time against a model that shares no code with it: it walks through time in small steps and
//! asks for the local time of each.

use jiff::civil::{Date, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan};
use plazo_domain::{Calendar, CalendarSpec, DateException, OpenInterval, WeeklyInterval};
use proptest::prelude::*;
use proptest::sample::select;

use super::{DAY_MS, EVERY_DAY, calendar};

const NANOS_IN_MILLI: i128 = 1_000_000;
const NANOS_IN_SECOND: i128 = 1_000_000_000;

/// Zones whose local time jumps in unusual ways, or not at all.
const ZONES: [&str; 24] = [
    "Europe/Berlin",
    "Europe/Dublin",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "America/Nuuk",
    "America/Sao_Paulo",
    "America/Asuncion",
    "America/Caracas",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Monrovia",
    "Antarctica/Troll",
    "Antarctica/Casey",
    "Asia/Kathmandu",
    "Asia/Gaza",
    "Asia/Tehran",
    "Asia/Kolkata",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kwajalein",
    "Etc/UTC",
];

/// Zones with offsets that once were no whole minutes.
const ODD_ZONES: [&str; 8] = [
    "Africa/Monrovia",
    "Africa/Cairo",
    "America/Caracas",
    "America/Juneau",
    "Asia/Kolkata",
    "Asia/Manila",
    "Europe/Dublin",
    "Europe/Brussels",
];

fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).expect("a known zone")
}

fn instant(nanos: i128) -> Timestamp {
    Timestamp::from_nanosecond(nanos).expect("in range")
}

/// What the model knows: for each step from `from` on, whether it is open.
struct Model {
    from: Timestamp,
    /// Start, end and state; the first starts at `from`, the others on whole steps.
    steps: Vec<(i128, i128, bool)>,
}

impl Model {
    fn walk(spec: &CalendarSpec, from: Timestamp, width_s: i128, count: i128) -> Self {
        let zone = zone(&spec.time_zone);
        let width = width_s * NANOS_IN_SECOND;
        let first = from.as_nanosecond().div_euclid(width);
        let steps = (first..first + count).map(|number| {
            let start = number * width;
            let is_open = Self::is_open(spec, &zone, instant(start));
            (start.max(from.as_nanosecond()), start + width, is_open)
        });
        Self {
            from,
            steps: steps.collect(),
        }
    }

    fn is_open(spec: &CalendarSpec, zone: &TimeZone, at: Timestamp) -> bool {
        let local = zone.to_datetime(at);
        let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
        let holds = |open: &OpenInterval| {
            i32::from(open.start_minute) <= minute && minute < i32::from(open.end_minute)
        };
        let is_on_date = |exception: &&DateException| exception.date == local.date();
        if let Some(exception) = spec.exceptions.iter().find(is_on_date) {
            return exception.open.iter().any(holds);
        }
        let is_on_day = |weekly: &&WeeklyInterval| weekly.weekday == local.weekday();
        let mut of_day = spec.week.iter().filter(is_on_day);
        of_day.any(|weekly| holds(&weekly.open))
    }

    fn end(&self) -> i128 {
        self.steps.last().expect("some steps").1
    }

    fn open_nanos_until(&self, until: i128) -> i128 {
        let open = self.steps.iter().filter(|(.., is_open)| *is_open);
        open.map(|(start, end, _)| (until.min(*end) - start).max(0))
            .sum()
    }

    /// When so much open time has passed, if that is within the steps.
    fn after(&self, nanos: i128) -> Option<i128> {
        let mut passed = 0;
        for (start, end, is_open) in &self.steps {
            if !is_open {
                continue;
            }
            if passed + (end - start) >= nanos {
                return Some(start + nanos - passed);
            }
            passed += end - start;
        }
        None
    }

    /// Compares everything that can be asked.
    fn check(&self, calendar: &Calendar, parts: &[u16]) {
        for (start, end, is_open) in &self.steps {
            for at in [*start, end - 1] {
                let at = instant(at);
                assert_eq!(calendar.is_open(at), *is_open, "at {at}");
            }
        }
        let span = self.end() - self.from.as_nanosecond();
        let anywhere = parts
            .iter()
            .map(|part| self.from.as_nanosecond() + span * i128::from(*part) / 65_536);
        let is_edge = |pair: &&[(i128, i128, bool)]| pair[0].2 != pair[1].2;
        let edges = self.steps.windows(2).filter(is_edge).map(|pair| pair[1].0);
        for until in anywhere.chain(edges.take(200)) {
            let expected = self.open_nanos_until(until) / NANOS_IN_MILLI;
            let found = calendar.open_between(self.from, instant(until));
            assert_eq!(i128::from(found), expected, "open until {until}");
            for millis in [found - 1, found, found + 1] {
                self.check_sum(calendar, millis);
            }
        }
    }

    fn check_sum(&self, calendar: &Calendar, millis: i64) {
        if millis <= 0 {
            return;
        }
        let found = calendar.add_open_time(self.from, millis);
        match self.after(i128::from(millis) * NANOS_IN_MILLI) {
            Some(expected) => assert_eq!(found, instant(expected), "{millis} ms"),
            None => assert!(found.as_nanosecond() > self.end(), "{millis} ms: {found}"),
        }
    }
}

/// The intervals of a day, some of them touching; often none, often near midnight.
fn any_day() -> impl Strategy<Value = Vec<OpenInterval>> {
    let cut = prop_oneof![
        3 => (0..=24_u16).prop_map(|hours| hours * 60),
        3 => (0..=96_u16).prop_map(|quarters| quarters * 15),
        2 => 0..=240_u16,
        1 => 1_300..=1_440_u16,
        1 => Just(0_u16),
        1 => Just(1_440_u16),
    ];
    let segments = proptest::collection::vec((cut, proptest::bool::weighted(0.7)), 0..=10);
    (segments, any::<bool>()).prop_map(|(mut cuts, is_backwards)| {
        cuts.sort_unstable();
        cuts.dedup_by_key(|(minute, _)| *minute);
        let open = cuts.windows(2).filter(|pair| pair[0].1);
        let mut open: Vec<_> = open
            .map(|pair| OpenInterval {
                start_minute: pair[0].0,
                end_minute: pair[1].0,
            })
            .collect();
        if is_backwards {
            open.reverse();
        }
        open
    })
}

/// A calendar with exceptions around a date.
fn any_spec(zone: &'static str, around: Date) -> impl Strategy<Value = CalendarSpec> {
    let week = proptest::collection::vec(any_day(), 7);
    let exceptions = proptest::collection::btree_map(-2..=4_i64, any_day(), 0..=3);
    (week, exceptions).prop_map(move |(days, exceptions)| {
        let of_day = |(weekday, open): (Weekday, Vec<OpenInterval>)| {
            open.into_iter()
                .map(move |open| WeeklyInterval { weekday, open })
        };
        let mut week: Vec<_> = EVERY_DAY.into_iter().zip(days).flat_map(of_day).collect();
        if week.is_empty() {
            let open = OpenInterval {
                start_minute: 120,
                end_minute: 180,
            };
            let weekday = Weekday::Sunday;
            week.push(WeeklyInterval { weekday, open });
        }
        let exception = |(days, open): (i64, Vec<OpenInterval>)| DateException {
            date: around.saturating_add(days.days()),
            name: String::new(),
            open,
        };
        CalendarSpec {
            time_zone: zone.to_owned(),
            week,
            exceptions: exceptions.into_iter().rev().map(exception).collect(),
        }
    })
}

/// An instant near a change of the zone's offset between two years, or anywhere if there is none.
fn near_change(name: &'static str, years: [i16; 2], within_s: i64) -> BoxedStrategy<Timestamp> {
    let [first, last] = years.map(|year| {
        let date = Date::new(year, 1, 1).expect("a date");
        date.to_zoned(TimeZone::UTC).expect("in range").timestamp()
    });
    let zone = zone(name);
    let changes = zone.following(first).map(|change| change.timestamp());
    let mut changes: Vec<_> = changes.take_while(|at| *at < last).collect();
    if changes.is_empty() {
        changes.push(first);
    }
    let fraction = prop_oneof![2 => Just(0_i64), 1 => 0..1_000_000_000_i64];
    let ahead = prop_oneof![
        1 => Just(0_i64),
        1 => (-within_s / 900..=within_s / 900).prop_map(|quarters| quarters * 900),
        2 => -within_s..=within_s,
    ];
    (select(changes), ahead, fraction)
        .prop_map(|(change, ahead_s, nanos)| {
            change + SignedDuration::from_secs(ahead_s) + SignedDuration::from_nanos(nanos)
        })
        .boxed()
}

/// A start near a change of a zone of the list, and a calendar around it.
fn any_case(
    zones: &'static [&'static str],
    years: [i16; 2],
    within_s: i64,
) -> impl Strategy<Value = (CalendarSpec, Timestamp)> {
    select(zones)
        .prop_flat_map(move |name| (Just(name), near_change(name, years, within_s)))
        .prop_flat_map(|(name, from)| {
            let around = zone(name).to_datetime(from).date();
            (any_spec(name, around), Just(from))
        })
}

fn any_parts() -> impl Strategy<Value = Vec<u16>> {
    proptest::collection::vec(any::<u16>(), 8)
}

proptest! {
    /// Minute by minute through three days.
    #[test]
    fn agrees_with_the_model_by_minutes(
        (spec, from) in any_case(&ZONES, [1975, 2045], 2 * 86_400),
        parts in any_parts(),
    ) {
        let model = Model::walk(&spec, from, 60, 3 * 1_440);
        model.check(&calendar(spec), &parts);
    }

    /// Second by second through an hour and a half, where offsets were no whole minutes.
    #[test]
    fn agrees_with_the_model_by_seconds(
        (spec, from) in any_case(&ODD_ZONES, [1840, 1975], 3_600),
        parts in any_parts(),
    ) {
        let model = Model::walk(&spec, from, 1, 5_400);
        model.check(&calendar(spec), &parts);
    }

    /// What is added is what has passed, to the nanosecond, and in two parts as in one.
    #[test]
    fn adding_and_counting_are_inverse(
        (spec, from) in any_case(&ZONES, [1900, 2100], 400 * 86_400),
        first in 1..=200 * DAY_MS,
        second in prop_oneof![1..=1_000_i64, 1..=200 * DAY_MS],
    ) {
        let calendar = calendar(spec);
        let both = calendar.add_open_time(from, first + second);
        let reached = calendar.add_open_time(from, first);
        prop_assert!(from < reached && reached <= both);
        for (until, millis) in [(reached, first), (both, first + second)] {
            if until == Timestamp::MAX {
                prop_assert!(calendar.open_between(from, until) < millis);
                continue;
            }
            prop_assert_eq!(calendar.open_between(from, until), millis);
            let just_before = until - SignedDuration::from_nanos(1);
            prop_assert_eq!(calendar.open_between(from, just_before), millis - 1);
            prop_assert!(calendar.is_open(just_before));
        }
        if both < Timestamp::MAX {
            prop_assert_eq!(calendar.add_open_time(reached, second), both);
            prop_assert_eq!(calendar.open_between(reached, both), second);
        }
    }
}
