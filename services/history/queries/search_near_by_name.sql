-- The contacts that a query finds, by name, for a viewer who is bound to no contacts, when they are near: among the next $9
-- contacts in their order, which are read and no more. When they don't fill the page, one row comes that says so and names no
-- contact. Served by contact_texts_by_name, where all of it stands.
-- $1: the tenant. $2: the bots that the viewer may use, NULL for all.
-- $3: whether interactions count that the viewer does not see. $4: patterns that must all be found.
-- $5, $6: name and id of the last contact of the page before. $8: the bot that they must have a ticket of, 0 for any.
WITH page AS MATERIALIZED (
    SELECT passed.contact_id, passed.name_key
    FROM (
        SELECT known.contact_id, known.name_key, known.search_text
        FROM contact_texts AS known
        WHERE known.tenant_id = $1
            AND (known.name_key COLLATE "C", known.contact_id) > ($5, $6)
        ORDER BY known.name_key COLLATE "C", known.contact_id
        LIMIT $9
    ) AS passed
    WHERE passed.search_text LIKE ALL ($4::text[])
        AND EXISTS (
            SELECT
            FROM tickets AS ticket
            JOIN visible_bots($1, $2) AS bot ON bot.bot_id = ticket.bot_id
            WHERE ticket.tenant_id = $1 AND ticket.contact_id = passed.contact_id
                AND ($8::bigint = 0 OR ticket.bot_id = $8)
            -- Keeps it from becoming a join with all tickets.
            OFFSET 0
        )
    ORDER BY passed.name_key COLLATE "C", passed.contact_id
    LIMIT $7
),
outcome AS MATERIALIZED (
    SELECT
        (SELECT count(*) FROM page) < $7
        AND EXISTS (
            SELECT
            FROM contact_texts AS known
            WHERE known.tenant_id = $1
                AND (known.name_key COLLATE "C", known.contact_id) > ($5, $6)
            ORDER BY known.name_key COLLATE "C", known.contact_id
            OFFSET $9
        ) AS is_too_many
)
SELECT
    outcome.is_too_many AS "is_too_many!",
    contact.contact_id AS "contact_id?", contact.name AS "name?", contact.email AS "email?", contact.phone AS "phone?",
    contact.channel AS "channel?", contact.address AS "address?", contact.name_key AS "name_key?",
    CASE
        WHEN $3::boolean THEN contact.last_interaction_at
        ELSE (
            SELECT nullif(max(ticket.last_interaction_at), '-infinity')
            FROM tickets AS ticket
            JOIN visible_bots($1, $2) AS bot ON bot.bot_id = ticket.bot_id
            WHERE ticket.tenant_id = $1 AND ticket.contact_id = page.contact_id
        )
    END AS "last_interaction_at?"
FROM outcome
LEFT JOIN page ON NOT outcome.is_too_many
-- OFFSET 0 keeps it a look-up by key.
LEFT JOIN LATERAL (
    SELECT known.* FROM contacts AS known WHERE known.tenant_id = $1 AND known.contact_id = page.contact_id OFFSET 0
) AS contact ON true
ORDER BY page.name_key COLLATE "C", page.contact_id
