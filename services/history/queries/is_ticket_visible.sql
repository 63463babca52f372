-- Whether a ticket is visible to the viewer.
-- $1 to $5: the viewer, see 0002_access.sql.
SELECT EXISTS (
    SELECT
    FROM tickets AS ticket
    CROSS JOIN LATERAL ticket_visible(
        $1, $2, $3, $4, $5, statement_timestamp(), ticket.bot_id, ticket.contact_id, ticket.closed_at
    ) AS visible
    WHERE ticket.tenant_id = $1 AND ticket.ticket_id = $6
) AS "is_visible!"
