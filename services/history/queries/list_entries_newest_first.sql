-- The conversation of a ticket that is visible to the viewer, the last written first.
-- $1 to $5: the viewer, see 0002_access.sql.
-- $7: the last entry of the page before.
SELECT
    entry.ticket_seq, entry.kind, entry.message_id, entry.author_kind, entry.author_id, entry.text,
    entry.attachment_urls, entry.recorded_at, entry.channel_at
FROM tickets AS ticket
CROSS JOIN LATERAL ticket_visible(
    $1, $2, $3, $4, $5, statement_timestamp(), ticket.bot_id, ticket.contact_id, ticket.closed_at
) AS visible
JOIN conversation_entries AS entry ON entry.tenant_id = $1 AND entry.ticket_id = $6
WHERE ticket.tenant_id = $1 AND ticket.ticket_id = $6 AND entry.ticket_seq < $7
ORDER BY entry.ticket_seq DESC
LIMIT $8
