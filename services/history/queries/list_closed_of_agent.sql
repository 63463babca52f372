-- Closed tickets of one agent, the last closed first, for a viewer who is bound to no contacts. Served by
-- tickets_closed_by_agent.
-- $1: the tenant. $2: the bots that the viewer may use, NULL for all.
-- $3, $4: closed at or after, and before. $5, $6: the last ticket of the page before. $7: the bot that is wanted, 0 for all.
-- $9: the agent.
SELECT
    ticket.ticket_id, ticket.bot_id, ticket.queue_id, ticket.agent_id, ticket.state, ticket.opened_at,
    ticket.previous_ticket_id, ticket.tags, ticket.customer_message_count, ticket.agent_message_count,
    ticket.reopen_count, ticket.contact_id, ticket.contact_name, ticket.contact_email, ticket.contact_phone,
    ticket.contact_channel, ticket.contact_address, ticket.closed_at, ticket.close_source,
    ticket.close_author_kind, ticket.close_author_id, ticket.close_exit_route, ticket.close_category,
    ticket.close_summary, ticket.is_unlinked, ticket.first_queue_id, ticket.opened_by_kind, ticket.opened_by_id,
    ticket.first_assigned_at, ticket.first_agent_message_at, ticket.first_closed_at, ticket.later_response_count,
    ticket.later_response_ms, ticket.handling_ms, ticket.calendar_version, ticket.business_wait_ms,
    ticket.business_first_response_ms, ticket.business_later_response_ms, ticket.business_first_resolution_ms,
    ticket.business_full_resolution_ms, ticket.business_handling_ms,
    nullif(ticket.last_interaction_at, '-infinity') AS "last_interaction_at?", ticket.ticket_seq
FROM tickets AS ticket
WHERE ticket.tenant_id = $1
    AND ticket.agent_id = $9
    AND ticket.bot_id = ANY (ARRAY(SELECT bot.bot_id FROM visible_bots($1, $2) AS bot))
    AND ($7::bigint = 0 OR ticket.bot_id = $7)
    AND ticket.closed_at IS NOT NULL
    AND ticket.closed_at >= coalesce($3::timestamptz, '-infinity')
    AND ticket.closed_at < coalesce($4::timestamptz, 'infinity')
    AND (ticket.closed_at, ticket.ticket_id) < (coalesce($5::timestamptz, $4::timestamptz, 'infinity'), coalesce($6::bigint, 0))
ORDER BY ticket.closed_at DESC, ticket.ticket_id DESC
LIMIT $8
