-- Who sees what, and how contacts are found.

-- For the search by parts of words. Both are trusted: the owner of the database may create them.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS btree_gin;

CREATE INDEX contact_texts_by_text ON contact_texts USING gin (tenant_id, search_text gin_trgm_ops)
    -- A list of what is not sorted in yet would be read by every search.
    WITH (fastupdate = off);
-- An index on last_interaction_at itself would be written anew by every message, and all other indexes with it.
ALTER TABLE contacts
    ADD COLUMN last_interaction_hour timestamp NOT NULL
        GENERATED ALWAYS AS (date_trunc('hour', last_interaction_at AT TIME ZONE 'UTC')) STORED;
CREATE INDEX contacts_by_interaction ON contacts (tenant_id, last_interaction_hour DESC, contact_id);

-- The comments (ConversationEntryKind) of a ticket.
CREATE INDEX conversation_comments ON conversation_entries (tenant_id, ticket_id, ticket_seq) WHERE kind = 5;

-- First answers of changes of the settings, so that a repeated request gets the same one.
CREATE TABLE answered_requests (
    tenant_id bigint NOT NULL,
    request_id uuid NOT NULL,
    method text NOT NULL,
    -- SHA-256 of the actor and the encoded request.
    fingerprint bytea NOT NULL,
    -- The encoded answer; null only inside the transaction that makes it.
    answer bytea,
    answered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, request_id)
);
CREATE INDEX answered_requests_by_age ON answered_requests (answered_at);

-- Who sees what. All queries that show something to an actor are made with these functions, which PostgreSQL merges into
-- them. An actor is
--     of_tenant         his tenant
--     of_agent          the agent, NULL for anybody else: only agents need the permission, and are bound to spans of time
--                       and to contacts that they dealt with
--     of_bots           the bots that he may use, NULL for all of the tenant
-- and the rest is
--     default_lookback  the tenant's lookback in seconds, where it has set none
--     default_delay     how many seconds after its close a ticket shows, where the tenant has set nothing
--     as_of             the present

-- Which closes an agent sees, both bounds included. One row; none when he lacks the permission.
CREATE FUNCTION shown_span(
    of_tenant bigint, of_agent bigint, default_lookback bigint, default_delay bigint, as_of timestamptz
) RETURNS TABLE (since timestamptz, until timestamptz) LANGUAGE sql STABLE AS $$
    SELECT
        as_of - make_interval(secs => coalesce(setting.lookback_seconds, default_lookback)),
        as_of - make_interval(secs => coalesce(setting.show_delay_seconds, default_delay))
    FROM (SELECT of_tenant AS tenant_id) AS asked
    LEFT JOIN tenant_settings AS setting ON setting.tenant_id = asked.tenant_id
    WHERE of_agent IS NULL
        OR EXISTS (
            SELECT FROM history_agents AS granted
            WHERE granted.tenant_id = of_tenant AND granted.agent_id = of_agent
        )
$$;

-- The bots that an actor may use and whose history is switched on.
CREATE FUNCTION visible_bots(of_tenant bigint, of_bots bigint[])
RETURNS TABLE (bot_id bigint) LANGUAGE sql STABLE AS $$
    SELECT enabled.bot_id
    FROM history_bots AS enabled
    WHERE enabled.tenant_id = of_tenant AND (of_bots IS NULL OR enabled.bot_id = ANY (of_bots))
$$;

