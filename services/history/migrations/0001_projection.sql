-- The read model of ticketing's events. Everything here but the settings can be dropped and built anew from the feed or
-- from its snapshot.
--
-- Enumerations are the numbers of their protos. Ids of 0 mean "none", as there. `tenant_id` leads every key. Lengths of
-- time are whole milliseconds.
--
-- What belongs to a ticket is partitioned by the ticket's id, which rises with the time of its opening: a ticket is found in
-- one partition by its key, and old partitions go whole (make_ticket_partitions, drop_ticket_partition).
--
-- What is built from the feed lies in the schema `projection`. It is built anew in `projection_next`, next to the one that
-- serves, and the two change places by their names (begin_projection, swap_projections). So no statement names a schema:
-- search_path chooses, for a service by its connection options, and for whoever else comes to this database by its default.
-- Extensions and all that is not built from the feed belong into `public`.
-- Roles are shared by all databases of a server. Where the login may not make them, deploy/postgresql/roles.sql does.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['plazo_history_request', 'plazo_history_background'] LOOP
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

DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = public, projection', current_database());
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'search_path of the database stays as it is; set it to public, projection';
END $$;
CREATE SCHEMA projection;
SET search_path = projection, public;

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
    -- Where it comes from: the queue it was opened in, and who opened it (AuthorKind).
    first_queue_id bigint NOT NULL DEFAULT 0,
    opened_by_kind integer NOT NULL DEFAULT 0,
    opened_by_id bigint NOT NULL DEFAULT 0,
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

    -- What is running, for the projection alone. Whom it is assigned to now.
    assigned_agent_id bigint NOT NULL DEFAULT 0,
    -- The customer's first message that no agent has answered yet.
    customer_waits_since timestamptz,
    -- Since when it is OPEN with an agent and not on hold; NULL when it is not. Of a closed ticket: since when it was so
    -- until the close.
    handled_since timestamptz,
    is_held boolean NOT NULL DEFAULT false,

    -- When somebody last wrote in it, or it was opened, closed or reopened.
    last_interaction_at timestamptz NOT NULL DEFAULT '-infinity',
    -- The same as long as it is closed: an index on last_interaction_at itself would be written anew by every message.
    closed_interaction_at timestamptz
        GENERATED ALWAYS AS (CASE WHEN closed_at IS NOT NULL THEN last_interaction_at END) STORED,
    -- The last event that was applied. The next one of this ticket must have the next number.
    ticket_seq bigint NOT NULL,
    -- Events up to this one came with a snapshot of ticketing; the feed may bring them once more.
    snapshot_seq bigint NOT NULL DEFAULT 0,

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
-- Closed tickets, the last interaction first, with what decides whether an agent sees them.
CREATE INDEX tickets_closed_by_interaction ON tickets (tenant_id, closed_interaction_at DESC, contact_id DESC)
    INCLUDE (ticket_id, bot_id, closed_at)
    WHERE closed_interaction_at IS NOT NULL;
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
-- The report of lateness reads the firings of a period from here alone.
CREATE INDEX report_firings ON stage_firings (tenant_id, fired_at) INCLUDE (bot_id, queue_id, stage, cycle_kind, late_ms);

