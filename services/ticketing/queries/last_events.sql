-- The last events of a ticket up to a number, the last first: at most so many, and so many bytes of payload. The sum
-- reads the lengths only: a long payload is fetched when its row is kept.
SELECT
    event_id AS "event_id!", transaction_id::text::bigint AS "transaction_id!", tenant_id AS "tenant_id!",
    ticket_id AS "ticket_id!", ticket_seq AS "ticket_seq!", bot_id AS "bot_id!", author_kind AS "author_kind!",
    author_id AS "author_id!", recorded_at AS "recorded_at!", payload AS "payload!"
FROM (
    SELECT *, sum(length(payload)) OVER (ORDER BY ticket_seq DESC) AS bytes
    FROM (
        SELECT * FROM ticket_events
        WHERE tenant_id = $1 AND ticket_id = $2 AND ticket_seq <= $3
        ORDER BY ticket_seq DESC
        LIMIT $4
    ) AS last
) AS summed
WHERE bytes <= $5
ORDER BY ticket_seq DESC
