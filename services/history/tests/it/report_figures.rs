//! Figures against those that were computed by hand.

use plazo_proto::history::v1::report_group::Key;
use plazo_proto::history::v1::{
    GetLatenessReportRequest, GetReportRequest, GetReportResponse, ReportFigures, ReportGrouping,
    ReportInterval, ReportTimes,
};
use plazo_proto::ticketing::v1::{CloseSource, CycleKind, Stage};
use plazo_service::status::violations_of;
use tonic::Request;

use crate::report_rows::{
    DAY_US, Desk, HOUR_US, Known, NOON_US, Row, SECOND_US, known, manager, ms, number, period,
    timestamp,
};

/// Three closed tickets, one that is open, and another tenant's.
fn example() -> Vec<Row> {
    let after = |seconds: i64| Some(NOON_US + seconds * SECOND_US);
    let answered = Row {
        queue_id: 5,
        agent_id: 12,
        tags: "{vip}",
        assigned_us: after(60),
        answered_us: after(90),
        note: Some(("billing", "paid twice")),
        messages: (4, 3),
        later_responses: (2, 50_000),
        handling_ms: 500_000,
        ..Row::closed(1, 600 * SECOND_US)
    };
    // Opened 100 s after noon; answered 10.500999 s later; closed after 300 s, opened again, and closed after 900 s.
    let reopened = Row {
        agent_id: 13,
        tags: "{slow,vip}",
        opened_us: NOON_US + 100 * SECOND_US,
        assigned_us: after(100),
        answered_us: Some(NOON_US + 110 * SECOND_US + 500_999),
        first_closed_us: after(400),
        source: CloseSource::CustomerInactivity,
        note: Some(("billing", "")),
        reopen_count: 2,
        messages: (2, 1),
        handling_ms: 700_000,
        calendar_version: 7,
        business_ms: [
            Some(0),
            Some(10_500),
            None,
            Some(200_000),
            Some(400_000),
            Some(350_000),
        ],
        ..Row::closed(2, 1_000 * SECOND_US)
    };
    let unanswered = Row {
        bot_id: 4,
        queue_id: 6,
        opened_us: NOON_US + 200 * SECOND_US,
        source: CloseSource::CustomerInactivity,
        messages: (1, 0),
        ..Row::closed(3, 1_400 * SECOND_US)
    };
    let open = Row {
        first_closed_us: after(500),
        closed_us: None,
        ..Row::closed(4, 0)
    };
    let foreign = Row {
        tenant_id: 2,
        ..Row::closed(5, 600 * SECOND_US)
    };
    vec![answered, reopened, unanswered, open, foreign]
}

fn all_times(times: Option<&ReportTimes>) -> [Known; 6] {
    let times = times.expect("figures have times");
    [
        &times.wait_time,
        &times.first_response_time,
        &times.average_response_time,
        &times.first_resolution_time,
        &times.full_resolution_time,
        &times.handling_time,
    ]
    .map(|statistics| known(statistics.as_ref()))
}

/// Count, then mean, p50, p90, p99 and maximum in milliseconds.
fn values(count: i64, ms: [i64; 5]) -> Known {
    (count, ms.map(Some))
}

const NOTHING: Known = (0, [None; 5]);

