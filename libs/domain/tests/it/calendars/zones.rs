//! Business time where local time jumps, each case worked out by hand.

use super::{
    HOUR_MS, MINUTE_MS, OFFICE_DAYS, Weekday, at, calendar, check_sum, daily, exception, spec,
};

/// The same hours every day, and how many minutes they are open between two instants.
struct Case {
    zone: &'static str,
    open: &'static str,
    from: &'static str,
    until: &'static str,
    minutes: i64,
}

const fn case(
    zone: &'static str,
    open: &'static str,
    from: &'static str,
    until: &'static str,
    minutes: i64,
) -> Case {
    Case {
        zone,
        open,
        from,
        until,
        minutes,
    }
}

fn check_cases(cases: &[Case]) {
    for Case {
        zone,
        open,
        from,
        until,
        minutes,
    } in cases
    {
        let found = daily(zone, open).open_between(at(from), at(until));
        let told = format!("{zone}, {open}, {from} to {until}");
        assert_eq!(found, minutes * MINUTE_MS, "{told}");
    }
}

#[test]
fn what_a_gap_leaves_out_is_not_open() {
    // 30 March 2025 in Berlin: from 02:00 to 03:00 at 01:00 UTC.
    let berlin = |open, minutes| {
        let (from, until) = ("2025-03-29T23:00:00Z", "2025-03-30T22:00:00Z");
        case("Europe/Berlin", open, from, until, minutes)
    };
    check_cases(&[
        berlin("00:00-24:00", 23 * 60),
        berlin("01:30-02:30", 30),
        berlin("02:00-03:00", 0),
        berlin("02:15-02:45", 0),
        berlin("02:30-03:30", 30),
        berlin("01:30-03:30", 60),
        berlin("01:00-02:00 03:00-04:00", 120),
        berlin("01:00-02:20 02:20-02:40 02:50-04:00", 120),
    ]);
    let inside = daily("Europe/Berlin", "02:15-02:45");
    check_sum(
        &inside,
        "2025-03-29T23:00:00Z",
        30 * MINUTE_MS,
        "2025-03-31T00:45:00Z",
    );
    let across = daily("Europe/Berlin", "01:30-02:30");
    check_sum(
        &across,
        "2025-03-29T23:00:00Z",
        30 * MINUTE_MS,
        "2025-03-30T01:00:00Z",
    );
}

#[test]
fn what_an_overlap_repeats_is_open_twice() {
    // 26 October 2025 in Berlin: from 03:00 back to 02:00 at 01:00 UTC.
    let berlin = |open, minutes| {
        let (from, until) = ("2025-10-25T22:00:00Z", "2025-10-26T23:00:00Z");
        case("Europe/Berlin", open, from, until, minutes)
    };
    check_cases(&[
        berlin("00:00-24:00", 25 * 60),
        berlin("02:00-03:00", 120),
        berlin("02:15-02:45", 60),
        berlin("01:30-02:30", 90),
        berlin("02:30-03:30", 90),
        berlin("03:00-04:00", 60),
        berlin("01:00-02:00", 60),
    ]);
    let inside = daily("Europe/Berlin", "02:15-02:45");
    let start = "2025-10-25T22:00:00Z";
    for (millis, until) in [
        (30 * MINUTE_MS, "2025-10-26T00:45:00Z"),
        (30 * MINUTE_MS + 1, "2025-10-26T01:15:00.001Z"),
        (60 * MINUTE_MS, "2025-10-26T01:45:00Z"),
        (60 * MINUTE_MS + 1, "2025-10-27T01:15:00.001Z"),
    ] {
        check_sum(&inside, start, millis, until);
    }
    for (instant, is_open) in [
        ("2025-10-26T00:14:59Z", false),
        ("2025-10-26T00:15:00Z", true),
        ("2025-10-26T00:45:00Z", false),
        ("2025-10-26T01:15:00Z", true),
        ("2025-10-26T01:45:00Z", false),
    ] {
        assert_eq!(inside.is_open(at(instant)), is_open, "{instant}");
    }
}

