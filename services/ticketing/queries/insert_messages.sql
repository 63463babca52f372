INSERT INTO messages
    (tenant_id, ticket_id, ticket_seq, author_kind, author_id, kind, body, attachment_urls, recorded_at, channel_at,
     trace_context)
SELECT
    tenant_id, ticket_id, ticket_seq, author_kind, author_id, kind, body,
    -- Arrays of arrays can't be ragged: the addresses of a message come as one text.
    string_to_array(attachment_urls, chr(31)), recorded_at, channel_at,
    $11::bytea
FROM unnest(
    $1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::bigint[], $6::smallint[], $7::text[], $8::text[],
    $9::timestamptz[], $10::timestamptz[]
) WITH ORDINALITY AS message (
    tenant_id, ticket_id, ticket_seq, author_kind, author_id, kind, body, attachment_urls, recorded_at, channel_at, place
)
ORDER BY place
RETURNING ticket_id, ticket_seq, message_id
