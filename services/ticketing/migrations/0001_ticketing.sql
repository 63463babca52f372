-- Ids are unique in the installation; `tenant_id` still leads every key, so that a tenant's rows lie together and
-- can be distributed by it. Codes of enums are the numbers of the protos (plazo.ticketing.v1, plazo.common.v1).

-- Roles are shared by all databases of a server. Where the login may not make them, deploy/postgresql/roles.sql does.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['plazo_ticketing_request', 'plazo_ticketing_background'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = role_name);
        BEGIN
            EXECUTE format('CREATE ROLE %I', role_name);
            IF NOT pg_has_role(role_name, 'MEMBER') THEN
                EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
            END IF;
        EXCEPTION
            -- The migration of another database of this server was faster.
            WHEN duplicate_object OR unique_violation THEN
                NULL;
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'there is no role %, and % may not make it: run deploy/postgresql/roles.sql first',
                    role_name, current_user;
        END;
    END LOOP;
END
$$;

-- Walls off the rows of each tenant in a table. Nobody but a superuser goes round the policies, the owner included. Of the
-- two roles the one sees all rows, and the other those of the tenant that its transaction has named: none when it has named
-- none. The setting is then empty, or absent when none ever was named on the connection.
CREATE FUNCTION wall_off(walled regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', walled);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', walled);
    EXECUTE format('CREATE POLICY owner ON %s TO CURRENT_USER USING (true)', walled);
    EXECUTE format('CREATE POLICY background ON %s TO plazo_ticketing_background USING (true)', walled);
    EXECUTE format(
        'CREATE POLICY request ON %s TO plazo_ticketing_request
         USING (tenant_id = nullif(current_setting(%L, true), %L)::bigint)',
        walled, 'plazo.tenant_id', ''
    );
END
$$;
REVOKE EXECUTE ON FUNCTION wall_off(regclass) FROM PUBLIC;

-- When desks are open.
CREATE SEQUENCE calendar_versions_calendar_version_seq;
CREATE TABLE calendars (
    tenant_id bigint NOT NULL CHECK (tenant_id > 0),
    calendar_id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    -- An encoded plazo.ticketing.v1.Calendar, with nothing but time zone, week and exceptions.
    settings bytea NOT NULL,
    -- Raised by each change; the etag of the calendar.
    revision bigint NOT NULL DEFAULT 1,
    -- The row of calendar_versions that is the same as this one.
    calendar_version bigint NOT NULL DEFAULT nextval('calendar_versions_calendar_version_seq'),
    PRIMARY KEY (tenant_id, calendar_id),
    UNIQUE (tenant_id, name)
);

-- Calendars as they were: one row for each change, written with it and never changed. Events of tickets name them.
CREATE TABLE calendar_versions (
    tenant_id bigint NOT NULL,
    calendar_version bigint NOT NULL,
    calendar_id bigint NOT NULL,
    name text NOT NULL,
    -- As in calendars.
    settings bytea NOT NULL,
    PRIMARY KEY (tenant_id, calendar_version),
    FOREIGN KEY (tenant_id, calendar_id) REFERENCES calendars
);
ALTER SEQUENCE calendar_versions_calendar_version_seq OWNED BY calendar_versions.calendar_version;

CREATE TABLE bots (
    tenant_id bigint NOT NULL CHECK (tenant_id > 0),
    bot_id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    exit_route text NOT NULL DEFAULT '',
    channel_account_id bigint NOT NULL DEFAULT 0,
    reopen_window_value integer NOT NULL,
    reopen_window_unit smallint NOT NULL,
    -- Both null: the automation pauses until the ticket is completed.
    automation_pause_value integer,
    automation_pause_unit smallint,
    max_hold_value integer NOT NULL,
    max_hold_unit smallint NOT NULL,
    late_reply_grace_value integer NOT NULL,
    late_reply_grace_unit smallint NOT NULL,
    -- Empty: closing notes may have any category.
    note_categories text[] NOT NULL DEFAULT '{}',
    note_required boolean NOT NULL DEFAULT false,
    -- Codes of close sources.
    unassign_on_close smallint[] NOT NULL DEFAULT '{}',
    calendar_id bigint,
    -- Whether a customer's message that no ticket can take opens one.
    open_ticket_on_inbound boolean NOT NULL DEFAULT false,
    -- The policy in force for new cycles; null for none.
    policy_version bigint,
    -- Raised by each change; the etag of the bot.
    revision bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, bot_id),
    FOREIGN KEY (tenant_id, calendar_id) REFERENCES calendars
);
-- For a customer's message that comes by a channel account.
CREATE INDEX bots_by_channel_account ON bots (tenant_id, channel_account_id, bot_id) WHERE channel_account_id <> 0;
CREATE INDEX bots_by_calendar ON bots (tenant_id, calendar_id) WHERE calendar_id IS NOT NULL;

