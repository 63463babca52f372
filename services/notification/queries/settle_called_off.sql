-- Ends messages that were called off while a sender had them, and whose sender has gone without a word. Only of the
-- channels 1 and 2 (the log and webhooks): of others nobody knows whether they were sent, see park_uncertain.sql.
WITH ended AS (
    SELECT tenant_id, message_id
    FROM active_messages
    WHERE next_attempt_at <= statement_timestamp() AND next_attempt_at IS NOT NULL AND cancel_reason IS NOT NULL
        AND channel <= 2
    ORDER BY message_id
    LIMIT 500
    FOR UPDATE SKIP LOCKED
), changed AS (
    UPDATE active_messages AS m
    SET state = 6, state_at = clock_timestamp(), failure_reason = m.cancel_reason,
        next_attempt_at = NULL, leased_until = NULL
    FROM ended
    WHERE m.tenant_id = ended.tenant_id AND m.message_id = ended.message_id
    RETURNING m.tenant_id, m.ticket_id, m.idempotency_key, m.state_at, m.failure_reason
), reported AS (
    INSERT INTO state_reports (tenant_id, ticket_id, idempotency_key, state, state_at, failure_reason)
    SELECT tenant_id, ticket_id, idempotency_key, 6, state_at, failure_reason
    FROM changed
    WHERE ticket_id > 0
)
SELECT count(*) AS "cancelled!" FROM changed