-- The dealings that make contacts visible to an agent: closed_at and shown_interaction_at, the last interaction in the ticket,
-- are NULL where the ticket itself was closed too long ago to be seen. name_key and search_text are those of the contact. All of
-- it stands in dealings_of_agent.
CREATE FUNCTION visible_dealings(
    of_tenant bigint, of_agent bigint, of_bots bigint[], default_lookback bigint, default_delay bigint,
    as_of timestamptz
) RETURNS TABLE (
    contact_id bigint, ticket_id bigint, bot_id bigint, closed_at timestamptz, shown_interaction_at timestamptz,
    name_key text, search_text text
) LANGUAGE sql STABLE AS $$
    -- The span is taken as values: a policy lets an index be asked only with what is leakproof, which the functions that make the
    -- span are not.
    SELECT
        dealing.contact_id, dealing.ticket_id, dealing.bot_id,
        CASE WHEN dealing.closed_at >= span.since THEN dealing.closed_at END,
        CASE WHEN dealing.closed_at >= span.since THEN dealing.closed_interaction_at END,
        dealing.contact_name_key, ' ' || dealing.contact_name_key || dealing.contact_other_keys
    FROM dealings AS dealing
    CROSS JOIN LATERAL (
        SELECT (
            SELECT shown.since
            FROM shown_span(of_tenant, of_agent, default_lookback, default_delay, as_of) AS shown
        ) AS since
    ) AS span
    WHERE dealing.tenant_id = of_tenant
        AND dealing.agent_id = of_agent
        AND dealing.closed_dealt_at IS NOT NULL
        AND dealing.closed_dealt_at >= span.since
        AND dealing.closed_at <= (
            SELECT shown.until
            FROM shown_span(of_tenant, of_agent, default_lookback, default_delay, as_of) AS shown
        )
        -- IS TRUE keeps it a look-up in a hash table: a join with few bots might read the dealings once for each.
        AND (dealing.bot_id IN (SELECT bot.bot_id FROM visible_bots(of_tenant, of_bots) AS bot)) IS TRUE
$$;

-- Whether a ticket is visible to an actor who sees its contact: one row or none.
CREATE FUNCTION ticket_shown(
    of_tenant bigint, of_agent bigint, of_bots bigint[], default_lookback bigint, default_delay bigint,
    as_of timestamptz, of_bot bigint, was_closed_at timestamptz
) RETURNS TABLE (is_shown boolean) LANGUAGE sql STABLE AS $$
    SELECT true
    FROM shown_span(of_tenant, of_agent, default_lookback, default_delay, as_of) AS span
    JOIN visible_bots(of_tenant, of_bots) AS bot ON bot.bot_id = of_bot
    WHERE of_agent IS NULL OR (was_closed_at >= span.since AND was_closed_at <= span.until)
$$;

-- Whether a ticket is visible to an actor: one row or none.
CREATE FUNCTION ticket_visible(
    of_tenant bigint, of_agent bigint, of_bots bigint[], default_lookback bigint, default_delay bigint,
    as_of timestamptz, of_bot bigint, of_contact bigint, was_closed_at timestamptz
) RETURNS TABLE (is_visible boolean) LANGUAGE sql STABLE AS $$
    SELECT true
    FROM ticket_shown(
        of_tenant, of_agent, of_bots, default_lookback, default_delay, as_of, of_bot, was_closed_at
    ) AS shown
    WHERE of_agent IS NULL
        OR EXISTS (
            SELECT
            FROM visible_dealings(of_tenant, of_agent, of_bots, default_lookback, default_delay, as_of) AS dealing
            WHERE dealing.contact_id = of_contact
        )
$$;

-- Whether a contact is visible to an actor: one row or none. To anybody but an agent by any ticket.
CREATE FUNCTION contact_visible(
    of_tenant bigint, of_agent bigint, of_bots bigint[], default_lookback bigint, default_delay bigint,
    as_of timestamptz, of_contact bigint
) RETURNS TABLE (is_visible boolean) LANGUAGE sql STABLE AS $$
    SELECT true
    WHERE CASE
        WHEN of_agent IS NULL THEN EXISTS (
            SELECT
            FROM tickets AS ticket
            JOIN visible_bots(of_tenant, of_bots) AS bot ON bot.bot_id = ticket.bot_id
            WHERE ticket.tenant_id = of_tenant AND ticket.contact_id = of_contact
        )
        ELSE EXISTS (
            SELECT
            FROM visible_dealings(of_tenant, of_agent, of_bots, default_lookback, default_delay, as_of) AS dealing
            WHERE dealing.contact_id = of_contact
        )
    END
