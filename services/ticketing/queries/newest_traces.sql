-- Of each ticket the newest trace among its last messages. So few are looked at that a long conversation costs nothing more.
SELECT DISTINCT trace.trace_context AS "trace_context!"
FROM unnest($1::bigint[], $2::bigint[]) AS fired (tenant_id, ticket_id)
CROSS JOIN LATERAL (
    SELECT last.trace_context
    FROM (
        SELECT ticket_seq, trace_context
        FROM messages
        WHERE messages.tenant_id = fired.tenant_id AND messages.ticket_id = fired.ticket_id
        ORDER BY ticket_seq DESC
        LIMIT 8
    ) AS last
    WHERE last.trace_context IS NOT NULL
    ORDER BY last.ticket_seq DESC
    LIMIT 1
) AS trace
LIMIT 100
