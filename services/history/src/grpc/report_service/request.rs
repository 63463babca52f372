//! What is asked for.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use plazo_proto::history::v1::{
    ConversationFilter as FilterMessage, GetLatenessReportRequest, GetReportRequest,
    ListConversationsRequest, ReportGrouping, ReportInterval,
};
use plazo_proto::ticketing::v1::CloseSource;
use plazo_service::status::{self, FieldViolations};
use plazo_service::{Actor, BotScope};
use prost::Message as _;
use tonic::Status;

use crate::model::from_proto;
use crate::reports::{
    BucketError, Buckets, ConversationFilter, Grouping, Interval, LatenessFilter, ReportPlan,
};

/// The most values of one list of a filter.
const MAX_VALUES: usize = 100;
/// Longer than any tag or category.
const MAX_TEXT_BYTES: usize = 1_000;
/// 1 January of the year 1, in seconds since 1970: the first instant that a proto's timestamp may be.
const FIRST_SECOND: i64 = -62_135_596_800;
const DEFAULT_GROUPS: i32 = 20;
const MAX_GROUPS: i32 = 100;
/// The most buckets that all groups together have: their figures must fit into an answer.
const MAX_BUCKETS_OF_GROUPS: usize = 4_000;

/// Reads the filter; all that is wrong with it in one answer, and bots that the actor may not use after that.
pub(super) fn filter(
    actor: &Actor,
    message: Option<&FilterMessage>,
) -> Result<ConversationFilter, Status> {
    let message = message.ok_or_else(|| status::invalid("filter", "must be set"))?;
    let mut violations = FieldViolations::new();
    let period = period(
        &mut violations,
        ("filter.closed_from_time", message.closed_from_time),
        ("filter.closed_until_time", message.closed_until_time),
    );
    check_ids(&mut violations, "filter.bot_ids", &message.bot_ids, 1);
    check_ids(&mut violations, "filter.queue_ids", &message.queue_ids, 0);
    check_ids(&mut violations, "filter.agent_ids", &message.agent_ids, 0);
    check_texts(&mut violations, "filter.tags", &message.tags);
    check_texts(&mut violations, "filter.categories", &message.categories);
    let mut check_source = |source: i32| {
        let is_known =
            CloseSource::try_from(source).is_ok_and(|source| source != CloseSource::Unspecified);
        violations.check("filter.sources", is_known, "must be sources that are known");
    };
    message.sources.iter().copied().for_each(&mut check_source);
    check_count(&mut violations, "filter.sources", message.sources.len());
    violations.into_result()?;
    let (from, until) = period.ok_or_else(|| status::invalid("filter", "must have a period"))?;
    Ok(ConversationFilter {
        tenant_id: actor.tenant_id,
        from,
        until,
        bots: bots(actor, &message.bot_ids)?,
        queues: some(&message.queue_ids),
        agents: some(&message.agent_ids),
        tags: some(&message.tags),
        categories: some(&message.categories),
        sources: some(&message.sources),
    })
}

pub(super) fn lateness_filter(
    actor: &Actor,
    message: &GetLatenessReportRequest,
) -> Result<LatenessFilter, Status> {
    let mut violations = FieldViolations::new();
    let period = period(
        &mut violations,
        ("fired_from_time", message.fired_from_time),
        ("fired_until_time", message.fired_until_time),
    );
    check_ids(&mut violations, "bot_ids", &message.bot_ids, 1);
    check_ids(&mut violations, "queue_ids", &message.queue_ids, 0);
    violations.into_result()?;
    let (from, until) = period.ok_or_else(|| status::invalid("fired_from_time", "must be set"))?;
    Ok(LatenessFilter {
        tenant_id: actor.tenant_id,
        from,
        until,
        bots: bots(actor, &message.bot_ids)?,
        queues: some(&message.queue_ids),
    })
}

