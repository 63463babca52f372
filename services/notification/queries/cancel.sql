-- Calls one waiting message off, for the reason $3. How many changed: none when a sender has it, or when it no longer
-- waits.
WITH changed AS (
    UPDATE active_messages
    SET state = 6, state_at = clock_timestamp(), failure_reason = $3, cancel_reason = $3, next_attempt_at = NULL
    WHERE tenant_id = $1 AND message_id = $2 AND state = 1 AND leased_until IS NULL
    RETURNING tenant_id, ticket_id, idempotency_key, state_at, failure_reason
), reported AS (
    INSERT INTO state_reports (tenant_id, ticket_id, idempotency_key, state, state_at, failure_reason)
    SELECT tenant_id, ticket_id, idempotency_key, 6, state_at, failure_reason
    FROM changed
    WHERE ticket_id > 0
)
SELECT count(*) AS "cancelled!" FROM changed
