-- The read model of ticketing's events. Everything here but the settings can be dropped and built anew from the feed or
-- from its snapshot.
--
-- Enumerations are the numbers of their protos. Ids of 0 mean "none", as there. `tenant_id` leads every key. Lengths of
-- time are whole milliseconds.
--
-- What belongs to a ticket is partitioned by the ticket's id, which rises with the time of its opening: a ticket is found in
-- one partition by its key, and old partitions go whole (make_ticket_partitions, drop_ticket_partitions).

CREATE TABLE tickets (
    tenant_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    bot_id bigint NOT NULL,
    -- The queue it was last in, and the agent it was last assigned to.
    queue_id bigint NOT NULL,
    agent_id bigint NOT NULL,
    -- TicketState.
    state integer NOT NULL,
    opened_at timestamptz NOT NULL,
    previous_ticket_id bigint NOT NULL,
    tags text[] NOT NULL,
    customer_message_count integer NOT NULL,
    agent_message_count integer NOT NULL,
    reopen_count integer NOT NULL,
    -- The customer as of the ticket's last event that told of him.
    contact_id bigint NOT NULL,
    contact_name text NOT NULL,
    contact_email text NOT NULL,
    contact_phone text NOT NULL,
    -- Channel; 0 when the event named no identity.
    contact_channel integer NOT NULL,
    contact_address text NOT NULL,
    -- How it was last closed; NULL while it is open.
    closed_at timestamptz,
    -- CloseSource and AuthorKind.
    close_source integer,
    close_author_kind integer,
    close_author_id bigint,
    close_exit_route text,
    -- Both NULL when no note was left.
    close_category text,
    close_summary text,
    -- Closed, and hidden from the desk's lists of open and of completed tickets.
    is_unlinked boolean NOT NULL,

    -- The facts that reports are made of; see ReportService for the definitions. NULL: it did not happen (yet).
    first_assigned_at timestamptz,
    first_agent_message_at timestamptz,
    -- The first close, also when it was opened again later; a close that was superseded never was.
    first_closed_at timestamptz,
    -- Answers of agents after the first: how many, and for how long their customers waited for them together.
    later_response_count integer NOT NULL DEFAULT 0,
    later_response_ms bigint NOT NULL DEFAULT 0,
    -- For how long it was OPEN with an agent, not on hold, in the spans that have ended.
    handling_ms bigint NOT NULL DEFAULT 0,
    -- The version of the calendar that the bot had at the opening; 0 for none. The business times count by it; NULL without
    -- one, or where the plain time is NULL.
    calendar_version bigint NOT NULL DEFAULT 0,
    business_wait_ms bigint,
    business_first_response_ms bigint,
    business_later_response_ms bigint,
    business_first_resolution_ms bigint,
    business_full_resolution_ms bigint,
    business_handling_ms bigint,

    -- What is running, for the projection alone. The customer's first message that no agent has answered yet.
    customer_waits_since timestamptz,
    -- Since when it is OPEN with an agent and not on hold; NULL when it is not.
    handled_since timestamptz,
    is_held boolean NOT NULL DEFAULT false,

    -- When somebody last wrote in it, or it was opened, closed or reopened.
    last_interaction_at timestamptz NOT NULL DEFAULT '-infinity',
    -- The last event that was applied. The next one of this ticket must have the next number.
    ticket_seq bigint NOT NULL,

    PRIMARY KEY (tenant_id, ticket_id),
    CONSTRAINT tickets_closed_check CHECK ((state = 3) = (closed_at IS NOT NULL)),
    CONSTRAINT tickets_unlinked_check CHECK (NOT is_unlinked OR state = 3),
    CONSTRAINT tickets_closure_check CHECK (
        num_nulls(closed_at, close_source, close_author_kind, close_author_id, close_exit_route) IN (0, 5)
    ),
    CONSTRAINT tickets_note_check CHECK (
        num_nulls(close_category, close_summary) = 2
        OR (num_nulls(close_category, close_summary) = 0 AND closed_at IS NOT NULL)
    )
) PARTITION BY RANGE (ticket_id);

-- The list of closed tickets, the last closed first: of a tenant, of each of some bots, of an agent.
CREATE INDEX tickets_closed ON tickets (tenant_id, closed_at DESC, ticket_id DESC)
    WHERE closed_at IS NOT NULL;
CREATE INDEX tickets_closed_by_bot ON tickets (tenant_id, bot_id, closed_at DESC, ticket_id DESC)
    WHERE closed_at IS NOT NULL;
CREATE INDEX tickets_closed_by_agent ON tickets (tenant_id, agent_id, closed_at DESC, ticket_id DESC)
    WHERE closed_at IS NOT NULL;
-- A contact's tickets, the last closed first.
CREATE INDEX tickets_of_contact ON tickets (tenant_id, contact_id, closed_at DESC, ticket_id DESC);

