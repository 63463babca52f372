-- The contacts that an agent sees and that a query finds, the last interaction that he sees first.
-- $1 to $5: the viewer, see 0002_access.sql.
-- $6: patterns that must all be found. $7: the bot that they must have a ticket of, 0 for any.
-- $8, $9: last interaction and id of the last contact of the page before. 1970 stands for no interaction.
WITH seen AS MATERIALIZED (
    SELECT dealing.contact_id, max(dealing.shown_interaction_at) AS dealt_interaction_at
    FROM visible_dealings($1, $2, $3, $4, $5, statement_timestamp()) AS dealing
    GROUP BY dealing.contact_id
),
found AS MATERIALIZED (
    SELECT
        contact.contact_id, contact.name, contact.email, contact.phone, contact.channel, contact.address, contact.name_key,
        -- Where his own tickets have the last interaction of all, there is no need to look at those of others.
        CASE
            WHEN seen.dealt_interaction_at >= contact.last_interaction_at THEN seen.dealt_interaction_at
            ELSE coalesce((
                SELECT nullif(max(ticket.last_interaction_at), '-infinity')
                FROM tickets AS ticket
                CROSS JOIN LATERAL ticket_shown(
                    $1, $2, $3, $4, $5, statement_timestamp(), ticket.bot_id, ticket.closed_at
                ) AS shown
                WHERE ticket.tenant_id = $1 AND ticket.contact_id = contact.contact_id
            ), 'epoch')
        END AS shown_interaction_at
    FROM seen
    JOIN contacts AS contact ON contact.tenant_id = $1 AND contact.contact_id = seen.contact_id
    WHERE contact.search_text LIKE ALL ($6::text[])
        AND ($7::bigint = 0 OR EXISTS (
            SELECT
            FROM tickets AS ticket
            CROSS JOIN LATERAL ticket_shown(
                $1, $2, $3, $4, $5, statement_timestamp(), ticket.bot_id, ticket.closed_at
            ) AS shown
            WHERE ticket.tenant_id = $1 AND ticket.contact_id = contact.contact_id AND ticket.bot_id = $7
        ))
)
SELECT
    found.contact_id AS "contact_id!", found.name AS "name!", found.email AS "email!", found.phone AS "phone!",
    found.channel AS "channel!", found.address AS "address!", found.name_key AS "name_key!",
    nullif(found.shown_interaction_at, 'epoch') AS "last_interaction_at?"
FROM found
WHERE (found.shown_interaction_at, found.contact_id) < (coalesce($8::timestamptz, 'infinity'), $9::bigint)
ORDER BY found.shown_interaction_at DESC, found.contact_id DESC
LIMIT $10
