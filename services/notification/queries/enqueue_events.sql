-- Queues events for subscriptions, and returns how many. An event that the subscription has had is left alone, unless it
-- was settled before $9: then it is queued again. The subscriptions are locked by this transaction.
WITH input AS (
    SELECT *
    FROM unnest(
        $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[]
    ) AS u (tenant_id, subscription_id, event_id, ticket_id, ticket_seq, feed_index, event_type, body)
), queued AS (
    INSERT INTO event_deliveries AS d
        (tenant_id, subscription_id, event_id, ticket_id, ticket_seq, feed_index, event_type, body)
    SELECT tenant_id, subscription_id, event_id, ticket_id, ticket_seq, feed_index, event_type, body FROM input
    ORDER BY tenant_id, subscription_id, event_id
    ON CONFLICT (tenant_id, subscription_id, event_id) DO UPDATE
    SET state = 1, settled_at = NULL, round_attempts = 0, body = excluded.body, event_type = excluded.event_type
    WHERE d.settled_at < $9
    RETURNING d.tenant_id, d.subscription_id, d.ticket_id
), lanes AS (
    INSERT INTO event_lanes AS l (tenant_id, subscription_id, ticket_id, waiting, next_attempt_at)
    SELECT tenant_id, subscription_id, ticket_id, count(*), clock_timestamp() FROM queued
    GROUP BY tenant_id, subscription_id, ticket_id
    ORDER BY tenant_id, subscription_id, ticket_id
    ON CONFLICT (tenant_id, subscription_id, ticket_id) DO UPDATE SET waiting = l.waiting + excluded.waiting
), counted AS (
    UPDATE webhook_subscriptions AS s
    SET waiting = s.waiting + q.queued
    FROM (
        SELECT tenant_id, subscription_id, count(*) AS queued FROM queued GROUP BY tenant_id, subscription_id
    ) AS q
    WHERE s.tenant_id = q.tenant_id AND s.subscription_id = q.subscription_id
)
SELECT count(*) AS "queued!" FROM queued
