//! What belongs to a report, and who sees it.

use plazo_proto::history::v1::{
    ConversationFilter, ConversationTimes, ExportConversationsRequest, ExportReportRequest,
    GetLatenessReportRequest, GetReportRequest, ListConversationsRequest,
};
use plazo_proto::ticketing::v1::CloseSource;
use plazo_service::status::{reason_of, violations_of};
use plazo_service::{Actor, BotScope, Permission, Permissions};
use prost_types::{Duration, Timestamp};
use tonic::{Code, Request};

use crate::report_rows::{
    DAY_US, Desk, NOON_US, Row, SECOND_US, ids, make_many, manager, number, period, timestamp,
};

fn several() -> Vec<Row> {
    let row = |ticket_id: i64| Row::closed(ticket_id, ticket_id * SECOND_US);
    vec![
        Row {
            queue_id: 5,
            agent_id: 12,
            tags: "{vip,slow}",
            note: Some(("billing", "")),
            ..row(1)
        },
        Row {
            agent_id: 13,
            tags: "{vip}",
            note: Some(("Billing", "")),
            source: CloseSource::Customer,
            ..row(2)
        },
        Row {
            bot_id: 4,
            queue_id: 6,
            agent_id: 12,
            source: CloseSource::CustomerInactivity,
            ..row(3)
        },
        Row {
            bot_id: 4,
            queue_id: 5,
            tags: "{new}",
            note: Some(("sales", "")),
            source: CloseSource::Workflow,
            ..row(4)
        },
        Row {
            source: CloseSource::Api,
            agent_id: 13,
            ..row(5)
        },
        Row {
            tenant_id: 2,
            tags: "{vip}",
            ..row(6)
        },
    ]
}

/// The list and the totals agree on which conversations belong to a filter.
async fn assert_filter(desk: &Desk, actor: &Actor, filter: ConversationFilter, expected: &[i64]) {
    let listed = desk.list(actor, filter.clone()).await;
    assert_eq!(ids(&listed), expected, "{actor:?} {filter:?}");
    let message = GetReportRequest {
        filter: Some(filter.clone()),
        ..Default::default()
    };
    let report = desk.report(actor, message).await.expect("a report");
    let count = report.totals.expect("it has totals").conversation_count;
    assert_eq!(count, number(expected.len()), "{actor:?} {filter:?}");
}

#[tokio::test]
async fn each_filter_takes_several_values_and_all_hold_together() {
    let desk = Desk::with(&several()).await;
    let all = || period(0, DAY_US);
    let bots = |ids: &[i64]| ConversationFilter {
        bot_ids: ids.to_vec(),
        ..all()
    };
    let queues = |ids: &[i64]| ConversationFilter {
        queue_ids: ids.to_vec(),
        ..all()
    };
    let agents = |ids: &[i64]| ConversationFilter {
        agent_ids: ids.to_vec(),
        ..all()
    };
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let tags = |texts: &[&str]| ConversationFilter {
        tags: owned(texts),
        ..all()
    };
    let categories = |texts: &[&str]| ConversationFilter {
        categories: owned(texts),
        ..all()
    };
    let sources = |sources: &[CloseSource]| ConversationFilter {
        sources: sources.iter().map(|source| (*source).into()).collect(),
        ..all()
    };
    for (filter, expected) in [
        (all(), &[5, 4, 3, 2, 1][..]),
        (bots(&[4]), &[4, 3]),
        (bots(&[3, 4]), &[5, 4, 3, 2, 1]),
        (bots(&[99]), &[]),
        (queues(&[5]), &[4, 1]),
        (queues(&[0, 6]), &[5, 3, 2]),
        (agents(&[12]), &[3, 1]),
        (agents(&[13, 0]), &[5, 4, 2]),
        (tags(&["slow"]), &[1]),
        (tags(&["slow", "new", "none such"]), &[4, 1]),
        (tags(&["vi"]), &[]),
        (categories(&["billing"]), &[1]),
        (categories(&["", "sales"]), &[5, 4, 3]),
        (sources(&[CloseSource::CustomerInactivity]), &[3]),
        (sources(&[CloseSource::Api, CloseSource::Workflow]), &[5, 4]),
        (
            ConversationFilter {
                tags: owned(&["vip"]),
                ..agents(&[13])
            },
            &[2],
        ),
        (
            ConversationFilter {
                queue_ids: vec![5],
                ..bots(&[4])
            },
            &[4],
        ),
    ] {
        assert_filter(&desk, &manager(1), filter, expected).await;
    }
}

