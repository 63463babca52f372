-- The next tickets of a snapshot, in the order of their ids, with the number of the last event that stands below the
-- snapshot's bound, and about how many bytes their events have. $1: after this ticket; $2: the bound; $3: the last ticket;
-- $4: how many.
--
-- The events of a ticket stand under transaction ids that never fall, so those below the bound are the first ones. They may
-- be kept no longer; those from the bound on are new, and there.
SELECT
    tickets.tenant_id,
    tickets.ticket_id,
    tickets.bot_id,
    coalesce(live.first_later_seq - 1, clocks.ticket_seq) AS "ticket_seq!",
    live.bytes + kept.bytes AS "bytes!"
FROM (
    SELECT tenant_id, ticket_id, bot_id FROM tickets
    WHERE ticket_id > $1 AND ticket_id <= $3
    ORDER BY ticket_id
    LIMIT $4
) AS tickets
JOIN ticket_clocks AS clocks ON clocks.tenant_id = tickets.tenant_id AND clocks.ticket_id = tickets.ticket_id
CROSS JOIN LATERAL (
    SELECT
        min(ticket_seq) FILTER (WHERE transaction_id >= $2::bigint::text::xid8) AS first_later_seq,
        -- 64 bytes for what a message has beside the payload.
        coalesce(sum(length(payload) + 64) FILTER (WHERE transaction_id < $2::bigint::text::xid8), 0)::bigint AS bytes
    FROM ticket_events
    WHERE ticket_events.tenant_id = tickets.tenant_id AND ticket_events.ticket_id = tickets.ticket_id
) AS live
CROSS JOIN LATERAL (
    SELECT coalesce(sum(
        length(kept_events.payload) + 64 + coalesce(octet_length(body) + pg_column_size(attachment_urls), 0)
    ), 0)::bigint AS bytes
    FROM kept_events
    LEFT JOIN messages USING (tenant_id, ticket_id, ticket_seq)
    WHERE kept_events.tenant_id = tickets.tenant_id AND kept_events.ticket_id = tickets.ticket_id
) AS kept
ORDER BY tickets.ticket_id
