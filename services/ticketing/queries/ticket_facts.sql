-- What is known of tickets, with their clocks and with what their bots' settings say about them now: one statement, so
-- that all of it is of the same moment.
SELECT
    tickets.tenant_id,
    tickets.ticket_id,
    tickets.bot_id,
    tickets.queue_id,
    tickets.contact_id,
    tickets.agent_id,
    tickets.state,
    tickets.previous_ticket_id,
    tickets.tags,
    tickets.opened_at,
    tickets.first_assigned_at,
    tickets.first_agent_message_at,
    tickets.closed_at,
    tickets.close_source,
    tickets.close_author_kind,
    tickets.close_author_id,
    tickets.close_category,
    tickets.close_summary,
    tickets.close_exit_route,
    bots.policy_version AS "bot_policy_version?",
    bots.exit_route AS bot_exit_route,
    bots.channel_account_id AS bot_channel_account_id,
    bots.reopen_window_value,
    bots.reopen_window_unit,
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
JOIN tickets ON tickets.tenant_id = wanted.tenant_id AND tickets.ticket_id = wanted.ticket_id
JOIN bots ON bots.tenant_id = tickets.tenant_id AND bots.bot_id = tickets.bot_id
JOIN ticket_clocks AS clocks ON clocks.tenant_id = tickets.tenant_id AND clocks.ticket_id = tickets.ticket_id
