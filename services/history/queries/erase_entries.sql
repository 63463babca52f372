-- Blanks what was written in a contact's tickets that were opened before ($4), and in those that an event told of ($3).
UPDATE conversation_entries AS entry
SET text = '', attachment_urls = '{}'
FROM (
    SELECT tenant_id, ticket_id
    FROM tickets
    WHERE tenant_id = $1
        AND ((contact_id = $2 AND opened_at <= $4) OR ticket_id = ANY ($3::bigint[]))
) AS ticket
WHERE entry.tenant_id = ticket.tenant_id
    AND entry.ticket_id = ticket.ticket_id
    AND NOT (entry.text = '' AND entry.attachment_urls = '{}')
