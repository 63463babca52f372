-- The conversation of a ticket after the entry of $4, the first written first.
-- $3: the permitted bots, NULL for all of the tenant.
SELECT
    entry.ticket_seq, entry.kind, entry.message_id, entry.author_kind, entry.author_id, entry.text,
    entry.attachment_urls, entry.recorded_at, entry.channel_at
FROM conversation_entries AS entry
JOIN tickets AS ticket USING (tenant_id, ticket_id)
WHERE entry.tenant_id = $1
    AND entry.ticket_id = $2
    AND ($3::bigint[] IS NULL OR ticket.bot_id = ANY ($3))
    AND entry.ticket_seq > $4
ORDER BY entry.ticket_seq
LIMIT $5
