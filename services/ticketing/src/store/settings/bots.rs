//! Rows of `bots`.

use plazo_domain::{AutomationPause, CloseSource, TimeUnit, TimeValue};
use sqlx::PgConnection;

use crate::error::Error;

/// What people set of a bot, but for its exit route and its policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BotFields {
    /// Its name.
    pub name: String,
    /// The channel account that sends its active messages; 0 for none.
    pub channel_account_id: i64,
    /// How long after a close a customer's message still opens the same ticket.
    pub reopen_window: TimeValue,
    /// For how long the automation pauses when people take over.
    pub automation_pause: AutomationPause,
    /// The categories that closing notes may have; empty for any.
    pub note_categories: Vec<String>,
    /// Whether agents must leave a note when they close.
    pub note_required: bool,
    /// The sources of a close that remove the agent.
    pub unassign_on_close: Vec<CloseSource>,
    /// The longest hold.
    pub max_hold: TimeValue,
    /// How long after a close by inactivity an earlier reply supersedes it.
    pub late_reply_grace: TimeValue,
    /// The calendar that business time is counted by.
    pub calendar_id: Option<i64>,
    /// Whether a customer's message that no ticket can take opens one.
    pub open_ticket_on_inbound: bool,
}

/// A bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bot {
    /// Its id.
    pub bot_id: i64,
    /// What people set.
    pub fields: BotFields,
    /// Where a customer goes whose ticket is closed by inactivity; empty for nowhere.
    pub exit_route: String,
    /// The policy in force for new cycles, if one was ever set.
    pub policy_version: Option<i64>,
    /// Raised by each [`save`].
    pub revision: i64,
}

struct Row {
    bot_id: i64,
    name: String,
    exit_route: String,
    channel_account_id: i64,
    reopen_window_value: i32,
    reopen_window_unit: i16,
    automation_pause_value: Option<i32>,
    automation_pause_unit: Option<i16>,
    max_hold_value: i32,
    max_hold_unit: i16,
    late_reply_grace_value: i32,
    late_reply_grace_unit: i16,
    note_categories: Vec<String>,
    note_required: bool,
    unassign_on_close: Vec<i16>,
    calendar_id: Option<i64>,
    open_ticket_on_inbound: bool,
    policy_version: Option<i64>,
    revision: i64,
}

impl TryFrom<Row> for Bot {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let time = |column, value, unit| {
            TimeUnit::from_code(unit)
                .and_then(|unit| TimeValue::new(value, unit).ok())
                .ok_or(Error::OutOfRange(column))
        };
        let automation_pause = match (row.automation_pause_value, row.automation_pause_unit) {
            (Some(value), Some(unit)) => {
                AutomationPause::For(time("bots.automation_pause", value, unit)?)
            }
            _ => AutomationPause::UntilCompleted,
        };
        let sources = row.unassign_on_close.iter().map(|&code| {
            CloseSource::from_code(code).ok_or(Error::OutOfRange("bots.unassign_on_close"))
        });
        let fields = BotFields {
            name: row.name,
            channel_account_id: row.channel_account_id,
            reopen_window: time(
                "bots.reopen_window",
                row.reopen_window_value,
                row.reopen_window_unit,
            )?,
            automation_pause,
            note_categories: row.note_categories,
            note_required: row.note_required,
            unassign_on_close: sources.collect::<Result<_, Error>>()?,
            max_hold: time("bots.max_hold", row.max_hold_value, row.max_hold_unit)?,
            late_reply_grace: time(
                "bots.late_reply_grace",
                row.late_reply_grace_value,
                row.late_reply_grace_unit,
            )?,
            calendar_id: row.calendar_id,
            open_ticket_on_inbound: row.open_ticket_on_inbound,
        };
        Ok(Self {
            bot_id: row.bot_id,
            fields,
            exit_route: row.exit_route,
            policy_version: row.policy_version,
            revision: row.revision,
        })
    }
}

/// Bots with all columns; `$which` follows `FROM bots`.
macro_rules! select_bots {
    ($which:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            "SELECT bot_id, name, exit_route, channel_account_id, reopen_window_value, reopen_window_unit,
                    automation_pause_value, automation_pause_unit, max_hold_value, max_hold_unit,
                    late_reply_grace_value, late_reply_grace_unit, note_categories, note_required,
                    unassign_on_close, calendar_id, open_ticket_on_inbound, policy_version, revision
             FROM bots " + $which,
            $($argument),*
        )
    };
}

