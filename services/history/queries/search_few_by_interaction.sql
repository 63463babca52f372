-- The contacts that a query finds, the last interaction first, for a viewer who is bound to no contacts, when the query finds
-- few: all that it finds are read and sorted. See search.matching_contacts.
-- $1: the tenant. $2: the bots that the viewer may use, NULL for all.
-- $3: whether interactions count that the viewer does not see. $4: patterns that must all be found.
-- $5, $6: last interaction and id of the last contact of the page before. $8: the longest of the patterns.
-- $10: the bot that they must have a ticket of, 0 for any. $9: how many are few. When there are more, one row comes that says so and names no contact.
WITH matching AS MATERIALIZED (
    SELECT matching.contact_id
    FROM search.matching_contacts($4::text[], $8::text, $9::bigint + 1) AS matching
),
dated AS MATERIALIZED (
    SELECT known.contact_id, known.last_interaction_at AS shown_interaction_at
    FROM contacts AS known
    WHERE $3::boolean
        AND known.tenant_id = $1
        -- One descent of the index for each, which takes half the time of a join.
        AND known.contact_id = ANY (ARRAY(SELECT matching.contact_id FROM matching))
        AND (SELECT count(*) FROM matching) <= $9
    UNION ALL
    SELECT
        matching.contact_id,
        (
            SELECT nullif(max(ticket.last_interaction_at), '-infinity')
            FROM tickets AS ticket
            JOIN visible_bots($1, $2) AS bot ON bot.bot_id = ticket.bot_id
            WHERE ticket.tenant_id = $1 AND ticket.contact_id = matching.contact_id
        )
    FROM matching
    WHERE NOT $3::boolean AND (SELECT count(*) FROM matching) <= $9
),
page AS MATERIALIZED (
    SELECT found.*
    FROM (
        SELECT dated.*
        FROM dated
        -- Without one that counts, it has no ticket that counts either.
        WHERE dated.shown_interaction_at IS NOT NULL
            AND (dated.shown_interaction_at, dated.contact_id) < (coalesce($5::timestamptz, 'infinity'), $6::bigint)
        ORDER BY dated.shown_interaction_at DESC, dated.contact_id DESC
        OFFSET 0
    ) AS found
    WHERE EXISTS (
        SELECT
        FROM tickets AS ticket
        JOIN visible_bots($1, $2) AS bot ON bot.bot_id = ticket.bot_id
        WHERE ticket.tenant_id = $1 AND ticket.contact_id = found.contact_id
            AND ($10::bigint = 0 OR ticket.bot_id = $10)
        -- Keeps it from becoming a join with all tickets.
        OFFSET 0
    )
    LIMIT $7
)
SELECT
    (SELECT count(*) FROM matching) > $9 AS "is_too_many!",
    contact.contact_id AS "contact_id?", contact.name AS "name?", contact.email AS "email?", contact.phone AS "phone?",
    contact.channel AS "channel?", contact.address AS "address?", contact.name_key AS "name_key?",
    page.shown_interaction_at AS "last_interaction_at?"
FROM (SELECT 1) AS always
LEFT JOIN page ON true
-- OFFSET 0 keeps it a look-up by key.
LEFT JOIN LATERAL (
    SELECT known.* FROM contacts AS known WHERE known.tenant_id = $1 AND known.contact_id = page.contact_id OFFSET 0
) AS contact ON true
ORDER BY page.shown_interaction_at DESC, page.contact_id DESC
