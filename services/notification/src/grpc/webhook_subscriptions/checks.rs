//! What requests about subscriptions must be.

use jiff::Timestamp;
use plazo_proto::notification::v1::replay_webhook_events_request;
use plazo_proto::notification::v1::{UpdateWebhookSubscriptionRequest, WebhookSubscription};
use plazo_service::status::FieldViolations;
use plazo_service::{Actor, BotScope, RequestIdInvalid, parse_request_id, status};
use tonic::Status;

use crate::message::{from_proto_time, is_line};
use crate::sending::address::AddressPolicy;
use crate::store::subscriptions::Wishes;
use crate::subscriptions::event_types;

const NAME_CHARS_MAX: usize = 200;
const EVENT_TYPES_MAX: usize = 50;
const BOTS_MAX: usize = 100;
const OVERLAP_SECS_DEFAULT: i64 = 24 * 3_600;
const OVERLAP_SECS_MAX: i64 = 7 * 24 * 3_600;
const UPDATABLE: [&str; 6] = [
    "name",
    "url",
    "event_types",
    "bot_ids",
    "include_customer_data",
    "enabled",
];

/// The fields to change.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) subscription_id: i64,
    /// Which version is changed; none for any.
    pub(super) version: Option<i64>,
    pub(super) name: Option<String>,
    pub(super) webhook_url: Option<String>,
    pub(super) event_types: Option<Vec<String>>,
    pub(super) bot_ids: Option<Vec<i64>>,
    pub(super) include_customer_data: Option<bool>,
    pub(super) enabled: Option<bool>,
    pub(super) skip_missed: bool,
}

/// Where a replay begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    /// With the event of this index.
    Position(i64),
    /// With the events from an instant on.
    Time(Timestamp),
}

pub(super) fn id(subscription_id: i64) -> Result<i64, Status> {
    if subscription_id > 0 {
        Ok(subscription_id)
    } else {
        Err(status::invalid("subscription_id", "must be above zero"))
    }
}

pub(super) fn request_id(request_id: &str, violations: &mut FieldViolations) {
    let is_id = parse_request_id(request_id).is_ok();
    violations.check("request_id", is_id, RequestIdInvalid::REASON);
}

/// Refuses bots that the actor may not use; to name none means all, which takes an actor who may use all.
pub(super) fn bots_permitted(actor: &Actor, bot_ids: &[i64]) -> Result<(), Status> {
    if bot_ids.is_empty() && !matches!(actor.bots, BotScope::All) {
        return Err(status::permission_denied(
            "BOT_NOT_PERMITTED",
            "the actor may not use all bots: name those of the subscription",
        ));
    }
    bot_ids
        .iter()
        .try_for_each(|bot_id| actor.require_bot(*bot_id))
}

/// A subscription to create; of no use when there are violations.
pub(super) async fn new(
    wanted: &WebhookSubscription,
    policy: AddressPolicy,
    violations: &mut FieldViolations,
) -> Wishes {
    violations.check(
        "subscription.subscription_id",
        wanted.subscription_id == 0,
        "must be absent",
    );
    violations.check(
        "subscription.etag",
        wanted.etag.is_empty(),
        "must be absent",
    );
    check_name(&wanted.name, violations);
    check_event_types(&wanted.event_types, violations);
    check_bots(&wanted.bot_ids, violations);
    Wishes {
        name: wanted.name.clone(),
        webhook_url: check_url(&wanted.url, policy, violations).await,
        event_types: wanted.event_types.clone(),
        bot_ids: wanted.bot_ids.clone(),
        include_customer_data: wanted.include_customer_data,
    }
}