/// What the report is to have besides its totals.
pub(super) fn plan(
    message: &GetReportRequest,
    filter: &ConversationFilter,
    zone: &TimeZone,
) -> Result<ReportPlan, Status> {
    let mut violations = FieldViolations::new();
    let interval = match ReportInterval::try_from(message.interval) {
        Ok(ReportInterval::Unspecified) => None,
        Ok(ReportInterval::Hour) => Some(Interval::Hour),
        Ok(ReportInterval::Day) => Some(Interval::Day),
        Ok(ReportInterval::Week) => Some(Interval::Week),
        Err(_) => {
            violations.add("interval", "must be one that is known");
            None
        }
    };
    let grouping = match ReportGrouping::try_from(message.grouping) {
        Ok(ReportGrouping::Unspecified) => None,
        Ok(ReportGrouping::Bot) => Some(Grouping::Bot),
        Ok(ReportGrouping::Queue) => Some(Grouping::Queue),
        Ok(ReportGrouping::Agent) => Some(Grouping::Agent),
        Ok(ReportGrouping::Tag) => Some(Grouping::Tag),
        Ok(ReportGrouping::Category) => Some(Grouping::Category),
        Ok(ReportGrouping::Source) => Some(Grouping::Source),
        Err(_) => {
            violations.add("grouping", "must be one that is known");
            None
        }
    };
    violations.check(
        "max_groups",
        message.max_groups >= 0,
        "must not be negative",
    );
    let max_groups = match message.max_groups {
        0 => DEFAULT_GROUPS,
        asked => asked.min(MAX_GROUPS),
    };
    let max_groups = usize::try_from(max_groups).unwrap_or_default();
    let buckets = interval
        .map(|interval| Buckets::new(interval, zone, filter.from, filter.until))
        .transpose()
        .unwrap_or_else(|problem| {
            violations.add("interval", describe(&problem));
            None
        });
    if message.series_of_groups {
        let is_possible = interval.is_some() && grouping.is_some();
        let description = "needs an interval and a grouping";
        violations.check("series_of_groups", is_possible, description);
        let buckets_of_groups = buckets.as_ref().map_or(0, Buckets::len) * max_groups;
        violations.check(
            "series_of_groups",
            buckets_of_groups <= MAX_BUCKETS_OF_GROUPS,
            "max_groups times the number of buckets must not be above 4000",
        );
    }
    violations.into_result()?;
    Ok(ReportPlan {
        buckets,
        grouping,
        max_groups,
        has_series_of_groups: message.series_of_groups,
    })
}

fn describe(problem: &BucketError) -> &'static str {
    match problem {
        BucketError::TooMany => "makes more than 1000 buckets of this period",
        BucketError::OutOfRange => "leaves the years that calendars have",
    }
}

/// What a page token is bound to: the list, the tenant and the filter.
pub(super) fn token_filter(actor: &Actor, request: &ListConversationsRequest) -> Vec<u8> {
    let mut bytes = b"ListConversations".to_vec();
    bytes.extend(actor.tenant_id.to_be_bytes());
    bytes.extend(request.encode_to_vec());
    bytes
}

type NamedInstant<'a> = (&'a str, Option<prost_types::Timestamp>);

/// Both ends of a period, in whole microseconds, as all instants are here.
fn period(
    violations: &mut FieldViolations,
    from: NamedInstant<'_>,
    until: NamedInstant<'_>,
) -> Option<(Timestamp, Timestamp)> {
    let mut instant = |(field, value): NamedInstant<'_>| {
        violations.check(field, value.is_some(), "must be set");
        let at = from_proto(value).filter(|at| at.as_second() >= FIRST_SECOND);
        violations.check(
            field,
            value.is_none() || at.is_some(),
            "must lie in the years 1 to 9999",
        );
        at.map(|at| at_or_after(at, value))
    };
    let period = instant(from).zip(instant(until));
    if let Some((start, end)) = period {
        violations.check(until.0, start < end, "must be later than the beginning");
    }
    period
}

/// The first whole microsecond at or after `exact`: comparing with it is comparing with the exact one. `rounded` is `exact`
/// rounded down.
fn at_or_after(rounded: Timestamp, exact: Option<prost_types::Timestamp>) -> Timestamp {
    if exact.is_some_and(|exact| exact.nanos % 1_000 != 0) {
        let next = rounded.checked_add(jiff::SignedDuration::from_micros(1));
        next.unwrap_or(rounded)
    } else {
        rounded
    }
}

fn check_count(violations: &mut FieldViolations, field: &str, count: usize) {
    violations.check(
        field,
        count <= MAX_VALUES,
        "must not have more than 100 values",
    );
}

fn check_ids(violations: &mut FieldViolations, field: &str, ids: &[i64], least: i64) {
    check_count(violations, field, ids.len());
    let are_valid = ids.iter().all(|id| *id >= least);
    let description = match least {
        0 => "must not be negative",
        _ => "must be above zero",
    };
    violations.check(field, are_valid, description);
}

fn check_texts(violations: &mut FieldViolations, field: &str, texts: &[String]) {
    check_count(violations, field, texts.len());
    // PostgreSQL holds no NUL in a text.
    let are_valid = texts
        .iter()
        .all(|text| text.len() <= MAX_TEXT_BYTES && !text.contains('\0'));
    violations.check(field, are_valid, "must be texts of at most 1000 bytes");
}

/// The bots asked for, or those that the actor may use; none for all.
fn bots(actor: &Actor, asked: &[i64]) -> Result<Option<Vec<i64>>, Status> {
    if asked.is_empty() {
        return Ok(match &actor.bots {
            BotScope::All => None,
            BotScope::Only(bot_ids) => Some(bot_ids.clone()),
        });
    }
    for bot_id in asked {
        actor.require_bot(*bot_id)?;
    }
    Ok(Some(asked.to_vec()))
}

fn some<T: Clone>(values: &[T]) -> Option<Vec<T>> {
    (!values.is_empty()).then(|| values.to_vec())
}
