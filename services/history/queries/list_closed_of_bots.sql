-- Closed tickets of some bots, the last closed first, after the ticket ($4, $5) of the page before.
-- A page is read from tickets_closed_by_bot for each bot and the pages are merged, so that an actor with few
-- bots does not wade through the tickets of the others. $7: the bots.
SELECT page.*
FROM unnest($7::bigint[]) AS permitted (bot_id)
CROSS JOIN LATERAL (
    SELECT tenant_id, ticket_id, bot_id, queue_id, agent_id, state, opened_at, previous_ticket_id, tags,
    customer_message_count, agent_message_count, reopen_count, contact_id, contact_name, contact_email,
    contact_phone, contact_channel, contact_address, closed_at, close_source, close_author_kind,
    close_author_id, close_exit_route, close_category, close_summary, is_unlinked, ticket_seq
    FROM tickets
    WHERE tenant_id = $1
        AND bot_id = permitted.bot_id
        AND closed_at IS NOT NULL
        AND closed_at >= coalesce($2::timestamptz, '-infinity')
        AND closed_at < coalesce($3::timestamptz, 'infinity')
        AND (closed_at, ticket_id) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::bigint, 0))
    ORDER BY closed_at DESC, ticket_id DESC
    LIMIT $6
) AS page
ORDER BY page.closed_at DESC, page.ticket_id DESC
LIMIT $6
