-- Writes what became of attempts; returns how many counted. `attempt` is the number that the claim gave: a sender whose
-- lease ended and was taken over must not put the event off. That it was delivered counts all the same.
--
-- A new state of 1 means: try again after retry_secs. The subscriptions are locked by this transaction.
WITH input AS (
    SELECT DISTINCT ON (u.tenant_id, u.subscription_id, u.event_id) u.*
    FROM unnest(
        $1::bigint[], $2::bigint[], $3::bigint[], $4::integer[], $5::timestamptz[], $6::integer[], $7::smallint[],
        $8::text[], $9::smallint[], $10::double precision[], $11::double precision[], $12::boolean[]
    ) AS u (
        tenant_id, subscription_id, event_id, attempt, attempt_at, duration_ms, http_status, outcome, new_state,
        retry_secs, rest_secs, is_gone
    )
    ORDER BY u.tenant_id, u.subscription_id, u.event_id, u.new_state = 2 DESC, u.attempt DESC
), locked AS (
    SELECT i.*, d.ticket_id, d.attempts = i.attempt AS holds_lane, l.waiting
    FROM input AS i
    JOIN event_deliveries AS d
        ON d.tenant_id = i.tenant_id AND d.subscription_id = i.subscription_id AND d.event_id = i.event_id
    JOIN event_lanes AS l
        ON l.tenant_id = d.tenant_id AND l.subscription_id = d.subscription_id AND l.ticket_id = d.ticket_id
    WHERE d.state = 1 AND (d.attempts = i.attempt OR i.new_state = 2)
    ORDER BY i.tenant_id, i.subscription_id, d.ticket_id
    FOR UPDATE OF d, l
), changed AS (
    UPDATE event_deliveries AS d
    SET state = c.new_state, settled_at = CASE WHEN c.new_state <> 1 THEN clock_timestamp() END
    FROM locked AS c
    WHERE d.tenant_id = c.tenant_id AND d.subscription_id = c.subscription_id AND d.event_id = c.event_id
), emptied AS (
    DELETE FROM event_lanes AS l
    USING locked AS c
    WHERE l.tenant_id = c.tenant_id AND l.subscription_id = c.subscription_id AND l.ticket_id = c.ticket_id
        AND c.new_state <> 1 AND c.waiting <= 1
), moved AS (
    UPDATE event_lanes AS l
    SET waiting = l.waiting - CASE WHEN c.new_state = 1 THEN 0 ELSE 1 END,
        leased_until = CASE WHEN NOT c.holds_lane THEN l.leased_until END,
        next_attempt_at = CASE
            WHEN c.holds_lane THEN clock_timestamp() + make_interval(secs => c.retry_secs)
            ELSE l.next_attempt_at
        END
    FROM locked AS c
    WHERE l.tenant_id = c.tenant_id AND l.subscription_id = c.subscription_id AND l.ticket_id = c.ticket_id
        AND (c.new_state = 1 OR c.waiting > 1)
), counted AS (
    UPDATE webhook_subscriptions AS s
    SET waiting = s.waiting - c.settled,
        consecutive_failures = CASE WHEN c.any_delivered THEN 0 ELSE s.consecutive_failures + c.failed END,
        rest_until = CASE
            WHEN c.rest_secs > 0 THEN greatest(s.rest_until, clock_timestamp() + make_interval(secs => c.rest_secs))
            ELSE s.rest_until
        END,
        paused_reason = CASE WHEN c.is_gone AND s.paused_reason = '' THEN 'ENDPOINT_GONE' ELSE s.paused_reason END,
        version = s.version + CASE WHEN c.is_gone AND s.paused_reason = '' THEN 1 ELSE 0 END
    FROM (
        SELECT tenant_id, subscription_id, count(*) FILTER (WHERE new_state <> 1) AS settled,
            count(*) FILTER (WHERE new_state <> 2)::integer AS failed, bool_or(new_state = 2) AS any_delivered,
            max(rest_secs) AS rest_secs, bool_or(is_gone) AS is_gone
        FROM locked GROUP BY tenant_id, subscription_id
    ) AS c
    WHERE s.tenant_id = c.tenant_id AND s.subscription_id = c.subscription_id
), attempted AS (
    INSERT INTO event_attempts
        (tenant_id, subscription_id, event_id, attempt, attempt_at, duration_ms, http_status, outcome)
    SELECT tenant_id, subscription_id, event_id, attempt, attempt_at, duration_ms, http_status, outcome FROM locked
    ON CONFLICT DO NOTHING
), forgotten AS (
    DELETE FROM event_attempts AS a
    USING locked AS c
    WHERE a.tenant_id = c.tenant_id AND a.subscription_id = c.subscription_id AND a.event_id = c.event_id
        AND a.attempt <= c.attempt - 20
)
SELECT count(*) AS "settled!" FROM locked
