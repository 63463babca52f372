-- Takes a replay that can go on, under a lease of $1 seconds: its subscription is neither paused nor has more than $2
-- events waiting.
UPDATE event_replays AS r
SET next_step_at = clock_timestamp() + make_interval(secs => $1)
FROM (
    SELECT n.tenant_id, n.subscription_id, n.replay_id
    FROM event_replays AS n
    CROSS JOIN LATERAL (
        SELECT 1 FROM webhook_subscriptions AS one
        WHERE one.tenant_id = n.tenant_id AND one.subscription_id = n.subscription_id
            AND one.paused_reason = '' AND one.deleted_at IS NULL AND one.waiting <= $2
        LIMIT 1
    ) AS s
    WHERE n.state = 1 AND n.next_step_at <= statement_timestamp()
    ORDER BY n.next_step_at
    LIMIT 1
    FOR UPDATE OF n SKIP LOCKED
) AS due
WHERE r.tenant_id = due.tenant_id AND r.subscription_id = due.subscription_id AND r.replay_id = due.replay_id
RETURNING r.tenant_id, r.subscription_id, r.replay_id, r.kind, r.position, r.events, r.first_event,
    r.first_event_at, r.until_events, r.created_at
