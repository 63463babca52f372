//! Buckets by the clocks of zones that change them.

use super::buckets::{BucketError, Buckets, Interval, zone};

fn edges(interval: Interval, name: &str, from: &str, until: &str) -> Vec<String> {
    let zone = zone(name).expect("the zone is known");
    let at = |text: &str| text.parse().expect("an instant");
    let buckets = Buckets::new(interval, &zone, at(from), at(until)).expect("they are few");
    let spans: Vec<_> = buckets.spans().collect();
    assert_eq!(spans.len(), buckets.len());
    assert!(spans.windows(2).all(|pair| pair[0].end == pair[1].start));
    assert!(spans.iter().all(|span| span.start < span.end));
    assert_eq!(spans.first().map(|span| span.start), Some(at(from)));
    assert_eq!(spans.last().map(|span| span.end), Some(at(until)));
    spans.iter().map(|span| buckets.local(span.start)).collect()
}

#[test]
fn days_have_23_or_25_hours_where_the_clock_changes() {
    // Lisbon: forward on 29 March 2026 at 01:00 UTC, back on 25 October 2026 at 01:00 UTC.
    assert_eq!(
        edges(
            Interval::Day,
            "Europe/Lisbon",
            "2026-03-28T00:00:00Z",
            "2026-03-31T12:00:00Z"
        ),
        [
            "2026-03-28T00:00:00+00:00",
            "2026-03-29T00:00:00+00:00",
            "2026-03-30T00:00:00+01:00",
            "2026-03-31T00:00:00+01:00",
        ]
    );
    assert_eq!(
        edges(
            Interval::Day,
            "Europe/Lisbon",
            "2026-10-24T23:00:00Z",
            "2026-10-26T00:00:00Z"
        ),
        ["2026-10-25T00:00:00+01:00"],
        "25 hours"
    );
}

#[test]
fn a_day_may_begin_at_one_o_clock() {
    // Santiago puts the clock forward at midnight: 6 September 2026 begins at 01:00. Back on 5 April at midnight: the hour
    // before it comes twice, and belongs to 4 April both times.
    assert_eq!(
        edges(
            Interval::Day,
            "America/Santiago",
            "2026-09-05T04:00:00Z",
            "2026-09-07T04:00:00Z"
        ),
        [
            "2026-09-05T00:00:00-04:00",
            "2026-09-06T01:00:00-03:00",
            "2026-09-07T00:00:00-03:00",
        ]
    );
    assert_eq!(
        edges(
            Interval::Day,
            "America/Santiago",
            "2026-04-04T03:00:00Z",
            "2026-04-06T04:00:00Z"
        ),
        ["2026-04-04T00:00:00-03:00", "2026-04-05T00:00:00-04:00"]
    );
    // São Paulo did so until 2019: 4 November 2018 began at 01:00.
    assert_eq!(
        edges(
            Interval::Day,
            "America/Sao_Paulo",
            "2018-11-03T03:00:00Z",
            "2018-11-05T02:00:00Z"
        ),
        ["2018-11-03T00:00:00-03:00", "2018-11-04T01:00:00-02:00"]
    );
}

#[test]
fn an_hour_that_comes_twice_is_two_buckets_and_one_left_out_is_none() {
    assert_eq!(
        edges(
            Interval::Hour,
            "Europe/Lisbon",
            "2026-10-24T23:30:00Z",
            "2026-10-25T02:30:00Z"
        ),
        [
            "2026-10-25T00:30:00+01:00",
            "2026-10-25T01:00:00+01:00",
            "2026-10-25T01:00:00+00:00",
            "2026-10-25T02:00:00+00:00",
        ]
    );
    assert_eq!(
        edges(
            Interval::Hour,
            "Europe/Lisbon",
            "2026-03-29T00:00:00Z",
            "2026-03-29T02:00:00Z"
        ),
        ["2026-03-29T00:00:00+00:00", "2026-03-29T02:00:00+01:00"]
    );
    // Lord Howe changes by half an hour: back on 5 April 2026 from 02:00 to 01:30.
    assert_eq!(
        edges(
            Interval::Hour,
            "Australia/Lord_Howe",
            "2026-04-04T14:00:00Z",
            "2026-04-04T16:30:00Z"
        ),
        [
            "2026-04-05T01:00:00+11:00",
            "2026-04-05T01:30:00+10:30",
            "2026-04-05T02:00:00+10:30",
        ]
    );
    // Nepal is 45 minutes off the hour.
    assert_eq!(
        edges(
            Interval::Hour,
            "Asia/Kathmandu",
            "2026-04-04T14:00:00Z",
            "2026-04-04T15:30:00Z"
        ),
        [
            "2026-04-04T19:45:00+05:45",
            "2026-04-04T20:00:00+05:45",
            "2026-04-04T21:00:00+05:45"
        ]
    );
}

#[test]
fn weeks_begin_on_monday() {
    // 1 January 2027 is a Friday; the weeks around belong to ISO weeks 53 of 2026 and 1 of 2027.
    assert_eq!(
        edges(
            Interval::Week,
            "America/Sao_Paulo",
            "2026-12-27T12:00:00Z",
            "2027-01-12T00:00:00Z"
        ),
        [
            "2026-12-27T09:00:00-03:00",
            "2026-12-28T00:00:00-03:00",
            "2027-01-04T00:00:00-03:00",
            "2027-01-11T00:00:00-03:00",
        ]
    );
    // The period begins with a Monday: the week is whole.
    assert_eq!(
        edges(
            Interval::Week,
            "UTC",
            "2026-03-02T00:00:00Z",
            "2026-03-16T00:00:00Z"
        )
        .len(),
        2
    );
}

#[test]
fn a_day_that_a_zone_left_out_has_no_bucket() {
    // Samoa went from 29 to 31 December 2011.
    assert_eq!(
        edges(
            Interval::Day,
            "Pacific/Apia",
            "2011-12-29T10:00:00Z",
            "2011-12-31T10:00:00Z"
        ),
        ["2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00"]
    );
}

#[test]
fn buckets_are_bounded() {
    let zone = zone("UTC").expect("it is known");
    let at = |text: &str| text.parse().expect("an instant");
    let hours = |until: &str| {
        let buckets = Buckets::new(Interval::Hour, &zone, at("2026-01-01T00:00:00Z"), at(until));
        buckets.map(|buckets| buckets.len())
    };
    assert_eq!(hours("2026-02-11T16:00:00Z"), Ok(1_000));
    assert_eq!(
        hours("2026-02-11T16:00:00.000001Z"),
        Err(BucketError::TooMany)
    );
    assert_eq!(hours("9999-01-01T00:00:00Z"), Err(BucketError::TooMany));
}
