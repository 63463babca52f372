-- Takes tickets that have an event to send, and gives the first event of each: at most $1 in all and $2 of each
-- subscription, but $4 of the subscriptions in $3; only of subscriptions above $6; under a lease of $5 seconds. While the
-- lease lasts, nothing else of the ticket is sent for that subscription, and next_attempt_at is its end, so that what a
-- sender had that died comes due by itself. A subscription with 5 failures in a row gets one at a time.
--
-- `with_work` hops through the index from subscription to subscription: one look for each that has work, however much. Due
-- is judged by statement_timestamp(), which can bound the search of the index. `first_events` stands for itself, since a
-- plan that joins it with the rest may read all that a subscription ever got.
WITH RECURSIVE with_work AS (
    (
        SELECT subscription_id, tenant_id FROM event_lanes
        WHERE subscription_id > $6
        ORDER BY subscription_id
        LIMIT 1
    )
    UNION ALL
    SELECT next.subscription_id, next.tenant_id
    FROM with_work
    CROSS JOIN LATERAL (
        SELECT l.subscription_id, l.tenant_id FROM event_lanes AS l
        WHERE l.subscription_id > with_work.subscription_id
        ORDER BY l.subscription_id
        LIMIT 1
    ) AS next
), due AS (
    SELECT d.tenant_id, d.subscription_id, d.ticket_id
    FROM with_work AS w
    CROSS JOIN LATERAL (
        SELECT one.consecutive_failures FROM webhook_subscriptions AS one
        WHERE one.tenant_id = w.tenant_id AND one.subscription_id = w.subscription_id
            AND one.paused_reason = '' AND one.deleted_at IS NULL
            AND (one.rest_until IS NULL OR one.rest_until <= statement_timestamp())
        LIMIT 1
    ) AS s
    CROSS JOIN LATERAL (
        SELECT l.tenant_id, l.subscription_id, l.ticket_id
        FROM event_lanes AS l
        WHERE l.subscription_id = w.subscription_id AND l.next_attempt_at <= statement_timestamp()
        ORDER BY l.next_attempt_at
        LIMIT greatest(
            coalesce(
                (
                    SELECT busy.room FROM unnest($3::bigint[], $4::bigint[]) AS busy (subscription_id, room)
                    WHERE busy.subscription_id = w.subscription_id
                ),
                $2::bigint
            ) - CASE WHEN s.consecutive_failures >= 5 THEN $2::bigint - 1 ELSE 0 END,
            0
        )
        FOR UPDATE SKIP LOCKED
    ) AS d
    LIMIT $1::bigint
), taken AS (
    UPDATE event_lanes AS l
    SET leased_until = clock_timestamp() + make_interval(secs => $5),
        next_attempt_at = clock_timestamp() + make_interval(secs => $5)
    FROM due
    WHERE l.tenant_id = due.tenant_id AND l.subscription_id = due.subscription_id AND l.ticket_id = due.ticket_id
    RETURNING l.tenant_id, l.subscription_id, l.ticket_id
), first_events AS MATERIALIZED (
    SELECT t.tenant_id, t.subscription_id, d.event_id
    FROM taken AS t
    CROSS JOIN LATERAL (
        SELECT w.event_id FROM event_deliveries AS w
        WHERE w.tenant_id = t.tenant_id AND w.subscription_id = t.subscription_id AND w.ticket_id = t.ticket_id
            AND w.state = 1
        ORDER BY w.ticket_seq
        LIMIT 1
    ) AS d
), claimed AS (
    UPDATE event_deliveries AS d
    SET attempts = d.attempts + 1, round_attempts = d.round_attempts + 1
    FROM first_events AS f
    WHERE d.tenant_id = f.tenant_id AND d.subscription_id = f.subscription_id AND d.event_id = f.event_id
    RETURNING d.tenant_id, d.subscription_id, d.event_id, d.ticket_id, d.attempts, d.round_attempts, d.body
)
SELECT
    c.tenant_id AS "tenant_id!", c.subscription_id AS "subscription_id!", c.event_id AS "event_id!",
    c.ticket_id AS "ticket_id!", c.attempts AS "attempts!", c.round_attempts AS "round_attempts!", c.body AS "body!",
    clock_timestamp() AS "now!", s.webhook_url AS "webhook_url!", s.signing_secret AS "signing_secret!",
    CASE WHEN s.previous_secret_until > clock_timestamp() THEN s.previous_secret END AS "previous_secret"
FROM claimed AS c
JOIN webhook_subscriptions AS s ON s.tenant_id = c.tenant_id AND s.subscription_id = c.subscription_id
