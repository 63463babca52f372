-- The tickets that a batch of events is about, as they are before it. Tickets that are not known yet are
-- missing from the answer. The position's lock keeps other writers out, so the rows need none.
SELECT tenant_id, ticket_id, bot_id, queue_id, agent_id, state, opened_at, previous_ticket_id, tags,
    customer_message_count, agent_message_count, reopen_count, contact_id, contact_name, contact_email,
    contact_phone, contact_channel, contact_address, closed_at, close_source, close_author_kind,
    close_author_id, close_exit_route, close_category, close_summary, is_unlinked, ticket_seq
FROM tickets
JOIN unnest($1::bigint[], $2::bigint[]) AS wanted (tenant_id, ticket_id) USING (tenant_id, ticket_id)
