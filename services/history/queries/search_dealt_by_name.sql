-- The contacts that an agent sees and that a query finds, by name. Served by dealings_of_agent, where all of it stands.
-- $1 to $5: the viewer, see 0002_access.sql.
-- $6: patterns that must all be found. $7: the bot that they must have a ticket of, 0 for any.
-- $8, $9: name and id of the last contact of the page before.
WITH span AS MATERIALIZED (
    SELECT span.since, span.until FROM shown_span($1, $2, $4, $5, statement_timestamp()) AS span
),
seen AS MATERIALIZED (
    SELECT
        dealing.contact_id, min(dealing.name_key COLLATE "C") AS name_key,
        -- A ticket of his own may be the one of that bot.
        $7::bigint = 0 OR bool_or(dealing.bot_id = $7 AND dealing.closed_at IS NOT NULL) AS has_ticket
    FROM visible_dealings($1, $2, $3, $4, $5, statement_timestamp()) AS dealing
    WHERE dealing.search_text LIKE ALL ($6::text[])
        AND (dealing.name_key COLLATE "C", dealing.contact_id) > ($8, $9)
    GROUP BY dealing.contact_id
),
page AS MATERIALIZED (
    SELECT found.contact_id
    FROM (
        SELECT seen.contact_id, seen.has_ticket
        FROM seen
        ORDER BY seen.name_key COLLATE "C", seen.contact_id
        OFFSET 0
    ) AS found
    -- In this order, until the page is full. Where any bot will do, the rest is not even planned.
    WHERE $7::bigint = 0
        OR found.has_ticket
        OR EXISTS (
            SELECT
            FROM span
            JOIN tickets AS ticket ON ticket.closed_at >= span.since AND ticket.closed_at <= span.until
            JOIN visible_bots($1, $3) AS bot ON bot.bot_id = ticket.bot_id
            WHERE ticket.tenant_id = $1 AND ticket.contact_id = found.contact_id AND ticket.bot_id = $7
            -- Keeps it from being read for all contacts at once.
            OFFSET 0
        )
    LIMIT $10::bigint
)
SELECT
    contact.contact_id AS "contact_id!", contact.name AS "name!", contact.email AS "email!", contact.phone AS "phone!",
    contact.channel AS "channel!", contact.address AS "address!", contact.name_key AS "name_key!",
    (
        SELECT nullif(max(ticket.last_interaction_at), '-infinity')
        FROM span
        JOIN tickets AS ticket ON ticket.closed_at >= span.since AND ticket.closed_at <= span.until
        JOIN visible_bots($1, $3) AS bot ON bot.bot_id = ticket.bot_id
        WHERE ticket.tenant_id = $1 AND ticket.contact_id = page.contact_id
    ) AS "last_interaction_at?"
FROM page
-- OFFSET 0 keeps it a look-up by key.
CROSS JOIN LATERAL (
    SELECT known.* FROM contacts AS known WHERE known.tenant_id = $1 AND known.contact_id = page.contact_id OFFSET 0
) AS contact
ORDER BY contact.name_key COLLATE "C", contact.contact_id
