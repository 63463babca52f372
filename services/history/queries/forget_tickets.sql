-- Deletes some tickets that were closed too long ago with all that belongs to them, and marks them as forgotten.
-- Served by tickets_closed.
WITH old AS (
    SELECT tenant_id, ticket_id
    FROM tickets
    WHERE tenant_id = $1
        AND closed_at < clock_timestamp() - make_interval(days => $2)
    ORDER BY closed_at
    LIMIT $3
), marked AS (
    INSERT INTO forgotten_tickets (tenant_id, ticket_id)
    SELECT tenant_id, ticket_id FROM old
), entries AS (
    DELETE FROM conversation_entries USING old
    WHERE conversation_entries.tenant_id = old.tenant_id AND conversation_entries.ticket_id = old.ticket_id
), firings AS (
    DELETE FROM stage_firings USING old
    WHERE stage_firings.tenant_id = old.tenant_id AND stage_firings.ticket_id = old.ticket_id
), dealt AS (
    DELETE FROM dealings USING old
    WHERE dealings.tenant_id = old.tenant_id AND dealings.ticket_id = old.ticket_id
), deleted AS (
    DELETE FROM tickets USING old
    WHERE tickets.tenant_id = old.tenant_id AND tickets.ticket_id = old.ticket_id
)
SELECT count(*) AS "forgotten!" FROM old
