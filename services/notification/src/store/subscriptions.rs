//! Webhook subscriptions.

use jiff::Timestamp;
use plazo_service::Redacted;
use sqlx::PgConnection;

/// Why a subscription is paused, as it is stored.
pub(crate) mod paused {
    /// Somebody asked for it.
    pub(crate) const REQUESTED: &str = "REQUESTED";
    /// Ticketing no longer has the events that it missed.
    pub(crate) const POSITION_EXPIRED: &str = "POSITION_EXPIRED";
}

/// A subscription without its secrets.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "the names of the columns")]
pub(crate) struct Subscription {
    pub(crate) tenant_id: i64,
    pub(crate) subscription_id: i64,
    pub(crate) name: String,
    pub(crate) webhook_url: String,
    pub(crate) event_types: Vec<String>,
    pub(crate) bot_ids: Vec<i64>,
    pub(crate) include_customer_data: bool,
    /// Empty while it is not paused.
    pub(crate) paused_reason: String,
    pub(crate) is_behind: bool,
    pub(crate) waiting: i64,
    pub(crate) consecutive_failures: i32,
    pub(crate) previous_secret_until: Option<jiff_sqlx::Timestamp>,
    pub(crate) version: i64,
    pub(crate) created_at: Timestamp,
}

/// What people decide about a subscription.
#[derive(Debug, Clone)]
pub(crate) struct Wishes {
    pub(crate) name: String,
    pub(crate) webhook_url: String,
    pub(crate) event_types: Vec<String>,
    pub(crate) bot_ids: Vec<i64>,
    pub(crate) include_customer_data: bool,
}

/// Where calls go and what signs them.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) webhook_url: String,
    pub(crate) signing_secret: Redacted<Vec<u8>>,
    /// While secrets overlap.
    pub(crate) previous_secret: Option<Vec<u8>>,
    pub(crate) now: Timestamp,
}

/// How many subscriptions a tenant has. Locks the tenant's subscriptions against another creation.
pub(crate) async fn count_for_creation(
    connection: &mut PgConnection,
    tenant_id: i64,
) -> Result<i64, sqlx::Error> {
    // The first key is this table's own.
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(7201, hashint8($1::bigint))",
        tenant_id
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM webhook_subscriptions WHERE tenant_id = $1 AND deleted_at IS NULL"#,
        tenant_id
    )
    .fetch_one(connection)
    .await
}

/// Creates a subscription, enabled; returns its id.
pub(crate) async fn create(
    connection: &mut PgConnection,
    tenant_id: i64,
    wishes: &Wishes,
    secret: &[u8],
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO webhook_subscriptions
             (tenant_id, name, webhook_url, event_types, bot_ids, include_customer_data, signing_secret)
         VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING subscription_id",
        tenant_id,
        wishes.name,
        wishes.webhook_url,
        &wishes.event_types,
        &wishes.bot_ids,
        wishes.include_customer_data,
        secret
    )
    .fetch_one(connection)
    .await
}

/// A subscription that is not deleted.
pub(crate) async fn find(
    connection: &mut PgConnection,
    tenant_id: i64,
    subscription_id: i64,
) -> Result<Option<Subscription>, sqlx::Error> {
    sqlx::query_as!(
        Subscription,
        "SELECT tenant_id, subscription_id, name, webhook_url, event_types, bot_ids, include_customer_data,
             paused_reason, is_behind, waiting, consecutive_failures, previous_secret_until, version, created_at
         FROM webhook_subscriptions
         WHERE tenant_id = $1 AND subscription_id = $2 AND deleted_at IS NULL",
        tenant_id,
        subscription_id
    )
    .fetch_optional(connection)
    .await
}

/// The same, locked until the transaction ends.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    tenant_id: i64,
    subscription_id: i64,
) -> Result<Option<Subscription>, sqlx::Error> {
    let ids = (vec![tenant_id], vec![subscription_id]);
    Ok(lock_all(connection, &ids.0, &ids.1).await?.pop())
}

/// Those of (tenant, subscription) that are not deleted, locked in the order in which everybody locks them.
pub(crate) async fn lock_all(
    connection: &mut PgConnection,
    tenant_ids: &[i64],
    subscription_ids: &[i64],
) -> Result<Vec<Subscription>, sqlx::Error> {
    sqlx::query_as!(
        Subscription,
        "SELECT s.tenant_id, s.subscription_id, s.name, s.webhook_url, s.event_types, s.bot_ids,
             s.include_customer_data, s.paused_reason, s.is_behind, s.waiting, s.consecutive_failures,
             s.previous_secret_until, s.version, s.created_at
         FROM webhook_subscriptions AS s
         JOIN unnest($1::bigint[], $2::bigint[]) AS u (tenant_id, subscription_id)
             ON s.tenant_id = u.tenant_id AND s.subscription_id = u.subscription_id
         WHERE s.deleted_at IS NULL
         ORDER BY s.tenant_id, s.subscription_id
         FOR NO KEY UPDATE OF s",
        tenant_ids,
        subscription_ids
    )
    .fetch_all(connection)
    .await
}

