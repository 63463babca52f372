-- Some tickets of a tenant that were closed too long ago, the oldest first. Served by tickets_closed: the instant is that of the
-- statement, since what might change from row to row can't be looked up in an index.
SELECT ticket_id
FROM tickets
WHERE tenant_id = $1
    AND closed_at < statement_timestamp() - make_interval(days => $2)
ORDER BY closed_at
LIMIT $3
