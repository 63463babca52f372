-- Contacts that were merged into others.
DELETE FROM contacts
USING unnest($1::bigint[], $2::bigint[]) AS merged (tenant_id, contact_id)
WHERE contacts.tenant_id = merged.tenant_id
    AND contacts.contact_id = merged.contact_id
