-- Closed tickets of one agent, the last closed first, for a viewer who is an agent: those of the contacts that he sees. Served
-- by tickets_closed_by_agent.
-- $1 to $5: the viewer, see 0002_access.sql.
-- $6, $7: closed at or after, and before. $8, $9: the last ticket of the page before. $10: the bot, 0 for all.
-- $12: the agent whose tickets are wanted.
WITH span AS MATERIALIZED (
    SELECT greatest(span.since, $6::timestamptz) AS since, span.until
    FROM shown_span($1, $2, $4, $5, statement_timestamp()) AS span
),
seen AS MATERIALIZED (
    SELECT DISTINCT dealing.contact_id
    FROM visible_dealings($1, $2, $3, $4, $5, statement_timestamp()) AS dealing
)
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
    AND ticket.agent_id = $12
    AND ticket.closed_at IS NOT NULL
    AND ticket.closed_at >= (SELECT span.since FROM span)
    AND ticket.closed_at <= (SELECT span.until FROM span)
    AND ticket.closed_at < coalesce($7::timestamptz, 'infinity')
    AND (ticket.closed_at, ticket.ticket_id) < (coalesce($8::timestamptz, 'infinity'), coalesce($9::bigint, 0))
    AND ticket.bot_id = ANY (ARRAY(SELECT bot.bot_id FROM visible_bots($1, $3) AS bot))
    AND ($10::bigint = 0 OR ticket.bot_id = $10)
    -- IS TRUE keeps it a look-up in a hash table.
    AND (ticket.contact_id IN (SELECT seen.contact_id FROM seen)) IS TRUE
ORDER BY ticket.closed_at DESC, ticket.ticket_id DESC
LIMIT $11
