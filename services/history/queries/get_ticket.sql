-- One ticket. $3: the permitted bots, NULL for all of the tenant.
SELECT tenant_id, ticket_id, bot_id, queue_id, agent_id, state, opened_at, previous_ticket_id, tags,
    customer_message_count, agent_message_count, reopen_count, contact_id, contact_name, contact_email,
    contact_phone, contact_channel, contact_address, closed_at, close_source, close_author_kind,
    close_author_id, close_exit_route, close_category, close_summary, is_unlinked, ticket_seq
FROM tickets
WHERE tenant_id = $1
    AND ticket_id = $2
    AND ($3::bigint[] IS NULL OR bot_id = ANY ($3))
