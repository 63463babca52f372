//! Business time: ordinary weeks, limits, and what is refused.

mod built_in;
mod model;
mod refusals;
mod zones;

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZoneDatabase;
use plazo_domain::{
    Calendar, CalendarSpec, DateException, MAX_CALENDAR_YEARS, OpenInterval, WeeklyInterval,
};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

const OFFICE_DAYS: [Weekday; 5] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
];
const EVERY_DAY: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn date(text: &str) -> Date {
    text.parse().expect("a date")
}

/// `09:00-17:30`, in minutes.
fn interval(text: &str) -> OpenInterval {
    let minute = |clock: &str| -> u16 {
        let (hours, minutes) = clock.split_once(':').expect("hh:mm");
        hours.parse::<u16>().expect("hours") * 60 + minutes.parse::<u16>().expect("minutes")
    };
    let (start, end) = text.split_once('-').expect("hh:mm-hh:mm");
    OpenInterval {
        start_minute: minute(start),
        end_minute: minute(end),
    }
}

fn intervals(texts: &str) -> Vec<OpenInterval> {
    texts.split_whitespace().map(interval).collect()
}

/// The same intervals on each of these weekdays.
fn spec(zone: &str, weekdays: &[Weekday], open: &str) -> CalendarSpec {
    let of_day = |weekday: &Weekday| {
        let weekday = *weekday;
        intervals(open)
            .into_iter()
            .map(move |open| WeeklyInterval { weekday, open })
    };
    CalendarSpec {
        time_zone: zone.to_owned(),
        week: weekdays.iter().flat_map(of_day).collect(),
        exceptions: Vec::new(),
    }
}

fn exception(on: &str, open: &str) -> DateException {
    DateException {
        date: date(on),
        name: String::new(),
        open: intervals(open),
    }
}

fn calendar(spec: CalendarSpec) -> Calendar {
    Calendar::new(spec).expect("a sound calendar")
}

fn daily(zone: &str, open: &str) -> Calendar {
    calendar(spec(zone, &EVERY_DAY, open))
}

/// Monday to Friday 9 to 12 and 13 to 17 in Berlin, with two holidays, a short day and an open Sunday.
fn office() -> Calendar {
    let mut office = spec("Europe/Berlin", &OFFICE_DAYS, "13:00-17:00 09:00-12:00");
    office.exceptions = vec![
        exception("2026-01-01", ""),
        exception("2025-12-25", ""),
        exception("2025-12-24", "11:00-12:00 09:00-10:30"),
        exception("2025-12-21", "10:00-14:00"),
    ];
    calendar(office)
}

#[track_caller]
fn check_sum(calendar: &Calendar, from: &str, millis: i64, until: &str) {
    let reached = calendar.add_open_time(at(from), millis);
    assert_eq!(reached, at(until), "{millis} ms after {from}");
    assert_eq!(
        calendar.open_between(at(from), reached),
        millis,
        "back to {from}"
    );
    let before = calendar.open_between(at(from), reached - jiff::SignedDuration::from_nanos(1));
    assert_eq!(before, millis - 1, "just before {until}");
}

#[test]
fn adds_open_time_over_ordinary_weeks() {
    let office = office();
    for (from, millis, until) in [
        // Within one interval, and exactly to its end.
        ("2025-01-06T08:00:00Z", HOUR_MS, "2025-01-06T09:00:00Z"),
        ("2025-01-06T08:00:00Z", 3 * HOUR_MS, "2025-01-06T11:00:00Z"),
        // Over lunch.
        (
            "2025-01-06T08:00:00Z",
            3 * HOUR_MS + 1,
            "2025-01-06T12:00:00.001Z",
        ),
        ("2025-01-06T10:30:00Z", HOUR_MS, "2025-01-06T12:30:00Z"),
        // Over a night and over a weekend.
        ("2025-01-06T08:00:00Z", 8 * HOUR_MS, "2025-01-07T09:00:00Z"),
        ("2025-01-10T15:30:00Z", HOUR_MS, "2025-01-13T08:30:00Z"),
        // From closed time.
        ("2025-01-11T12:00:00Z", 1, "2025-01-13T08:00:00.001Z"),
        ("2025-01-06T16:00:00Z", 1, "2025-01-07T08:00:00.001Z"),
        // Several weeks, over the change to summer time.
        (
            "2025-03-17T08:00:00Z",
            3 * 35 * HOUR_MS,
            "2025-04-04T15:00:00Z",
        ),
        // Parts of a millisecond are kept.
        (
            "2025-01-06T08:00:00.0000005Z",
            1_000,
            "2025-01-06T08:00:01.0000005Z",
        ),
    ] {
        check_sum(&office, from, millis, until);
    }
}

