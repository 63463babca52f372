-- Keeps when agents last dealt with tickets and their contacts, and how the tickets were closed. The contacts are written before.
INSERT INTO dealings AS known (
    tenant_id, agent_id, contact_id, ticket_id, bot_id, last_dealt_at, closed_at, closed_interaction_at,
    contact_name_key, contact_other_keys
)
SELECT
    dealt.tenant_id, dealt.agent_id, dealt.contact_id, dealt.ticket_id, dealt.bot_id, dealt.last_dealt_at, dealt.closed_at,
    dealt.closed_interaction_at, contact.name_key, other_keys(contact.email_key, contact.phone_digits)
FROM unnest(
    $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::timestamptz[],
    $8::timestamptz[]
) AS dealt (tenant_id, agent_id, contact_id, ticket_id, bot_id, last_dealt_at, closed_at, closed_interaction_at)
LEFT JOIN contacts AS contact ON contact.tenant_id = dealt.tenant_id AND contact.contact_id = dealt.contact_id
ON CONFLICT (tenant_id, agent_id, contact_id, ticket_id) DO UPDATE
SET last_dealt_at = excluded.last_dealt_at,
    closed_at = excluded.closed_at,
    closed_interaction_at = excluded.closed_interaction_at
WHERE known.last_dealt_at < excluded.last_dealt_at
