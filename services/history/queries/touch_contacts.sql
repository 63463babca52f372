-- The last interaction of contacts. It never falls.
UPDATE contacts
SET last_interaction_at = seen.last_interaction_at
FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) AS seen (tenant_id, contact_id, last_interaction_at)
WHERE contacts.tenant_id = seen.tenant_id
    AND contacts.contact_id = seen.contact_id
    AND contacts.last_interaction_at < seen.last_interaction_at