-- What was written in a ticket, each entry at the place of its event.
CREATE TABLE conversation_entries (
    tenant_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    ticket_seq bigint NOT NULL,
    -- ConversationEntryKind.
    kind integer NOT NULL,
    -- 0 for a warning or a closing text.
    message_id bigint NOT NULL,
    -- AuthorKind.
    author_kind integer NOT NULL,
    author_id bigint NOT NULL,
    text text NOT NULL,
    attachment_urls text[] NOT NULL,
    recorded_at timestamptz NOT NULL,
    -- What the channel says about when it was written, if it said so.
    channel_at timestamptz,

    PRIMARY KEY (tenant_id, ticket_id, ticket_seq)
) PARTITION BY RANGE (ticket_id);

-- Stages of inactivity cycles that took effect.
CREATE TABLE stage_firings (
    tenant_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    ticket_seq bigint NOT NULL,
    bot_id bigint NOT NULL,
    queue_id bigint NOT NULL,
    -- Stage and CycleKind.
    stage integer NOT NULL,
    cycle_kind integer NOT NULL,
    fired_at timestamptz NOT NULL,
    -- fired_at minus the instant at which it could first act.
    late_ms bigint NOT NULL,

    PRIMARY KEY (tenant_id, ticket_id, ticket_seq)
) PARTITION BY RANGE (ticket_id);

-- Who dealt with which contact, by ticket: was assigned to it or wrote in it.
CREATE TABLE dealings (
    tenant_id bigint NOT NULL,
    agent_id bigint NOT NULL,
    contact_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    bot_id bigint NOT NULL,
    -- When he last wrote in it or was assigned to it; the end of the assignment, once it has ended by a close, a transfer or
    -- another agent.
    last_dealt_at timestamptz NOT NULL,

    PRIMARY KEY (tenant_id, agent_id, contact_id, ticket_id)
) PARTITION BY RANGE (ticket_id);
CREATE INDEX dealings_of_agent ON dealings (tenant_id, agent_id, last_dealt_at);
CREATE INDEX dealings_of_ticket ON dealings (tenant_id, ticket_id);

-- The customers, as of their last interaction: the ticket event that told of them last.
CREATE TABLE contacts (
    tenant_id bigint NOT NULL,
    contact_id bigint NOT NULL,
    name text NOT NULL,
    email text NOT NULL,
    -- E.164; empty when unknown.
    phone text NOT NULL,
    channel integer NOT NULL,
    address text NOT NULL,
    last_interaction_at timestamptz NOT NULL,
    -- Name in small letters without accents: what names are ordered and searched by. E-mail likewise; the phone's digits.
    name_key text NOT NULL,
    email_key text NOT NULL,
    phone_digits text NOT NULL,

    PRIMARY KEY (tenant_id, contact_id)
);

-- Makes the partitions of all tickets up to this id. Repeating it does nothing.
CREATE FUNCTION make_ticket_partitions(last_ticket_id bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    -- Tickets in a partition.
    width CONSTANT bigint := 1000000;
    parent text;
    number bigint := last_ticket_id / width;
BEGIN
    -- Partitions are made in the order of their numbers, so the last one tells of all before it. What was dropped is
    -- not made again.
    WHILE number >= 0 AND to_regclass('tickets_p' || number) IS NULL LOOP
        FOREACH parent IN ARRAY ARRAY['tickets', 'conversation_entries', 'stage_firings', 'dealings'] LOOP
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%s) TO (%s)',
                parent || '_p' || number, parent, number * width, (number + 1) * width
            );
        END LOOP;
        number := number - 1;
    END LOOP;
END
$$;
SELECT make_ticket_partitions(0);

-- Calendars of bots as ticketing told them, by version; a version never changes.
CREATE TABLE calendar_versions (
    tenant_id bigint NOT NULL,
    calendar_version bigint NOT NULL,
    -- An encoded plazo.ticketing.v1.Calendar.
    settings bytea NOT NULL,
    PRIMARY KEY (tenant_id, calendar_version)
);

-- Settings. They are history's own and not built from the feed.

CREATE TABLE tenant_settings (
    tenant_id bigint PRIMARY KEY,
    -- IANA time zone of reports.
    time_zone text NOT NULL DEFAULT 'UTC',
    -- How far back an agent sees, and how long after the close a ticket shows; NULL: as configured.
    lookback_seconds bigint CHECK (lookback_seconds > 0),
    show_delay_seconds bigint CHECK (show_delay_seconds >= 0),
    -- How long after its close a ticket is kept; NULL: as configured.
    retention_days integer CHECK (retention_days > 0),
    revision bigint NOT NULL DEFAULT 1
);

-- Bots whose history agents may look up.
CREATE TABLE history_bots (
    tenant_id bigint NOT NULL,
    bot_id bigint NOT NULL,
    enabled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, bot_id)
);

-- Agents who may look it up.
CREATE TABLE history_agents (
    tenant_id bigint NOT NULL,
    agent_id bigint NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, agent_id)
);

-- How far the feed was applied: one row, changed in the transaction that applies the events. Whoever applies
-- a batch holds its lock, and has read the feed from exactly this position.
CREATE TABLE feed_position (
    is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
    -- Opaque; empty before the first batch.
    position text NOT NULL,
    changed_at timestamptz NOT NULL
);

INSERT INTO feed_position (position, changed_at) VALUES ('', clock_timestamp());
