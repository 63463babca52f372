//! Reading the feed again for one subscription: what it missed, or what somebody asked for.

use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgPool};

use super::event_feed::Place;

/// Why a replay is made, as it is stored.
pub(crate) mod kind {
    /// The subscription missed something, and is led back to the live feed.
    pub(crate) const CATCH_UP: i16 = 1;
    /// Somebody asked for it.
    pub(crate) const ASKED_FOR: i16 = 2;
}

/// States as they are stored: the numbers of `WebhookReplayState`.
pub(crate) mod state {
    pub(crate) const DONE: i16 = 2;
    pub(crate) const FAILED: i16 = 3;
}

/// A replay that is being carried on.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "the names of the columns")]
pub(crate) struct Replay {
    pub(crate) tenant_id: i64,
    pub(crate) subscription_id: i64,
    pub(crate) replay_id: i64,
    /// One of [`kind`].
    pub(crate) kind: i16,
    pub(crate) position: String,
    /// How many events stand before the position.
    pub(crate) events: i64,
    /// Events before this index are passed over. Beyond `events` when a batch was not taken as a whole.
    pub(crate) first_event: i64,
    /// The same with an instant.
    pub(crate) first_event_at: Option<jiff_sqlx::Timestamp>,
    /// Where it ends; none for what ends level with the live feed.
    pub(crate) until_events: Option<i64>,
    pub(crate) created_at: Timestamp,
}

/// What somebody asked for.
#[derive(Debug, Clone)]
pub(crate) struct NewReplay {
    pub(crate) from: Place,
    pub(crate) first_event: i64,
    pub(crate) first_event_at: Option<Timestamp>,
    pub(crate) until_events: i64,
}

/// A replay as it is shown.
#[derive(Debug, Clone)]
pub(crate) struct ShownReplay {
    pub(crate) replay_id: i64,
    pub(crate) state: i16,
    pub(crate) queued: i64,
    pub(crate) created_at: Timestamp,
    pub(crate) failure_reason: String,
}

/// Notes that a subscription misses what comes from a place on.
pub(crate) async fn create_catch_up(
    connection: &mut PgConnection,
    tenant_id: i64,
    subscription_id: i64,
    from: &Place,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO event_replays (tenant_id, subscription_id, kind, position, events)
         VALUES ($1, $2, 1, $3, $4)",
        tenant_id,
        subscription_id,
        from.position,
        from.events
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets what a subscription missed.
pub(crate) async fn drop_catch_up(
    connection: &mut PgConnection,
    tenant_id: i64,
    subscription_id: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE event_replays SET state = 2
         WHERE tenant_id = $1 AND subscription_id = $2 AND kind = 1 AND state = 1",
        tenant_id,
        subscription_id
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Begins a replay; none when one of the subscription runs.
pub(crate) async fn create(
    connection: &mut PgConnection,
    tenant_id: i64,
    subscription_id: i64,
    replay: &NewReplay,
) -> Result<Option<ShownReplay>, sqlx::Error> {
    sqlx::query_as!(
        ShownReplay,
        "INSERT INTO event_replays
             (tenant_id, subscription_id, kind, position, events, first_event, first_event_at, until_events)
         VALUES ($1, $2, 2, $3, $4, $5, $6, $7)
         ON CONFLICT (subscription_id, kind) WHERE state = 1 DO NOTHING
         RETURNING replay_id, state, queued, created_at, failure_reason",
        tenant_id,
        subscription_id,
        replay.from.position,
        replay.from.events,
        replay.first_event,
        replay.first_event_at.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>,
        replay.until_events
    )
    .fetch_optional(connection)
    .await
}

/// The last replay that somebody asked for.
pub(crate) async fn last(
    connection: &mut PgConnection,
    tenant_id: i64,
    subscription_id: i64,
) -> Result<Option<ShownReplay>, sqlx::Error> {
    sqlx::query_as!(
        ShownReplay,
        "SELECT replay_id, state, queued, created_at, failure_reason FROM event_replays
         WHERE tenant_id = $1 AND subscription_id = $2 AND kind = 2
         ORDER BY replay_id DESC LIMIT 1",
        tenant_id,
        subscription_id
    )
    .fetch_optional(connection)
    .await
}

/// Takes a replay that can go on, with at most `waiting_max` events waiting for its subscription.
pub(crate) async fn claim_step(
    pool: &PgPool,
    lease: Duration,
    waiting_max: i64,
) -> Result<Option<Replay>, sqlx::Error> {
    sqlx::query_file_as!(
        Replay,
        "queries/claim_replay_step.sql",
        lease.as_secs_f64(),
        waiting_max
    )
    .fetch_optional(pool)
    .await
}

/// Whether the replay still runs and stands where it is thought to; locks it until the transaction ends.
pub(crate) async fn is_current(
    connection: &mut PgConnection,
    replay: &Replay,
) -> Result<bool, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "SELECT 1 FROM event_replays
         WHERE tenant_id = $1 AND subscription_id = $2 AND replay_id = $3 AND state = 1
             AND position = $4 AND first_event = $5
         FOR UPDATE",
        replay.tenant_id,
        replay.subscription_id,
        replay.replay_id,
        replay.position,
        replay.first_event
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

/// Writes how far it has come, and that `queued` more are queued.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    replay: &Replay,
    queued: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE event_replays SET position = $4, events = $5, first_event = $6, queued = queued + $7
         WHERE tenant_id = $1 AND subscription_id = $2 AND replay_id = $3",
        replay.tenant_id,
        replay.subscription_id,
        replay.replay_id,
        replay.position,
        replay.events,
        replay.first_event,
        queued
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives it back, to go on after a wait.
pub(crate) async fn release(
    pool: &PgPool,
    replay: &Replay,
    wait: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE event_replays SET next_step_at = clock_timestamp() + make_interval(secs => $4)
         WHERE tenant_id = $1 AND subscription_id = $2 AND replay_id = $3",
        replay.tenant_id,
        replay.subscription_id,
        replay.replay_id,
        wait.as_secs_f64()
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Ends it in one of [`state`].
pub(crate) async fn end(
    connection: &mut PgConnection,
    replay: &Replay,
    state: i16,
    failure_reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE event_replays SET state = $4, failure_reason = $5
         WHERE tenant_id = $1 AND subscription_id = $2 AND replay_id = $3",
        replay.tenant_id,
        replay.subscription_id,
        replay.replay_id,
        state,
        failure_reason
    )
    .execute(connection)
    .await?;
    Ok(())
}
