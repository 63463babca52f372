-- Deletes these tickets with all that belongs to them, and marks them as forgotten. Each table is asked for the ids themselves,
-- so that only their partitions are read, by their indexes.
WITH marked AS (
    INSERT INTO forgotten_tickets (tenant_id, ticket_id)
    SELECT $1, ticket_id FROM unnest($2::bigint[]) AS old (ticket_id)
), entries AS (
    DELETE FROM conversation_entries WHERE tenant_id = $1 AND ticket_id = ANY ($2)
), firings AS (
    DELETE FROM stage_firings WHERE tenant_id = $1 AND ticket_id = ANY ($2)
), dealt AS (
    DELETE FROM dealings WHERE tenant_id = $1 AND ticket_id = ANY ($2)
)
DELETE FROM tickets WHERE tenant_id = $1 AND ticket_id = ANY ($2)
