-- Of the first $3 events after a position: how many there are, and which tickets of a tenant and of the bots that may be
-- seen they are about. Unlike a read of the feed it takes all that is committed, in the midst of running transactions: a
-- list that was read before it may show any of that.
WITH following AS (
    SELECT tenant_id, bot_id, ticket_id
    FROM ticket_events
    WHERE (transaction_id, event_id) > ($1::bigint::text::xid8, $2)
    ORDER BY transaction_id, event_id
    LIMIT $3
)
SELECT
    count(*) AS "event_count!",
    coalesce(
        array_agg(DISTINCT ticket_id) FILTER (
            WHERE tenant_id = $4
                AND ($5::bigint[] IS NULL OR bot_id = ANY ($5))
                AND ($6::bigint IS NULL OR bot_id = $6)
        ),
        '{}'
    ) AS "changed!"
FROM following
