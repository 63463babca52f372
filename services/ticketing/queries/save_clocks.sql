-- The rows are locked by this transaction, so nothing fences the update off.
UPDATE ticket_clocks AS clocks
SET ticket_seq = changed.ticket_seq,
    event_transaction_id = changed.event_transaction_id,
    generation = changed.generation,
    next_due_at = changed.next_due_at,
    last_cycle = changed.last_cycle,
    cycle = changed.cycle,
    cycle_kind = changed.cycle_kind,
    anchor_at = changed.anchor_at,
    policy_version = changed.policy_version,
    stages_done = changed.stages_done,
    is_excluded = changed.is_excluded,
    warning_accepted_at = changed.warning_accepted_at,
    warning_settled_at = changed.warning_settled_at,
    changed_at = changed.changed_at,
    cycle_due_at = changed.cycle_due_at,
    alert = changed.alert,
    agent_cycle = changed.agent_cycle,
    agent_anchor_at = changed.agent_anchor_at,
    agent_policy_version = changed.agent_policy_version,
    agent_stages_done = changed.agent_stages_done,
    agent_changed_at = changed.agent_changed_at,
    agent_due_at = changed.agent_due_at,
    agent_alert = changed.agent_alert,
    turn = changed.turn,
    turn_since_at = changed.turn_since_at,
    turn_last_at = changed.turn_last_at,
    agent_has_written = changed.agent_has_written,
    hold_until = changed.hold_until,
    automation = changed.automation,
    automation_until = changed.automation_until,
    last_customer_message_at = changed.last_customer_message_at
FROM unnest(
    $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::integer[],
    $8::integer[], $9::smallint[], $10::timestamptz[], $11::bigint[], $12::smallint[], $13::boolean[],
    $14::timestamptz[], $15::timestamptz[], $16::timestamptz[], $17::smallint[], $18::integer[],
    $19::timestamptz[], $20::bigint[], $21::smallint[], $22::timestamptz[], $23::smallint[], $24::smallint[],
    $25::timestamptz[], $26::timestamptz[], $27::boolean[], $28::timestamptz[], $29::smallint[],
    $30::timestamptz[], $31::timestamptz[], $32::timestamptz[], $33::timestamptz[]
) AS changed (
    tenant_id, ticket_id, ticket_seq, event_transaction_id, generation, next_due_at, last_cycle, cycle,
    cycle_kind, anchor_at, policy_version, stages_done, is_excluded, warning_accepted_at, warning_settled_at,
    cycle_due_at, alert, agent_cycle, agent_anchor_at, agent_policy_version, agent_stages_done, agent_due_at,
    agent_alert, turn, turn_since_at, turn_last_at, agent_has_written, hold_until, automation,
    automation_until, last_customer_message_at, changed_at, agent_changed_at
)
WHERE clocks.tenant_id = changed.tenant_id AND clocks.ticket_id = changed.ticket_id
