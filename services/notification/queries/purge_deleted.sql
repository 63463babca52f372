-- Removes at most $1 events of deleted subscriptions, with the lanes of their tickets.
WITH doomed AS (
    SELECT d.tenant_id, d.subscription_id, d.event_id, d.ticket_id
    FROM webhook_subscriptions AS s
    CROSS JOIN LATERAL (
        SELECT e.tenant_id, e.subscription_id, e.event_id, e.ticket_id FROM event_deliveries AS e
        WHERE e.tenant_id = s.tenant_id AND e.subscription_id = s.subscription_id
        LIMIT $1
    ) AS d
    WHERE s.deleted_at IS NOT NULL
    LIMIT $1
), lanes AS (
    DELETE FROM event_lanes AS l
    USING doomed AS d
    WHERE l.tenant_id = d.tenant_id AND l.subscription_id = d.subscription_id AND l.ticket_id = d.ticket_id
)
DELETE FROM event_deliveries AS e
USING doomed AS d
WHERE e.tenant_id = d.tenant_id AND e.subscription_id = d.subscription_id AND e.event_id = d.event_id
