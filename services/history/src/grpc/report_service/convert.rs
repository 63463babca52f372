//! Reports as messages.

use plazo_proto::history::v1::report_group::Key;
use plazo_proto::history::v1::{
    Conversation as ConversationMessage, ConversationTimes, GetLatenessReportResponse,
    GetReportResponse, ReportBucket, ReportFigures, ReportGroup, ReportTimes, SourceCount,
    StageLateness as StageLatenessMessage, TimeStatistics,
};
use prost_types::Duration;

use crate::model::to_proto;
use crate::reports::{
    Conversation, Figures, Group, GroupKey, Grouping, Lateness, METRICS, Report, ReportPlan,
    StageLateness, Statistics, Times,
};

pub(super) fn conversation(conversation: Conversation) -> ConversationMessage {
    ConversationMessage {
        ticket_id: conversation.ticket_id,
        bot_id: conversation.bot_id,
        queue_id: conversation.queue_id,
        agent_id: conversation.agent_id,
        contact_id: conversation.contact_id,
        open_time: Some(to_proto(conversation.opened_at)),
        close_time: Some(to_proto(conversation.closed_at)),
        first_close_time: Some(to_proto(conversation.first_closed_at)),
        source: conversation.source,
        category: conversation.category,
        summary: conversation.summary,
        tags: conversation.tags,
        reopen_count: conversation.reopen_count,
        customer_message_count: conversation.customer_message_count,
        agent_message_count: conversation.agent_message_count,
        later_response_count: conversation.later_response_count,
        times: Some(times(conversation.times)),
        business_times: conversation.business_times.map(times),
        unlinked: conversation.is_unlinked,
    }
}

pub(super) fn report(report: Report, plan: &ReportPlan, time_zone: String) -> GetReportResponse {
    let groups = report
        .groups
        .into_iter()
        .zip(std::iter::repeat(plan.grouping));
    GetReportResponse {
        totals: Some(figures(report.totals)),
        series: series(report.series, plan),
        groups: groups
            .filter_map(|(known, grouping)| Some(group(known, grouping?, plan)))
            .collect(),
        omitted_group_count: count(report.omitted_group_count as u64),
        time_zone,
    }
}

pub(super) fn lateness(lateness: Lateness) -> GetLatenessReportResponse {
    let messages = |stages: Vec<StageLateness>| stages.into_iter().map(stage_lateness).collect();
    GetLatenessReportResponse {
        stages: messages(lateness.stages),
        stages_of_bots: messages(lateness.stages_of_bots),
        omitted_bot_count: count(lateness.omitted_bot_count as u64),
    }
}

fn stage_lateness(known: StageLateness) -> StageLatenessMessage {
    StageLatenessMessage {
        stage: known.stage,
        cycle_kind: known.cycle_kind,
        bot_id: known.bot_id.unwrap_or_default(),
        lateness: Some(statistics(Some(known.lateness))),
    }
}

fn series(series: Vec<Option<Figures>>, plan: &ReportPlan) -> Vec<ReportBucket> {
    let Some(buckets) = &plan.buckets else {
        return Vec::new();
    };
    let spans = buckets.spans().zip(series);
    spans
        .map(|(span, known)| ReportBucket {
            start_time: Some(to_proto(span.start)),
            end_time: Some(to_proto(span.end)),
            local_start: buckets.local(span.start),
            figures: known.map(figures),
        })
        .collect()
}

fn group(group: Group, grouping: Grouping, plan: &ReportPlan) -> ReportGroup {
    let key = match (grouping, group.key) {
        (Grouping::Bot, GroupKey::Number(bot_id)) => Key::BotId(bot_id),
        (Grouping::Queue, GroupKey::Number(queue_id)) => Key::QueueId(queue_id),
        (Grouping::Agent, GroupKey::Number(agent_id)) => Key::AgentId(agent_id),
        (_, GroupKey::Number(number)) => Key::Source(i32::try_from(number).unwrap_or_default()),
        (Grouping::Category, GroupKey::Text(category)) => Key::Category(category),
        (_, GroupKey::Text(tag)) => Key::Tag(tag),
    };
    ReportGroup {
        key: Some(key),
        figures: Some(figures(group.figures)),
        series: series(group.series, plan),
    }
}

fn figures(figures: Figures) -> ReportFigures {
    ReportFigures {
        conversation_count: count(figures.conversation_count),
        reopened_count: count(figures.reopened_count),
        inactivity_count: count(figures.inactivity_count()),
        inactivity_share: figures.inactivity_share(),
        customer_message_count: count(figures.customer_message_count),
        agent_message_count: count(figures.agent_message_count),
        later_response_count: count(figures.later_response_count),
        later_response_mean: figures.later_response_mean.map(duration),
        times: Some(report_times(&figures.times)),
        business_times: Some(report_times(&figures.business_times)),
        sources: figures
            .sources
            .into_iter()
            .map(|(source, closed)| SourceCount {
                source,
                count: count(closed),
            })
            .collect(),
    }
}

fn report_times(times: &[Option<Statistics>; METRICS.len()]) -> ReportTimes {
    let [
        wait,
        first_response,
        average_response,
        first_resolution,
        full_resolution,
        handling,
    ] = times.map(|known| Some(statistics(known)));
    ReportTimes {
        wait_time: wait,
        first_response_time: first_response,
        average_response_time: average_response,
        first_resolution_time: first_resolution,
        full_resolution_time: full_resolution,
        handling_time: handling,
    }
}

fn statistics(known: Option<Statistics>) -> TimeStatistics {
    let Some(known) = known else {
        return TimeStatistics::default();
    };
    TimeStatistics {
        count: count(known.count),
        mean: Some(duration(known.mean)),
        p50: Some(duration(known.p50)),
        p90: Some(duration(known.p90)),
        p99: Some(duration(known.p99)),
        max: Some(duration(known.max)),
    }
}

fn times(times: Times) -> ConversationTimes {
    let [
        wait,
        first_response,
        average_response,
        first_resolution,
        full_resolution,
        handling,
    ] = times.map(|time| time.map(duration));
    ConversationTimes {
        wait_time: wait,
        first_response_time: first_response,
        average_response_time: average_response,
        first_resolution_time: first_resolution,
        full_resolution_time: full_resolution,
        handling_time: handling,
    }
}

fn duration(ms: i64) -> Duration {
    Duration {
        seconds: ms / 1_000,
        nanos: i32::try_from(ms % 1_000 * 1_000_000).unwrap_or_default(),
    }
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