/// How a pause is stored: neither for one until the ticket is completed.
fn pause_columns(pause: AutomationPause) -> (Option<i32>, Option<i16>) {
    match pause {
        AutomationPause::For(length) => (Some(length.value()), Some(length.unit().code())),
        AutomationPause::UntilCompleted => (None, None),
    }
}

fn source_codes(sources: &[CloseSource]) -> Vec<i16> {
    sources.iter().map(|source| source.code()).collect()
}

/// Creates a bot without exit route and policy.
pub async fn insert(
    connection: &mut PgConnection,
    tenant_id: i64,
    fields: &BotFields,
) -> Result<Bot, Error> {
    let (pause_value, pause_unit) = pause_columns(fields.automation_pause);
    let row = sqlx::query!(
        "INSERT INTO bots
            (tenant_id, name, channel_account_id, reopen_window_value, reopen_window_unit, automation_pause_value,
             automation_pause_unit, note_categories, note_required, unassign_on_close, max_hold_value,
             max_hold_unit, late_reply_grace_value, late_reply_grace_unit, calendar_id,
             open_ticket_on_inbound)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
         RETURNING bot_id, revision",
        tenant_id,
        fields.name,
        fields.channel_account_id,
        fields.reopen_window.value(),
        fields.reopen_window.unit().code(),
        pause_value,
        pause_unit,
        &fields.note_categories,
        fields.note_required,
        &source_codes(&fields.unassign_on_close),
        fields.max_hold.value(),
        fields.max_hold.unit().code(),
        fields.late_reply_grace.value(),
        fields.late_reply_grace.unit().code(),
        fields.calendar_id,
        fields.open_ticket_on_inbound
    )
    .fetch_one(connection)
    .await?;
    Ok(Bot {
        bot_id: row.bot_id,
        fields: fields.clone(),
        exit_route: String::new(),
        policy_version: None,
        revision: row.revision,
    })
}

/// The bot, if the tenant has it.
pub async fn find(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot_id: i64,
) -> Result<Option<Bot>, Error> {
    let row = select_bots!("WHERE tenant_id = $1 AND bot_id = $2", tenant_id, bot_id)
        .fetch_optional(connection)
        .await?;
    row.map(Bot::try_from).transpose()
}

/// The bot, if the tenant has it, locked against other changes until the transaction ends. Rows that refer
/// to it, those of new tickets above all, can be written meanwhile.
pub async fn lock(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot_id: i64,
) -> Result<Option<Bot>, Error> {
    let row = select_bots!(
        "WHERE tenant_id = $1 AND bot_id = $2 FOR NO KEY UPDATE",
        tenant_id,
        bot_id
    )
    .fetch_optional(connection)
    .await?;
    row.map(Bot::try_from).transpose()
}

/// The bots that count business time by a calendar, locked in the order of ids as by [`lock`].
pub async fn lock_by_calendar(
    connection: &mut PgConnection,
    tenant_id: i64,
    calendar_id: i64,
) -> Result<Vec<Bot>, Error> {
    let rows = select_bots!(
        "WHERE tenant_id = $1 AND calendar_id = $2 ORDER BY bot_id FOR NO KEY UPDATE",
        tenant_id,
        calendar_id
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Bot::try_from).collect()
}

/// How many bots count business time by a calendar.
pub async fn count_by_calendar(
    connection: &mut PgConnection,
    tenant_id: i64,
    calendar_id: i64,
) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM bots WHERE tenant_id = $1 AND calendar_id = $2"#,
        tenant_id,
        calendar_id
    )
    .fetch_one(connection)
    .await?;
    Ok(count)
}

/// The bots after `after_bot_id`, by id, at most `limit`.
pub async fn list(
    connection: &mut PgConnection,
    tenant_id: i64,
    permitted: Option<&[i64]>,
    after_bot_id: i64,
    limit: i64,
) -> Result<Vec<Bot>, Error> {
    let rows = select_bots!(
        "WHERE tenant_id = $1 AND bot_id > $2 AND ($3::bigint[] IS NULL OR bot_id = ANY ($3))
         ORDER BY bot_id LIMIT $4",
        tenant_id,
        after_bot_id,
        permitted,
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Bot::try_from).collect()
}

