-- Tickets were closed or opened again, or something happened in closed ones: all dealings in them say so.
UPDATE dealings AS dealing
SET closed_at = changed.closed_at, closed_interaction_at = changed.closed_interaction_at
FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::timestamptz[])
    AS changed (tenant_id, ticket_id, closed_at, closed_interaction_at)
WHERE dealing.tenant_id = changed.tenant_id
    AND dealing.ticket_id = changed.ticket_id
    AND (dealing.closed_at, dealing.closed_interaction_at)
        IS DISTINCT FROM (changed.closed_at, changed.closed_interaction_at)