#[tokio::test]
async fn the_period_is_bounded_to_the_microsecond() {
    let rows = [-1, 0, 9, 10].iter().zip(1..);
    let rows: Vec<_> = rows
        .map(|(after, ticket_id)| Row::closed(ticket_id, *after))
        .collect();
    let desk = Desk::with(&rows).await;
    assert_filter(&desk, &manager(1), period(0, 10), &[3, 2]).await;
    assert_filter(&desk, &manager(1), period(-1, 11), &[4, 3, 2, 1]).await;
    // An instant within a microsecond: the next whole one is the first that lies at or after it.
    let mut filter = period(-1, 9);
    let instants = [&mut filter.closed_from_time, &mut filter.closed_until_time];
    for instant in instants.into_iter().flatten() {
        instant.nanos += 1;
    }
    assert_filter(&desk, &manager(1), filter, &[3, 2]).await;
}

#[tokio::test]
async fn nothing_is_seen_outside_of_tenant_and_bots() {
    let desk = Desk::with(&several()).await;
    desk.sql(&format!(
        "INSERT INTO stage_firings
            (tenant_id, ticket_id, ticket_seq, bot_id, queue_id, stage, cycle_kind, fired_at, late_ms)
        SELECT 1, n, 1, n, 0, 1, 1, timestamptz 'epoch' + {NOON_US} * interval '1 microsecond', 1
        FROM generate_series(3, 4) AS n"
    ))
    .await;
    let of_bots = |bot_ids: &[i64]| Actor {
        bots: BotScope::Only(bot_ids.to_vec()),
        ..manager(1)
    };
    for (actor, expected, bots) in [
        (manager(1), &[5, 4, 3, 2, 1][..], &[3, 4][..]),
        (of_bots(&[3]), &[5, 2, 1], &[3]),
        (of_bots(&[3, 4]), &[5, 4, 3, 2, 1], &[3, 4]),
        (of_bots(&[9]), &[], &[]),
        (of_bots(&[]), &[], &[]),
        (manager(2), &[6], &[]),
        (manager(3), &[], &[]),
    ] {
        assert_filter(&desk, &actor, period(0, DAY_US), expected).await;
        let message = GetLatenessReportRequest {
            fired_from_time: Some(timestamp(NOON_US)),
            fired_until_time: Some(timestamp(NOON_US + 1)),
            ..Default::default()
        };
        let request = actor.sign(Request::new(message));
        let report = desk.client.clone().get_lateness_report(request).await;
        let stages = report.expect("a report").into_inner().stages_of_bots;
        let seen: Vec<_> = stages.iter().map(|stage| stage.bot_id).collect();
        assert_eq!(seen, bots, "{actor:?}");
    }
}

#[tokio::test]
async fn the_permission_and_the_bot_are_asked_for() {
    let desk = Desk::with(&[]).await;
    let viewer = Actor {
        permissions: Permissions::NONE.with(Permission::HistoryView),
        ..manager(1)
    };
    let of_bot_3 = Actor {
        bots: BotScope::Only(vec![3]),
        ..manager(1)
    };
    let filter = ConversationFilter {
        bot_ids: vec![3, 4],
        ..period(0, DAY_US)
    };
    for (actor, reason) in [
        (viewer, "PERMISSION_DENIED"),
        (of_bot_3, "BOT_NOT_PERMITTED"),
    ] {
        let report = GetReportRequest {
            filter: Some(filter.clone()),
            ..Default::default()
        };
        let lateness = GetLatenessReportRequest {
            fired_from_time: filter.closed_from_time,
            fired_until_time: filter.closed_until_time,
            bot_ids: vec![4],
            queue_ids: vec![],
        };
        let list = ListConversationsRequest {
            filter: Some(filter.clone()),
            ..Default::default()
        };
        let export = ExportConversationsRequest {
            filter: Some(filter.clone()),
            ..Default::default()
        };
        let export_report = ExportReportRequest {
            report: Some(report.clone()),
            ..Default::default()
        };
        let mut client = desk.client.clone();
        let refusals = [
            client
                .get_report(actor.sign(Request::new(report)))
                .await
                .err(),
            client
                .get_lateness_report(actor.sign(Request::new(lateness)))
                .await
                .err(),
            client
                .list_conversations(actor.sign(Request::new(list)))
                .await
                .err(),
            client
                .export_conversations(actor.sign(Request::new(export)))
                .await
                .err(),
            client
                .export_report(actor.sign(Request::new(export_report)))
                .await
                .err(),
        ];
        for refused in refusals {
            let status = refused.expect("it is refused");
            assert_eq!(status.code(), Code::PermissionDenied);
            assert_eq!(reason_of(&status).as_deref(), Some(reason));
        }
    }
}