$$;

-- The one way through the walls, for the request path: the contacts of the tenant that the transaction has named, some of those that a
-- search finds. LIKE is not leakproof (it might tell of rows in its errors), so that behind a policy no index is asked
-- with it, and all contacts of the tenant would be read. Here no policy is in the way: the functions run as the owner, who sees
-- all, and name the tenant themselves. They yield none when no tenant is named, and keys alone: what is shown of the contacts is read
-- through the policies. In a schema of their own, so that nothing else with such rights is among the service's functions.
--     patterns          all of them must be found
--     longest           the longest of them, which the index is asked with
--     most              how many contacts are wanted
CREATE SCHEMA search;
CREATE FUNCTION search.matching_contacts(patterns text[], longest text, most bigint)
RETURNS TABLE (contact_id bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = projection, public, pg_temp AS $$
BEGIN
    -- Planned for its values.
    RETURN QUERY EXECUTE $search$
        SELECT known.contact_id
        FROM contact_texts AS known
        WHERE known.tenant_id = $1
            AND known.search_text LIKE $2
            AND known.search_text LIKE ALL ($3)
        LIMIT $4
    $search$ USING nullif(current_setting('plazo.tenant_id', true), '')::bigint, longest, array_remove(patterns, longest), most;
END
$$;
-- The first of them by name, after a contact with this name and id. They are not looked for in the order of names, at whose end they
-- may all stand.
CREATE FUNCTION search.first_contacts(patterns text[], longest text, after_name text, after_id bigint, most bigint)
RETURNS TABLE (contact_id bigint, name_key text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = projection, public, pg_temp
SET enable_indexscan = off SET enable_indexonlyscan = off AS $$
BEGIN
    RETURN QUERY EXECUTE $search$
        SELECT known.contact_id, known.name_key
        FROM contact_texts AS known
        WHERE known.tenant_id = $1
            AND known.search_text LIKE $2
            AND known.search_text LIKE ALL ($3)
            AND (known.name_key COLLATE "C", known.contact_id) > ($4, $5)
        ORDER BY known.name_key COLLATE "C", known.contact_id
        LIMIT $6
    $search$ USING
        nullif(current_setting('plazo.tenant_id', true), '')::bigint, longest, array_remove(patterns, longest),
        after_name, after_id, most;
END
$$;
REVOKE EXECUTE ON FUNCTION search.matching_contacts(text[], text, bigint) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION search.first_contacts(text[], text, text, bigint, bigint) FROM PUBLIC;
GRANT USAGE ON SCHEMA search TO plazo_history_request;
GRANT EXECUTE ON FUNCTION search.matching_contacts(text[], text, bigint) TO plazo_history_request;
GRANT EXECUTE ON FUNCTION search.first_contacts(text[], text, text, bigint, bigint) TO plazo_history_request;

-- The walls, around every table of `public` that has a tenant.
SELECT wall_off(pg_class.oid)
FROM pg_class
JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'tenant_id'
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relrowsecurity;

-- What the roles may do: no more than the program does as each.
GRANT SELECT ON history_agents, history_bots, tenant_settings TO plazo_history_background;
GRANT SELECT, DELETE ON answered_requests TO plazo_history_background;
GRANT SELECT, INSERT, UPDATE ON calendar_versions, erasures, projection_rebuilds TO plazo_history_background;
GRANT SELECT, INSERT, UPDATE, DELETE ON history_agents, history_bots TO plazo_history_request;
GRANT SELECT, INSERT, UPDATE ON answered_requests, tenant_settings TO plazo_history_request;
-- The program looks whether it knows the schema. Whoever applies the migrations without it has no such table.
DO $$
BEGIN
    IF to_regclass('_sqlx_migrations') IS NOT NULL THEN
        GRANT SELECT ON _sqlx_migrations TO plazo_history_background;
    END IF;
END
$$;
