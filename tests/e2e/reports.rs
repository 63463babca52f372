//! Reports against an independent computation from ticketing's own tables, over random conversations.

mod play;
mod truth;

use std::collections::BTreeMap;
use std::time::Duration;

use plazo_proto::history::v1::report_group::Key;
use plazo_proto::history::v1::report_service_client::ReportServiceClient;
use plazo_proto::history::v1::{
    Conversation, ConversationFilter, ConversationTimes, GetLatenessReportRequest,
    GetReportRequest, GetReportResponse, ListConversationsRequest, ReportFigures, ReportGrouping,
    ReportInterval, ReportTimes, TimeStatistics,
};
use plazo_tests::cluster::{Cluster, Durability};
use plazo_tests::desk::{Signature, SignedChannel};
use plazo_tests::process::Service;
use plazo_tests::truth::{Databases, proto_timestamp, us_of};
use tonic::service::interceptor::InterceptedService;

use play::{Play, TENANT};
use truth::{Closed, Truth};

const HOUR_US: i64 = 3_600_000_000;

type Reports = ReportServiceClient<SignedChannel>;

#[tokio::test(flavor = "multi_thread")]
async fn reports_equal_what_ticketing_says() {
    let cluster = Cluster::start(Durability::Fast).await;
    let databases = Databases::open(&cluster).await;
    let play = Play::set_up(&cluster, &databases).await;
    play.run(&databases).await;
    databases.settle(Duration::from_mins(1)).await;
    databases.wait_for_consumers(Duration::from_mins(1)).await;

    let truth = Truth::read(&databases.ticketing, &play).await;
    truth.assert_is_of_use();
    let signature = Signature::new(TENANT, "administrator/1", "reports:view", "*");
    let channel = InterceptedService::new(cluster.channel(Service::History), signature);
    let mut reports = ReportServiceClient::new(channel);
    let period = ConversationFilter {
        closed_from_time: Some(proto_timestamp(play.started_us - HOUR_US)),
        closed_until_time: Some(proto_timestamp(play.started_us + HOUR_US)),
        ..ConversationFilter::default()
    };
    check_list(&mut reports, &period, &truth).await;
    check_figures(&mut reports, &period, &truth).await;
    check_series(&mut reports, &period, &truth).await;
    check_lateness(&mut reports, &period, &truth).await;
    println!("{truth}");
    cluster.stop().await;
}

async fn check_list(reports: &mut Reports, period: &ConversationFilter, truth: &Truth) {
    let mut message = ListConversationsRequest {
        filter: Some(period.clone()),
        page_size: 7,
        page_token: String::new(),
    };
    let mut listed = Vec::new();
    loop {
        let page = reports.list_conversations(message.clone()).await;
        let page = page.expect("the page is shown").into_inner();
        listed.extend(page.conversations);
        if page.next_page_token.is_empty() {
            break;
        }
        message.page_token = page.next_page_token;
    }
    let mut expected: Vec<_> = truth.closed.iter().collect();
    expected.sort_by_key(|closed| std::cmp::Reverse((closed.close_us(), closed.ticket_id)));
    assert_eq!(listed.len(), expected.len());
    for (shown, closed) in listed.iter().zip(expected) {
        let read = as_closed(shown);
        assert_eq!(&read, closed, "ticket {}", closed.ticket_id);
    }
}

/// What the list shows, in the form of the truth.
fn as_closed(shown: &Conversation) -> Closed {
    let times = |times: &ConversationTimes| {
        [
            &times.wait_time,
            &times.first_response_time,
            &times.average_response_time,
            &times.first_resolution_time,
            &times.full_resolution_time,
            &times.handling_time,
        ]
        .map(|time| time.as_ref().map(ms))
    };
    Closed {
        ticket_id: shown.ticket_id,
        bot_id: shown.bot_id,
        queue_id: shown.queue_id,
        agent_id: shown.agent_id,
        tags: shown.tags.clone(),
        open_us: us_of(shown.open_time.as_ref()),
        closes_us: vec![
            us_of(shown.first_close_time.as_ref()),
            us_of(shown.close_time.as_ref()),
        ],
        source: shown.source,
        category: shown.category.clone(),
        summary: shown.summary.clone(),
        reopen_count: shown.reopen_count,
        messages: (shown.customer_message_count, shown.agent_message_count),
        later_response_count: shown.later_response_count,
        // Not shown of one conversation.
        later_response_ms: None,
        times: times(shown.times.as_ref().expect("it has times")),
        business_times: shown.business_times.as_ref().map(times),
        is_unlinked: shown.unlinked,
    }
}