#[tokio::test]
async fn all_that_is_wrong_with_a_filter_is_told() {
    let desk = Desk::with(&[]).await;
    let wrong = ConversationFilter {
        bot_ids: vec![0],
        queue_ids: vec![-1],
        agent_ids: (0..101).collect(),
        tags: vec!["x".repeat(1_001)],
        categories: vec!["a\0".to_owned()],
        sources: vec![0],
        ..period(10, 10)
    };
    for (filter, fields) in [
        (None, vec!["filter"]),
        (
            Some(ConversationFilter::default()),
            vec!["filter.closed_from_time", "filter.closed_until_time"],
        ),
        (
            Some(ConversationFilter {
                closed_from_time: Some(Timestamp {
                    seconds: -62_135_596_801,
                    nanos: 0,
                }),
                ..period(0, 1)
            }),
            vec!["filter.closed_from_time"],
        ),
        (
            Some(wrong),
            vec![
                "filter.closed_until_time",
                "filter.bot_ids",
                "filter.queue_ids",
                "filter.agent_ids",
                "filter.tags",
                "filter.categories",
                "filter.sources",
            ],
        ),
    ] {
        let message = GetReportRequest {
            filter,
            ..Default::default()
        };
        let status = desk
            .report(&manager(1), message)
            .await
            .expect_err("it is wrong");
        assert_eq!(status.code(), Code::InvalidArgument);
        let found: Vec<_> = violations_of(&status)
            .into_iter()
            .map(|(field, _)| field)
            .collect();
        assert_eq!(found, fields);
    }
}

#[tokio::test]
async fn rows_tell_all_that_is_known() {
    let row = Row {
        queue_id: 5,
        agent_id: 12,
        tags: "{vip}",
        assigned_us: Some(NOON_US + 60 * SECOND_US),
        answered_us: Some(NOON_US + 90 * SECOND_US + 999),
        first_closed_us: Some(NOON_US + 300 * SECOND_US),
        note: Some(("billing", "paid twice")),
        reopen_count: 1,
        messages: (4, 3),
        later_responses: (3, 50_000),
        handling_ms: 500_000,
        calendar_version: 7,
        business_ms: [Some(1), Some(2), Some(50), Some(4), Some(5), Some(6)],
        ..Row::closed(2, 600 * SECOND_US)
    };
    // Without a response, a calendar, or anything.
    let bare = Row::closed(1, 10 * SECOND_US);
    let desk = Desk::with(&[row, bare]).await;
    let listed = desk.list(&manager(1), period(0, DAY_US)).await;
    let [full, bare] = listed.as_slice() else {
        panic!("there are two: {listed:?}");
    };
    let span = |ms: i64| {
        Some(Duration {
            seconds: ms / 1_000,
            nanos: i32::try_from(ms % 1_000 * 1_000_000).expect("below a second"),
        })
    };
    assert_eq!(
        (full.ticket_id, full.bot_id, full.queue_id, full.agent_id),
        (2, 3, 5, 12)
    );
    assert_eq!(full.contact_id, 5);
    assert_eq!(full.open_time, Some(timestamp(NOON_US)));
    assert_eq!(full.close_time, Some(timestamp(NOON_US + 600 * SECOND_US)));
    assert_eq!(
        full.first_close_time,
        Some(timestamp(NOON_US + 300 * SECOND_US))
    );
    assert_eq!(full.source(), CloseSource::Agent);
    assert_eq!(
        (full.category.as_str(), full.summary.as_str()),
        ("billing", "paid twice")
    );
    assert_eq!(full.tags, ["vip"]);
    assert_eq!((full.reopen_count, full.later_response_count), (1, 3));
    assert_eq!(
        (full.customer_message_count, full.agent_message_count),
        (4, 3)
    );
    let times = ConversationTimes {
        wait_time: span(60_000),
        first_response_time: span(90_000),
        average_response_time: span(16_666),
        first_resolution_time: span(300_000),
        full_resolution_time: span(600_000),
        handling_time: span(500_000),
    };
    assert_eq!(full.times, Some(times));
    let business_times = ConversationTimes {
        wait_time: span(1),
        first_response_time: span(2),
        average_response_time: span(16),
        first_resolution_time: span(4),
        full_resolution_time: span(5),
        handling_time: span(6),
    };
    assert_eq!(full.business_times, Some(business_times));
    let times = ConversationTimes {
        first_resolution_time: span(10_000),
        full_resolution_time: span(10_000),
        handling_time: span(0),
        ..Default::default()
    };
    assert_eq!((bare.times, bare.business_times), (Some(times), None));
}