#[tokio::test]
async fn totals_are_as_computed_by_hand() {
    let desk = Desk::with(&example()).await;
    let totals = desk.totals(period(0, DAY_US)).await;
    assert_eq!(totals.conversation_count, 3);
    assert_eq!(totals.reopened_count, 1);
    assert_eq!(totals.inactivity_count, 2);
    assert!((totals.inactivity_share - 2.0 / 3.0).abs() < 1e-12);
    let sources: Vec<_> = totals
        .sources
        .iter()
        .map(|closed| (closed.source(), closed.count))
        .collect();
    let expected = [
        (CloseSource::Agent, 1),
        (CloseSource::CustomerInactivity, 2),
    ];
    assert_eq!(sources, expected);
    assert_eq!(
        (totals.customer_message_count, totals.agent_message_count),
        (7, 4)
    );
    assert_eq!(totals.later_response_count, 2);
    assert_eq!(ms(totals.later_response_mean.as_ref()), Some(25_000));
    assert_eq!(
        all_times(totals.times.as_ref()),
        [
            values(2, [30_000, 0, 60_000, 60_000, 60_000]),
            values(2, [50_250, 10_500, 90_000, 90_000, 90_000]),
            values(1, [25_000; 5]),
            values(3, [700_000, 600_000, 1_200_000, 1_200_000, 1_200_000]),
            values(3, [900_000, 900_000, 1_200_000, 1_200_000, 1_200_000]),
            values(3, [400_000, 500_000, 700_000, 700_000, 700_000]),
        ]
    );
    assert_eq!(
        all_times(totals.business_times.as_ref()),
        [
            values(1, [0; 5]),
            values(1, [10_500; 5]),
            NOTHING,
            values(1, [200_000; 5]),
            values(1, [400_000; 5]),
            values(1, [350_000; 5]),
        ]
    );
}

#[tokio::test]
async fn percentiles_means_and_long_times_are_exact() {
    // Handling times of 1 to 200 s, put in another order; and the mean of each conversation's responses, rounded down.
    let mut rows: Vec<_> = (1..=200)
        .map(|n: i64| Row {
            handling_ms: (n * 77 % 201) * 1_000,
            later_responses: (3, 10_000 + n % 2),
            calendar_version: 1,
            business_ms: [None, None, Some(5_000), None, None, Some(n)],
            ..Row::closed(n, n * SECOND_US)
        })
        .collect();
    // A hundred days: longer than what most times need.
    rows[0].closed_us = Some(NOON_US + 100 * DAY_US);
    let desk = Desk::with(&rows).await;
    let totals = desk.totals(period(0, 101 * DAY_US)).await;
    let [_, _, average, _, full, handling] = all_times(totals.times.as_ref());
    assert_eq!(
        handling,
        values(200, [100_500, 100_000, 180_000, 198_000, 200_000])
    );
    assert_eq!(average, values(200, [3_333; 5]));
    assert_eq!(full.1[4], Some(100 * 86_400_000));
    // (100 x 10,000 + 100 x 10,001) / 600 = 3,333.5
    assert_eq!(totals.later_response_count, 600);
    assert_eq!(ms(totals.later_response_mean.as_ref()), Some(3_333));
    let [_, _, average, ..] = all_times(totals.business_times.as_ref());
    assert_eq!(average, values(200, [1_666; 5]));
}

#[tokio::test]
async fn an_empty_period_has_figures_of_nothing() {
    let desk = Desk::with(&example()).await;
    let message = GetReportRequest {
        filter: Some(period(-DAY_US, 0)),
        interval: ReportInterval::Hour.into(),
        grouping: ReportGrouping::Agent.into(),
        ..Default::default()
    };
    let report = desk.report(&manager(1), message).await.expect("a report");
    let totals = report.totals.expect("it has totals");
    assert_eq!((totals.conversation_count, totals.inactivity_count), (0, 0));
    assert!(totals.inactivity_share.abs() < f64::EPSILON);
    assert_eq!(totals.later_response_mean, None);
    assert_eq!(all_times(totals.times.as_ref()), [NOTHING; 6]);
    assert_eq!((report.series.len(), report.groups.len()), (24, 0));
    assert!(report.series.iter().all(|bucket| bucket.figures.is_none()));
    assert!(desk.list(&manager(1), period(-DAY_US, 0)).await.is_empty());
}

fn key_of(key: Option<&Key>) -> String {
    match key.expect("a group has a key") {
        Key::BotId(id) | Key::QueueId(id) | Key::AgentId(id) => id.to_string(),
        Key::Tag(text) | Key::Category(text) => format!("{text:?}"),
        Key::Source(source) => format!("source {source}"),
    }
}

