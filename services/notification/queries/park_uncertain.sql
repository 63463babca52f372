-- Parks messages whose sender has gone without a word, on the channels whose providers must not get a message twice
-- (all but 1 and 2, the log and webhooks): nobody knows whether they were sent. Ticketing is not told, since nothing is
-- known.
WITH lapsed AS (
    SELECT tenant_id, message_id
    FROM active_messages
    WHERE leased_until <= statement_timestamp() AND leased_until IS NOT NULL AND channel > 2
    ORDER BY message_id
    LIMIT 500
    FOR UPDATE SKIP LOCKED
), changed AS (
    UPDATE active_messages AS m
    SET state = 7, state_at = clock_timestamp(), failure_reason = 'SENDER_LOST',
        next_attempt_at = NULL, leased_until = NULL
    FROM lapsed
    WHERE m.tenant_id = lapsed.tenant_id AND m.message_id = lapsed.message_id
    RETURNING m.tenant_id, m.message_id, m.attempts, m.state_at
), attempted AS (
    INSERT INTO send_attempts (tenant_id, message_id, attempt, attempt_at, outcome)
    SELECT tenant_id, message_id, attempts, state_at, 'SENDER_LOST' FROM changed
    ON CONFLICT DO NOTHING
)
SELECT count(*) AS "parked!" FROM changed
