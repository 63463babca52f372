-- Which of these tickets retention has taken away: they are marked, or their partition is gone.
SELECT wanted.tenant_id AS "tenant_id!", wanted.ticket_id AS "ticket_id!"
FROM unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, ticket_id)
WHERE to_regclass('tickets_p' || wanted.ticket_id / 1000000) IS NULL
    OR EXISTS (
        SELECT FROM forgotten_tickets AS forgotten
        WHERE forgotten.tenant_id = wanted.tenant_id
            AND forgotten.ticket_id = wanted.ticket_id
    )
