-- Closed tickets, the last closed first, for a viewer who is an agent: those of the contacts that he sees.
-- $1 to $5: the viewer, see 0002_access.sql.
-- $6, $7: closed at or after, and before. $8, $9: the last ticket of the page before. $10: the bot, 0 for all.
--
-- His own tickets among them, which the dealings tell, show since when as many were closed as are wanted. Contacts without
-- an interaction since then have nothing on the page.
--
-- From there on two ways lead to it: to walk through the tenant's tickets in their order and keep those of his contacts, or to
-- look up the tickets of each of his contacts. The first is the shorter one for an agent with many contacts, whose page is
-- full after few tickets, and is taken when it leads past no more than twice as many tickets as he has dealt with.
WITH span AS MATERIALIZED (
    SELECT
        greatest(span.since, $6::timestamptz) AS since,
        span.until,
        least($7::timestamptz, 'infinity') AS ended_before
    FROM shown_span($1, $2, $4, $5, statement_timestamp()) AS span
),
dealt AS MATERIALIZED (
    -- Not the tickets, which dealings_of_agent does not tell.
    SELECT dealing.contact_id, dealing.bot_id, dealing.closed_at
    FROM visible_dealings($1, $2, $3, $4, $5, statement_timestamp()) AS dealing
),
full_since AS MATERIALIZED (
    SELECT dealt.closed_at
    FROM dealt, span
    WHERE ($10::bigint = 0 OR dealt.bot_id = $10)
        AND dealt.closed_at >= span.since
        AND dealt.closed_at < span.ended_before
        -- Surely behind the page before.
        AND dealt.closed_at < coalesce($8::timestamptz, 'infinity')
    ORDER BY dealt.closed_at DESC
    OFFSET $11::bigint - 1
    LIMIT 1
),
seen AS MATERIALIZED (
    SELECT DISTINCT dealt.contact_id FROM dealt
),
bound AS MATERIALIZED (
    SELECT
        greatest(span.since, (SELECT full_since.closed_at FROM full_since)) AS since, span.until, span.ended_before
    FROM span
),
walk AS MATERIALIZED (
    SELECT (
        SELECT count(*)
        FROM (
            SELECT
            FROM tickets AS ticket
            WHERE ticket.tenant_id = $1
                AND ticket.closed_at IS NOT NULL
                AND ticket.closed_at >= (SELECT bound.since FROM bound)
                AND ticket.closed_at <= (SELECT bound.until FROM bound)
                AND ticket.closed_at < (SELECT bound.ended_before FROM bound)
                AND ticket.closed_at <= coalesce($8::timestamptz, 'infinity')
            LIMIT (SELECT 2 * count(*) + 1 FROM dealt)
        ) AS passed
    ) <= (SELECT 2 * count(*) FROM dealt) AS is_short
),
recent AS MATERIALIZED (
    SELECT seen.contact_id
    FROM (
        SELECT known.contact_id, known.last_interaction_at
        FROM contacts AS known
        WHERE known.tenant_id = $1
            -- One descent of the index for each, which takes half the time of a join.
            AND known.contact_id = ANY (ARRAY(SELECT seen.contact_id FROM seen))
    ) AS contact
    -- FULL keeps it a hash join: whoever plans expects few rows, and would compare each with each. Tickets without a contact
    -- have no row of one.
    FULL JOIN seen ON seen.contact_id = contact.contact_id
    WHERE NOT (SELECT walk.is_short FROM walk)
        AND coalesce(contact.last_interaction_at, 'infinity') >= (SELECT bound.since FROM bound)
),
page AS MATERIALIZED (
    SELECT either.*
    FROM (
        (
            SELECT ticket.closed_at, ticket.ticket_id
            FROM tickets AS ticket
            WHERE (SELECT walk.is_short FROM walk)
                AND ticket.tenant_id = $1
                AND ticket.closed_at IS NOT NULL
                AND ticket.closed_at >= (SELECT bound.since FROM bound)
                AND ticket.closed_at <= (SELECT bound.until FROM bound)
                AND ticket.closed_at < (SELECT bound.ended_before FROM bound)
                AND (ticket.closed_at, ticket.ticket_id) < (coalesce($8::timestamptz, $7::timestamptz, 'infinity'), coalesce($9::bigint, 0))
                AND ticket.bot_id = ANY (ARRAY(SELECT bot.bot_id FROM visible_bots($1, $3) AS bot))
                AND ($10::bigint = 0 OR ticket.bot_id = $10)
                -- IS TRUE keeps it a look-up in a hash table.
                AND (ticket.contact_id IN (SELECT dealt.contact_id FROM dealt)) IS TRUE
            ORDER BY ticket.closed_at DESC, ticket.ticket_id DESC
            LIMIT $11
        )
        UNION ALL
        (
            SELECT ticket.closed_at, ticket.ticket_id
            FROM bound
            CROSS JOIN recent
            -- OFFSET 0 keeps it a look-up by index for each contact.
            CROSS JOIN LATERAL (
                SELECT known.closed_at, known.ticket_id, known.bot_id
                FROM tickets AS known
                WHERE known.tenant_id = $1
                    AND known.contact_id = recent.contact_id
                    AND known.closed_at >= bound.since
                    AND known.closed_at <= bound.until
                OFFSET 0
            ) AS ticket
            WHERE ticket.bot_id = ANY (ARRAY(SELECT bot.bot_id FROM visible_bots($1, $3) AS bot))
                AND ($10::bigint = 0 OR ticket.bot_id = $10)
                AND ticket.closed_at < bound.ended_before
                AND (ticket.closed_at, ticket.ticket_id) < (coalesce($8::timestamptz, $7::timestamptz, 'infinity'), coalesce($9::bigint, 0))
            ORDER BY ticket.closed_at DESC, ticket.ticket_id DESC
            LIMIT $11
        )
    ) AS either
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
FROM page
-- OFFSET 0 keeps it a look-up by key.
CROSS JOIN LATERAL (
    SELECT known.* FROM tickets AS known WHERE known.tenant_id = $1 AND known.ticket_id = page.ticket_id OFFSET 0
) AS ticket
ORDER BY page.closed_at DESC, page.ticket_id DESC
