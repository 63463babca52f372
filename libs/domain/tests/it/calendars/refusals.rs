//! What is refused in a calendar, with the words.

use jiff::ToSpan;
use plazo_domain::{
    Calendar, CalendarSpec, DateException, MAX_EXCEPTIONS, OpenInterval, WeeklyInterval,
};

use super::{EVERY_DAY, OFFICE_DAYS, Weekday, date, exception, spec};

fn refusals(spec: CalendarSpec) -> Vec<(String, String)> {
    let violations = Calendar::new(spec).expect_err("refused");
    let told = |violation: plazo_domain::Violation| (violation.field, violation.reason);
    violations.into_iter().map(told).collect()
}

#[track_caller]
fn check(spec: CalendarSpec, expected: &[(&str, &str)]) {
    let told = refusals(spec);
    let told: Vec<(&str, &str)> = told.iter().map(|(f, r)| (f.as_str(), r.as_str())).collect();
    assert_eq!(told, expected);
}

fn weekly(weekday: Weekday, start_minute: u16, end_minute: u16) -> WeeklyInterval {
    let open = OpenInterval {
        start_minute,
        end_minute,
    };
    WeeklyInterval { weekday, open }
}

fn with_week(week: Vec<WeeklyInterval>) -> CalendarSpec {
    let mut set = spec("Etc/UTC", &[], "");
    set.week = week;
    set
}

#[test]
fn time_zones_must_be_known_and_spelled_right() {
    const UNKNOWN: &str =
        "must be the name of a time zone in the IANA database, as Europe/Berlin is";
    for (name, reason) in [
        ("", UNKNOWN),
        ("Europe/Atlantis", UNKNOWN),
        ("Europe/Berlin ", UNKNOWN),
        ("Europe/Berlin\0", UNKNOWN),
        ("+02:00", UNKNOWN),
        ("CET-1CEST", UNKNOWN),
        ("../Europe/Berlin", UNKNOWN),
        ("Etc/Unknown", UNKNOWN),
        ("Factory", UNKNOWN),
        (
            "europe/berlin",
            "must be spelled as the IANA database does: Europe/Berlin",
        ),
        ("utc", "must be spelled as the IANA database does: UTC"),
    ] {
        check(
            spec(name, &OFFICE_DAYS, "09:00-17:00"),
            &[("calendar.time_zone", reason)],
        );
    }
    for name in ["UTC", "Etc/UTC", "US/Eastern", "Etc/GMT+5", "EST"] {
        assert!(Calendar::new(spec(name, &OFFICE_DAYS, "09:00-17:00")).is_ok());
    }
}

#[test]
fn intervals_must_lie_within_one_day() {
    use Weekday::Monday;
    const START: &str = "calendar.week[0].open.start_minute";
    const END: &str = "calendar.week[0].open.end_minute";
    const TWO: &str =
        "write an interval over midnight as two: one to 1440 and one from 0 of the next day";
    let order = |start, end| format!("must be above start_minute, {start}, is {end}; {TWO}");
    for (start, end, expected) in [
        (1_320, 360, vec![(END, order(1_320, 360))]),
        (540, 540, vec![(END, order(540, 540))]),
        (0, 0, vec![(END, order(0, 0))]),
        (
            540,
            1_441,
            vec![(END, "must be at most 1440, is 1441".to_owned())],
        ),
        (
            1_440,
            1_440,
            vec![(START, "must be at most 1439, is 1440".to_owned())],
        ),
        (
            u16::MAX,
            u16::MAX,
            vec![
                (START, "must be at most 1439, is 65535".to_owned()),
                (END, "must be at most 1440, is 65535".to_owned()),
            ],
        ),
    ] {
        let expected: Vec<_> = expected.iter().map(|(f, r)| (*f, r.as_str())).collect();
        check(with_week(vec![weekly(Monday, start, end)]), &expected);
    }
    assert!(Calendar::new(with_week(vec![weekly(Monday, 0, 1_440)])).is_ok());
    assert!(Calendar::new(with_week(vec![weekly(Monday, 1_439, 1_440)])).is_ok());
}

