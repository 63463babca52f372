//! Requests about bots.

use std::collections::HashSet;

use plazo_domain::{AutomationPause, CloseSource, MAX_CATEGORY_CHARS, TimeUnit, TimeValue};
use plazo_proto::common::v1 as common;
use plazo_proto::ticketing::v1::automation_pause_settings::Mode;
use plazo_proto::ticketing::v1::{
    AutomationPauseSettings, Bot, CloseSource as ProtoSource, CreateBotRequest, UpdateBotRequest,
};

use super::Update;
use crate::error::Error;
use crate::settings::bots::BotChange;
use crate::store::settings::bots::BotFields;
use crate::validate::Checks;

const MAX_CATEGORIES: usize = 200;

const FIELDS: [&str; 11] = [
    "name",
    "channel_account_id",
    "reopen_window",
    "automation_pause",
    "note_categories",
    "note_required",
    "unassign_on_close",
    "max_hold",
    "late_reply_grace",
    "calendar_id",
    "open_ticket_on_inbound",
];

pub(in super::super) fn new_bot(request: &CreateBotRequest) -> Result<BotFields, Error> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    let Some(bot) = &request.bot else {
        return Err(checks.finish_without("bot"));
    };
    checks.left_to_service("bot.bot_id", &bot.bot_id);
    checks.left_to_service("bot.exit_route", &bot.exit_route);
    checks.left_to_service("bot.etag", &bot.etag);
    let change = fields(&mut checks, bot, |_| true);
    let fields = all_of(change);
    checks.finish_with(fields)
}

pub(in super::super) fn bot_update(request: &UpdateBotRequest) -> Result<Update<BotChange>, Error> {
    let mut checks = Checks::new();
    checks.request_id(&request.request_id);
    let mask = checks.update_mask(request.update_mask.as_ref(), &FIELDS);
    let Some(bot) = &request.bot else {
        return Err(checks.finish_without("bot"));
    };
    checks.id("bot.bot_id", bot.bot_id);
    let change = fields(&mut checks, bot, |field| mask.has(field));
    checks.finish()?;
    Ok(Update {
        id: bot.bot_id,
        etag: bot.etag.clone(),
        change,
    })
}

/// The wanted fields; what is not set has its default. A field that is wrong is noted and none.
fn fields(checks: &mut Checks, bot: &Bot, wants: impl Fn(&str) -> bool) -> BotChange {
    let mut change = BotChange::default();
    if wants("name") {
        checks.name("bot.name", &bot.name);
        change.name = Some(bot.name.clone());
    }
    if wants("channel_account_id") {
        checks.optional_id("bot.channel_account_id", bot.channel_account_id);
        change.channel_account_id = Some(bot.channel_account_id);
    }
    let mut time = |field: &str, value, default| {
        wants(field).then(|| time_or(checks, &format!("bot.{field}"), value, default))
    };
    let day = (24, common::TimeUnit::Hour);
    change.reopen_window = time("reopen_window", bot.reopen_window, day).flatten();
    change.max_hold = time("max_hold", bot.max_hold, day).flatten();
    let minute = (60, common::TimeUnit::Second);
    change.late_reply_grace = time("late_reply_grace", bot.late_reply_grace, minute).flatten();
    if wants("automation_pause") {
        change.automation_pause = automation_pause(checks, bot.automation_pause.as_ref());
    }
    if wants("note_categories") {
        check_categories(checks, &bot.note_categories);
        change.note_categories = Some(bot.note_categories.clone());
    }
    if wants("note_required") {
        change.note_required = Some(bot.note_required);
    }
    if wants("unassign_on_close") {
        change.unassign_on_close = Some(close_sources(checks, &bot.unassign_on_close));
    }
    if wants("calendar_id") {
        checks.optional_id("bot.calendar_id", bot.calendar_id);
        change.calendar_id = Some(bot.calendar_id);
    }
    if wants("open_ticket_on_inbound") {
        change.open_ticket_on_inbound = Some(bot.open_ticket_on_inbound);
    }
    change
}

/// None when one is missing.
fn all_of(change: BotChange) -> Option<BotFields> {
    Some(BotFields {
        name: change.name?,
        channel_account_id: change.channel_account_id?,
        reopen_window: change.reopen_window?,
        automation_pause: change.automation_pause?,
        note_categories: change.note_categories?,
        note_required: change.note_required?,
        unassign_on_close: change.unassign_on_close?,
        max_hold: change.max_hold?,
        late_reply_grace: change.late_reply_grace?,
        calendar_id: change.calendar_id.filter(|id| *id != 0),
        open_ticket_on_inbound: change.open_ticket_on_inbound?,
    })
}

fn time_or(
    checks: &mut Checks,
    field: &str,
    value: Option<common::TimeValue>,
    (default, unit): (i32, common::TimeUnit),
) -> Option<TimeValue> {
    let default = common::TimeValue {
        value: default,
        unit: unit.into(),
    };
    checks.time_value(field, Some(&value.unwrap_or(default)))
}

fn automation_pause(
    checks: &mut Checks,
    settings: Option<&AutomationPauseSettings>,
) -> Option<AutomationPause> {
    let field = "bot.automation_pause";
    match settings.map(|settings| settings.mode) {
        None => TimeValue::new(60, TimeUnit::Minute)
            .ok()
            .map(AutomationPause::For),
        Some(None) => {
            checks.refuse(field, "must have one of pause_for and until_completed");
            None
        }
        Some(Some(Mode::PauseFor(length))) => checks
            .time_value(&format!("{field}.pause_for"), Some(&length))
            .map(AutomationPause::For),
        Some(Some(Mode::UntilCompleted(is_meant))) => {
            let field = format!("{field}.until_completed");
            checks.check(&field, is_meant, "must be true, or pause_for set instead");
            Some(AutomationPause::UntilCompleted)
        }
    }
}

fn check_categories(checks: &mut Checks, categories: &[String]) {
    let field = "bot.note_categories";
    if categories.len() > MAX_CATEGORIES {
        let count = categories.len();
        checks.refuse(
            field,
            format!("must be at most {MAX_CATEGORIES}, are {count}"),
        );
    }
    let mut seen = HashSet::new();
    for (index, category) in categories.iter().enumerate().take(MAX_CATEGORIES) {
        let field = format!("{field}[{index}]");
        checks.filled_line(&field, category, MAX_CATEGORY_CHARS);
        checks.check(
            &field,
            seen.insert(category),
            "must not repeat an earlier category",
        );
    }
}

fn close_sources(checks: &mut Checks, sources: &[i32]) -> Vec<CloseSource> {
    let mut known = Vec::new();
    // More than there are can only repeat, which is told once for all.
    for (index, &number) in sources.iter().enumerate().take(20) {
        let field = format!("bot.unassign_on_close[{index}]");
        let source: Option<ProtoSource> = checks.known(&field, number);
        let source = source.and_then(|source| {
            let code = i16::try_from(i32::from(source)).ok()?;
            CloseSource::from_code(code)
        });
        let Some(source) = source else { continue };
        checks.check(
            &field,
            !known.contains(&source),
            "must not repeat an earlier source",
        );
        known.push(source);
    }
    checks.check(
        "bot.unassign_on_close",
        sources.len() <= 20,
        "must be each source once at most",
    );
    known
}
