-- Ends the uncertainty about a message as somebody decided: $3 is 2 (it was sent), 1 (it waits to be sent again; if it
-- was called off meanwhile, it is cancelled) or 5 (it has failed, for the reason $4). How many changed: none unless it
-- was uncertain.
WITH locked AS (
    SELECT tenant_id, message_id,
        CASE WHEN $3::smallint = 1 AND cancel_reason IS NOT NULL THEN 6 ELSE $3::smallint END AS new_state
    FROM active_messages
    WHERE tenant_id = $1 AND message_id = $2 AND state = 7
    FOR UPDATE
), changed AS (
    UPDATE active_messages AS m
    SET state = l.new_state,
        state_at = clock_timestamp(),
        failure_reason = CASE l.new_state WHEN 6 THEN m.cancel_reason WHEN 5 THEN $4::text ELSE '' END,
        round_attempts = CASE WHEN l.new_state = 1 THEN 0 ELSE m.round_attempts END,
        queued_at = CASE WHEN l.new_state = 1 THEN clock_timestamp() ELSE m.queued_at END,
        next_attempt_at = CASE WHEN l.new_state = 1 THEN clock_timestamp() END
    FROM locked AS l
    WHERE m.tenant_id = l.tenant_id AND m.message_id = l.message_id
    RETURNING m.tenant_id, m.ticket_id, m.idempotency_key, m.state, m.state_at, m.failure_reason
), reported AS (
    INSERT INTO state_reports (tenant_id, ticket_id, idempotency_key, state, state_at, failure_reason)
    SELECT tenant_id, ticket_id, idempotency_key, state, state_at, failure_reason
    FROM changed
    WHERE ticket_id > 0 AND state <> 1
)
SELECT count(*) AS "resolved!" FROM changed