-- Versions are never changed: a running cycle keeps the version that it started with.
CREATE TABLE inactivity_policies (
    tenant_id bigint NOT NULL,
    policy_version bigint GENERATED ALWAYS AS IDENTITY,
    bot_id bigint NOT NULL,
    -- The queue whose override it is; null for the bot itself.
    queue_id bigint,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- An encoded plazo.ticketing.v1.InactivityPolicy, without its version; with the calendar that it counts by.
    settings bytea NOT NULL,
    PRIMARY KEY (tenant_id, policy_version),
    FOREIGN KEY (tenant_id, bot_id) REFERENCES bots
);

CREATE TABLE queues (
    tenant_id bigint NOT NULL,
    queue_id bigint GENERATED ALWAYS AS IDENTITY,
    bot_id bigint NOT NULL,
    name text NOT NULL,
    -- The policy that overrides the bot's in this queue; null for none.
    policy_version bigint,
    PRIMARY KEY (tenant_id, queue_id),
    UNIQUE (tenant_id, bot_id, name),
    FOREIGN KEY (tenant_id, bot_id) REFERENCES bots
);
CREATE INDEX queues_of_bot ON queues (tenant_id, bot_id, queue_id);

-- Policies that are being applied to open tickets, in the order of their ids. The row goes when all are done.
CREATE TABLE policy_applications (
    tenant_id bigint NOT NULL,
    policy_version bigint NOT NULL,
    bot_id bigint NOT NULL,
    -- Null: the bot's tickets in no queue or in queues without a policy of their own.
    queue_id bigint,
    -- The tickets up to this one are done.
    after_ticket_id bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, policy_version)
);

CREATE TABLE agents (
    tenant_id bigint NOT NULL CHECK (tenant_id > 0),
    agent_id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    bot_ids bigint[] NOT NULL,
    away boolean NOT NULL DEFAULT false,
    revision bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, agent_id)
);

CREATE TABLE contacts (
    tenant_id bigint NOT NULL CHECK (tenant_id > 0),
    contact_id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    email text NOT NULL DEFAULT '',
    phone text NOT NULL DEFAULT '',
    channel smallint NOT NULL,
    address text NOT NULL,
    revision bigint NOT NULL DEFAULT 1,
    -- The contact that it is part of now, and whose tickets its own have become; never one that was merged itself.
    merged_into bigint,
    -- When its personal data were erased: then the texts above are empty.
    erased_at timestamptz,
    PRIMARY KEY (tenant_id, contact_id),
    FOREIGN KEY (tenant_id, merged_into) REFERENCES contacts,
    CHECK (merged_into <> contact_id)
);
-- Who writes by the identity of an erased contact is a new one.
CREATE UNIQUE INDEX contacts_by_identity ON contacts (tenant_id, channel, address) WHERE erased_at IS NULL;
CREATE INDEX contacts_merged ON contacts (tenant_id, merged_into) WHERE merged_into IS NOT NULL;

