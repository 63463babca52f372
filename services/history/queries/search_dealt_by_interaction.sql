-- The contacts that an agent sees and that a query finds, the last interaction that he sees first.
-- $1 to $5: the viewer, see 0002_access.sql.
-- $6: patterns that must all be found. $7: the bot that they must have a ticket of, 0 for any.
-- $8, $9: last interaction and id of the last contact of the page before. 1970 stands for no interaction.
-- $11: of how many contacts on an agent has many. $12: how many of the tenant's contacts are walked through then.
--
-- To look at all tickets of each of his contacts would take too long. But what he sees of a contact lies between two bounds:
-- the last interaction in his own tickets (least_at), and that in any ticket (most_at). Where they are the same it is known;
-- and who can't be on the page by the upper bound is not looked at. Where he has many contacts, the upper bounds are taken by
-- the hour from the index first, and only the contacts that may be on the page by them are looked up.
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
-- The tenant's contacts with the last interactions, when there are many to choose from. By contacts_by_interaction.
latest AS MATERIALIZED (
    SELECT contact.contact_id, contact.last_interaction_hour, true AS is_latest
    FROM contacts AS contact
    WHERE contact.tenant_id = $1 AND (SELECT count(*) FROM seen) > $11::bigint
    ORDER BY contact.last_interaction_hour DESC
    LIMIT $12
),
-- No later than this did any other contact interact.
others AS MATERIALIZED (
    SELECT CASE WHEN count(*) > 0 AND count(*) = $12::bigint THEN min(latest.last_interaction_hour) ELSE 'infinity' END AS hour
    FROM latest
),
bounded AS MATERIALIZED (
    SELECT
        dealt.contact_id, dealt.least_at, dealt.has_ticket,
        greatest(
            dealt.least_at,
            (CASE WHEN latest.is_latest THEN latest.last_interaction_hour ELSE (SELECT others.hour FROM others) END
                + interval '1 hour') AT TIME ZONE 'UTC'
        ) AS most_at
    FROM (SELECT seen.*, true AS is_seen FROM seen) AS dealt
    -- FULL keeps it a hash join: whoever plans expects few rows, and would compare each with each.
    FULL JOIN latest ON latest.contact_id = dealt.contact_id
    WHERE coalesce(dealt.is_seen, false)
),
-- So many as are wanted, which are surely behind the page before, have interacted since then.
roughly_full_since AS MATERIALIZED (
    SELECT bounded.least_at
    FROM bounded
    WHERE (bounded.most_at, bounded.contact_id) < (coalesce($8::timestamptz, 'infinity'), $9::bigint)
        AND bounded.has_ticket
    ORDER BY bounded.least_at DESC
    OFFSET $10::bigint - 1
    LIMIT 1
),
candidate AS MATERIALIZED (
    SELECT bounded.contact_id, bounded.least_at, bounded.has_ticket, true AS is_candidate
    FROM bounded
    WHERE bounded.most_at >= coalesce((SELECT roughly.least_at FROM roughly_full_since AS roughly), '-infinity')
        AND (bounded.least_at, bounded.contact_id) < (coalesce($8::timestamptz, 'infinity'), $9::bigint)
),
found AS MATERIALIZED (
    SELECT
        candidate.contact_id, candidate.least_at, candidate.has_ticket,
        greatest(contact.last_interaction_at, candidate.least_at) AS most_at
    FROM (
        SELECT known.contact_id, known.last_interaction_at
        FROM contacts AS known
        WHERE known.tenant_id = $1
            -- One descent of the index for each, which takes half the time of a join.
            AND known.contact_id = ANY (ARRAY(SELECT candidate.contact_id FROM candidate))
    ) AS contact
    FULL JOIN candidate ON candidate.contact_id = contact.contact_id
    WHERE coalesce(candidate.is_candidate, false)
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
        AND (found.least_at, found.contact_id) < (coalesce($8::timestamptz, 'infinity'), $9::bigint)
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
