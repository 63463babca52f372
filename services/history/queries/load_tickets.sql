-- The tickets that a batch of events is about, as they are before it. Tickets that are not known yet are
-- missing from the answer. The position's lock keeps other writers out, so the rows need none.
SELECT
    tenant_id, ticket_id, bot_id, queue_id, agent_id, state, opened_at, previous_ticket_id, first_queue_id,
    opened_by_kind, opened_by_id, tags, customer_message_count, agent_message_count, reopen_count, contact_id,
    contact_name, contact_email, contact_phone, contact_channel, contact_address, closed_at, close_source,
    close_author_kind, close_author_id, close_exit_route, close_category, close_summary, is_unlinked,
    first_assigned_at, first_agent_message_at, first_closed_at, later_response_count, later_response_ms,
    handling_ms, calendar_version, business_wait_ms, business_first_response_ms, business_later_response_ms,
    business_first_resolution_ms, business_full_resolution_ms, business_handling_ms, assigned_agent_id,
    customer_waits_since, handled_since, is_held, last_interaction_at, ticket_seq, snapshot_seq
FROM tickets
JOIN unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, ticket_id) USING (tenant_id, ticket_id)
