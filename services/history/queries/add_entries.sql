-- Adds what was written to the conversations. An entry that is there already is an error: its event would be
-- applied twice.
-- $9: the attachments of each entry, joined by the unit separator (31).
INSERT INTO conversation_entries (
    tenant_id, ticket_id, ticket_seq, kind, message_id, author_kind, author_id, text, attachment_urls,
    recorded_at, channel_at
)
SELECT
    tenant_id, ticket_id, ticket_seq, kind, message_id, author_kind, author_id, text,
    string_to_array(joined_urls, chr(31)), recorded_at, channel_at
FROM unnest(
    $1::bigint[], $2::bigint[], $3::bigint[], $4::integer[], $5::bigint[], $6::integer[], $7::bigint[],
    $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[]
) AS added (
    tenant_id, ticket_id, ticket_seq, kind, message_id, author_kind, author_id, text, joined_urls,
    recorded_at, channel_at
)