#[test]
fn offsets_need_be_no_whole_hours() {
    check_cases(&[
        // Half an hour: 02:00 to 02:30 at 15:30 UTC, and 02:00 back to 01:30 at 15:00 UTC.
        case(
            "Australia/Lord_Howe",
            "01:45-02:15",
            "2025-10-04T14:00:00Z",
            "2025-10-05T12:00:00Z",
            15,
        ),
        case(
            "Australia/Lord_Howe",
            "01:45-02:00",
            "2025-04-05T13:00:00Z",
            "2025-04-06T12:00:00Z",
            30,
        ),
        // 02:45 to 03:45 at 14:00 UTC, and 03:45 back to 02:45 at 14:00 UTC.
        case(
            "Pacific/Chatham",
            "02:30-04:00",
            "2025-09-27T11:00:00Z",
            "2025-09-28T10:00:00Z",
            30,
        ),
        case(
            "Pacific/Chatham",
            "03:00-04:00",
            "2025-04-05T11:00:00Z",
            "2025-04-06T11:00:00Z",
            105,
        ),
        // Two hours: 01:00 to 03:00, and 03:00 back to 01:00, both at 01:00 UTC.
        case(
            "Antarctica/Troll",
            "00:30-03:30",
            "2025-03-30T00:00:00Z",
            "2025-03-30T20:00:00Z",
            60,
        ),
        case(
            "Antarctica/Troll",
            "01:30-02:30",
            "2025-10-25T22:00:00Z",
            "2025-10-26T20:00:00Z",
            120,
        ),
        // The change to +05:45 left out the first quarter of an hour of 1986.
        case(
            "Asia/Kathmandu",
            "00:00-00:30",
            "1985-12-31T12:00:00Z",
            "1986-01-01T12:00:00Z",
            15,
        ),
    ]);
    let nepal = calendar(spec("Asia/Kathmandu", &OFFICE_DAYS, "09:00-17:00"));
    check_sum(
        &nepal,
        "2025-01-05T00:00:00Z",
        HOUR_MS,
        "2025-01-06T04:15:00Z",
    );
    // 44 min 30 s behind UTC until the clock was put to 00:44:30 at the midnight before 7 January 1972.
    let liberia = daily("Africa/Monrovia", "00:00-01:00");
    check_sum(
        &liberia,
        "1972-01-06T00:00:00Z",
        1,
        "1972-01-06T00:44:30.001Z",
    );
    check_sum(
        &liberia,
        "1972-01-06T12:00:00Z",
        15 * MINUTE_MS + 30_000,
        "1972-01-07T01:00:00Z",
    );
    check_sum(
        &liberia,
        "1972-01-06T12:00:00Z",
        15 * MINUTE_MS + 30_001,
        "1972-01-08T00:00:00.001Z",
    );
}

#[test]
fn dates_that_do_not_exist_are_not_open() {
    // Samoa went from the end of Thursday 29 to Saturday 31 December 2011, at 10:00 UTC.
    let mut each_day = spec("Pacific/Apia", &super::EVERY_DAY, "09:00-17:00");
    each_day.exceptions = vec![exception("2011-12-30", "00:00-24:00")];
    let each_day = calendar(each_day);
    check_sum(
        &each_day,
        "2011-12-29T19:00:00Z",
        8 * HOUR_MS,
        "2011-12-30T03:00:00Z",
    );
    check_sum(
        &each_day,
        "2011-12-29T19:00:00Z",
        8 * HOUR_MS + 1,
        "2011-12-30T19:00:00.001Z",
    );
    let fridays = calendar(spec("Pacific/Apia", &[Weekday::Friday], "09:00-17:00"));
    check_sum(
        &fridays,
        "2011-12-25T00:00:00Z",
        HOUR_MS,
        "2012-01-05T20:00:00Z",
    );
    let around = daily("Pacific/Apia", "00:00-02:00 22:00-24:00");
    check_sum(
        &around,
        "2011-12-30T08:00:00Z",
        4 * HOUR_MS,
        "2011-12-30T12:00:00Z",
    );
}

