-- Fails waiting messages that must not be sent any more.
WITH expired AS (
    SELECT tenant_id, message_id
    FROM active_messages
    WHERE valid_until <= statement_timestamp() AND valid_until IS NOT NULL AND next_attempt_at IS NOT NULL
        AND (leased_until IS NULL OR leased_until <= statement_timestamp() AND channel <= 2)
        AND cancel_reason IS NULL
    ORDER BY message_id
    LIMIT 500
    FOR UPDATE SKIP LOCKED
), changed AS (
    UPDATE active_messages AS m
    SET state = 5, state_at = clock_timestamp(), failure_reason = 'EXPIRED',
        next_attempt_at = NULL, leased_until = NULL
    FROM expired
    WHERE m.tenant_id = expired.tenant_id AND m.message_id = expired.message_id
    RETURNING m.tenant_id, m.ticket_id, m.idempotency_key, m.state_at, m.failure_reason
), reported AS (
    INSERT INTO state_reports (tenant_id, ticket_id, idempotency_key, state, state_at, failure_reason)
    SELECT tenant_id, ticket_id, idempotency_key, 5, state_at, failure_reason
    FROM changed
    WHERE ticket_id > 0
)
SELECT count(*) AS "expired!" FROM changed
