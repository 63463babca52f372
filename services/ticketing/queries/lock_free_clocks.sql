-- Locks those of the wanted rows that nobody else holds, in the order of ids. `now` is read after each row's lock.
WITH locked AS MATERIALIZED (
    SELECT clocks.*
    FROM unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, ticket_id)
    JOIN ticket_clocks AS clocks USING (tenant_id, ticket_id)
    ORDER BY clocks.tenant_id, clocks.ticket_id
    FOR UPDATE OF clocks SKIP LOCKED
)
SELECT
    tenant_id AS "tenant_id!",
    ticket_id AS "ticket_id!",
    bot_id AS "bot_id!",
    ticket_seq AS "ticket_seq!",
    generation AS "generation!",
    armed_generation AS "armed_generation!",
    next_due_at,
    last_cycle AS "last_cycle!",
    cycle,
    cycle_kind,
    anchor_at,
    policy_version,
    stages_done AS "stages_done!",
    is_excluded AS "is_excluded!",
    warning_accepted_at,
    warning_settled_at,
    changed_at,
    cycle_due_at,
    alert AS "alert!",
    agent_cycle,
    agent_anchor_at,
    agent_policy_version,
    agent_stages_done AS "agent_stages_done!",
    agent_changed_at,
    agent_due_at,
    agent_alert AS "agent_alert!",
    turn AS "turn!",
    turn_since_at,
    turn_last_at,
    agent_has_written AS "agent_has_written!",
    hold_until,
    automation AS "automation!",
    automation_until,
    last_customer_message_at,
    greatest(event_transaction_id, pg_current_xact_id()::text::bigint) AS "event_transaction_id!",
    clock_timestamp() AS "now!"
FROM locked
