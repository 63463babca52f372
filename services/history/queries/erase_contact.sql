-- Blanks a contact, but for what was told of it later than $3. What was told before does not come back.
UPDATE contacts
SET name = '', email = '', phone = '', address = '', name_key = '', email_key = '', phone_digits = '', told_at = $3
WHERE tenant_id = $1
    AND contact_id = $2
    AND told_at <= $3
    AND NOT (name = '' AND email = '' AND phone = '' AND address = '' AND told_at = $3)