-- What is known of a ticket. Changed only by a transaction that holds the lock of its row in ticket_clocks.
CREATE TABLE tickets (
    tenant_id bigint NOT NULL,
    ticket_id bigint GENERATED ALWAYS AS IDENTITY,
    bot_id bigint NOT NULL,
    queue_id bigint,
    contact_id bigint NOT NULL,
    agent_id bigint,
    state smallint NOT NULL,
    is_open boolean NOT NULL GENERATED ALWAYS AS (state <> 3) STORED,
    -- Closed and hidden from the lists.
    is_unlinked boolean NOT NULL DEFAULT false,
    previous_ticket_id bigint,
    tags text[] NOT NULL DEFAULT '{}',
    opened_at timestamptz NOT NULL,
    first_assigned_at timestamptz,
    first_agent_message_at timestamptz,
    -- The last close; all null while the ticket is open.
    closed_at timestamptz,
    close_source smallint,
    close_author_kind smallint,
    close_author_id bigint,
    close_category text,
    close_summary text,
    close_exit_route text,
    -- How the ticket was before its last close, and which tags the close added: a late reply puts it back. Null while
    -- the ticket is open.
    state_before_close smallint,
    agent_before_close bigint,
    tags_of_close text[],
    -- The pause of the automation that the close ended.
    automation_before_close smallint,
    automation_until_before_close timestamptz,
    -- The hold, if there is one: its last reason and author, and when it began; when it ends is in ticket_clocks.
    hold_reason text,
    held_at timestamptz,
    hold_author_kind smallint,
    hold_author_id bigint,
    -- The merged contact by whose channel identity the customer of this ticket is reached; null when it is contact_id's.
    reached_contact_id bigint,
    -- The customer's personal data are erased: nobody changes the ticket any more.
    is_erased boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, ticket_id),
    FOREIGN KEY (tenant_id, bot_id) REFERENCES bots,
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contacts,
    FOREIGN KEY (tenant_id, reached_contact_id) REFERENCES contacts,
    CHECK ((state = 3) = (closed_at IS NOT NULL)),
    CHECK (state = 3 OR NOT is_unlinked)
);
-- For snapshots, which go through the tickets of all tenants in the order of their ids.
CREATE UNIQUE INDEX tickets_by_id ON tickets (ticket_id);
-- The lists: the last opened first, open ones and closed ones apart, so that a few open tickets are found at once
-- among millions of closed ones.
CREATE INDEX tickets_of_tenant ON tickets (tenant_id, is_open, ticket_id DESC) WHERE NOT is_unlinked;
CREATE INDEX tickets_of_bot ON tickets (tenant_id, bot_id, is_open, ticket_id DESC) WHERE NOT is_unlinked;
CREATE INDEX tickets_of_queue ON tickets (tenant_id, queue_id, is_open, ticket_id DESC)
    WHERE queue_id IS NOT NULL AND NOT is_unlinked;
CREATE INDEX tickets_of_agent ON tickets (tenant_id, agent_id, is_open, ticket_id DESC)
    WHERE agent_id IS NOT NULL AND NOT is_unlinked;

-- For a customer's message that comes by a channel: his open ticket, else his last one.
CREATE INDEX tickets_of_contact ON tickets (tenant_id, contact_id, is_open, ticket_id);
CREATE INDEX tickets_by_previous ON tickets (tenant_id, previous_ticket_id, ticket_id)
    WHERE previous_ticket_id IS NOT NULL;

-- The hot part of a ticket: one narrow row, locked by whatever changes the ticket. Its order of commits is the
-- order of events.
--
-- Invariant: within a generation next_due_at never falls, and once it is null it stays null. Whatever lowers it or
-- brings it back raises the generation in the same update (plazo_domain::Clock).
CREATE TABLE ticket_clocks (
    tenant_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    bot_id bigint NOT NULL,
    -- Number of the ticket's last event.
    ticket_seq bigint NOT NULL,
    generation bigint NOT NULL,
    -- The last generation that the timer is known to hold.
    armed_generation bigint NOT NULL,
    -- Whole milliseconds.
    next_due_at timestamptz,
    last_cycle integer NOT NULL DEFAULT 0,
    -- The running cycle about the customer; null when none runs.
    cycle integer,
    cycle_kind smallint,
    anchor_at timestamptz,
    policy_version bigint,
    stages_done smallint NOT NULL DEFAULT 0,
    is_excluded boolean NOT NULL DEFAULT false,
    warning_accepted_at timestamptz,
    warning_settled_at timestamptz,
    -- When settings or tags last changed what is due while nothing was overdue: what they made due in the past is late
    -- from then on.
    changed_at timestamptz,
    cycle_due_at timestamptz,
    alert smallint NOT NULL DEFAULT 0,
    -- The running cycle of the agent's side; null when none runs.
    agent_cycle integer,
    agent_anchor_at timestamptz,
    agent_policy_version bigint,
    agent_stages_done smallint NOT NULL DEFAULT 0,
    agent_changed_at timestamptz,
    agent_due_at timestamptz,
    agent_alert smallint NOT NULL DEFAULT 0,
    -- Whose turn it is, since when, and the last message of it.
    turn smallint NOT NULL DEFAULT 0,
    turn_since_at timestamptz,
    turn_last_at timestamptz,
    agent_has_written boolean NOT NULL DEFAULT false,
    -- When a hold ends by itself; null when the ticket is not on hold.
    hold_until timestamptz,
    automation smallint NOT NULL DEFAULT 1,
    -- When the automation resumes by itself; null when it runs, or is paused until the ticket is completed.
    automation_until timestamptz,
    last_customer_message_at timestamptz,
    -- The transaction under which the ticket's last event stands in the feed.
    event_transaction_id bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, ticket_id),
    CHECK (num_nulls(cycle, cycle_kind, anchor_at, policy_version) IN (0, 4)),
    CHECK (num_nulls(agent_cycle, agent_anchor_at, agent_policy_version) IN (0, 3)),
    CHECK (next_due_at IS NOT DISTINCT FROM least(cycle_due_at, agent_due_at, hold_until, automation_until))
) WITH (
    fillfactor = 70,
    -- Few rows are touched often: clean up early, so that the partial indexes stay small.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);
