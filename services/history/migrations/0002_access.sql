-- Who sees what, and how contacts are found.

-- For the search by parts of words. Both are trusted: the owner of the database may create them.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS btree_gin;

-- What a query is looked for in. Each word in it has a blank before it, so that a pattern can ask for its beginning.
ALTER TABLE contacts
    ADD COLUMN search_text text NOT NULL
        GENERATED ALWAYS AS (' ' || name_key || ' ' || email_key || ' ' || phone_digits) STORED,
    -- An index on last_interaction_at itself would be written anew by every message, and all other indexes with it.
    ADD COLUMN last_interaction_hour timestamp NOT NULL
        GENERATED ALWAYS AS (date_trunc('hour', last_interaction_at AT TIME ZONE 'UTC')) STORED;
CREATE INDEX contacts_by_text ON contacts USING gin (tenant_id, search_text gin_trgm_ops)
    -- A list of what is not sorted in yet would be read by every search.
    WITH (fastupdate = off);
CREATE INDEX contacts_by_name ON contacts (tenant_id, name_key COLLATE "C", contact_id);
CREATE INDEX contacts_by_interaction ON contacts (tenant_id, last_interaction_hour DESC);

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

-- The dealings that make contacts visible to an agent, and the last interaction in their tickets; NULL where the ticket
-- itself was closed too long ago to be seen.
CREATE FUNCTION visible_dealings(
    of_tenant bigint, of_agent bigint, of_bots bigint[], default_lookback bigint, default_delay bigint,
    as_of timestamptz
) RETURNS TABLE (contact_id bigint, shown_interaction_at timestamptz) LANGUAGE sql STABLE AS $$
    SELECT dealing.contact_id, CASE WHEN ticket.closed_at >= span.since THEN ticket.last_interaction_at END
    FROM shown_span(of_tenant, of_agent, default_lookback, default_delay, as_of) AS span
    JOIN dealings AS dealing
        ON dealing.tenant_id = of_tenant AND dealing.agent_id = of_agent AND dealing.last_dealt_at >= span.since
    -- OFFSET 0 keeps it a look-up by key, in the one partition that has the ticket: the planner counts all partitions for
    -- each look-up, and would rather read all tickets.
    CROSS JOIN LATERAL (
        SELECT dealt.bot_id, dealt.closed_at, dealt.last_interaction_at
        FROM tickets AS dealt
        WHERE dealt.tenant_id = of_tenant AND dealt.ticket_id = dealing.ticket_id
        OFFSET 0
    ) AS ticket
    WHERE ticket.closed_at <= span.until
        AND ticket.bot_id IN (SELECT bot.bot_id FROM visible_bots(of_tenant, of_bots) AS bot)
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
