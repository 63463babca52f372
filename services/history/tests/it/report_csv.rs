//! Reports as CSV, and what they hold while somebody reads them.

use plazo_proto::history::v1::{
    ExportConversationsRequest, ExportReportRequest, GetReportRequest, ReportGrouping,
    ReportInterval,
};
use plazo_proto::ticketing::v1::CloseSource;
use plazo_service::status::reason_of;
use tonic::{Code, Request};

use crate::feed::Feed;
use crate::report_rows::{
    DAY_US, Desk, HOUR_US, NOON_US, Row, SECOND_US, make_many, manager, period,
};
use crate::running::{eventually, fresh_config};

const HEADER: &str = "ticket_id,bot_id,queue_id,agent_id,contact_id,open_time,close_time,first_close_time,source,category,\
    summary,tags,unlinked,reopen_count,customer_message_count,agent_message_count,later_response_count,\
    wait_time_seconds,first_response_time_seconds,average_response_time_seconds,first_resolution_time_seconds,\
    full_resolution_time_seconds,handling_time_seconds,business_wait_time_seconds,\
    business_first_response_time_seconds,business_average_response_time_seconds,\
    business_first_resolution_time_seconds,business_full_resolution_time_seconds,business_handling_time_seconds";

/// More than an export reads at once, and more than the buffers of a connection hold.
const MANY: i64 = 30_000;

async fn export(desk: &Desk, message: ExportConversationsRequest) -> String {
    let request = manager(1).sign(Request::new(message));
    let stream = desk.client.clone().export_conversations(request).await;
    let mut stream = stream.expect("the export begins").into_inner();
    let mut csv = Vec::new();
    while let Some(chunk) = stream.message().await.expect("it goes on") {
        assert!(chunk.csv.ends_with(b"\r\n"), "chunks are of whole lines");
        csv.extend(chunk.csv);
    }
    String::from_utf8(csv).expect("it is UTF-8")
}

#[tokio::test]
async fn conversations_are_lines_in_the_order_of_the_list() {
    let answered = Row {
        queue_id: 5,
        agent_id: 12,
        tags: "{vip,\"a,b\"}",
        assigned_us: Some(NOON_US + 60 * SECOND_US),
        answered_us: Some(NOON_US + 90 * SECOND_US),
        note: Some(("-billing", "said \"ação\",\nand left")),
        messages: (4, 3),
        later_responses: (2, 51_000),
        handling_ms: 500_000,
        calendar_version: 1,
        business_ms: [Some(0), Some(1), Some(3), Some(4), Some(5), Some(6)],
        ..Row::closed(1, 600 * SECOND_US + 1)
    };
    let bare = Row {
        source: CloseSource::CustomerInactivity,
        ..Row::closed(2, 10 * SECOND_US)
    };
    let desk = Desk::with(&[bare, answered]).await;
    let message = ExportConversationsRequest {
        filter: Some(period(0, DAY_US)),
        time_zone: "America/Sao_Paulo".to_owned(),
        byte_order_mark: false,
    };
    let expected = [
        HEADER,
        "1,3,5,12,5,2026-03-02T09:00:00.000000-03:00,2026-03-02T09:10:00.000001-03:00,\
         2026-03-02T09:10:00.000001-03:00,AGENT,'-billing,\"said \"\"ação\"\",\nand left\",\"vip; a,b\",false,0,4,3,2,\
         60.000,90.000,25.500,600.000,600.000,500.000,0.000,0.001,0.001,0.004,0.005,0.006",
        "2,3,0,0,5,2026-03-02T09:00:00.000000-03:00,2026-03-02T09:00:10.000000-03:00,\
         2026-03-02T09:00:10.000000-03:00,CUSTOMER_INACTIVITY,,,,false,0,0,0,0,,,,10.000,10.000,0.000,,,,,,",
        "",
    ];
    assert_eq!(export(&desk, message.clone()).await, expected.join("\r\n"));

    let with_mark = ExportConversationsRequest {
        byte_order_mark: true,
        filter: Some(period(-1, 0)),
        ..message
    };
    let empty = export(&desk, with_mark).await;
    assert_eq!(empty, format!("\u{feff}{HEADER}\r\n"));
}

async fn desk_with_many() -> Desk {
    let desk = Desk::with(&[]).await;
    desk.sql(&make_many(MANY, 1, 1)).await;
    desk
}

#[tokio::test]
async fn a_slow_reader_holds_a_page_and_nothing_in_the_database() {
    let desk = desk_with_many().await;
    let message = ExportConversationsRequest {
        filter: Some(period(0, 365 * DAY_US)),
        ..Default::default()
    };
    let everything = export(&desk, message.clone()).await;
    let lines: Vec<_> = everything.lines().skip(1).collect();
    assert_eq!(lines.len(), usize::try_from(MANY).expect("a small number"));
    let first_cells = lines
        .iter()
        .map(|line| line.split(',').next().expect("a cell"));
    let ids: Vec<i64> = first_cells
        .map(|cell| cell.parse().expect("an id"))
        .collect();
    assert!(
        ids.is_sorted_by(|one, next| one > next),
        "each once, in order"
    );

    let request = manager(1).sign(Request::new(message));
    let stream = desk.client.clone().export_conversations(request).await;
    let mut stream = stream.expect("the export begins").into_inner();
    let first = stream.message().await.expect("it begins").expect("a chunk");
    // The reader stops. Then no connection is in a transaction or runs a statement, and what is sent after all rows are gone
    // was read before: what the connection's buffers hold, and one page.
    eventually("the export waits", async || {
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND application_name = 'plazo-history' AND state <> 'idle'
            AND query LIKE '%first_closed_at!%'";
        (desk.sql(busy).await.trim() == "0").then_some(())
    })
    .await;
    desk.sql("DELETE FROM tickets").await;
    let mut last_count = first.conversation_count;
    while let Some(chunk) = stream.message().await.expect("it goes on") {
        last_count = chunk.conversation_count;
    }
    println!(
        "{last_count} rows were read for {} that were taken",
        first.conversation_count
    );
    assert!(last_count < 5_000, "{last_count} rows were held");
}