-- For the relay: rows whose generation the timer may not know.
CREATE INDEX ticket_clocks_dirty ON ticket_clocks (tenant_id, ticket_id) WHERE armed_generation < generation;
-- For the rebuild and the overdue sweep.
CREATE INDEX ticket_clocks_pending ON ticket_clocks (next_due_at, tenant_id, ticket_id) WHERE next_due_at IS NOT NULL;

CREATE TABLE messages (
    tenant_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    -- The event that recorded it.
    ticket_seq bigint NOT NULL,
    message_id bigint GENERATED ALWAYS AS IDENTITY,
    author_kind smallint NOT NULL,
    author_id bigint NOT NULL,
    kind smallint NOT NULL,
    body text NOT NULL,
    attachment_urls text[] NOT NULL DEFAULT '{}',
    recorded_at timestamptz NOT NULL,
    channel_at timestamptz,
    -- The trace in which it was recorded, to which firings link: W3C's trace id and span id, 24 bytes. Null when nobody traced.
    trace_context bytea,
    PRIMARY KEY (tenant_id, ticket_id, ticket_seq)
);

-- Messages of customers that came by a channel account, by the channel's name for them: each is taken once.
CREATE TABLE inbound_messages (
    tenant_id bigint NOT NULL,
    channel_account_id bigint NOT NULL,
    provider_message_id text NOT NULL,
    -- The ticket that it stands in; null when it was ignored.
    ticket_id bigint,
    -- When it was ignored. Such a row is kept for some days only: nothing hangs on it but what a repetition does.
    ignored_at timestamptz,
    PRIMARY KEY (tenant_id, channel_account_id, provider_message_id)
);
-- For erasures.
CREATE INDEX inbound_messages_of_ticket ON inbound_messages (tenant_id, ticket_id) WHERE ticket_id IS NOT NULL;
CREATE INDEX inbound_messages_ignored ON inbound_messages (ignored_at) WHERE ignored_at IS NOT NULL;

-- What became of the active messages that tickets asked for. States only move forward.
CREATE TABLE active_message_states (
    tenant_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    idempotency_key text NOT NULL,
    -- When the ticket asked for it: nothing became of it before that, whatever other clocks say.
    requested_at timestamptz NOT NULL,
    -- 0 until the first report.
    state smallint NOT NULL DEFAULT 0,
    state_at timestamptz,
    PRIMARY KEY (tenant_id, ticket_id, idempotency_key)
);

-- Append-only. The feed is ordered by (transaction_id, event_id); src/feed.rs says why this keeps the order of each
-- ticket. event_id is taken after the ticket's row is locked. transaction_id is the writer's, or that of the ticket's
-- event before if that is higher: it never falls within a ticket, and when all transactions up to it have ended, the
-- event is there.
CREATE SEQUENCE ticket_event_ids;
CREATE TABLE ticket_events (
    event_id bigint NOT NULL DEFAULT nextval('ticket_event_ids'),
    transaction_id xid8 NOT NULL,
    tenant_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    ticket_seq bigint NOT NULL,
    bot_id bigint NOT NULL,
    author_kind smallint NOT NULL,
    author_id bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    -- An encoded plazo.ticketing.v1.TicketEvent with nothing but its payload.
    payload bytea NOT NULL
) PARTITION BY RANGE (recorded_at);
-- The order of the feed.
CREATE INDEX ticket_events_feed ON ticket_events (transaction_id, event_id);
CREATE INDEX ticket_events_of_ticket ON ticket_events (tenant_id, ticket_id, ticket_seq);
-- Takes what no week's partition takes: nothing, as long as partitions are made ahead.
CREATE TABLE ticket_events_default PARTITION OF ticket_events DEFAULT;