-- Who dealt with which contact, by ticket: was assigned to it or wrote in it.
--
-- What of the ticket decides whether an agent sees the contact stands here too, and what the contact is found and ordered by,
-- so that his contacts are read and searched in one index, and neither ticket nor contact is looked up. Invariant: bot_id and
-- contact_id are those of the ticket; closed_at is that of the ticket, and closed_interaction_at its last_interaction_at as
-- long as it is closed; the keys are those of the contact, which tells them when they change (contacts_tell_changes).
CREATE TABLE dealings (
    tenant_id bigint NOT NULL,
    agent_id bigint NOT NULL,
    contact_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    bot_id bigint NOT NULL,
    -- When he last wrote in it or was assigned to it; the end of the assignment, once it has ended by a close, a transfer or
    -- another agent.
    last_dealt_at timestamptz NOT NULL,
    -- NULL while the ticket is open.
    closed_at timestamptz,
    closed_interaction_at timestamptz,
    -- last_dealt_at as long as the ticket is closed: an index on last_dealt_at itself would be written anew by every message
    -- of an agent.
    closed_dealt_at timestamptz GENERATED ALWAYS AS (CASE WHEN closed_at IS NOT NULL THEN last_dealt_at END) STORED,
    -- name_key of the contact, and its other_keys. NULL: nothing was told of it.
    contact_name_key text,
    contact_other_keys text,

    PRIMARY KEY (tenant_id, agent_id, contact_id, ticket_id),
    CONSTRAINT dealings_closed_check CHECK ((closed_at IS NULL) = (closed_interaction_at IS NULL))
) PARTITION BY RANGE (ticket_id);
-- All that decides which contacts an agent sees.
CREATE INDEX dealings_of_agent ON dealings (tenant_id, agent_id, closed_dealt_at)
    INCLUDE (contact_id, bot_id, closed_at, closed_interaction_at, contact_name_key, contact_other_keys)
    WHERE closed_dealt_at IS NOT NULL;
CREATE INDEX dealings_of_ticket ON dealings (tenant_id, ticket_id);

-- What contacts are found by beside their names: each word has a blank before it, so that a pattern can ask for its beginning.
CREATE FUNCTION public.other_keys(email_key text, phone_digits text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ' ' || email_key || ' ' || phone_digits
$$;

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
    -- The event that told of the contact last: when, and of which ticket.
    told_at timestamptz NOT NULL DEFAULT '-infinity',
    told_ticket_id bigint NOT NULL DEFAULT 0,
    -- Name in small letters without accents: what names are ordered and searched by. E-mail likewise; the phone's digits. At
    -- most 800 bytes each, so that they fit into the indexes.
    name_key text NOT NULL,
    email_key text NOT NULL,
    phone_digits text NOT NULL,
    -- What a query is looked for in.
    search_text text NOT NULL GENERATED ALWAYS AS (' ' || name_key || other_keys(email_key, phone_digits)) STORED,

    PRIMARY KEY (tenant_id, contact_id)
);

-- What contacts are searched in, and no more, so that a search reads little; and nothing that changes with an interaction, or the
-- indexes would be written anew each time. Invariant: one row a contact, with its name_key and search_text. Its order in the table
-- is that of names when a projection was filled (settle_projection), so that those who share a name are read together.
CREATE TABLE contact_texts (
    tenant_id bigint NOT NULL,
    contact_id bigint NOT NULL,
    name_key text NOT NULL,
    search_text text NOT NULL,

    PRIMARY KEY (tenant_id, contact_id)
);
CREATE INDEX contact_texts_by_name ON contact_texts (tenant_id, name_key COLLATE "C", contact_id) INCLUDE (search_text);

-- Tells of contacts where they are searched. Dealings get the keys of their contact when they are written, and here those that
-- change.
CREATE FUNCTION public.tell_of_contact() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO contact_texts (tenant_id, contact_id, name_key, search_text)
        VALUES (NEW.tenant_id, NEW.contact_id, NEW.name_key, NEW.search_text);
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM contact_texts AS gone
        WHERE gone.tenant_id = OLD.tenant_id AND gone.contact_id = OLD.contact_id;
    ELSE
        UPDATE contact_texts AS told
        SET name_key = NEW.name_key, search_text = NEW.search_text
        WHERE told.tenant_id = NEW.tenant_id AND told.contact_id = NEW.contact_id;
        UPDATE dealings AS dealing
        SET contact_name_key = NEW.name_key,
            contact_other_keys = other_keys(NEW.email_key, NEW.phone_digits)
        -- By ticket alone: no index leads from a contact to its dealings.
        WHERE dealing.tenant_id = NEW.tenant_id
            AND dealing.ticket_id = ANY (ARRAY(
                SELECT ticket.ticket_id
                FROM tickets AS ticket
                WHERE ticket.tenant_id = NEW.tenant_id AND ticket.contact_id = NEW.contact_id
            ));
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER contacts_tell_texts AFTER INSERT OR DELETE ON contacts
    FOR EACH ROW EXECUTE FUNCTION public.tell_of_contact();
