-- Keeps when agents last dealt with tickets and their contacts, and how the tickets were closed.
INSERT INTO dealings AS known (
    tenant_id, agent_id, contact_id, ticket_id, bot_id, last_dealt_at, closed_at, closed_interaction_at
)
SELECT tenant_id, agent_id, contact_id, ticket_id, bot_id, last_dealt_at, closed_at, closed_interaction_at
FROM unnest(
    $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::timestamptz[],
    $8::timestamptz[]
) AS dealt (tenant_id, agent_id, contact_id, ticket_id, bot_id, last_dealt_at, closed_at, closed_interaction_at)
ON CONFLICT (tenant_id, agent_id, contact_id, ticket_id) DO UPDATE
SET last_dealt_at = excluded.last_dealt_at,
    closed_at = excluded.closed_at,
    closed_interaction_at = excluded.closed_interaction_at
WHERE known.last_dealt_at < excluded.last_dealt_at