#[test]
fn midnight_itself_may_be_left_out_or_repeated() {
    check_cases(&[
        // 4 November 2018: 00:00 to 01:00 at 03:00 UTC.
        case(
            "America/Sao_Paulo",
            "00:00-02:00",
            "2018-11-04T02:00:00Z",
            "2018-11-04T20:00:00Z",
            60,
        ),
        // 18 February 2018: 00:00 back to 23:00 of the 17th at 02:00 UTC.
        case(
            "America/Sao_Paulo",
            "23:00-24:00",
            "2018-02-18T00:00:00Z",
            "2018-02-18T20:00:00Z",
            120,
        ),
        case(
            "America/Sao_Paulo",
            "00:00-00:30",
            "2018-02-17T12:00:00Z",
            "2018-02-18T20:00:00Z",
            30,
        ),
        // 1 October 2023: 00:00 to 01:00 at 04:00 UTC; 26 March: 00:00 back to 23:00 at 03:00 UTC.
        case(
            "America/Asuncion",
            "00:00-01:00",
            "2023-10-01T00:00:00Z",
            "2023-10-01T20:00:00Z",
            0,
        ),
        case(
            "America/Asuncion",
            "22:30-23:30",
            "2023-03-25T20:00:00Z",
            "2023-03-26T20:00:00Z",
            90,
        ),
        // 26 April 2024: 00:00 to 01:00 at 22:00 UTC; 1 November: 00:00 back to 23:00 at 21:00 UTC.
        case(
            "Africa/Cairo",
            "00:30-01:30",
            "2024-04-25T12:00:00Z",
            "2024-04-26T12:00:00Z",
            30,
        ),
        case(
            "Africa/Cairo",
            "23:30-24:00",
            "2024-10-31T12:00:00Z",
            "2024-11-01T12:00:00Z",
            60,
        ),
        // 26 October 2025: 01:00 back to 00:00 at 01:00 UTC.
        case(
            "Atlantic/Azores",
            "00:00-01:00",
            "2025-10-25T12:00:00Z",
            "2025-10-26T12:00:00Z",
            120,
        ),
    ]);
}

#[test]
fn a_repeated_hour_belongs_to_its_own_date() {
    // The second hour from 23:00 in São Paulo is still the 17th, whose intervals are in force for it.
    let mut set = spec("America/Sao_Paulo", &super::EVERY_DAY, "00:00-24:00");
    set.exceptions = vec![exception("2018-02-17", "")];
    let closed_before = calendar(set.clone());
    check_sum(
        &closed_before,
        "2018-02-17T12:00:00Z",
        1,
        "2018-02-18T03:00:00.001Z",
    );
    set.exceptions = vec![exception("2018-02-18", "")];
    let closed_after = calendar(set);
    check_sum(
        &closed_after,
        "2018-02-18T01:00:00Z",
        2 * HOUR_MS,
        "2018-02-18T03:00:00Z",
    );
    check_sum(
        &closed_after,
        "2018-02-18T01:00:00Z",
        2 * HOUR_MS + 1,
        "2018-02-19T03:00:00.001Z",
    );
}

#[test]
fn a_night_is_two_intervals_and_one_stretch() {
    let mut set = spec("America/New_York", &[Weekday::Saturday], "22:00-24:00");
    let sunday = spec("America/New_York", &[Weekday::Sunday], "00:00-06:00");
    set.week.extend(sunday.week);
    let nights = calendar(set);
    for (from, hours, until) in [
        ("2025-03-02T00:00:00Z", 8, "2025-03-02T11:00:00Z"),
        // One hour less on 9 March, one more on 2 November.
        ("2025-03-09T00:00:00Z", 7, "2025-03-09T10:00:00Z"),
        ("2025-11-02T00:00:00Z", 9, "2025-11-02T11:00:00Z"),
    ] {
        check_sum(&nights, from, hours * HOUR_MS, until);
    }
}

#[test]
fn rules_go_on_beyond_the_tables() {
    // 31 March 2097 is a Sunday, the last one of its month.
    check_cases(&[case(
        "Europe/Berlin",
        "00:00-24:00",
        "2097-03-30T23:00:00Z",
        "2097-03-31T22:00:00Z",
        23 * 60,
    )]);
    check_cases(&[case(
        "Europe/Berlin",
        "02:00-03:00",
        "2097-03-30T23:00:00Z",
        "2097-03-31T22:00:00Z",
        0,
    )]);
}
