-- The contacts that an agent sees and that a query finds, by name.
-- $1 to $5: the viewer, see 0002_access.sql.
-- $6: patterns that must all be found. $7: the bot that they must have a ticket of, 0 for any.
-- $8, $9: name and id of the last contact of the page before.
WITH seen AS MATERIALIZED (
    SELECT DISTINCT dealing.contact_id
    FROM visible_dealings($1, $2, $3, $4, $5, statement_timestamp()) AS dealing
),
page AS MATERIALIZED (
    SELECT contact.contact_id, contact.name, contact.email, contact.phone, contact.channel, contact.address, contact.name_key
    FROM seen
    JOIN contacts AS contact ON contact.tenant_id = $1 AND contact.contact_id = seen.contact_id
    WHERE contact.search_text LIKE ALL ($6::text[])
        AND (contact.name_key COLLATE "C", contact.contact_id) > ($8, $9)
        AND ($7::bigint = 0 OR EXISTS (
            SELECT
            FROM tickets AS ticket
            CROSS JOIN LATERAL ticket_shown(
                $1, $2, $3, $4, $5, statement_timestamp(), ticket.bot_id, ticket.closed_at
            ) AS shown
            WHERE ticket.tenant_id = $1 AND ticket.contact_id = contact.contact_id AND ticket.bot_id = $7
        ))
    ORDER BY contact.name_key COLLATE "C", contact.contact_id
    LIMIT $10
)
SELECT
    page.contact_id AS "contact_id!", page.name AS "name!", page.email AS "email!", page.phone AS "phone!",
    page.channel AS "channel!", page.address AS "address!", page.name_key AS "name_key!",
    (
        SELECT nullif(max(ticket.last_interaction_at), '-infinity')
        FROM tickets AS ticket
        CROSS JOIN LATERAL ticket_shown(
            $1, $2, $3, $4, $5, statement_timestamp(), ticket.bot_id, ticket.closed_at
        ) AS shown
        WHERE ticket.tenant_id = $1 AND ticket.contact_id = page.contact_id
    ) AS "last_interaction_at?"
FROM page
ORDER BY page.name_key COLLATE "C", page.contact_id
