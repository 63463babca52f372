-- One page of ids, the last opened first, among the open or the closed tickets. $4 says by what to list; the
-- branches that it does not name are never run, and each has an index of its own.
SELECT ticket_id AS "ticket_id!"
FROM (
    (
        SELECT ticket_id FROM tickets
        WHERE $4 = 'tenant' AND tenant_id = $1 AND is_open = $2 AND NOT is_unlinked AND ticket_id < $3
            AND state = ANY ($6) AND ($7::bigint[] IS NULL OR bot_id = ANY ($7))
        ORDER BY ticket_id DESC LIMIT $10
    )
    UNION ALL
    (
        SELECT ticket_id FROM tickets
        WHERE $4 = 'bot' AND tenant_id = $1 AND bot_id = $5 AND is_open = $2 AND NOT is_unlinked AND ticket_id < $3
            AND state = ANY ($6)
        ORDER BY ticket_id DESC LIMIT $10
    )
    UNION ALL
    (
        SELECT ticket_id FROM tickets
        WHERE $4 = 'queue' AND tenant_id = $1 AND queue_id = $5 AND is_open = $2 AND NOT is_unlinked AND ticket_id < $3
            AND state = ANY ($6) AND ($7::bigint[] IS NULL OR bot_id = ANY ($7)) AND ($8::bigint IS NULL OR bot_id = $8)
        ORDER BY ticket_id DESC LIMIT $10
    )
    UNION ALL
    (
        SELECT ticket_id FROM tickets
        WHERE $4 = 'agent' AND tenant_id = $1 AND agent_id = $5 AND is_open = $2 AND NOT is_unlinked AND ticket_id < $3
            AND state = ANY ($6) AND ($7::bigint[] IS NULL OR bot_id = ANY ($7)) AND ($8::bigint IS NULL OR bot_id = $8)
            AND ($9::bigint IS NULL OR queue_id = $9)
        ORDER BY ticket_id DESC LIMIT $10
    )
) AS page
ORDER BY ticket_id DESC
LIMIT $10