#[test]
fn exceptions_replace_their_weekday() {
    let office = office();
    for (from, millis, until) in [
        // A Sunday that is open.
        ("2025-12-20T12:00:00Z", HOUR_MS, "2025-12-21T10:00:00Z"),
        // A short day with a break, a holiday, and on.
        ("2025-12-23T15:00:00Z", 2 * HOUR_MS, "2025-12-24T09:00:00Z"),
        (
            "2025-12-24T08:00:00Z",
            90 * MINUTE_MS + 1,
            "2025-12-24T10:00:00.001Z",
        ),
        ("2025-12-24T10:00:00Z", 2 * HOUR_MS, "2025-12-26T09:00:00Z"),
        // A holiday on the first day of a year.
        ("2025-12-31T15:00:00Z", 2 * HOUR_MS, "2026-01-02T09:00:00Z"),
        // The same days of another year are as ever.
        ("2026-12-24T08:00:00Z", 7 * HOUR_MS, "2026-12-24T16:00:00Z"),
    ] {
        check_sum(&office, from, millis, until);
    }
}

#[test]
fn leap_days_and_year_ends_are_days() {
    let office = calendar(spec("Etc/UTC", &OFFICE_DAYS, "09:00-17:00"));
    for (from, millis, until) in [
        ("2024-02-28T16:00:00Z", 9 * HOUR_MS, "2024-02-29T17:00:00Z"),
        ("2024-02-29T16:00:00Z", 2 * HOUR_MS, "2024-03-01T10:00:00Z"),
        ("2025-02-28T16:00:00Z", 2 * HOUR_MS, "2025-03-03T10:00:00Z"),
        ("2024-12-31T16:00:00Z", 2 * HOUR_MS, "2025-01-01T10:00:00Z"),
        ("1969-12-31T16:00:00Z", 2 * HOUR_MS, "1970-01-01T10:00:00Z"),
        (
            "1969-12-31T16:59:59.9999995Z",
            1,
            "1970-01-01T09:00:00.0009995Z",
        ),
        // 1900 was no leap year; 28 February was a Wednesday.
        ("1900-02-28T16:00:00Z", 2 * HOUR_MS, "1900-03-01T10:00:00Z"),
    ] {
        check_sum(&office, from, millis, until);
    }
    let always = daily("Etc/UTC", "00:00-24:00");
    for (from, until, days) in [
        ("2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z", 366),
        ("2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z", 365),
    ] {
        assert_eq!(always.open_between(at(from), at(until)), days * DAY_MS);
    }
}

#[test]
fn nothing_to_add_is_the_start_itself() {
    let office = office();
    for from in ["2025-01-11T12:00:00.0000001Z", "2025-01-06T08:00:00Z"] {
        for millis in [0, -1, i64::MIN] {
            assert_eq!(office.add_open_time(at(from), millis), at(from));
        }
    }
}

#[test]
fn counts_whole_milliseconds_forward_only() {
    let always = daily("Etc/UTC", "00:00-12:00 12:00-24:00");
    let from = at("2025-01-06T11:59:59.9996Z");
    assert_eq!(
        always.open_between(from, at("2025-01-06T12:00:00.0005Z")),
        0
    );
    // The two halves of a millisecond on both sides of touching intervals are one.
    assert_eq!(
        always.open_between(from, at("2025-01-06T12:00:00.0006Z")),
        1
    );
    assert_eq!(always.open_between(from, from), 0);
    assert_eq!(
        always.open_between(from, at("2025-01-06T11:00:00Z")),
        0,
        "backwards"
    );
}

