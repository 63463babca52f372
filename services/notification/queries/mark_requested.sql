-- The feed has shown the requests of messages that came by a call before: they need not be held any more.
-- Rows are locked in the order of ids.
WITH shown AS (
    SELECT m.tenant_id, m.message_id, k.requested_seq
    FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS k (tenant_id, idempotency_key, requested_seq)
    JOIN active_messages AS m ON m.tenant_id = k.tenant_id AND m.idempotency_key = k.idempotency_key
    WHERE m.requested_seq IS NULL
    ORDER BY m.message_id
    FOR UPDATE OF m
)
UPDATE active_messages AS m
SET requested_seq = shown.requested_seq,
    next_attempt_at = CASE
        WHEN m.attempts = 0 AND m.next_attempt_at IS NOT NULL
            THEN least(m.next_attempt_at, clock_timestamp())
        ELSE m.next_attempt_at
    END
FROM shown
WHERE m.tenant_id = shown.tenant_id AND m.message_id = shown.message_id
