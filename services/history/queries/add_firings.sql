-- Adds stages that took effect. One that is there already is an error: its event would be applied twice.
INSERT INTO stage_firings (
    tenant_id, ticket_id, ticket_seq, bot_id, queue_id, stage, cycle_kind, fired_at, late_ms
)
SELECT tenant_id, ticket_id, ticket_seq, bot_id, queue_id, stage, cycle_kind, fired_at, late_ms
FROM unnest(
    $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::integer[], $7::integer[],
    $8::timestamptz[], $9::bigint[]
) AS added (tenant_id, ticket_id, ticket_seq, bot_id, queue_id, stage, cycle_kind, fired_at, late_ms)
