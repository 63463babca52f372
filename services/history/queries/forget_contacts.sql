-- Deletes some contacts that did nothing for too long and have no tickets left. Served by contacts_by_interaction, by whole hours.
DELETE FROM contacts
WHERE ctid = ANY (ARRAY(
    SELECT contact.ctid
    FROM contacts AS contact
    WHERE contact.tenant_id = $1
        AND contact.last_interaction_hour
            <= date_trunc('hour', (statement_timestamp() - make_interval(days => $2)) AT TIME ZONE 'UTC')
        AND contact.last_interaction_at < statement_timestamp() - make_interval(days => $2)
        AND NOT EXISTS (
            SELECT FROM tickets AS ticket
            WHERE ticket.tenant_id = contact.tenant_id AND ticket.contact_id = contact.contact_id
        )
    LIMIT $3
))