CREATE TRIGGER contacts_tell_changes AFTER UPDATE ON contacts
    FOR EACH ROW
    WHEN ((OLD.name_key, OLD.email_key, OLD.phone_digits) IS DISTINCT FROM (NEW.name_key, NEW.email_key, NEW.phone_digits))
    EXECUTE FUNCTION public.tell_of_contact();

-- Tickets whose time of keeping is over, for events that still come of them. Gone with its partition.
CREATE TABLE forgotten_tickets (
    tenant_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    PRIMARY KEY (tenant_id, ticket_id)
) PARTITION BY RANGE (ticket_id);

-- How far the feed was applied: one row, changed in the transaction that applies the events. Whoever writes to these tables
-- holds its lock; who applies a batch has read the feed from exactly this position.
CREATE TABLE feed_position (
    is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
    -- Opaque; empty before the first batch.
    position text NOT NULL,
    changed_at timestamptz NOT NULL,
    -- While a snapshot is being taken in: the last ticket of it that is here. NULL otherwise.
    snapshot_after_ticket_id bigint
);
INSERT INTO feed_position (position, changed_at) VALUES ('', clock_timestamp());

SET search_path = public, projection;

-- Walls off the rows of each tenant in a table. Nobody but a superuser goes round the policies, the owner included. Of the
-- two roles the one sees all rows, and the other those of the tenant that its transaction has named: none when it has named
-- none. The setting is then empty, or absent when none ever was named on the connection.
CREATE FUNCTION wall_off(walled regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', walled);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', walled);
    EXECUTE format('CREATE POLICY owner ON %s TO CURRENT_USER USING (true)', walled);
    EXECUTE format('CREATE POLICY background ON %s TO plazo_history_background USING (true)', walled);
    EXECUTE format(
        'CREATE POLICY request ON %s TO plazo_history_request
         USING (tenant_id = nullif(current_setting(%L, true), %L)::bigint)',
        walled, 'plazo.tenant_id', ''
    );
END
$$;
REVOKE EXECUTE ON FUNCTION wall_off(regclass) FROM PUBLIC;

-- The functions below make, rename and drop tables with the rights of the owner, who alone may. So they believe no
-- search_path, and work in the schemas of projections only.