fn count(figures: Option<&ReportFigures>) -> i64 {
    figures.map_or(0, |figures| figures.conversation_count)
}

#[tokio::test]
async fn groups_are_the_largest_first_and_bounded() {
    let desk = Desk::with(&example()).await;
    for (grouping, expected) in [
        (ReportGrouping::Bot, vec![("3", 2), ("4", 1)]),
        (ReportGrouping::Queue, vec![("0", 1), ("5", 1), ("6", 1)]),
        (ReportGrouping::Agent, vec![("0", 1), ("12", 1), ("13", 1)]),
        (ReportGrouping::Tag, vec![("\"vip\"", 2), ("\"slow\"", 1)]),
        (
            ReportGrouping::Category,
            vec![("\"billing\"", 2), ("\"\"", 1)],
        ),
        (
            ReportGrouping::Source,
            vec![("source 3", 2), ("source 1", 1)],
        ),
    ] {
        let message = GetReportRequest {
            filter: Some(period(0, DAY_US)),
            grouping: grouping.into(),
            ..Default::default()
        };
        let found = |report: &GetReportResponse| -> Vec<(String, i64)> {
            let groups = report.groups.iter();
            groups
                .map(|group| (key_of(group.key.as_ref()), count(group.figures.as_ref())))
                .collect()
        };
        let report = desk
            .report(&manager(1), message.clone())
            .await
            .expect("a report");
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(key, count)| (key.to_owned(), count))
            .collect();
        assert_eq!(found(&report), expected, "{grouping:?}");
        assert_eq!(report.omitted_group_count, 0);

        let message = GetReportRequest {
            max_groups: 1,
            ..message
        };
        let report = desk.report(&manager(1), message).await.expect("a report");
        assert_eq!(found(&report), expected[..1]);
        assert_eq!(report.omitted_group_count, number(expected.len() - 1));
    }
}

#[tokio::test]
async fn groups_have_figures_and_series_of_their_own() {
    let desk = Desk::with(&example()).await;
    let message = GetReportRequest {
        // 12:15 UTC is a full hour there: ticket 1 was closed before, tickets 2 and 3 after it.
        filter: Some(period(-40 * 60 * SECOND_US, 24 * 60 * SECOND_US)),
        interval: ReportInterval::Hour.into(),
        time_zone: "Asia/Kathmandu".to_owned(),
        grouping: ReportGrouping::Source.into(),
        series_of_groups: true,
        ..Default::default()
    };
    let report = desk.report(&manager(1), message).await.expect("a report");
    let counts = |series: &[plazo_proto::history::v1::ReportBucket]| -> Vec<i64> {
        let figures = series.iter().map(|bucket| count(bucket.figures.as_ref()));
        figures.collect()
    };
    let starts: Vec<_> = report
        .series
        .iter()
        .map(|bucket| bucket.local_start.as_str())
        .collect();
    let expected = ["2026-03-02T17:05:00+05:45", "2026-03-02T18:00:00+05:45"];
    assert_eq!(starts, expected);
    assert_eq!(counts(&report.series), [1, 2]);
    let by_inactivity = &report.groups[0];
    assert_eq!(counts(&by_inactivity.series), [0, 2]);
    let figures = by_inactivity.series[1]
        .figures
        .as_ref()
        .expect("it has two");
    let [wait, .., handling] = all_times(figures.times.as_ref());
    assert_eq!(wait, values(1, [0; 5]));
    assert_eq!(handling, values(2, [350_000, 0, 700_000, 700_000, 700_000]));
    assert_eq!(counts(&report.groups[1].series), [1, 0]);
}

