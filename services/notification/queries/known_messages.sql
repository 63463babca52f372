-- The messages under some keys. Run after accept.sql in the same transaction, it sees those that another
-- transaction has stored in the meantime.
SELECT m.tenant_id, m.message_id, m.idempotency_key, m.accepted_at
FROM unnest($1::bigint[], $2::text[]) AS k (tenant_id, idempotency_key)
JOIN active_messages AS m ON m.tenant_id = k.tenant_id AND m.idempotency_key = k.idempotency_key
