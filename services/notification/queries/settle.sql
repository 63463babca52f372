-- Writes what became of attempts; returns how many messages changed. `attempt` is the number that the claim
-- gave: a sender whose lease ended and was taken over must not push the message back into the queue. What was
-- sent counts all the same, unless the message has reached its end in another way. A message that was parked as
-- uncertain when its lease ended, and has not been dealt with since, takes the late outcome. What the provider refused
-- meanwhile, see apply_statuses.sql, was not sent.
--
-- A new state of 1 means: try again after retry_secs; if it was called off meanwhile, it is cancelled instead. One
-- that is not counted was put off before anything was sent: as if it had not been claimed.
-- A new state of 4 or 6 never comes here; 3 is reported as 2 and 3, and 7 not at all.
WITH input AS (
    SELECT *
    FROM unnest(
        $1::bigint[], $2::bigint[], $3::integer[], $4::timestamptz[], $5::text[], $6::smallint[], $7::text[],
        $8::double precision[], $9::text[], $10::boolean[]
    ) AS u (
        tenant_id, message_id, attempt, attempt_at, outcome, new_state, failure_reason, retry_secs,
        provider_message_id, is_counted
    )
), locked AS (
    SELECT m.tenant_id, m.message_id, i.attempt, i.attempt_at, i.outcome, i.retry_secs, i.provider_message_id,
        i.is_counted,
        CASE WHEN i.new_state = 1 AND m.cancel_reason IS NOT NULL THEN 6 ELSE i.new_state END AS new_state,
        CASE
            WHEN i.new_state = 1 AND m.cancel_reason IS NOT NULL THEN m.cancel_reason
            ELSE i.failure_reason
        END AS failure_reason
    FROM active_messages AS m
    JOIN input AS i ON i.tenant_id = m.tenant_id AND i.message_id = m.message_id
    WHERE (
            m.state = 1
                AND (i.new_state IN (2, 3) OR (m.attempts = i.attempt AND m.leased_until IS NOT NULL))
            OR m.state = 7 AND i.new_state <> 7 AND m.attempts = i.attempt
        )
        AND coalesce(m.refused_message_id <> i.provider_message_id, true)
    ORDER BY m.message_id
    FOR UPDATE OF m
), changed AS (
    UPDATE active_messages AS m
    SET state = l.new_state,
        state_at = CASE WHEN l.new_state = m.state THEN m.state_at ELSE clock_timestamp() END,
        failure_reason = l.failure_reason,
        -- Some providers make it of the recipient's address, which is empty when it was erased.
        provider_message_id =
            CASE WHEN m.recipient_address <> '' THEN coalesce(l.provider_message_id, m.provider_message_id) END,
        attempts = CASE WHEN l.is_counted THEN m.attempts ELSE m.attempts - 1 END,
        round_attempts = CASE WHEN l.is_counted THEN m.round_attempts ELSE m.round_attempts - 1 END,
        leased_until = NULL,
        next_attempt_at = CASE
            WHEN l.new_state = 1 THEN clock_timestamp() + make_interval(secs => l.retry_secs)
        END
    FROM locked AS l
    WHERE m.tenant_id = l.tenant_id AND m.message_id = l.message_id
    RETURNING m.tenant_id, m.message_id, m.ticket_id, m.idempotency_key, m.state, m.state_at, m.failure_reason
), attempted AS (
    -- One that was parked has an attempt of that number already.
    INSERT INTO send_attempts (tenant_id, message_id, attempt, attempt_at, outcome)
    SELECT tenant_id, message_id, attempt, attempt_at, outcome FROM locked WHERE is_counted
    ON CONFLICT (tenant_id, message_id, attempt) DO UPDATE
    SET attempt_at = excluded.attempt_at, outcome = excluded.outcome
), forgotten AS (
    DELETE FROM send_attempts AS a
    USING locked AS l
    WHERE a.tenant_id = l.tenant_id AND a.message_id = l.message_id AND a.attempt <= l.attempt - 20
), reported AS (
    INSERT INTO state_reports (tenant_id, ticket_id, idempotency_key, state, state_at, failure_reason)
    SELECT c.tenant_id, c.ticket_id, c.idempotency_key, s.state, c.state_at, c.failure_reason
    FROM changed AS c
    CROSS JOIN LATERAL unnest(
        CASE
            WHEN c.state IN (1, 7) THEN '{}'::smallint[]
            WHEN c.state = 3 THEN '{2,3}'::smallint[]
            ELSE ARRAY[c.state]
        END
    ) AS s (state)
    WHERE c.ticket_id > 0
    ORDER BY c.message_id, s.state
)
SELECT count(*) AS "changed!" FROM changed