CREATE FUNCTION check_projection(schema_name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(schema_name, '') NOT IN ('projection', 'projection_next', 'projection_old') THEN
        RAISE EXCEPTION '% is no schema of a projection', schema_name;
    END IF;
END
$$;

-- Walls off all tables of a projection, and lets the roles in, each as far as the program goes as that role. Partitions are reached
-- through their parent alone.
CREATE FUNCTION open_projection(schema_name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    part record;
BEGIN
    PERFORM check_projection(schema_name);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO plazo_history_request, plazo_history_background', schema_name);
    FOR part IN
        SELECT class.oid::regclass AS name, class.relname, class.relispartition, class.relrowsecurity, attnum IS NOT NULL AS has_tenant
        FROM pg_class AS class
        LEFT JOIN pg_attribute ON attrelid = class.oid AND attname = 'tenant_id'
        WHERE class.relnamespace = schema_name::regnamespace AND class.relkind IN ('r', 'p')
    LOOP
        IF part.has_tenant AND NOT part.relrowsecurity THEN
            PERFORM wall_off(part.name);
        END IF;
        CONTINUE WHEN part.relispartition;
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO plazo_history_background', part.name);
        IF part.relname IN (
            'tickets', 'conversation_entries', 'stage_firings', 'dealings', 'contacts', 'contact_texts'
        ) THEN
            EXECUTE format('GRANT SELECT ON %s TO plazo_history_request', part.name);
        END IF;
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION open_projection(text) FROM PUBLIC;

-- The schema of the projection that search_path leads to.
CREATE FUNCTION found_projection() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'tickets'::regclass
$$;

-- Makes the partitions of all tickets up to this id. Repeating it does nothing. Answers the first ticket id that has no
-- partition.
CREATE FUNCTION make_ticket_partitions(schema_name text, last_ticket_id bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    -- Tickets in a partition.
    width CONSTANT bigint := 1000000;
    parent record;
    number bigint := last_ticket_id / width;
BEGIN
    PERFORM check_projection(schema_name);
    -- One at a time.
    EXECUTE format('LOCK TABLE %I.tickets IN SHARE UPDATE EXCLUSIVE MODE', schema_name);
    -- Partitions are made in the order of their numbers, so the last one tells of all before it. What was dropped is
    -- not made again.
    WHILE number >= 0 AND to_regclass(format('%I.tickets_p%s', schema_name, number)) IS NULL LOOP
        FOR parent IN
            SELECT schema_name || '.' || relname AS name
            FROM pg_class WHERE relnamespace = schema_name::regnamespace AND relkind = 'p' ORDER BY relname
        LOOP
            -- To attach one does not wait for those who read, nor they for it; to create one as a partition would.
            EXECUTE format(
                'CREATE TABLE %1$s_p%2$s (LIKE %1$s INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS)',
                parent.name, number
            );
            PERFORM wall_off((parent.name || '_p' || number)::regclass);
            EXECUTE format(
                'ALTER TABLE %1$s ATTACH PARTITION %1$s_p%2$s FOR VALUES FROM (%3$s) TO (%4$s)',
                parent.name, number, number * width, (number + 1) * width
            );
        END LOOP;
        number := number - 1;
    END LOOP;
    RETURN (last_ticket_id / width + 1) * width;
END
$$;
REVOKE EXECUTE ON FUNCTION make_ticket_partitions(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_ticket_partitions(text, bigint) TO plazo_history_background;

-- The same in the schema that search_path leads to.
CREATE FUNCTION make_ticket_partitions(last_ticket_id bigint) RETURNS bigint LANGUAGE sql AS $$
    SELECT make_ticket_partitions(found_projection(), last_ticket_id)
$$;
SELECT make_ticket_partitions(0);
SELECT open_projection('projection');

-- Makes the empty schema `projection_next` with the tables, indexes and triggers of `projection`.
CREATE FUNCTION begin_projection() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    original record;
    part record;
BEGIN
    CREATE SCHEMA projection_next;
    FOR original IN
        SELECT class.oid, class.relname, pg_get_partkeydef(class.oid) AS partition_key
        FROM pg_class AS class
        WHERE class.relnamespace = 'projection'::regnamespace AND class.relkind IN ('r', 'p') AND NOT class.relispartition
    LOOP
        EXECUTE format(
            'CREATE TABLE projection_next.%1$I (LIKE projection.%1$I INCLUDING ALL EXCLUDING INDEXES)%2$s',
            original.relname, ' PARTITION BY ' || original.partition_key
        );
        -- Keys and indexes keep their names.
        FOR part IN
            SELECT conname AS name, pg_get_constraintdef(oid) AS definition
            FROM pg_constraint WHERE conrelid = original.oid AND contype IN ('p', 'u')
        LOOP
            EXECUTE format(
                'ALTER TABLE projection_next.%I ADD CONSTRAINT %I %s', original.relname, part.name, part.definition
            );
        END LOOP;
        FOR part IN
            SELECT pg_get_indexdef(indexrelid) AS definition
            FROM pg_index
            WHERE indrelid = original.oid AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
        LOOP
            EXECUTE regexp_replace(
                part.definition, ' ON (ONLY )?projection\.', ' ON projection_next.'
            );
        END LOOP;
        FOR part IN
            SELECT pg_get_triggerdef(oid) AS definition
            FROM pg_trigger WHERE tgrelid = original.oid AND NOT tgisinternal
        LOOP
            EXECUTE replace(part.definition, ' ON projection.', ' ON projection_next.');
        END LOOP;
    END LOOP;
    INSERT INTO projection_next.feed_position (position, changed_at) VALUES ('', clock_timestamp());
    PERFORM open_projection('projection_next');
END
$$;
REVOKE EXECUTE ON FUNCTION begin_projection() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION begin_projection() TO plazo_history_background;

-- Puts the texts of contacts into the order of names, which takes some 15 s for a million, in which nobody searches among them;
-- and has the server look at the tables of a projection, so that it plans queries of it well from the beginning.
CREATE FUNCTION settle_projection(schema_name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    part record;
BEGIN
    PERFORM check_projection(schema_name);
    EXECUTE format('CLUSTER %I.contact_texts USING contact_texts_by_name', schema_name);
    FOR part IN
        SELECT oid::regclass AS name FROM pg_class
        WHERE relnamespace = schema_name::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    LOOP
        EXECUTE format('ANALYZE %s', part.name);
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION settle_projection(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION settle_projection(text) TO plazo_history_background;

-- Lets `projection_next` serve. The one that served becomes `projection_old`. Whoever waits to write to it finds a position
-- that he did not leave, and changes nothing.
CREATE FUNCTION swap_projections() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE projection.feed_position SET position = 'replaced';
    ALTER SCHEMA projection RENAME TO projection_old;
    ALTER SCHEMA projection_next RENAME TO projection;
END
$$;
REVOKE EXECUTE ON FUNCTION swap_projections() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION swap_projections() TO plazo_history_background;

-- Drops the partition of this number, of all tables of a projection. The caller knows that nothing in it is to be kept.
CREATE FUNCTION drop_ticket_partition(schema_name text, number bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    partition record;
BEGIN
    PERFORM check_projection(schema_name);
    FOR partition IN
        SELECT oid::regclass AS name FROM pg_class
        WHERE relnamespace = schema_name::regnamespace
            AND relispartition AND relkind = 'r' AND relname LIKE '%\_p' || number
        ORDER BY relname
    LOOP
        EXECUTE format('DROP TABLE %s', partition.name);
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION drop_ticket_partition(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION drop_ticket_partition(text, bigint) TO plazo_history_background;

-- Drops some tables of a schema that serves nobody, and the schema when it has none left. Answers whether it is gone.
CREATE FUNCTION drop_some_tables(schema_name text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    part record;
BEGIN
    PERFORM check_projection(nullif(schema_name, 'projection'));
    IF to_regnamespace(schema_name) IS NULL THEN
        RETURN true;
    END IF;
    -- Partitions before their parents.
    FOR part IN
        SELECT relname FROM pg_class
        WHERE relnamespace = to_regnamespace(schema_name) AND relkind IN ('r', 'p')
        ORDER BY relispartition DESC, relname
        LIMIT 20
    LOOP
        EXECUTE format('DROP TABLE %I.%I', schema_name, part.relname);
    END LOOP;
    IF FOUND THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP SCHEMA %I', schema_name);
    RETURN true;
END
$$;
REVOKE EXECUTE ON FUNCTION drop_some_tables(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION drop_some_tables(text) TO plazo_history_background;

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

-- Personal data that were erased, and what ticketing is to hear of it.
CREATE TABLE erasures (
    tenant_id bigint NOT NULL,
    erasure_id bigint NOT NULL,
    contact_id bigint NOT NULL,
    -- When the data were gone, and how many rows were changed for it.
    erased_at timestamptz NOT NULL,
    row_count bigint NOT NULL,
    -- Whether all events of the erasure were applied: only then it is reported.
    is_whole boolean NOT NULL,
    -- NULL until ticketing has answered the report.
    reported_at timestamptz,
    PRIMARY KEY (tenant_id, erasure_id)
);
CREATE INDEX erasures_to_report ON erasures (tenant_id, erasure_id) WHERE reported_at IS NULL;

-- The last wish to build the projection anew: one row.
CREATE TABLE projection_rebuilds (
    is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
    -- NULL: none.
    wanted_at timestamptz
);
INSERT INTO projection_rebuilds DEFAULT VALUES;
