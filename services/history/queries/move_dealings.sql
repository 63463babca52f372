-- Dealings go with their ticket to another contact, which is written before.
UPDATE dealings AS dealing
SET contact_id = moved.contact_id,
    contact_name_key = contact.name_key,
    contact_other_keys = other_keys(contact.email_key, contact.phone_digits)
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS moved (tenant_id, ticket_id, contact_id)
LEFT JOIN contacts AS contact ON contact.tenant_id = moved.tenant_id AND contact.contact_id = moved.contact_id
WHERE dealing.tenant_id = moved.tenant_id
    AND dealing.ticket_id = moved.ticket_id
    AND dealing.contact_id <> moved.contact_id
