-- A ticket that is visible to the viewer.
-- $1 to $5: the viewer, see 0002_access.sql.
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
CROSS JOIN LATERAL ticket_visible(
    $1, $2, $3, $4, $5, statement_timestamp(), ticket.bot_id, ticket.contact_id, ticket.closed_at
) AS visible
WHERE ticket.tenant_id = $1 AND ticket.ticket_id = $6