#[tokio::test]
async fn series_go_by_the_clock_of_the_zone() {
    // At 03:00 UTC of 5 April 2026, which would be midnight, Santiago puts the clock back to 23:00 of 4 April: 02:30 and 03:30 UTC
    // are both 23:30 there, and 04:00 UTC is midnight.
    let back_us = 1_775_358_000_000_000 - NOON_US; // 2026-04-05T03:00:00Z
    let rows: Vec<_> = [
        -HOUR_US / 2,
        HOUR_US / 2,
        HOUR_US - 1,
        HOUR_US,
        25 * HOUR_US - 1,
        25 * HOUR_US,
    ]
    .iter()
    .zip(1..)
    .map(|(after, ticket_id)| Row::closed(ticket_id, back_us + after))
    .collect();
    let desk = Desk::with(&rows).await;
    desk.sql("INSERT INTO tenant_settings (tenant_id, time_zone) VALUES (1, 'America/Santiago')")
        .await;
    let message = |interval: ReportInterval, time_zone: &str| GetReportRequest {
        filter: Some(period(back_us - 24 * HOUR_US, back_us + 49 * HOUR_US)),
        interval: interval.into(),
        time_zone: time_zone.to_owned(),
        ..Default::default()
    };
    let series = async |interval, time_zone| {
        let report = desk.report(&manager(1), message(interval, time_zone)).await;
        let report = report.expect("a report");
        let buckets: Vec<_> = report
            .series
            .iter()
            .map(|bucket| (bucket.local_start.clone(), count(bucket.figures.as_ref())))
            .collect();
        (report.time_zone, buckets)
    };
    let (zone, days) = series(ReportInterval::Day, "").await;
    assert_eq!(zone, "America/Santiago");
    let expected = [
        ("2026-04-04T00:00:00-03:00", 3),
        ("2026-04-05T00:00:00-04:00", 2),
        ("2026-04-06T00:00:00-04:00", 1),
    ];
    let expected = expected.map(|(start, count)| (start.to_owned(), count));
    assert_eq!(days, expected);
    let (_, weeks) = series(ReportInterval::Week, "").await;
    let counts: Vec<_> = weeks.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [5, 1], "Monday is 6 April");
    let (_, hours) = series(ReportInterval::Hour, "").await;
    assert_eq!(hours.len(), 73);
    assert_eq!(hours[23], ("2026-04-04T23:00:00-03:00".to_owned(), 1));
    assert_eq!(hours[24], ("2026-04-04T23:00:00-04:00".to_owned(), 2));
    assert_eq!(hours[25], ("2026-04-05T00:00:00-04:00".to_owned(), 1));
    let (zone, days) = series(ReportInterval::Day, "UTC").await;
    assert_eq!(zone, "UTC");
    let counts: Vec<_> = days.iter().map(|(_, count)| *count).collect();
    // The first bucket begins within the day, at 03:00 of 4 April.
    assert_eq!(counts, [0, 4, 2, 0]);
}

#[tokio::test]
async fn what_makes_too_much_is_refused() {
    let desk = Desk::with(&[]).await;
    let hourly = GetReportRequest {
        filter: Some(period(0, 1_001 * HOUR_US)),
        interval: ReportInterval::Hour.into(),
        ..Default::default()
    };
    let of_groups = GetReportRequest {
        filter: Some(period(0, 41 * HOUR_US)),
        interval: ReportInterval::Hour.into(),
        grouping: ReportGrouping::Tag.into(),
        max_groups: 100,
        series_of_groups: true,
        ..Default::default()
    };
    let without_interval = GetReportRequest {
        interval: 0,
        ..of_groups.clone()
    };
    let unknown_zone = GetReportRequest {
        time_zone: "Mars/Olympus".to_owned(),
        ..of_groups.clone()
    };
    let unknown_values = GetReportRequest {
        interval: 9,
        grouping: 9,
        max_groups: -1,
        ..hourly.clone()
    };
    for (message, fields) in [
        (hourly, vec!["interval"]),
        (of_groups, vec!["series_of_groups"]),
        (without_interval, vec!["series_of_groups"]),
        (unknown_zone, vec!["time_zone"]),
        (unknown_values, vec!["interval", "grouping", "max_groups"]),
    ] {
        let status = desk
            .report(&manager(1), message)
            .await
            .expect_err("too much");
        let found: Vec<_> = violations_of(&status)
            .into_iter()
            .map(|(field, _)| field)
            .collect();
        assert_eq!(found, fields);
    }
}

