-- Closed conversations of a period, the last closed first, after the one of ($10, $11) and down to that of ($13, $14), NULL for
-- no such bound. $4 to $9: bots, queues, agents, tags,
-- categories and sources, NULL where any will do. Planned for the values at hand: by tickets_closed, or by that of the bots
-- or agents when they have few tickets.
SELECT ticket_id, bot_id, queue_id, agent_id, contact_id, opened_at, closed_at AS "closed_at!",
    coalesce(first_closed_at, closed_at) AS "first_closed_at!", close_source AS "close_source!", close_category,
    close_summary, tags, reopen_count, customer_message_count, agent_message_count, later_response_count,
    later_response_ms, handling_ms, first_assigned_at, first_agent_message_at, calendar_version, business_wait_ms,
    business_first_response_ms, business_later_response_ms, business_first_resolution_ms,
    business_full_resolution_ms, business_handling_ms, is_unlinked
FROM tickets
WHERE tenant_id = $1
    AND closed_at >= $2
    AND closed_at < $3
    AND ($4::bigint[] IS NULL OR bot_id = ANY ($4))
    AND ($5::bigint[] IS NULL OR queue_id = ANY ($5))
    AND ($6::bigint[] IS NULL OR agent_id = ANY ($6))
    AND ($7::text[] IS NULL OR tags && $7)
    AND ($8::text[] IS NULL OR coalesce(close_category, '') = ANY ($8))
    AND ($9::integer[] IS NULL OR close_source = ANY ($9))
    AND (closed_at, ticket_id) < (coalesce($10::timestamptz, $3), coalesce($11::bigint, 0))
    AND (closed_at, ticket_id) >= (coalesce($13::timestamptz, '-infinity'), coalesce($14::bigint, 0))
ORDER BY closed_at DESC, ticket_id DESC
LIMIT $12
