-- Dealings go with their ticket to another contact.
UPDATE dealings AS dealing
SET contact_id = moved.contact_id
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS moved (tenant_id, ticket_id, contact_id)
WHERE dealing.tenant_id = moved.tenant_id
    AND dealing.ticket_id = moved.ticket_id
    AND dealing.contact_id <> moved.contact_id
