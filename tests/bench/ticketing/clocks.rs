//! Clocks as they are set for a measurement, beside the big load: the other place that knows their columns.

use plazo_tests::desk::Desk;
use plazo_tests::load::Seed;
use sqlx::PgPool;

/// Stages that are over, and the alert that shows: of a ticket whose agent has just written, and after both alerts.
pub(crate) const NO_ALERT: (i16, i16) = (0, 0);
pub(crate) const RED_ALERT: (i16, i16) = (0b11, 2);

/// The generation and the number of the last event of every ticket here before it fires.
pub(crate) const GENERATION: i64 = 2;
pub(crate) const SEQ: i64 = 2;

/// Clocks in which nothing runs.
pub(crate) async fn put(pool: &PgPool, desk: &Desk, seeds: &[Seed]) {
    sqlx::query(
        "INSERT INTO ticket_clocks
             (tenant_id, ticket_id, bot_id, ticket_seq, generation, armed_generation, event_transaction_id)
         SELECT $1, ticket_id, $2, $3, $4, $4, pg_current_xact_id()::text::bigint
         FROM unnest($5::bigint[]) AS ticket (ticket_id)",
    )
    .bind(desk.tenant_id)
    .bind(desk.bot_id)
    .bind(SEQ)
    .bind(GENERATION)
    .bind(seeds.iter().map(|seed| seed.ticket_id).collect::<Vec<_>>())
    .execute(pool)
    .await
    .expect("clocks can be put in");
}

/// Lets a stage of the desk's tickets be due a second ago, which is so many seconds after the anchor: nothing is early,
/// and nothing so late that the sweep looks for it.
pub(crate) async fn make_due(
    pool: &PgPool,
    desk: &Desk,
    stage_s: i32,
    (stages_done, alert): (i16, i16),
) {
    sqlx::query(
        "UPDATE ticket_clocks
         SET ticket_seq = $3, generation = $4, armed_generation = $4, last_cycle = 1, stages_done = $7, alert = $8,
             cycle = 1, cycle_kind = 1, policy_version = $5, warning_accepted_at = NULL, agent_has_written = true,
             anchor_at = now.at - make_interval(secs => $6 + 1),
             cycle_due_at = now.at - interval '1 second',
             next_due_at = now.at - interval '1 second'
         FROM (SELECT date_trunc('milliseconds', clock_timestamp()) AS at) AS now
         WHERE tenant_id = $1 AND bot_id = $2",
    )
    .bind(desk.tenant_id)
    .bind(desk.bot_id)
    .bind(SEQ)
    .bind(GENERATION)
    .bind(desk.policy_version)
    .bind(stage_s)
    .bind(stages_done)
    .bind(alert)
    .execute(pool)
    .await
    .expect("clocks can be set");
    tidy(pool).await;
}

/// Lets the closes of a desk's tickets be due, twice as long after the anchor as the warnings were, as if these
/// had been accepted at their time.
pub(crate) async fn make_close_due(pool: &PgPool, desk: &Desk, warning_s: i32) {
    sqlx::query(
        "UPDATE ticket_clocks
         SET generation = $3, armed_generation = $3,
             anchor_at = now.at - make_interval(secs => 2 * $4 + 1),
             warning_accepted_at = now.at - make_interval(secs => $4 + 1),
             cycle_due_at = now.at - interval '1 second',
             next_due_at = now.at - interval '1 second'
         FROM (SELECT date_trunc('milliseconds', clock_timestamp()) AS at) AS now
         WHERE tenant_id = $1 AND bot_id = $2",
    )
    .bind(desk.tenant_id)
    .bind(desk.bot_id)
    .bind(GENERATION)
    .bind(warning_s)
    .execute(pool)
    .await
    .expect("clocks can be set");
    tidy(pool).await;
}

/// Lets tickets be due for their first alert, a second ago.
pub(crate) async fn make_some_due(pool: &PgPool, tenant_id: i64, ticket_ids: &[i64]) {
    let changed = sqlx::query(
        "UPDATE ticket_clocks
         SET anchor_at = anchor_at + (now.at - cycle_due_at), cycle_due_at = now.at, next_due_at = now.at
         FROM (SELECT date_trunc('milliseconds', clock_timestamp()) - interval '1 second' AS at) AS now
         WHERE tenant_id = $1 AND ticket_id = ANY ($2) AND cycle_due_at IS NOT NULL",
    )
    .bind(tenant_id)
    .bind(ticket_ids)
    .execute(pool)
    .await
    .expect("clocks can be set");
    // A customer has written to some of them meanwhile.
    assert!(changed.rows_affected() > ticket_ids.len() as u64 / 2);
}

/// Undoes the closes of the round before, and forgets the messages that were asked for.
pub(crate) async fn reopen(pool: &PgPool, desk: &Desk) {
    for statement in [
        "UPDATE tickets SET state = 2, closed_at = NULL, close_source = NULL, close_author_kind = NULL,
             close_author_id = NULL, close_category = NULL, close_summary = NULL, close_exit_route = NULL,
             state_before_close = NULL, agent_before_close = NULL, tags_of_close = NULL
         WHERE tenant_id = $1 AND bot_id = $2 AND state = 3",
        "DELETE FROM active_message_states USING tickets
         WHERE tickets.tenant_id = $1 AND tickets.bot_id = $2
             AND active_message_states.tenant_id = tickets.tenant_id
             AND active_message_states.ticket_id = tickets.ticket_id",
    ] {
        sqlx::query(statement)
            .bind(desk.tenant_id)
            .bind(desk.bot_id)
            .execute(pool)
            .await
            .expect("tickets can be set back");
    }
}

/// Both sides begin without dead rows.
async fn tidy(pool: &PgPool) {
    sqlx::query("VACUUM ticket_clocks, tickets")
        .execute(pool)
        .await
        .expect("tables can be vacuumed");
}
