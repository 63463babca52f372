-- Waits for the row and locks it. `now` is read after the lock is held: the common table expression hands a row on
-- only when it is locked.
WITH locked AS MATERIALIZED (
    SELECT * FROM ticket_clocks WHERE tenant_id = $1 AND ticket_id = $2 FOR UPDATE
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
    anchor_at,
    policy_version,
    stages_done AS "stages_done!",
    warning_accepted_at,
    alert AS "alert!",
    last_customer_message_at,
    greatest(event_transaction_id, pg_current_xact_id()::text::bigint) AS "event_transaction_id!",
    clock_timestamp() AS "now!"
FROM locked
