-- Empties the messages of tickets, and cancels those that wait. One that a sender has at this moment, or of which nobody
-- knows whether it was sent, is marked and not tried again. Returns what else may be stored under the recipients'
-- addresses and the providers' names of the messages.
WITH locked AS (
    SELECT m.tenant_id, m.message_id, m.channel, m.recipient_address, m.channel_account_id, m.provider_message_id,
        m.state = 1 AND m.leased_until IS NULL AS is_waiting
    FROM active_messages AS m
    WHERE m.tenant_id = $1 AND m.ticket_id = ANY ($2) AND m.recipient_address <> ''
    ORDER BY m.message_id
    FOR UPDATE
), changed AS (
    UPDATE active_messages AS m
    SET recipient_address = '', body_text = '', image_url = '', provider_message_id = NULL,
        state = CASE WHEN l.is_waiting THEN 6 ELSE m.state END,
        state_at = CASE WHEN l.is_waiting THEN clock_timestamp() ELSE m.state_at END,
        failure_reason = CASE WHEN l.is_waiting THEN 'PERSONAL_DATA_ERASED' ELSE m.failure_reason END,
        next_attempt_at = CASE WHEN l.is_waiting THEN NULL ELSE m.next_attempt_at END,
        cancel_reason = CASE
            WHEN m.state IN (1, 7) THEN coalesce(m.cancel_reason, 'PERSONAL_DATA_ERASED')
            ELSE m.cancel_reason
        END
    FROM locked AS l
    WHERE m.tenant_id = l.tenant_id AND m.message_id = l.message_id
    RETURNING m.tenant_id, m.ticket_id, m.idempotency_key, m.state_at, m.failure_reason, l.is_waiting
), reported AS (
    INSERT INTO state_reports (tenant_id, ticket_id, idempotency_key, state, state_at, failure_reason)
    SELECT tenant_id, ticket_id, idempotency_key, 6, state_at, failure_reason FROM changed WHERE is_waiting
)
SELECT channel AS "channel!", recipient_address AS "recipient_address!", channel_account_id AS "channel_account_id!",
    provider_message_id
FROM locked
