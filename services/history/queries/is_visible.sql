-- Whether a ticket exists for an actor. $3: the permitted bots, NULL for all of the tenant.
SELECT EXISTS (
    SELECT FROM tickets
    WHERE tenant_id = $1
        AND ticket_id = $2
        AND ($3::bigint[] IS NULL OR bot_id = ANY ($3))
) AS "is_visible!"