-- Makes the partitions of this week and the weeks ahead; weeks begin on Monday, in UTC. Repeating it does nothing. With the
-- rights of the owner, who alone makes tables.
CREATE FUNCTION make_event_partitions(weeks_ahead integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    first_day date := date_trunc('week', clock_timestamp() AT TIME ZONE 'UTC')::date;
    day date;
    partition_name text;
BEGIN
    FOR day IN SELECT first_day + 7 * n FROM generate_series(0, weeks_ahead) AS n LOOP
        partition_name := 'ticket_events_' || to_char(day, 'YYYYMMDD');
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS %I PARTITION OF ticket_events FOR VALUES FROM (%L) TO (%L)',
            partition_name,
            day::timestamp AT TIME ZONE 'UTC',
            (day + 7)::timestamp AT TIME ZONE 'UTC'
        );
        IF NOT (SELECT relrowsecurity FROM pg_class WHERE oid = partition_name::regclass) THEN
            PERFORM wall_off(partition_name);
        END IF;
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION make_event_partitions(integer) FROM PUBLIC;
SELECT make_event_partitions(2);

-- One row: which feed this is, and up to where its events were dropped.
CREATE TABLE feed (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    feed_uuid uuid NOT NULL DEFAULT gen_random_uuid(),
    -- The last event that was dropped with its partition.
    horizon_transaction_id xid8 NOT NULL DEFAULT '0',
    horizon_event_id bigint NOT NULL DEFAULT 0
);
INSERT INTO feed DEFAULT VALUES;

-- What is kept of events whose partition was dropped, for snapshots: those that say something about a ticket's past
-- (src/keeping.rs). As long as the partition is there, events may stand in both.
CREATE TABLE kept_events (
    tenant_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    ticket_seq bigint NOT NULL,
    author_kind smallint NOT NULL,
    author_id bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    -- As in ticket_events, but for the text and the attachments of a recorded message, which stand in messages.
    payload bytea NOT NULL,
    PRIMARY KEY (tenant_id, ticket_id, ticket_seq)
);

-- How far the weeks have come whose events are being kept. The row goes with the week's partition.
CREATE TABLE event_keeping (
    -- When the week begins.
    begins_at timestamptz PRIMARY KEY,
    -- The last event that was looked at.
    transaction_id xid8 NOT NULL DEFAULT '0',
    event_id bigint NOT NULL DEFAULT 0,
    is_done boolean NOT NULL DEFAULT false
);

-- The weeks with a partition of events that ended more than so many days ago, the oldest first.
CREATE FUNCTION expired_event_weeks(keep_days integer) RETURNS SETOF timestamptz LANGUAGE sql AS $$
    WITH weeks AS MATERIALIZED (
        SELECT to_date(right(child.relname, 8), 'YYYYMMDD') AS first_day
        FROM pg_inherits
        JOIN pg_class AS child ON child.oid = inhrelid
        WHERE inhparent = 'ticket_events'::regclass AND child.relname ~ '^ticket_events_[0-9]{8}$'
    )
    SELECT first_day::timestamp AT TIME ZONE 'UTC'
    FROM weeks
    WHERE (first_day + 7 + keep_days)::timestamp AT TIME ZONE 'UTC' < clock_timestamp()
    ORDER BY first_day
$$;

