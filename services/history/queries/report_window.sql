-- The last of the $6 conversations of a period that come after the one of ($4, $5), whatever they are; no row when there are
-- fewer. Served by tickets_closed alone.
SELECT closed_at AS "closed_at!: jiff_sqlx::Timestamp", ticket_id
FROM tickets
WHERE tenant_id = $1
    AND closed_at >= $2
    AND closed_at < $3
    AND (closed_at, ticket_id) < (coalesce($4::timestamptz, $3), coalesce($5::bigint, 0))
ORDER BY closed_at DESC, ticket_id DESC
OFFSET $6::bigint - 1
LIMIT 1
