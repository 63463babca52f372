-- The contacts that a query finds, the last interaction first, for a viewer who is bound to no contacts and may use all bots,
-- when they are near: among the next $8 contacts in their order, which are read and no more. When they don't fill the page, one
-- row comes that says so and names no contact. Served by contacts_by_interaction.
-- $1: the tenant. $2: the bots that the viewer may use, NULL for all. $3: patterns that must all be found.
-- $4, $5: last interaction and id of the last contact of the page before. $7: the bot that they must have a ticket of, 0 for any.
WITH passed AS MATERIALIZED (
    SELECT
        contact.contact_id, contact.last_interaction_at,
        contact.search_text LIKE ALL ($3::text[]) AS is_found
    FROM contacts AS contact
    WHERE contact.tenant_id = $1
        AND contact.last_interaction_hour <= coalesce($4::timestamptz, 'infinity') AT TIME ZONE 'UTC'
        AND (contact.last_interaction_at, contact.contact_id) < (coalesce($4::timestamptz, 'infinity'), $5::bigint)
    ORDER BY contact.last_interaction_hour DESC, contact.last_interaction_at DESC, contact.contact_id DESC
    LIMIT $8
),
page AS MATERIALIZED (
    SELECT found.*
    FROM (
        SELECT passed.*
        FROM passed
        WHERE passed.is_found
        ORDER BY passed.last_interaction_at DESC, passed.contact_id DESC
        OFFSET 0
    ) AS found
    WHERE EXISTS (
        SELECT
        FROM tickets AS ticket
        JOIN visible_bots($1, $2) AS bot ON bot.bot_id = ticket.bot_id
        WHERE ticket.tenant_id = $1 AND ticket.contact_id = found.contact_id
            AND ($7::bigint = 0 OR ticket.bot_id = $7)
        -- Keeps it from becoming a join with all tickets.
        OFFSET 0
    )
    LIMIT $6
),
outcome AS MATERIALIZED (
    SELECT (SELECT count(*) FROM page) < $6 AND (SELECT count(*) FROM passed) >= $8 AS is_too_many
)
SELECT
    outcome.is_too_many AS "is_too_many!",
    contact.contact_id AS "contact_id?", contact.name AS "name?", contact.email AS "email?", contact.phone AS "phone?",
    contact.channel AS "channel?", contact.address AS "address?", contact.name_key AS "name_key?",
    page.last_interaction_at AS "last_interaction_at?"
FROM outcome
LEFT JOIN page ON NOT outcome.is_too_many
-- OFFSET 0 keeps it a look-up by key.
LEFT JOIN LATERAL (
    SELECT known.* FROM contacts AS known WHERE known.tenant_id = $1 AND known.contact_id = page.contact_id OFFSET 0
) AS contact ON true
ORDER BY page.last_interaction_at DESC, page.contact_id DESC
