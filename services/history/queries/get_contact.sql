-- A contact that is visible to the viewer.
-- $1 to $5: the viewer, see 0002_access.sql.
-- $7: whether interactions count that the viewer does not see.
SELECT
    contact.contact_id, contact.name, contact.email, contact.phone, contact.channel, contact.address, contact.name_key,
    CASE
        WHEN $7::boolean THEN contact.last_interaction_at
        ELSE (
            SELECT nullif(max(ticket.last_interaction_at), '-infinity')
            FROM tickets AS ticket
            CROSS JOIN LATERAL ticket_shown(
                $1, $2, $3, $4, $5, statement_timestamp(), ticket.bot_id, ticket.closed_at
            ) AS shown
            WHERE ticket.tenant_id = $1 AND ticket.contact_id = contact.contact_id
        )
    END AS "last_interaction_at?"
FROM contacts AS contact
CROSS JOIN LATERAL contact_visible($1, $2, $3, $4, $5, statement_timestamp(), contact.contact_id) AS visible
WHERE contact.tenant_id = $1 AND contact.contact_id = $6