fn ms(duration: &prost_types::Duration) -> i64 {
    duration.seconds * 1_000 + i64::from(duration.nanos) / 1_000_000
}

async fn report(reports: &mut Reports, message: GetReportRequest) -> GetReportResponse {
    let report = reports.get_report(message).await;
    report.expect("the report is made").into_inner()
}

/// The totals, and the figures of each group by each grouping.
async fn check_figures(reports: &mut Reports, period: &ConversationFilter, truth: &Truth) {
    for grouping in [
        ReportGrouping::Bot,
        ReportGrouping::Queue,
        ReportGrouping::Agent,
        ReportGrouping::Tag,
        ReportGrouping::Category,
        ReportGrouping::Source,
    ] {
        let message = GetReportRequest {
            filter: Some(period.clone()),
            grouping: grouping.into(),
            max_groups: 100,
            ..GetReportRequest::default()
        };
        let found = report(reports, message).await;
        let all: Vec<_> = truth.closed.iter().collect();
        assert_figures(found.totals.as_ref(), &all, "all");

        let mut expected: BTreeMap<String, Vec<&Closed>> = BTreeMap::new();
        for closed in &truth.closed {
            for key in keys(closed, grouping) {
                expected.entry(key).or_default().push(closed);
            }
        }
        assert_eq!(found.groups.len(), expected.len(), "{grouping:?}");
        for group in &found.groups {
            let key = key_text(group.key.as_ref().expect("a group has a key"));
            let members = expected.get(&key).expect("the group is there");
            assert_figures(group.figures.as_ref(), members, &key);
        }
    }
}

fn keys(closed: &Closed, grouping: ReportGrouping) -> Vec<String> {
    match grouping {
        ReportGrouping::Bot => vec![closed.bot_id.to_string()],
        ReportGrouping::Queue => vec![closed.queue_id.to_string()],
        ReportGrouping::Agent => vec![closed.agent_id.to_string()],
        ReportGrouping::Tag => closed.tags.clone(),
        ReportGrouping::Category => vec![closed.category.clone()],
        _ => vec![closed.source.to_string()],
    }
}

fn key_text(key: &Key) -> String {
    match key {
        Key::BotId(id) | Key::QueueId(id) | Key::AgentId(id) => id.to_string(),
        Key::Tag(text) | Key::Category(text) => text.clone(),
        Key::Source(source) => source.to_string(),
    }
}

fn count_of(number: usize) -> i64 {
    i64::try_from(number).expect("a small number")
}

fn assert_figures(found: Option<&ReportFigures>, of: &[&Closed], what: &str) {
    let found = found.expect("there are figures");
    let count = |holds: &dyn Fn(&Closed) -> bool| {
        count_of(of.iter().filter(|closed| holds(closed)).count())
    };
    let sum = |value: &dyn Fn(&Closed) -> i64| of.iter().map(|closed| value(closed)).sum::<i64>();
    assert_eq!(found.conversation_count, count_of(of.len()), "{what}");
    assert_eq!(
        found.reopened_count,
        count(&|closed| closed.reopen_count > 0),
        "{what}"
    );
    let by_inactivity = count(&|closed| closed.source == 3);
    assert_eq!(found.inactivity_count, by_inactivity, "{what}");
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let share = by_inactivity as f64 / of.len() as f64;
    assert!((found.inactivity_share - share).abs() < 1e-12, "{what}");
    for source in &found.sources {
        assert_eq!(
            source.count,
            count(&|closed| closed.source == source.source),
            "{what}"
        );
    }
    assert_eq!(
        found.sources.iter().map(|source| source.count).sum::<i64>(),
        count_of(of.len())
    );
    assert_eq!(
        found.customer_message_count,
        sum(&|closed| i64::from(closed.messages.0)),
        "{what}"
    );
    assert_eq!(
        found.agent_message_count,
        sum(&|closed| i64::from(closed.messages.1)),
        "{what}"
    );
    let responses = sum(&|closed| i64::from(closed.later_response_count));
    assert_eq!(found.later_response_count, responses, "{what}");
    let response_ms = sum(&|closed| closed.later_response_ms.unwrap_or_default());
    let mean = (responses > 0).then(|| response_ms / responses.max(1));
    assert_eq!(found.later_response_mean.as_ref().map(ms), mean, "{what}");
    let times = |place: usize| of.iter().filter_map(|closed| closed.times[place]).collect();
    assert_times(found.times.as_ref(), times, what);
    let times = |place: usize| {
        let business = of.iter().filter_map(|closed| closed.business_times);
        business.filter_map(|times| times[place]).collect()
    };
    assert_times(found.business_times.as_ref(), times, what);
}

