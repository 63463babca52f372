//! Reports of a month, the list of its conversations, and all conversations as CSV.

use plazo_proto::history::v1::{
    ConversationFilter, ExportConversationsRequest, GetLatenessReportRequest, GetReportRequest,
    ListConversationsRequest, ReportGrouping, ReportInterval,
};
use plazo_tests::solo::Solo;
use plazo_tests::truth::proto_timestamp;
use tokio::time::{Duration, Instant};

use crate::history::bed::Bed;
use crate::history::calls::timed;
use crate::history::goals::Goals;
use crate::history::tell;
use crate::history::world::World;
use crate::machine::resident_bytes;
use crate::report::Report;

const DAY_US: i64 = 24 * 3_600 * 1_000_000;
/// A report of a month is to take less.
const REPORT_GOAL_MS: f64 = 2_000.0;
const PAGE_GOAL_MS: f64 = 50.0;
const PAGES: usize = 20;
/// The export is looked at no longer than this.
const EXPORT_BOUND: Duration = Duration::from_secs(90);
/// It may take so much more memory than the service had before, however many rows there are.
const EXPORT_GOAL_MB: f64 = 64.0;
/// Rows of the list that a second is to give.
const EXPORT_GOAL_PER_S: f64 = 20_000.0;

/// Closed within so many days, until so many days ago.
fn within(world: &World, days: i64, until_days_ago: i64) -> ConversationFilter {
    let until_us = world.now_us - until_days_ago * DAY_US;
    ConversationFilter {
        closed_from_time: Some(proto_timestamp(until_us - days * DAY_US)),
        closed_until_time: Some(proto_timestamp(until_us)),
        ..ConversationFilter::default()
    }
}

/// The reports that are measured: their names, and whether they are grouped.
const REPORTS: [(&str, ReportGrouping); 3] = [
    ("GetReport, a month by day", ReportGrouping::Unspecified),
    ("GetReport, a month by day and agent", ReportGrouping::Agent),
    ("GetReport, a month by day and tag", ReportGrouping::Tag),
];

fn a_month(world: &World, grouping: ReportGrouping, months_ago: i64) -> GetReportRequest {
    GetReportRequest {
        filter: Some(within(world, 30, 30 * months_ago)),
        interval: ReportInterval::Day.into(),
        grouping: grouping.into(),
        ..GetReportRequest::default()
    }
}

/// Each of the calls once, for its plans.
pub(super) async fn ask_once(world: &World) {
    let mut times = Vec::new();
    for (_, grouping) in REPORTS {
        let request = a_month(world, grouping, 1);
        timed(&mut times, world.reports().get_report(request)).await;
    }
    lateness(world, &mut times, 1).await;
    pages(world, &mut times, 3).await;
}

/// Measures reports, list and export.
pub(super) async fn run(
    bed: &Bed,
    world: &World,
    service: &Solo,
    is_quick: bool,
    goals: &mut Goals,
    report: &mut Report,
) {
    let rounds = if is_quick { 4 } else { 12 };
    for (name, grouping) in REPORTS {
        let mut times_ms = Vec::new();
        let mut conversations = 0;
        for round in 0..=rounds {
            let request = a_month(world, grouping, round % 4);
            let answer = timed(&mut times_ms, world.reports().get_report(request)).await;
            let totals = answer.and_then(|answer| answer.totals);
            let count = totals.map_or(0, |totals| totals.conversation_count);
            conversations = conversations.max(count);
        }
        report.set(&format!("report_conversations.{name}"), conversations);
        // The first one warms up.
        goals.add_times(name, times_ms.split_off(1), REPORT_GOAL_MS);
    }
    let mut times_ms = Vec::new();
    for round in 0..=rounds {
        lateness(world, &mut times_ms, round % 4).await;
    }
    let name = "GetLatenessReport, a month";
    goals.add_times(name, times_ms.split_off(1), REPORT_GOAL_MS);
    let mut times_ms = Vec::new();
    for _ in 0..rounds {
        pages(world, &mut times_ms, PAGES).await;
    }
    let name = "ListConversations, a month, 20 pages";
    goals.add_times(name, times_ms, PAGE_GOAL_MS);
    export(bed, world, service, goals, report).await;
}

async fn lateness(world: &World, times_ms: &mut Vec<f64>, months_ago: i64) {
    let filter = within(world, 30, 30 * months_ago);
    let request = GetLatenessReportRequest {
        fired_from_time: filter.closed_from_time,
        fired_until_time: filter.closed_until_time,
        ..GetLatenessReportRequest::default()
    };
    timed(times_ms, world.reports().get_lateness_report(request)).await;
}

async fn pages(world: &World, times_ms: &mut Vec<f64>, count: usize) {
    let mut request = ListConversationsRequest {
        filter: Some(within(world, 30, 1)),
        ..ListConversationsRequest::default()
    };
    let mut client = world.reports();
    for _ in 0..count {
        let page = client.list_conversations(request.clone());
        let Some(page) = timed(times_ms, page).await else {
            break;
        };
        assert!(!page.conversations.is_empty(), "there are conversations");
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
}

/// All conversations as CSV: rows a second, and how much memory the service took for it.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
async fn export(bed: &Bed, world: &World, service: &Solo, goals: &mut Goals, report: &mut Report) {
    let request = ExportConversationsRequest {
        filter: Some(within(world, 3_650, 0)),
        ..ExportConversationsRequest::default()
    };
    let before_bytes = resident_bytes(service.pid());
    let cpu_before = bed.cpu(service);
    let (mut most_bytes, mut rows, mut bytes) = (before_bytes, 0, 0);
    let began = Instant::now();
    let answer = world.reports().export_conversations(request).await;
    let mut chunks = answer.expect("the export begins").into_inner();
    let mut is_whole = false;
    while began.elapsed() < EXPORT_BOUND {
        let Some(chunk) = chunks.message().await.expect("the export goes on") else {
            is_whole = true;
            break;
        };
        rows = chunk.conversation_count;
        bytes += chunk.csv.len();
        most_bytes = most_bytes.max(resident_bytes(service.pid()));
    }
    let took_s = began.elapsed().as_secs_f64();
    drop(chunks);
    let cpu = bed.cpu(service).since(cpu_before);
    let per_row_us = |seconds: f64| 1e6 * seconds / rows as f64;
    report.set("export_rows", rows);
    report.set("export_is_whole", is_whole);
    report.set("export_bytes", bytes);
    tell(
        report,
        "export_cpu_us_each.service",
        per_row_us(cpu.service),
    );
    tell(
        report,
        "export_cpu_us_each.database",
        per_row_us(cpu.database),
    );
    let more_mb = (most_bytes - before_bytes) as f64 / f64::from(1 << 20);
    tell(
        report,
        "export_resident_mb",
        most_bytes as f64 / f64::from(1 << 20),
    );
    goals.at_least(
        "ExportConversations, rows/s",
        rows as f64 / took_s,
        EXPORT_GOAL_PER_S,
    );
    goals.at_most(
        "ExportConversations, MB more memory",
        more_mb,
        EXPORT_GOAL_MB,
    );
}
