-- The contacts that an agent sees and that a query finds, the last interaction that he sees first.
-- $1 to $5: the viewer, see 0002_access.sql.
-- $6: patterns that must all be found. $7: the bot that they must have a ticket of, 0 for any.
-- $8, $9: last interaction and id of the last contact of the page before. 1970 stands for no interaction.
-- $11: of how many contacts on there are many. $12: how many tickets are walked through then.
--
-- Where many are found, the tenant's closed tickets are walked through in the order of their last interactions, from the place
-- of the page on, until those that are the last of a contact of his fill the page (walked).
--
-- Otherwise, and where that does not fill it: to look at all tickets of each of his contacts would take too long. But what he
-- sees of a contact lies between two bounds: the last interaction in his own tickets (least_at), and that in any ticket
-- (most_at). Where they are the same it is known; and who can't be on the page by the upper bound is not looked at.
WITH span AS MATERIALIZED (
    SELECT span.since, span.until FROM shown_span($1, $2, $4, $5, statement_timestamp()) AS span
),
-- By dealings_of_agent, where all of it stands.
seen AS MATERIALIZED (
    SELECT
        dealing.contact_id,
        coalesce(max(dealing.shown_interaction_at), 'epoch') AS least_at,
        $7::bigint = 0 OR bool_or(dealing.bot_id = $7 AND dealing.closed_at IS NOT NULL) AS has_ticket
    FROM visible_dealings($1, $2, $3, $4, $5, statement_timestamp()) AS dealing
    WHERE dealing.search_text LIKE ALL ($6::text[]) AND dealing.name_key IS NOT NULL
    GROUP BY dealing.contact_id
),
-- By tickets_closed_by_interaction.
walked AS MATERIALIZED (
    SELECT latest.contact_id, latest.closed_interaction_at AS shown_interaction_at
    FROM (
        SELECT ticket.ticket_id, ticket.contact_id, ticket.bot_id, ticket.closed_at, ticket.closed_interaction_at
        FROM tickets AS ticket
        WHERE ticket.tenant_id = $1
            AND ticket.closed_interaction_at > 'epoch'
            AND (ticket.closed_interaction_at, ticket.contact_id) < (coalesce($8::timestamptz, 'infinity'), $9::bigint)
            AND (SELECT count(*) FROM seen) > $11::bigint
        ORDER BY ticket.closed_interaction_at DESC, ticket.contact_id DESC
        LIMIT $12::bigint
    ) AS latest
    -- IS TRUE keeps it a look-up in a hash table.
    WHERE (latest.contact_id IN (SELECT seen.contact_id FROM seen)) IS TRUE
        AND latest.closed_at >= (SELECT span.since FROM span)
        AND latest.closed_at <= (SELECT span.until FROM span)
        AND (latest.bot_id IN (SELECT bot.bot_id FROM visible_bots($1, $3) AS bot)) IS TRUE
        AND NOT EXISTS (
            SELECT
            FROM span
            JOIN tickets AS later ON later.closed_at >= span.since AND later.closed_at <= span.until
            JOIN visible_bots($1, $3) AS bot ON bot.bot_id = later.bot_id
            WHERE later.tenant_id = $1
                AND later.contact_id = latest.contact_id
                AND (later.closed_interaction_at, later.ticket_id) > (latest.closed_interaction_at, latest.ticket_id)
            -- Keeps it from being read for all tickets at once.
            OFFSET 0
        )
        AND (
            $7::bigint = 0
            OR latest.bot_id = $7
            OR EXISTS (
                SELECT
                FROM span
                JOIN tickets AS ticket ON ticket.closed_at >= span.since AND ticket.closed_at <= span.until
                JOIN visible_bots($1, $3) AS bot ON bot.bot_id = ticket.bot_id
                WHERE ticket.tenant_id = $1 AND ticket.contact_id = latest.contact_id AND ticket.bot_id = $7
                OFFSET 0
            )
        )
    ORDER BY latest.closed_interaction_at DESC, latest.contact_id DESC
    LIMIT $10::bigint
),
rest AS MATERIALIZED (
    SELECT seen.contact_id, seen.least_at, seen.has_ticket, true AS is_of_rest
    FROM seen
    WHERE (SELECT count(*) FROM walked) < $10
        AND (seen.least_at, seen.contact_id) < (coalesce($8::timestamptz, 'infinity'), $9::bigint)
),
found AS MATERIALIZED (
    SELECT
        rest.contact_id, rest.least_at, rest.has_ticket, greatest(contact.last_interaction_at, rest.least_at) AS most_at
    FROM (
        SELECT known.contact_id, known.last_interaction_at
        FROM contacts AS known
        WHERE known.tenant_id = $1
            -- One descent of the index for each, which takes half the time of a join.
            AND known.contact_id = ANY (ARRAY(SELECT rest.contact_id FROM rest))
    ) AS contact
    -- FULL keeps it a hash join: whoever plans expects few rows, and would compare each with each.
    FULL JOIN rest ON rest.contact_id = contact.contact_id
    WHERE coalesce(rest.is_of_rest, false)
),
-- So many as are wanted, which are surely behind the page before, have interacted since then.
full_since AS MATERIALIZED (
    SELECT found.least_at
    FROM found
    WHERE (found.most_at, found.contact_id) < (coalesce($8::timestamptz, 'infinity'), $9::bigint)
        AND found.has_ticket
    ORDER BY found.least_at DESC
    OFFSET $10::bigint - 1
    LIMIT 1
),
dated AS MATERIALIZED (
    SELECT
        found.contact_id,
        CASE
            WHEN found.least_at = found.most_at THEN found.least_at
            ELSE coalesce((
                SELECT nullif(max(ticket.last_interaction_at), '-infinity')
                FROM span
                JOIN tickets AS ticket ON ticket.closed_at >= span.since AND ticket.closed_at <= span.until
                JOIN visible_bots($1, $3) AS bot ON bot.bot_id = ticket.bot_id
                WHERE ticket.tenant_id = $1 AND ticket.contact_id = found.contact_id
            ), 'epoch')
        END AS shown_interaction_at
    FROM found
    WHERE found.most_at >= coalesce((SELECT full_since.least_at FROM full_since), '-infinity')
        AND (
            -- Where any bot will do, the rest is not even planned.
            $7::bigint = 0
            OR found.has_ticket
            OR EXISTS (
                SELECT
                FROM span
                JOIN tickets AS ticket ON ticket.closed_at >= span.since AND ticket.closed_at <= span.until
                JOIN visible_bots($1, $3) AS bot ON bot.bot_id = ticket.bot_id
                WHERE ticket.tenant_id = $1 AND ticket.contact_id = found.contact_id AND ticket.bot_id = $7
                -- Keeps it from being read for all contacts at once.
                OFFSET 0
            )
        )
),
page AS MATERIALIZED (
    SELECT walked.contact_id, walked.shown_interaction_at
    FROM walked
    WHERE NOT EXISTS (SELECT FROM rest)
    UNION ALL
    (
        SELECT dated.contact_id, dated.shown_interaction_at
        FROM dated
        WHERE (dated.shown_interaction_at, dated.contact_id) < (coalesce($8::timestamptz, 'infinity'), $9::bigint)
        ORDER BY dated.shown_interaction_at DESC, dated.contact_id DESC
        LIMIT $10
    )
)
SELECT
    contact.contact_id AS "contact_id!", contact.name AS "name!", contact.email AS "email!", contact.phone AS "phone!",
    contact.channel AS "channel!", contact.address AS "address!", contact.name_key AS "name_key!",
    nullif(page.shown_interaction_at, 'epoch') AS "last_interaction_at?"
FROM page
CROSS JOIN LATERAL (
    SELECT known.* FROM contacts AS known WHERE known.tenant_id = $1 AND known.contact_id = page.contact_id OFFSET 0
) AS contact
ORDER BY page.shown_interaction_at DESC, page.contact_id DESC