#[tokio::test]
async fn lateness_is_counted_by_stage_and_bot() {
    let desk = Desk::with(&[]).await;
    // Bot 3: first alerts late by 0 to 99 ms. Bot 4: one close, late by 5 s. One on each bound of the period, another
    // tenant's, and one of another kind.
    let fired = |after_us: i64| {
        format!(
            "timestamptz 'epoch' + {} * interval '1 microsecond'",
            NOON_US + after_us
        )
    };
    desk.sql(&format!(
        "INSERT INTO stage_firings
            (tenant_id, ticket_id, ticket_seq, bot_id, queue_id, stage, cycle_kind, fired_at, late_ms)
        SELECT 1, n, 1, 3, n % 2, 1, 1, {inside}, n - 1 FROM generate_series(1, 100) AS n
        UNION ALL VALUES (1, 101, 1, 4, 0, 4, 1, {first}, 5000), (1, 102, 1, 4, 0, 4, 1, {before}, 6000),
            (1, 103, 1, 4, 0, 4, 1, {end}, 7000), (2, 104, 1, 4, 0, 4, 1, {inside}, 8000),
            (1, 105, 1, 3, 0, 1, 3, {inside}, 70)",
        inside = fired(10),
        first = fired(0),
        before = fired(-1),
        end = fired(20),
    ))
    .await;
    let ask = async |bot_ids: Vec<i64>, queue_ids: Vec<i64>| {
        let message = GetLatenessReportRequest {
            fired_from_time: Some(timestamp(NOON_US)),
            fired_until_time: Some(timestamp(NOON_US + 20)),
            bot_ids,
            queue_ids,
        };
        let request = manager(1).sign(Request::new(message));
        let report = desk.client.clone().get_lateness_report(request).await;
        let report = report.expect("a report").into_inner();
        let rows = |stages: Vec<plazo_proto::history::v1::StageLateness>| -> Vec<_> {
            let rows = stages.into_iter().map(|row| {
                let lateness = known(row.lateness.as_ref());
                (row.bot_id, row.stage(), row.cycle_kind(), lateness)
            });
            rows.collect()
        };
        (rows(report.stages), rows(report.stages_of_bots))
    };
    let first_alerts = values(100, [49, 49, 89, 98, 99]);
    let silent = CycleKind::CustomerSilent;
    let (stages, of_bots) = ask(vec![], vec![]).await;
    assert_eq!(
        stages,
        [
            (0, Stage::FirstAlert, silent, first_alerts),
            (
                0,
                Stage::FirstAlert,
                CycleKind::AgentSilent,
                values(1, [70; 5])
            ),
            (0, Stage::Close, silent, values(1, [5_000; 5])),
        ]
    );
    assert_eq!(
        of_bots,
        [
            (3, Stage::FirstAlert, silent, first_alerts),
            (
                3,
                Stage::FirstAlert,
                CycleKind::AgentSilent,
                values(1, [70; 5])
            ),
            (4, Stage::Close, silent, values(1, [5_000; 5])),
        ]
    );
    let (stages, of_bots) = ask(vec![4], vec![]).await;
    assert_eq!(stages, [(0, Stage::Close, silent, values(1, [5_000; 5]))]);
    assert_eq!(of_bots.len(), 1);
    let (stages, _) = ask(vec![3], vec![1]).await;
    // 0, 2, …, 98.
    let of_queue = values(50, [49, 48, 88, 98, 98]);
    assert_eq!(stages, [(0, Stage::FirstAlert, silent, of_queue)]);
    let (stages, of_bots) = ask(vec![9], vec![]).await;
    assert_eq!((stages.len(), of_bots.len()), (0, 0));
}
