-- The comments in the tickets of a contact that the viewer sees, the last written first. Served by
-- conversation_comments.
-- $1 to $5: the viewer, see 0002_access.sql.
-- $7, $8, $9: time, ticket and number of the last comment of the page before.
SELECT
    ticket.ticket_id, ticket.bot_id,
    entry.ticket_seq, entry.kind, entry.message_id, entry.author_kind, entry.author_id, entry.text,
    entry.attachment_urls, entry.recorded_at, entry.channel_at
FROM tickets AS ticket
CROSS JOIN LATERAL ticket_visible(
    $1, $2, $3, $4, $5, statement_timestamp(), ticket.bot_id, ticket.contact_id, ticket.closed_at
) AS visible
-- OFFSET 0 keeps it a look-up by index for each ticket.
CROSS JOIN LATERAL (
    SELECT known.*
    FROM conversation_entries AS known
    WHERE known.tenant_id = $1 AND known.ticket_id = ticket.ticket_id AND known.kind = 5
    OFFSET 0
) AS entry
WHERE ticket.tenant_id = $1
    AND ticket.contact_id = $6
    AND (entry.recorded_at, entry.ticket_id, entry.ticket_seq)
        < (coalesce($7::timestamptz, 'infinity'), $8::bigint, $9::bigint)
ORDER BY entry.recorded_at DESC, entry.ticket_id DESC, entry.ticket_seq DESC
LIMIT $10