#[test]
fn intervals_of_a_day_may_touch_but_not_overlap() {
    use Weekday::{Monday, Tuesday};
    check(
        with_week(vec![
            weekly(Monday, 540, 720),
            weekly(Tuesday, 600, 660),
            weekly(Monday, 719, 800),
            weekly(Tuesday, 540, 720),
            weekly(Tuesday, 0, 1_440),
            weekly(Monday, 500, 540),
        ]),
        &[
            (
                "calendar.week[2].open",
                "must not overlap calendar.week[0].open",
            ),
            (
                "calendar.week[3].open",
                "must not overlap calendar.week[1].open",
            ),
            (
                "calendar.week[4].open",
                "must not overlap calendar.week[1].open",
            ),
        ],
    );
    let touching = vec![
        weekly(Monday, 720, 800),
        weekly(Monday, 540, 720),
        weekly(Tuesday, 540, 800),
    ];
    assert!(Calendar::new(with_week(touching)).is_ok());
}

#[test]
fn a_weekday_and_the_exceptions_have_limits() {
    let many = |count: u16| -> Vec<WeeklyInterval> {
        let of = |n| weekly(Weekday::Sunday, n * 20, n * 20 + 10);
        (0..count).map(of).collect()
    };
    assert!(Calendar::new(with_week(many(10))).is_ok());
    check(
        with_week(many(11)),
        &[(
            "calendar.week",
            "must be at most 10 intervals a weekday, are 11 on Sunday",
        )],
    );
    check(
        with_week(Vec::new()),
        &[("calendar.week", "must hold at least one interval")],
    );

    let with_exceptions = |count: usize| {
        let mut set = spec("Etc/UTC", &EVERY_DAY, "09:00-17:00");
        let first = date("2025-01-01");
        let dates = first.series(1.day()).take(count);
        let holiday = |date| DateException {
            date,
            name: String::new(),
            open: Vec::new(),
        };
        set.exceptions = dates.map(holiday).collect();
        set
    };
    assert!(Calendar::new(with_exceptions(MAX_EXCEPTIONS)).is_ok());
    let mut too_many = with_exceptions(MAX_EXCEPTIONS + 1);
    // What lies beyond the limit is not looked at.
    too_many.exceptions[MAX_EXCEPTIONS].date = date("2025-01-01");
    check(
        too_many,
        &[("calendar.exceptions", "must be at most 1000, are 1001")],
    );
}

#[test]
fn everything_wrong_is_told_at_once() {
    use Weekday::{Friday, Wednesday};
    let mut set = with_week(vec![
        weekly(Friday, 540, 1_500),
        weekly(Wednesday, 1_080, 120),
        weekly(Friday, 600, 700),
    ]);
    set.time_zone = "Mars/Phobos".to_owned();
    let mut crowded = exception("2025-12-26", "");
    let every_ten = (0..12).map(|n: u16| OpenInterval {
        start_minute: n * 10,
        end_minute: n * 10 + 10,
    });
    crowded.open = every_ten.collect();
    // What lies beyond the limit is not looked at.
    crowded.open[11].end_minute = 0;
    set.exceptions = vec![
        exception("2025-12-24", "09:00-12:00 11:00-13:00"),
        DateException {
            name: "a\nb".to_owned(),
            ..exception("2025-12-25", "24:00-24:00 22:00-02:00")
        },
        DateException {
            name: "é".repeat(101),
            ..exception("2025-12-24", "")
        },
        crowded,
        DateException {
            name: "é".repeat(100),
            ..exception("2025-12-27", "09:00-12:00 12:00-13:00")
        },
    ];
    check(
        set,
        &[
            (
                "calendar.time_zone",
                "must be the name of a time zone in the IANA database, as Europe/Berlin is",
            ),
            (
                "calendar.week[1].open.end_minute",
                "must be above start_minute, 1080, is 120; write an interval over midnight as two: \
                 one to 1440 and one from 0 of the next day",
            ),
            (
                "calendar.week[0].open.end_minute",
                "must be at most 1440, is 1500",
            ),
            (
                "calendar.exceptions[0].open[1]",
                "must not overlap calendar.exceptions[0].open[0]",
            ),
            (
                "calendar.exceptions[1].name",
                "must not contain control characters",
            ),
            (
                "calendar.exceptions[1].open[0].start_minute",
                "must be at most 1439, is 1440",
            ),
            (
                "calendar.exceptions[1].open[1].end_minute",
                "must be above start_minute, 1320, is 120; write an interval over midnight as two: \
                 one to 1440 and one from 0 of the next day",
            ),
            (
                "calendar.exceptions[2].date",
                "must not repeat the date of calendar.exceptions[0]",
            ),
            (
                "calendar.exceptions[2].name",
                "must be at most 100 characters, is 101",
            ),
            (
                "calendar.exceptions[3].open",
                "must be at most 10 intervals, are 12",
            ),
        ],
    );
}