/// The fields that an update changes.
pub(super) async fn update(
    request: &UpdateWebhookSubscriptionRequest,
    policy: AddressPolicy,
) -> Result<Update, Status> {
    let mut violations = FieldViolations::new();
    request_id(&request.request_id, &mut violations);
    let wanted = request.subscription.clone().unwrap_or_default();
    let is_id = wanted.subscription_id > 0;
    violations.check("subscription.subscription_id", is_id, "must be above zero");
    let version = wanted.etag.parse().ok();
    violations.check(
        "subscription.etag",
        wanted.etag.is_empty() || version.is_some(),
        "must be the etag of the subscription",
    );
    let paths = request.update_mask.clone().unwrap_or_default().paths;
    violations.check(
        "update_mask",
        paths.iter().all(|path| UPDATABLE.contains(&path.as_str())),
        "names a field that can't be changed",
    );
    let has = |field: &str| paths.is_empty() || paths.iter().any(|path| path == field);
    if has("name") {
        check_name(&wanted.name, &mut violations);
    }
    let mut webhook_url = None;
    if has("url") {
        webhook_url = Some(check_url(&wanted.url, policy, &mut violations).await);
    }
    if has("event_types") {
        check_event_types(&wanted.event_types, &mut violations);
    }
    if has("bot_ids") {
        check_bots(&wanted.bot_ids, &mut violations);
    }
    violations.check(
        "skip_missed",
        !request.skip_missed || (has("enabled") && wanted.enabled),
        "goes with `enabled` alone",
    );
    violations.into_result()?;
    Ok(Update {
        subscription_id: wanted.subscription_id,
        version,
        webhook_url,
        include_customer_data: has("include_customer_data").then_some(wanted.include_customer_data),
        enabled: has("enabled").then_some(wanted.enabled),
        skip_missed: request.skip_missed,
        name: has("name").then_some(wanted.name),
        event_types: has("event_types").then_some(wanted.event_types),
        bot_ids: has("bot_ids").then_some(wanted.bot_ids),
    })
}

/// How long secrets overlap, in seconds.
pub(super) fn overlap_secs(overlap: Option<&prost_types::Duration>) -> Result<f64, Status> {
    let Some(overlap) = overlap else {
        return Ok(
            std::time::Duration::from_secs(OVERLAP_SECS_DEFAULT.unsigned_abs()).as_secs_f64(),
        );
    };
    std::time::Duration::try_from(*overlap)
        .ok()
        .map(|overlap| overlap.as_secs_f64())
        .filter(|_| (0..OVERLAP_SECS_MAX).contains(&overlap.seconds) || is_longest(overlap))
        .ok_or_else(|| status::invalid("overlap", "must be from 0 to 7 days"))
}

fn is_longest(overlap: &prost_types::Duration) -> bool {
    overlap.seconds == OVERLAP_SECS_MAX && overlap.nanos == 0
}

pub(super) fn start(start: Option<&replay_webhook_events_request::Start>) -> Result<Start, Status> {
    match start {
        Some(replay_webhook_events_request::Start::Position(index)) if *index >= 0 => {
            Ok(Start::Position(*index))
        }
        Some(replay_webhook_events_request::Start::Position(_)) => {
            Err(status::invalid("position", "must not be negative"))
        }
        Some(replay_webhook_events_request::Start::Time(time)) => from_proto_time(time)
            .map(Start::Time)
            .ok_or_else(|| status::invalid("time", "must be an instant from year 1 to 9999")),
        None => Err(status::invalid("start", "must be a position or a time")),
    }
}

fn check_name(name: &str, violations: &mut FieldViolations) {
    violations.check(
        "subscription.name",
        !name.trim().is_empty() && is_line(name, NAME_CHARS_MAX),
        "must have 1 to 200 characters, none of them a control character",
    );
}

async fn check_url(text: &str, policy: AddressPolicy, violations: &mut FieldViolations) -> String {
    match policy.check(text).await {
        Ok(url) => url.into(),
        Err(error) => {
            violations.add("subscription.url", error.to_string());
            String::new()
        }
    }
}

fn check_event_types(types: &[String], violations: &mut FieldViolations) {
    violations.check(
        "subscription.event_types",
        types.len() <= EVENT_TYPES_MAX,
        "must be at most 50",
    );
    for (index, one) in types.iter().take(EVENT_TYPES_MAX).enumerate() {
        let is_first = !types[..index].contains(one);
        violations.check(
            &format!("subscription.event_types[{index}]"),
            event_types::is_filter(one) && is_first,
            "must be a known type, or all of a kind as `ticket.*`, and stand there once",
        );
    }
}

fn check_bots(bot_ids: &[i64], violations: &mut FieldViolations) {
    violations.check(
        "subscription.bot_ids",
        bot_ids.len() <= BOTS_MAX,
        "must be at most 100",
    );
    for (index, bot_id) in bot_ids.iter().take(BOTS_MAX).enumerate() {
        violations.check(
            &format!("subscription.bot_ids[{index}]"),
            *bot_id > 0 && !bot_ids[..index].contains(bot_id),
            "must be above zero and stand there once",
        );
    }
}
