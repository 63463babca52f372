-- What alerts change, of rows that this transaction has locked. Nearly all that fires is such: the other twenty columns are
-- left as they are.
UPDATE ticket_clocks AS clocks
SET ticket_seq = changed.ticket_seq,
    event_transaction_id = changed.event_transaction_id,
    next_due_at = changed.next_due_at,
    stages_done = changed.stages_done,
    cycle_due_at = changed.cycle_due_at,
    alert = changed.alert,
    agent_stages_done = changed.agent_stages_done,
    agent_due_at = changed.agent_due_at,
    agent_alert = changed.agent_alert
FROM unnest(
    $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::smallint[], $7::timestamptz[],
    $8::smallint[], $9::smallint[], $10::timestamptz[], $11::smallint[]
) AS changed (
    tenant_id, ticket_id, ticket_seq, event_transaction_id, next_due_at, stages_done, cycle_due_at, alert,
    agent_stages_done, agent_due_at, agent_alert
)
WHERE clocks.tenant_id = changed.tenant_id AND clocks.ticket_id = changed.ticket_id
