-- The read model of ticketing's events. Everything here can be dropped and built anew from the feed.
--
-- Enumerations are the numbers of their protos. Ids of 0 mean "none", as there. `tenant_id` leads every key.

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
    -- The customer as of the opening.
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
);

-- The list of closed tickets, the last closed first: of a tenant, of each of some bots, of an agent.
CREATE INDEX tickets_closed ON tickets (tenant_id, closed_at DESC, ticket_id DESC)
    WHERE closed_at IS NOT NULL;
CREATE INDEX tickets_closed_by_bot ON tickets (tenant_id, bot_id, closed_at DESC, ticket_id DESC)
    WHERE closed_at IS NOT NULL;
CREATE INDEX tickets_closed_by_agent ON tickets (tenant_id, agent_id, closed_at DESC, ticket_id DESC)
    WHERE closed_at IS NOT NULL;

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
