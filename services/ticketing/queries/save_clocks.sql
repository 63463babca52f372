-- The rows are locked by this transaction, so nothing fences the update off.
UPDATE ticket_clocks AS clocks
SET ticket_seq = changed.ticket_seq,
    generation = changed.generation,
    next_due_at = changed.next_due_at,
    last_cycle = changed.last_cycle,
    anchor_at = changed.anchor_at,
    policy_version = changed.policy_version,
    stages_done = changed.stages_done,
    warning_accepted_at = changed.warning_accepted_at,
    alert = changed.alert,
    last_customer_message_at = changed.last_customer_message_at,
    event_transaction_id = changed.event_transaction_id
FROM unnest(
    $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::integer[],
    $7::timestamptz[], $8::bigint[], $9::smallint[], $10::timestamptz[], $11::smallint[], $12::timestamptz[],
    $13::bigint[]
) AS changed (
    tenant_id, ticket_id, ticket_seq, generation, next_due_at, last_cycle,
    anchor_at, policy_version, stages_done, warning_accepted_at, alert, last_customer_message_at, event_transaction_id
)
WHERE clocks.tenant_id = changed.tenant_id AND clocks.ticket_id = changed.ticket_id