/// Writes the locked bot with its new values, its policy's version excepted, and raises its revision.
pub async fn save(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot: &mut Bot,
) -> Result<(), Error> {
    let fields = &bot.fields;
    let (pause_value, pause_unit) = pause_columns(fields.automation_pause);
    bot.revision = sqlx::query_scalar!(
        "UPDATE bots
         SET name = $3, exit_route = $4, channel_account_id = $5, reopen_window_value = $6, reopen_window_unit = $7,
             automation_pause_value = $8, automation_pause_unit = $9, note_categories = $10, note_required = $11,
             unassign_on_close = $12, max_hold_value = $13, max_hold_unit = $14, late_reply_grace_value = $15,
             late_reply_grace_unit = $16, calendar_id = $17, open_ticket_on_inbound = $18,
             revision = revision + 1
         WHERE tenant_id = $1 AND bot_id = $2
         RETURNING revision",
        tenant_id,
        bot.bot_id,
        fields.name,
        bot.exit_route,
        fields.channel_account_id,
        fields.reopen_window.value(),
        fields.reopen_window.unit().code(),
        pause_value,
        pause_unit,
        &fields.note_categories,
        fields.note_required,
        &source_codes(&fields.unassign_on_close),
        fields.max_hold.value(),
        fields.max_hold.unit().code(),
        fields.late_reply_grace.value(),
        fields.late_reply_grace.unit().code(),
        fields.calendar_id,
        fields.open_ticket_on_inbound
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// Those of `bot_ids` that the tenant has, by id.
pub async fn existing(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot_ids: &[i64],
) -> Result<Vec<i64>, Error> {
    let found = sqlx::query_scalar!(
        "SELECT bot_id FROM bots WHERE tenant_id = $1 AND bot_id = ANY ($2) ORDER BY bot_id",
        tenant_id,
        bot_ids
    )
    .fetch_all(connection)
    .await?;
    Ok(found)
}

/// A bot that customers write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboundBot {
    /// The bot.
    pub bot_id: i64,
    /// Whether a customer's message that no ticket can take opens one.
    pub opens_tickets: bool,
}

/// The bots that a customer may mean who writes by a channel account, by id: the one that is named, or with none named
/// those that send by the account. At most 1,000.
pub async fn written_to(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot_id: Option<i64>,
    channel_account_id: i64,
) -> Result<Vec<InboundBot>, Error> {
    let bots = match bot_id {
        Some(bot_id) => {
            sqlx::query_as!(
                InboundBot,
                "SELECT bot_id, open_ticket_on_inbound AS opens_tickets FROM bots
                 WHERE tenant_id = $1 AND bot_id = $2",
                tenant_id,
                bot_id
            )
            .fetch_all(connection)
            .await?
        }
        None => {
            sqlx::query_as!(
                InboundBot,
                "SELECT bot_id, open_ticket_on_inbound AS opens_tickets FROM bots
                 WHERE tenant_id = $1 AND channel_account_id = $2 AND channel_account_id <> 0
                 ORDER BY bot_id LIMIT 1000",
                tenant_id,
                channel_account_id
            )
            .fetch_all(connection)
            .await?
        }
    };
    Ok(bots)
}

/// What a bot wants of closing notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteRules {
    /// The bot.
    pub bot_id: i64,
    /// The categories to choose from; empty for any.
    pub categories: Vec<String>,
    /// Whether agents must leave a note.
    pub is_required: bool,
}

/// The rules of bots, in no order.
pub async fn note_rules(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot_ids: &[i64],
) -> Result<Vec<NoteRules>, Error> {
    let rules = sqlx::query_as!(
        NoteRules,
        "SELECT bot_id, note_categories AS categories, note_required AS is_required
         FROM bots WHERE tenant_id = $1 AND bot_id = ANY ($2)",
        tenant_id,
        bot_ids
    )
    .fetch_all(connection)
    .await?;
    Ok(rules)
}
