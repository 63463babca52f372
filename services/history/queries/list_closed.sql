-- Closed tickets of all bots of a tenant, the last closed first, after the ticket ($4, $5) of the page before.
-- Served by tickets_closed.
SELECT tenant_id, ticket_id, bot_id, queue_id, agent_id, state, opened_at, previous_ticket_id, tags,
    customer_message_count, agent_message_count, reopen_count, contact_id, contact_name, contact_email,
    contact_phone, contact_channel, contact_address, closed_at, close_source, close_author_kind,
    close_author_id, close_exit_route, close_category, close_summary, is_unlinked, ticket_seq
FROM tickets
WHERE tenant_id = $1
    AND closed_at IS NOT NULL
    AND closed_at >= coalesce($2::timestamptz, '-infinity')
    AND closed_at < coalesce($3::timestamptz, 'infinity')
    AND (closed_at, ticket_id) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::bigint, 0))
ORDER BY closed_at DESC, ticket_id DESC
LIMIT $6
