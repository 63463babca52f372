//! Rows of `bots`.

use plazo_domain::{TimeUnit, TimeValue};
use sqlx::PgConnection;

use crate::error::Error;

/// A bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bot {
    /// Its id.
    pub bot_id: i64,
    /// Its name.
    pub name: String,
    /// Where a customer goes whose ticket is closed by inactivity; empty for nowhere.
    pub exit_route: String,
    /// The channel account that sends its active messages; 0 for none.
    pub channel_account_id: i64,
    /// How long after a close a customer's message still opens the same ticket.
    pub reopen_window: TimeValue,
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
    policy_version: Option<i64>,
    revision: i64,
}

impl TryFrom<Row> for Bot {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let unit = TimeUnit::from_code(row.reopen_window_unit);
        let window = unit.and_then(|unit| TimeValue::new(row.reopen_window_value, unit).ok());
        Ok(Self {
            bot_id: row.bot_id,
            name: row.name,
            exit_route: row.exit_route,
            channel_account_id: row.channel_account_id,
            reopen_window: window.ok_or(Error::OutOfRange("bots.reopen_window"))?,
            policy_version: row.policy_version,
            revision: row.revision,
        })
    }
}

/// Creates a bot without exit route and policy.
pub async fn insert(
    connection: &mut PgConnection,
    tenant_id: i64,
    name: &str,
    channel_account_id: i64,
    reopen_window: TimeValue,
) -> Result<Bot, Error> {
    sqlx::query_as!(
        Row,
        "INSERT INTO bots (tenant_id, name, channel_account_id, reopen_window_value, reopen_window_unit)
         VALUES ($1, $2, $3, $4, $5)
         RETURNING bot_id, name, exit_route, channel_account_id, reopen_window_value,
                   reopen_window_unit, policy_version, revision",
        tenant_id,
        name,
        channel_account_id,
        reopen_window.value(),
        reopen_window.unit().code()
    )
    .fetch_one(connection)
    .await?
    .try_into()
}

/// The bot, if the tenant has it.
pub async fn find(
    connection: &mut PgConnection,
    tenant_id: i64,
    bot_id: i64,
) -> Result<Option<Bot>, Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT bot_id, name, exit_route, channel_account_id, reopen_window_value,
                reopen_window_unit, policy_version, revision
         FROM bots WHERE tenant_id = $1 AND bot_id = $2",
        tenant_id,
        bot_id
    )
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
    let row = sqlx::query_as!(
        Row,
        "SELECT bot_id, name, exit_route, channel_account_id, reopen_window_value,
                reopen_window_unit, policy_version, revision
         FROM bots WHERE tenant_id = $1 AND bot_id = $2 FOR NO KEY UPDATE",
        tenant_id,
        bot_id
    )
    .fetch_optional(connection)
    .await?;
    row.map(Bot::try_from).transpose()
}

/// The bots after `after_bot_id`, by id, at most `limit`.
pub async fn list(
    connection: &mut PgConnection,
    tenant_id: i64,
    permitted: Option<&[i64]>,
    after_bot_id: i64,
    limit: i64,
) -> Result<Vec<Bot>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT bot_id, name, exit_route, channel_account_id, reopen_window_value,
                reopen_window_unit, policy_version, revision
         FROM bots
         WHERE tenant_id = $1 AND bot_id > $2 AND ($3::bigint[] IS NULL OR bot_id = ANY ($3))
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
    bot.revision = sqlx::query_scalar!(
        "UPDATE bots
         SET name = $3, exit_route = $4, channel_account_id = $5, reopen_window_value = $6,
             reopen_window_unit = $7, revision = revision + 1
         WHERE tenant_id = $1 AND bot_id = $2
         RETURNING revision",
        tenant_id,
        bot.bot_id,
        bot.name,
        bot.exit_route,
        bot.channel_account_id,
        bot.reopen_window.value(),
        bot.reopen_window.unit().code()
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
