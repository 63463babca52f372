-- The contacts that an agent sees and that a query finds, the last interaction that he sees first.
-- $1 to $5: the viewer, see 0002_access.sql.
-- $6: patterns that must all be found. $7: the bot that they must have a ticket of, 0 for any.
-- $8, $9: last interaction and id of the last contact of the page before. 1970 stands for no interaction.
--
-- To look at all tickets of each of his contacts would take too long. But what he sees of a contact lies between two bounds:
-- the last interaction in his own tickets (least_at), and that in any ticket (most_at). Where they are the same it is known;
-- and who can't be on the page by the upper bound is not looked at.
WITH span AS MATERIALIZED (
    SELECT span.since, span.until FROM shown_span($1, $2, $4, $5, statement_timestamp()) AS span
),
seen AS MATERIALIZED (
    SELECT
        dealing.contact_id,
        coalesce(max(dealing.shown_interaction_at), 'epoch') AS least_at,
        bool_or(dealing.bot_id = $7 AND dealing.closed_at IS NOT NULL) AS has_ticket
    FROM visible_dealings($1, $2, $3, $4, $5, statement_timestamp()) AS dealing
    GROUP BY dealing.contact_id
),
found AS MATERIALIZED (
    SELECT
        seen.contact_id, seen.least_at, greatest(contact.last_interaction_at, seen.least_at) AS most_at, seen.has_ticket
    FROM (
        SELECT known.contact_id, known.last_interaction_at, true AS is_found
        FROM contacts AS known
        WHERE known.tenant_id = $1
            -- One descent of the index for each, which takes half the time of a join.
            AND known.contact_id = ANY (ARRAY(SELECT seen.contact_id FROM seen))
            AND known.search_text LIKE ALL ($6::text[])
    ) AS contact
    -- FULL keeps it a hash join: whoever plans expects few rows, and would compare each with each.
    FULL JOIN seen ON seen.contact_id = contact.contact_id
    WHERE coalesce(contact.is_found, false)
),
-- So many as are wanted, which are surely behind the page before, have interacted since then.
full_since AS MATERIALIZED (
    SELECT found.least_at
    FROM found
    WHERE (found.most_at, found.contact_id) < (coalesce($8::timestamptz, 'infinity'), $9::bigint)
        AND ($7::bigint = 0 OR found.has_ticket)
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
        AND (found.least_at, found.contact_id) < (coalesce($8::timestamptz, 'infinity'), $9::bigint)
        AND (
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
    SELECT dated.contact_id, dated.shown_interaction_at
    FROM dated
    WHERE (dated.shown_interaction_at, dated.contact_id) < (coalesce($8::timestamptz, 'infinity'), $9::bigint)
    ORDER BY dated.shown_interaction_at DESC, dated.contact_id DESC
    LIMIT $10
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