-- Drops the partition of a week whose events are kept, and moves the horizon with it: a consumer that is behind it is told
-- so, and never sees a gap. False when another has done so. It must not wait for a long reader: whoever writes an event
-- would wait behind it. With the rights of the owner, who alone drops tables.
CREATE FUNCTION drop_event_week(week_begins_at timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    partition_name text := 'ticket_events_' || to_char(week_begins_at AT TIME ZONE 'UTC', 'YYYYMMDD');
    last_event record;
BEGIN
    DELETE FROM event_keeping WHERE begins_at = week_begins_at AND is_done;
    IF NOT FOUND OR to_regclass(partition_name) IS NULL THEN
        RETURN false;
    END IF;
    EXECUTE format(
        'SELECT transaction_id, event_id FROM %I ORDER BY transaction_id DESC, event_id DESC LIMIT 1',
        partition_name
    ) INTO last_event;
    UPDATE feed
    SET horizon_transaction_id = last_event.transaction_id, horizon_event_id = last_event.event_id
    WHERE (horizon_transaction_id, horizon_event_id) < (last_event.transaction_id, last_event.event_id);
    EXECUTE format('DROP TABLE %I', partition_name);
    RETURN true;
END
$$;
REVOKE EXECUTE ON FUNCTION drop_event_week(timestamptz) FROM PUBLIC;

-- First answers of changes, so that a repeated request gets the same one.
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

-- Erasures of contacts' personal data, kept for good as the proof of them. A task works on those that are not done.
CREATE TABLE erasures (
    tenant_id bigint NOT NULL,
    erasure_id bigint GENERATED ALWAYS AS IDENTITY,
    contact_id bigint NOT NULL,
    author_kind smallint NOT NULL,
    author_id bigint NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ticket_count bigint NOT NULL,
    -- 1: tickets, 2: first answers of changes, 3: done.
    stage smallint NOT NULL CHECK (stage BETWEEN 1 AND 3),
    -- The tickets up to this one are done, and of the next one the events up to this one.
    after_ticket_id bigint NOT NULL DEFAULT 0,
    after_seq bigint NOT NULL DEFAULT 0,
    -- The answers up to this one are done.
    after_request_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    -- Rows that ticketing changed or deleted so far.
    row_count bigint NOT NULL,
    PRIMARY KEY (tenant_id, erasure_id),
    UNIQUE (tenant_id, contact_id),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contacts
);
CREATE INDEX erasures_running ON erasures (erasure_id) WHERE stage < 3;

-- What each service has erased, ticketing too.
CREATE TABLE erasure_reports (
    tenant_id bigint NOT NULL,
    erasure_id bigint NOT NULL,
    service text NOT NULL,
    erased_at timestamptz NOT NULL,
    row_count bigint NOT NULL,
    PRIMARY KEY (tenant_id, erasure_id, service),
    FOREIGN KEY (tenant_id, erasure_id) REFERENCES erasures
);

-- The walls, around every table that has a tenant; partitions that are made later get theirs then.
SELECT wall_off(pg_class.oid)
FROM pg_class
JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'tenant_id'
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relrowsecurity;

-- What the roles may do: no more than the program does as each. Partitions are reached through their parent alone.
GRANT SELECT, INSERT, UPDATE, DELETE ON
    active_message_states, agents, answered_requests, bots, calendar_versions, calendars, contacts, erasure_reports, erasures,
    event_keeping, feed, inactivity_policies, inbound_messages, kept_events, messages, policy_applications, queues,
    ticket_clocks, ticket_events, tickets
TO plazo_ticketing_background;
GRANT EXECUTE ON FUNCTION make_event_partitions(integer), drop_event_week(timestamptz) TO plazo_ticketing_background;
-- Locks of rows count as updates.
GRANT SELECT, INSERT, UPDATE ON
    active_message_states, agents, answered_requests, bots, calendars, contacts, erasure_reports, erasures,
    policy_applications, queues, ticket_clocks, tickets
TO plazo_ticketing_request;
-- Written once.
GRANT SELECT, INSERT ON calendar_versions, inactivity_policies, messages, ticket_events TO plazo_ticketing_request;
GRANT SELECT ON kept_events TO plazo_ticketing_request;
GRANT USAGE ON SEQUENCE calendar_versions_calendar_version_seq, ticket_event_ids
TO plazo_ticketing_request, plazo_ticketing_background;
-- The program looks whether it knows the schema. Whoever applies the migrations without it has no such table.
DO $$
BEGIN
    IF to_regclass('_sqlx_migrations') IS NOT NULL THEN
        GRANT SELECT ON _sqlx_migrations TO plazo_ticketing_background;
    END IF;
END
$$;
