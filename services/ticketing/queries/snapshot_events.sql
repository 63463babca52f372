-- Events of tickets that stand below a snapshot's bound, after an event number, by ticket and number; as many as $5 bytes
-- hold, and at least one. $1, $2: the tickets; $3: the bound; $4: after this number.
--
-- While the events of a week are being kept, they stand in both tables: the one of the feed comes first.
SELECT
    tenant_id AS "tenant_id!", ticket_id AS "ticket_id!", ticket_seq AS "ticket_seq!", event_id AS "event_id!",
    author_kind AS "author_kind!", author_id AS "author_id!", recorded_at AS "recorded_at!", payload AS "payload!",
    body, attachment_urls AS "attachment_urls: Vec<String>"
FROM (
    SELECT *, sum(bytes) OVER (ORDER BY ticket_id, ticket_seq, event_id DESC) - bytes AS bytes_before
    FROM (
        SELECT live.tenant_id, live.ticket_id, live.ticket_seq, live.event_id, live.author_kind, live.author_id,
            live.recorded_at, live.payload, NULL::text AS body, NULL::text[] AS attachment_urls,
            length(live.payload) + 64 AS bytes
        FROM unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, ticket_id)
        JOIN ticket_events AS live
            ON live.tenant_id = wanted.tenant_id AND live.ticket_id = wanted.ticket_id AND live.ticket_seq > $4
        WHERE live.transaction_id < $3::bigint::text::xid8
        UNION ALL
        SELECT kept.tenant_id, kept.ticket_id, kept.ticket_seq, 0, kept.author_kind, kept.author_id,
            kept.recorded_at, kept.payload, messages.body, messages.attachment_urls,
            length(kept.payload) + 64 + coalesce(octet_length(body) + pg_column_size(attachment_urls), 0)
        FROM unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, ticket_id)
        JOIN kept_events AS kept
            ON kept.tenant_id = wanted.tenant_id AND kept.ticket_id = wanted.ticket_id AND kept.ticket_seq > $4
        LEFT JOIN messages ON messages.tenant_id = kept.tenant_id AND messages.ticket_id = kept.ticket_id
            AND messages.ticket_seq = kept.ticket_seq
    ) AS both_tables
) AS summed
WHERE bytes_before < $5
ORDER BY ticket_id, ticket_seq, event_id DESC
