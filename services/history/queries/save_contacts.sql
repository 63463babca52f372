-- Keeps what tickets' events told of contacts. What was told last holds, whatever the order in which it comes.
INSERT INTO contacts AS known (
    tenant_id, contact_id, name, email, phone, channel, address, last_interaction_at, told_at, told_ticket_id,
    name_key, email_key, phone_digits
)
SELECT
    tenant_id, contact_id, name, email, phone, channel, address, last_interaction_at, told_at, told_ticket_id,
    name_key, email_key, phone_digits
FROM unnest(
    $1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::text[], $8::timestamptz[],
    $9::timestamptz[], $10::bigint[], $11::text[], $12::text[], $13::text[]
) AS told (
    tenant_id, contact_id, name, email, phone, channel, address, last_interaction_at, told_at, told_ticket_id,
    name_key, email_key, phone_digits
)
ON CONFLICT (tenant_id, contact_id) DO UPDATE SET
    name = excluded.name,
    email = excluded.email,
    phone = excluded.phone,
    channel = excluded.channel,
    address = excluded.address,
    told_at = excluded.told_at,
    told_ticket_id = excluded.told_ticket_id,
    name_key = excluded.name_key,
    email_key = excluded.email_key,
    phone_digits = excluded.phone_digits,
    last_interaction_at = greatest(known.last_interaction_at, excluded.last_interaction_at)
WHERE (known.told_at, known.told_ticket_id) <= (excluded.told_at, excluded.told_ticket_id)