fn assert_times(found: Option<&ReportTimes>, values: impl Fn(usize) -> Vec<i64>, what: &str) {
    let found = found.expect("there are times");
    let found = [
        &found.wait_time,
        &found.first_response_time,
        &found.average_response_time,
        &found.first_resolution_time,
        &found.full_resolution_time,
        &found.handling_time,
    ];
    for (place, statistics) in found.into_iter().enumerate() {
        assert_statistics(
            statistics.as_ref(),
            values(place),
            &format!("{what}, time {place}"),
        );
    }
}

fn assert_statistics(found: Option<&TimeStatistics>, mut values: Vec<i64>, what: &str) {
    let found = found.expect("there are statistics");
    values.sort_unstable();
    let count = values.len();
    assert_eq!(found.count, count_of(count), "{what}");
    let shown = [&found.mean, &found.p50, &found.p90, &found.p99, &found.max];
    let shown = shown.map(|value| value.as_ref().map(ms));
    if count == 0 {
        assert_eq!(shown, [None; 5], "{what}");
        return;
    }
    // The smallest value that at least so many of a hundred do not exceed.
    let percentile = |percent: usize| {
        let holds = |value: &&i64| {
            let below = values.iter().filter(|other| other <= value).count();
            below * 100 >= percent * count
        };
        values.iter().find(holds).copied()
    };
    let mean = values.iter().sum::<i64>().div_euclid(count_of(count));
    let expected = [
        Some(mean),
        percentile(50),
        percentile(90),
        percentile(99),
        values.last().copied(),
    ];
    assert_eq!(shown, expected, "{what}");
}

/// Each bucket has those that were closed in it, and the hours of São Paulo are those of the rest of the world.
async fn check_series(reports: &mut Reports, period: &ConversationFilter, truth: &Truth) {
    for interval in [
        ReportInterval::Hour,
        ReportInterval::Day,
        ReportInterval::Week,
    ] {
        let message = GetReportRequest {
            filter: Some(period.clone()),
            interval: interval.into(),
            time_zone: "America/Sao_Paulo".to_owned(),
            grouping: ReportGrouping::Source.into(),
            series_of_groups: true,
            ..GetReportRequest::default()
        };
        let found = report(reports, message).await;
        let mut in_groups = 0;
        for (index, bucket) in found.series.iter().enumerate() {
            let span = us_of(bucket.start_time.as_ref())..us_of(bucket.end_time.as_ref());
            let closed = truth
                .closed
                .iter()
                .filter(|closed| span.contains(&closed.close_us()));
            let of: Vec<_> = closed.collect();
            match &bucket.figures {
                None => assert!(of.is_empty()),
                figures => assert_figures(figures.as_ref(), &of, &bucket.local_start),
            }
            let of_groups = found
                .groups
                .iter()
                .filter_map(|group| group.series[index].figures.as_ref());
            in_groups += of_groups
                .map(|figures| figures.conversation_count)
                .sum::<i64>();
        }
        assert_eq!(in_groups, count_of(truth.closed.len()));
    }
}

async fn check_lateness(reports: &mut Reports, period: &ConversationFilter, truth: &Truth) {
    let message = GetLatenessReportRequest {
        fired_from_time: period.closed_from_time,
        fired_until_time: period.closed_until_time,
        ..GetLatenessReportRequest::default()
    };
    let found = reports.get_lateness_report(message).await;
    let found = found.expect("the report is made").into_inner();
    let mut expected: BTreeMap<(i64, i32, i32), Vec<i64>> = BTreeMap::new();
    for firing in &truth.firings {
        for bot_id in [0, firing.bot_id] {
            let key = (bot_id, firing.stage, firing.cycle_kind);
            expected.entry(key).or_default().push(firing.late_ms);
        }
    }
    let stages: Vec<_> = found.stages.iter().chain(&found.stages_of_bots).collect();
    assert_eq!(stages.len(), expected.len());
    for stage in stages {
        let key = (stage.bot_id, stage.stage, stage.cycle_kind);
        let values = expected.get(&key).expect("such a stage fired");
        assert_statistics(stage.lateness.as_ref(), values.clone(), &format!("{key:?}"));
    }
}
