-- In the order given: ids rise with ticket_seq.
INSERT INTO ticket_events
    (tenant_id, ticket_id, ticket_seq, bot_id, author_kind, author_id, recorded_at, payload, transaction_id)
SELECT
    tenant_id, ticket_id, ticket_seq, bot_id, author_kind, author_id, recorded_at, payload,
    transaction_id::text::xid8
FROM unnest(
    $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::bigint[], $7::timestamptz[],
    $8::bytea[], $9::bigint[]
) WITH ORDINALITY AS event (
    tenant_id, ticket_id, ticket_seq, bot_id, author_kind, author_id, recorded_at, payload, transaction_id, place
)
ORDER BY place