#[test]
fn an_interval_holds_its_start_and_not_its_end() {
    let office = office();
    for (instant, is_open) in [
        ("2025-01-06T07:59:59.999999999Z", false),
        ("2025-01-06T08:00:00Z", true),
        ("2025-01-06T10:59:59.999999999Z", true),
        ("2025-01-06T11:00:00Z", false),
        ("2025-01-11T10:00:00Z", false),
        ("2025-12-21T10:00:00Z", true),
        ("2025-12-25T10:00:00Z", false),
        // Before 1970 fractions of a second still belong to the second before.
        ("1969-12-31T07:59:59.5Z", false),
        ("1969-12-31T10:59:59.5Z", true),
    ] {
        assert_eq!(office.is_open(at(instant)), is_open, "{instant}");
    }
}

#[test]
fn looks_a_bounded_time_ahead() {
    // 7,305 days hold 1,044 Mondays when they begin with one.
    let rare = calendar(spec("Etc/UTC", &[Weekday::Monday], "00:00-00:01"));
    let from = at("1970-01-05T00:00:00Z");
    let most = 1_044 * MINUTE_MS;
    let last = rare.add_open_time(from, most);
    assert_eq!(last, at("1990-01-01T00:01:00Z"));
    assert_eq!(rare.add_open_time(from, most + 1), Timestamp::MAX);
    assert_eq!(rare.open_between(from, Timestamp::MAX), most);

    // The end of the last day that is looked at is still reached.
    let always = daily("Etc/UTC", "00:00-24:00");
    let longest = MAX_CALENDAR_YEARS * 1_461 / 4 * DAY_MS;
    assert_eq!(
        always.add_open_time(from, longest),
        at("1990-01-05T00:00:00Z")
    );
    assert_eq!(always.add_open_time(from, longest + 1), Timestamp::MAX);
    assert_eq!(
        always.open_between(Timestamp::MIN, Timestamp::MAX),
        longest,
        "from the first instant there is"
    );
}

#[test]
fn the_ends_of_time_are_no_panic_in_any_zone() {
    let hour = jiff::SignedDuration::from_hours(1);
    let mut count = 0;
    for zone in TimeZoneDatabase::bundled().available() {
        if zone.as_str() == "Factory" {
            continue;
        }
        count += 1;
        let always = daily(zone.as_str(), "00:00-24:00");
        let (first, last) = (Timestamp::MIN, Timestamp::MAX);
        assert_eq!(always.add_open_time(first, HOUR_MS), first + hour, "{zone}");
        assert_eq!(always.add_open_time(last, 1), last, "{zone}");
        assert_eq!(always.add_open_time(last - hour, HOUR_MS), last, "{zone}");
        assert_eq!(
            always.add_open_time(last - hour, HOUR_MS - 1),
            last - jiff::SignedDuration::from_millis(1),
            "{zone}"
        );
        for from in [first, Timestamp::UNIX_EPOCH, last] {
            assert_eq!(always.add_open_time(from, i64::MAX), last, "{zone}");
            assert!(always.is_open(from), "{zone}");
        }
        assert_eq!(
            always.open_between(last - hour, last),
            HOUR_MS,
            "{zone}: always open is always open"
        );
        // Always open means elapsed time, whatever the offset does.
        let year = jiff::SignedDuration::from_hours(24 * 365);
        let from = at("2010-06-01T00:00:00Z");
        assert_eq!(
            always.open_between(from, from + year),
            365 * DAY_MS,
            "{zone}"
        );
    }
    assert!(count > 500, "{count} zones are built in");
}

#[test]
fn reads_back_what_was_set() {
    let mut set = spec("Asia/Kathmandu", &OFFICE_DAYS, "13:00-17:00 09:00-12:00");
    set.exceptions = vec![
        DateException {
            name: "Constitution Day".to_owned(),
            ..exception("2025-09-19", "")
        },
        exception("2025-01-11", "12:00-13:00 10:00-12:00"),
    ];
    assert_eq!(calendar(set.clone()).spec(), &set);
    assert_eq!(calendar(set.clone()), calendar(set));
}
