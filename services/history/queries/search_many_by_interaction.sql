-- The contacts that a query finds, the last interaction first, for a viewer who is bound to no contacts and may use all bots,
-- when the query finds many: they are read in their order until the page is full. Served by contacts_by_interaction.
-- $1: the tenant. $2: the bots that the viewer may use, NULL for all. $3: patterns that must all be found. $4, $5: last interaction and id of the last contact of the page before.
-- $7: the bot that they must have a ticket of, 0 for any.
SELECT
    contact.contact_id AS "contact_id?", contact.name AS "name?", contact.email AS "email?", contact.phone AS "phone?",
    contact.channel AS "channel?", contact.address AS "address?", contact.name_key AS "name_key?",
    contact.last_interaction_at AS "last_interaction_at?",
    false AS "is_too_many!"
FROM contacts AS contact
WHERE contact.tenant_id = $1
    AND contact.last_interaction_hour <= coalesce($4::timestamptz, 'infinity') AT TIME ZONE 'UTC'
    AND (contact.last_interaction_at, contact.contact_id) < (coalesce($4::timestamptz, 'infinity'), $5::bigint)
    AND contact.search_text LIKE ALL ($3::text[])
    AND EXISTS (
        SELECT
        FROM tickets AS ticket
        JOIN visible_bots($1, $2) AS bot ON bot.bot_id = ticket.bot_id
        WHERE ticket.tenant_id = $1 AND ticket.contact_id = contact.contact_id
            AND ($7::bigint = 0 OR ticket.bot_id = $7)
        -- Keeps it from becoming a join with all tickets.
        OFFSET 0
    )
ORDER BY contact.last_interaction_hour DESC, contact.last_interaction_at DESC, contact.contact_id DESC
LIMIT $6
