-- The clocks of tickets as committed, without locks.
SELECT
    clocks.tenant_id,
    clocks.ticket_id,
    clocks.ticket_seq,
    clocks.generation,
    clocks.next_due_at,
    clocks.last_cycle,
    clocks.anchor_at,
    clocks.policy_version,
    clocks.stages_done,
    clocks.warning_accepted_at,
    clocks.alert,
    clocks.last_customer_message_at,
    clock_timestamp() AS "now!"
FROM unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, ticket_id)
JOIN ticket_clocks AS clocks ON clocks.tenant_id = wanted.tenant_id AND clocks.ticket_id = wanted.ticket_id