#[tokio::test]
async fn pages_stay_stable_while_conversations_are_closed_and_opened_again() {
    let mut rows: Vec<_> = (1..=9).map(|n| Row::closed(n, n * SECOND_US)).collect();
    // At the same instant, and two pages part them.
    rows[5].closed_us = rows[6].closed_us;
    let desk = Desk::with(&rows).await;
    let mut message = ListConversationsRequest {
        filter: Some(period(0, DAY_US)),
        page_size: 3,
        page_token: String::new(),
    };
    let mut seen = Vec::new();
    for newer in 100.. {
        let request = manager(1).sign(Request::new(message.clone()));
        let page = desk.client.clone().list_conversations(request).await;
        let page = page.expect("the page is shown").into_inner();
        seen.extend(ids(&page.conversations));
        if page.next_page_token.is_empty() {
            break;
        }
        message.page_token = page.next_page_token;
        // One is closed, and one that was not shown yet is closed anew: both belong to the first page now.
        desk.add(&[Row::closed(newer, newer * SECOND_US)]).await;
        desk.sql(
            "UPDATE tickets SET closed_at = closed_at + interval '1 hour' WHERE ticket_id = 2",
        )
        .await;
    }
    assert_eq!(seen, [9, 8, 7, 6, 5, 4, 3, 1]);

    // A token is of use with the same filter only.
    message.filter = Some(period(0, DAY_US + 1));
    let request = manager(1).sign(Request::new(message));
    let refused = desk.client.clone().list_conversations(request).await;
    let status = refused.expect_err("another filter");
    assert_eq!(reason_of(&status).as_deref(), Some("PAGE_TOKEN_INVALID"));
}

#[tokio::test]
async fn what_is_rare_is_found_page_by_page() {
    // Among 50,000 conversations, of which a page looks at 20,000.
    let desk = Desk::with(&[]).await;
    desk.sql(&make_many(50_000, 1, 1)).await;
    desk.sql("UPDATE tickets SET tags = '{rare}' WHERE ticket_id IN (1, 25000, 25001, 49999)")
        .await;
    let rare = |bot_ids: &[i64]| ConversationFilter {
        tags: vec!["rare".to_owned()],
        bot_ids: bot_ids.to_vec(),
        ..period(0, 365 * DAY_US)
    };
    assert_filter(&desk, &manager(1), rare(&[]), &[49_999, 25_001, 25_000, 1]).await;
    // A bot is one more than the rest of the ticket's id divided by seven.
    assert_filter(&desk, &manager(1), rare(&[2, 4]), &[25_000, 1]).await;
    let message = ListConversationsRequest {
        filter: Some(ConversationFilter {
            tags: vec!["none such".to_owned()],
            ..period(0, 365 * DAY_US)
        }),
        ..Default::default()
    };
    let request = manager(1).sign(Request::new(message));
    let page = desk.client.clone().list_conversations(request).await;
    let page = page.expect("the page is shown").into_inner();
    assert!(page.conversations.is_empty() && !page.next_page_token.is_empty());
}

#[tokio::test]
async fn both_connections_of_a_report_see_one_instant() {
    // Closed anew again and again, now in the first eighth of the period and now in the second, which two connections read.
    let desk = Desk::with(&[Row::closed(1, SECOND_US)]).await;
    let moves = "DO $$
        BEGIN
            FOR n IN 1..2000 LOOP
                UPDATE tickets SET closed_at = closed_at + (CASE n % 2 WHEN 1 THEN 1 ELSE -1 END) * interval '1 day';
                COMMIT;
                PERFORM pg_sleep(0.0005);
            END LOOP;
        END
        $$";
    let moving = desk.sql(moves);
    let asking = async {
        for _ in 0..200 {
            let totals = desk.totals(period(0, 8 * DAY_US)).await;
            assert_eq!(totals.conversation_count, 1);
        }
    };
    tokio::join!(moving, asking);
}
