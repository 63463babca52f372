-- Applies what a provider told about messages of one account; returns how many statuses belong to a message, and how
-- many messages changed. A status finds its message by our own id, which the provider gives back, else by the
-- provider's.
--
-- States stand in one order, so that it doesn't matter in which order their statuses come: 0 accepted and uncertain,
-- 1 sent, 2 failed and cancelled, 3 delivered, 4 read; `place` is that of the new state. DELIVERED and READ count
-- whatever was thought before, since the customer has the message. SENT and FAILED count for the attempt that they are
-- about: not when the provider's id is another one, nor for a message that waits to be sent anew and has not been since
-- (SENT) or waits for its next attempt anyhow (FAILED).
--
-- A free text that failed because the customer's last message is too old was not delivered: the message waits again, and
-- the template goes out, or it fails for that reason; once, and not when it was called off meanwhile. What else is told of
-- that text does nothing.
WITH input AS (
    SELECT *
    FROM unnest($3::bigint[], $4::text[], $5::smallint[], $6::smallint[], $7::text[], $8::boolean[])
        AS u (our_id, provider_message_id, new_state, place, failure_reason, is_window_closed)
), matched AS (
    SELECT m.message_id, i.*
    FROM input AS i
    JOIN active_messages AS m
        ON m.tenant_id = $1 AND m.message_id = i.our_id AND m.channel_account_id = $2
    UNION ALL
    SELECT m.message_id, i.*
    FROM input AS i
    JOIN active_messages AS m
        ON m.tenant_id = $1 AND m.channel_account_id = $2 AND m.provider_message_id = i.provider_message_id
    WHERE i.our_id IS NULL
), locked AS (
    SELECT m.message_id, m.state, m.provider_message_id, m.leased_until, m.round_attempts, m.refused_message_id,
        m.cancel_reason, m.recipient_address <> '' AS is_reachable,
        CASE m.state WHEN 2 THEN 1 WHEN 5 THEN 2 WHEN 6 THEN 2 WHEN 3 THEN 3 WHEN 4 THEN 4 ELSE 0 END AS old_place
    FROM active_messages AS m
    WHERE m.tenant_id = $1 AND m.message_id IN (SELECT message_id FROM matched)
    ORDER BY m.message_id
    FOR UPDATE
), chosen AS (
    SELECT DISTINCT ON (l.message_id) l.message_id, l.old_place, n.provider_message_id,
        n.new_state AS told_state, n.is_window_closed, l.refused_message_id IS NULL AND l.is_reachable AS is_first, l.cancel_reason,
        n.failure_reason
    FROM locked AS l
    JOIN matched AS n ON n.message_id = l.message_id
    WHERE n.place > l.old_place
        AND coalesce(n.provider_message_id <> l.refused_message_id, true)
        AND (
            n.new_state IN (3, 4)
            OR (
                coalesce(l.provider_message_id = n.provider_message_id, true)
                AND (
                    l.state <> 1
                    OR l.leased_until IS NOT NULL
                    OR (n.new_state = 2 AND l.round_attempts > 0)
                )
            )
        )
    ORDER BY l.message_id, n.place DESC
), decided AS (
    SELECT *,
        CASE
            WHEN NOT (is_window_closed AND is_first) THEN told_state
            WHEN cancel_reason IS NULL THEN 1
            ELSE 6
        END AS new_state
    FROM chosen
), changed AS (
    UPDATE active_messages AS m
    SET state = c.new_state,
        state_at = clock_timestamp(),
        failure_reason = CASE c.new_state WHEN 1 THEN '' WHEN 6 THEN c.cancel_reason ELSE c.failure_reason END,
        -- Some providers make it of the recipient's address, which is empty when it was erased.
        provider_message_id = CASE
            WHEN c.new_state <> 1 AND m.recipient_address <> ''
                THEN coalesce(m.provider_message_id, c.provider_message_id)
        END,
        refused_message_id = CASE
            WHEN c.new_state = 1 AND m.recipient_address <> ''
                THEN coalesce(c.provider_message_id, m.provider_message_id, '')
            ELSE m.refused_message_id
        END,
        next_attempt_at = CASE WHEN c.new_state = 1 THEN clock_timestamp() END,
        leased_until = NULL
    FROM decided AS c
    WHERE m.tenant_id = $1 AND m.message_id = c.message_id
    RETURNING m.message_id, m.ticket_id, m.idempotency_key, m.state, m.state_at, m.failure_reason, c.old_place
), reported AS (
    -- Every step on the way is told: a close may wait for one of them.
    INSERT INTO state_reports (tenant_id, ticket_id, idempotency_key, state, state_at, failure_reason)
    SELECT $1, c.ticket_id, c.idempotency_key, s.state, c.state_at, c.failure_reason
    FROM changed AS c
    CROSS JOIN LATERAL (
        SELECT step::smallint AS state
        FROM unnest(ARRAY[2, 3, 4], ARRAY[1, 3, 4]) AS steps (step, step_place)
        WHERE c.state NOT IN (5, 6) AND step <= c.state AND step_place > c.old_place
        UNION ALL
        SELECT c.state WHERE c.state IN (5, 6)
    ) AS s
    WHERE c.ticket_id > 0
    ORDER BY c.message_id, s.state
)
SELECT (SELECT count(*) FROM matched) AS "matched!", (SELECT count(*) FROM changed) AS "changed!"