#[tokio::test]
async fn an_export_ends_with_its_deadline_and_when_its_reader_goes() {
    let desk = desk_with_many().await;
    let message = ExportConversationsRequest {
        filter: Some(period(0, 365 * DAY_US)),
        ..Default::default()
    };
    let mut request = manager(1).sign(Request::new(message.clone()));
    request.set_timeout(std::time::Duration::from_millis(300));
    let stream = desk.client.clone().export_conversations(request).await;
    let mut stream = stream.expect("the export begins").into_inner();
    // Nothing is read until the time is over.
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    let ended = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it can't have been whole"),
            Err(status) => break status,
        }
    };
    assert!(
        matches!(ended.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{ended}"
    );

    // Without a deadline it ends when nobody reads it: else stopping the service would wait for it.
    let request = manager(1).sign(Request::new(message));
    let stream = desk.client.clone().export_conversations(request).await;
    drop(stream.expect("the export begins"));
    desk.running.stop().await;
}

#[tokio::test]
async fn figures_are_lines_too() {
    let rows = [
        Row {
            agent_id: 12,
            handling_ms: 1_500,
            ..Row::closed(1, 0)
        },
        Row {
            agent_id: 12,
            source: CloseSource::CustomerInactivity,
            ..Row::closed(2, HOUR_US)
        },
        Row {
            agent_id: 13,
            ..Row::closed(3, HOUR_US)
        },
    ];
    let desk = Desk::with(&rows).await;
    let report = GetReportRequest {
        filter: Some(period(0, 2 * HOUR_US)),
        interval: ReportInterval::Hour.into(),
        grouping: ReportGrouping::Agent.into(),
        series_of_groups: true,
        ..Default::default()
    };
    let message = ExportReportRequest {
        report: Some(report),
        byte_order_mark: false,
    };
    let request = manager(1).sign(Request::new(message));
    let stream = desk.client.clone().export_report(request).await;
    let mut stream = stream.expect("the export begins").into_inner();
    let mut csv = Vec::new();
    while let Some(chunk) = stream.message().await.expect("it goes on") {
        csv.extend(chunk.csv);
    }
    let csv = String::from_utf8(csv).expect("it is UTF-8");
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 10);
    assert!(lines.iter().all(|cells| cells.len() == lines[0].len()));
    let shown: Vec<_> = lines[1..]
        .iter()
        .map(|cells| cells[..7].join(","))
        .collect();
    assert_eq!(
        shown,
        [
            ",,,,3,0,0.333333",
            ",,2026-03-02T12:00:00+00:00,2026-03-02T13:00:00+00:00,1,0,0.000000",
            ",,2026-03-02T13:00:00+00:00,2026-03-02T14:00:00+00:00,2,0,0.500000",
            "agent,12,,,2,0,0.500000",
            "agent,12,2026-03-02T12:00:00+00:00,2026-03-02T13:00:00+00:00,1,0,0.000000",
            "agent,12,2026-03-02T13:00:00+00:00,2026-03-02T14:00:00+00:00,1,0,1.000000",
            "agent,13,,,1,0,0.000000",
            "agent,13,2026-03-02T12:00:00+00:00,2026-03-02T13:00:00+00:00,0,0,0.000000",
            "agent,13,2026-03-02T13:00:00+00:00,2026-03-02T14:00:00+00:00,1,0,0.000000",
        ]
    );
    let column = |name: &str| lines[0].iter().position(|column| *column == name);
    let p99 = column("handling_time_p99_seconds").expect("there is such a column");
    assert_eq!((lines[1][p99], lines[8][p99]), ("1.500", ""));
}

#[tokio::test]
async fn a_report_of_too_many_conversations_is_refused() {
    let feed = Feed::start().await;
    let mut config = fresh_config(&feed).await;
    config.reports.max_conversations = 2;
    let rows: Vec<_> = (1..=3).map(|n| Row::closed(n, n)).collect();
    let desk = Desk::start(feed, config, &rows).await;
    let report = async |until_us| {
        let message = GetReportRequest {
            filter: Some(period(0, until_us)),
            ..Default::default()
        };
        desk.report(&manager(1), message).await
    };
    report(3).await.expect("two have room");
    let status = report(4).await.expect_err("three have none");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason_of(&status).as_deref(), Some("REPORT_TOO_LARGE"));
    report(3).await.expect("the room is given back");
}