/// All subscriptions of tenants, locked likewise.
pub(crate) async fn lock_of_tenants(
    connection: &mut PgConnection,
    tenant_ids: &[i64],
) -> Result<Vec<Subscription>, sqlx::Error> {
    sqlx::query_as!(
        Subscription,
        "SELECT tenant_id, subscription_id, name, webhook_url, event_types, bot_ids, include_customer_data,
             paused_reason, is_behind, waiting, consecutive_failures, previous_secret_until, version, created_at
         FROM webhook_subscriptions
         WHERE tenant_id = ANY($1) AND deleted_at IS NULL
         ORDER BY tenant_id, subscription_id
         FOR NO KEY UPDATE",
        tenant_ids
    )
    .fetch_all(connection)
    .await
}

/// One page of a tenant's subscriptions by id, with ids above `after`; only those whose bots are all among
/// `permitted_bots`, when it is given.
pub(crate) async fn list(
    connection: &mut PgConnection,
    tenant_id: i64,
    permitted_bots: Option<&[i64]>,
    after: i64,
    limit: i64,
) -> Result<Vec<Subscription>, sqlx::Error> {
    sqlx::query_as!(
        Subscription,
        "SELECT tenant_id, subscription_id, name, webhook_url, event_types, bot_ids, include_customer_data,
             paused_reason, is_behind, waiting, consecutive_failures, previous_secret_until, version, created_at
         FROM webhook_subscriptions
         WHERE tenant_id = $1 AND subscription_id > $2 AND deleted_at IS NULL
             AND ($3::bigint[] IS NULL OR (bot_ids <@ $3 AND bot_ids <> '{}'))
         ORDER BY subscription_id LIMIT $4",
        tenant_id,
        after,
        permitted_bots,
        limit
    )
    .fetch_all(connection)
    .await
}

/// Writes what people decided, and the version; a change of the address ends a rest and forgets failures.
pub(crate) async fn update(
    connection: &mut PgConnection,
    subscription: &Subscription,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE webhook_subscriptions
         SET name = $3, event_types = $5, bot_ids = $6, include_customer_data = $7,
             paused_reason = $8, is_behind = $9, version = version + 1,
             rest_until = CASE WHEN webhook_url = $4 AND paused_reason = $8 THEN rest_until END,
             consecutive_failures =
                 CASE WHEN webhook_url = $4 AND paused_reason = $8 THEN consecutive_failures ELSE 0 END,
             webhook_url = $4
         WHERE tenant_id = $1 AND subscription_id = $2",
        subscription.tenant_id,
        subscription.subscription_id,
        subscription.name,
        subscription.webhook_url,
        &subscription.event_types,
        &subscription.bot_ids,
        subscription.include_customer_data,
        subscription.paused_reason,
        subscription.is_behind
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks a subscription as deleted and forgets its secrets.
pub(crate) async fn delete(
    connection: &mut PgConnection,
    tenant_id: i64,
    subscription_id: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE webhook_subscriptions
         SET deleted_at = clock_timestamp(), signing_secret = '', previous_secret = NULL
         WHERE tenant_id = $1 AND subscription_id = $2",
        tenant_id,
        subscription_id
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Replaces the secret; the one before goes on beside it for `overlap_secs`.
pub(crate) async fn rotate(
    connection: &mut PgConnection,
    tenant_id: i64,
    subscription_id: i64,
    secret: &[u8],
    overlap_secs: f64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE webhook_subscriptions
         SET previous_secret = CASE WHEN $4::double precision > 0 THEN signing_secret END,
             previous_secret_until = CASE WHEN $4::double precision > 0 THEN clock_timestamp() + make_interval(secs => $4) END,
             signing_secret = $3, version = version + 1
         WHERE tenant_id = $1 AND subscription_id = $2",
        tenant_id,
        subscription_id,
        secret,
        overlap_secs
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Where the calls of a subscription go now.
pub(crate) async fn endpoint(
    connection: &mut PgConnection,
    tenant_id: i64,
    subscription_id: i64,
) -> Result<Option<Endpoint>, sqlx::Error> {
    sqlx::query_as!(
        Endpoint,
        r#"SELECT webhook_url, signing_secret,
             CASE WHEN previous_secret_until > clock_timestamp() THEN previous_secret END AS "previous_secret",
             clock_timestamp() AS "now!"
           FROM webhook_subscriptions
           WHERE tenant_id = $1 AND subscription_id = $2 AND deleted_at IS NULL"#,
        tenant_id,
        subscription_id
    )
    .fetch_optional(connection)
    .await
}

/// The live feed passes a subscription by, or no longer does.
pub(crate) async fn set_behind(
    connection: &mut PgConnection,
    tenant_id: i64,
    subscription_id: i64,
    is_behind: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE webhook_subscriptions SET is_behind = $3 WHERE tenant_id = $1 AND subscription_id = $2",
        tenant_id,
        subscription_id,
        is_behind
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Pauses a subscription, if it is not paused.
pub(crate) async fn pause(
    connection: &mut PgConnection,
    tenant_id: i64,
    subscription_id: i64,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE webhook_subscriptions SET paused_reason = $3, version = version + 1
         WHERE tenant_id = $1 AND subscription_id = $2 AND paused_reason = ''",
        tenant_id,
        subscription_id,
        reason
    )
    .execute(connection)
    .await?;
    Ok(())
}
