-- Active messages, the accounts that send them, and what must be told to ticketing.
--
-- Numbers of kinds, channels and states are those of plazo.notification.v1 and plazo.common.v1.

-- Roles are shared by all databases of a server. Where the login may not make them, deploy/postgresql/roles.sql does.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['plazo_notification_request', 'plazo_notification_background'] LOOP
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
    EXECUTE format('CREATE POLICY background ON %s TO plazo_notification_background USING (true)', walled);
    EXECUTE format(
        'CREATE POLICY request ON %s TO plazo_notification_request
         USING (tenant_id = nullif(current_setting(%L, true), %L)::bigint)',
        walled, 'plazo.tenant_id', ''
    );
END
$$;
REVOKE EXECUTE ON FUNCTION wall_off(regclass) FROM PUBLIC;

CREATE TABLE channel_accounts (
    tenant_id bigint NOT NULL CHECK (tenant_id > 0),
    channel_account_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    channel smallint NOT NULL,
    -- A plazo.notification.v1.ChannelAccount that has nothing but its settings.
    settings bytea NOT NULL,
    -- Under which name the secrets are found that are not in the database; empty for webhooks.
    credential_name text NOT NULL DEFAULT '',
    -- The key of a webhook's signatures, as it is: a hash could not sign. Empty for other channels.
    signing_secret bytea NOT NULL DEFAULT '',
    enabled boolean NOT NULL DEFAULT true,
    -- Why the provider stopped the account; its messages wait. Empty unless it is stopped.
    stopped_reason text NOT NULL DEFAULT '',
    stopped_at timestamptz,
    -- Changes with each change that a call makes.
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, channel_account_id),
    CHECK ((stopped_reason = '') = (stopped_at IS NULL))
);

-- Accounts whose messages wait until somebody lets them go on. Led by the account, as the search of the queue is.
CREATE INDEX channel_accounts_stopped ON channel_accounts (channel_account_id) WHERE stopped_at IS NOT NULL;

CREATE TABLE active_messages (
    tenant_id bigint NOT NULL CHECK (tenant_id > 0),
    message_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    idempotency_key text NOT NULL,
    kind smallint NOT NULL,
    bot_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    contact_id bigint NOT NULL,
    channel smallint NOT NULL,
    recipient_address text NOT NULL,
    channel_account_id bigint NOT NULL,
    body_text text NOT NULL,
    image_url text NOT NULL,
    last_customer_message_at timestamptz,
    state smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 7),
    state_at timestamptz NOT NULL,
    accepted_at timestamptz NOT NULL,
    -- When it was accepted, or put back into the queue by somebody: the beginning of its attempts.
    queued_at timestamptz NOT NULL,
    -- Not sent at or after this instant; null for no such limit.
    valid_until timestamptz,
    -- The provider's id of the message, once it told it.
    provider_message_id text,
    -- The provider's id of the free text that it took and refused afterwards, because the customer's last message was too
    -- old: what goes out now is the template. Null otherwise.
    refused_message_id text,
    failure_reason text NOT NULL DEFAULT '',
    -- Attempts begun, over all resends.
    attempts integer NOT NULL DEFAULT 0,
    -- Attempts begun since it was accepted or resent: the place in the schedule.
    round_attempts integer NOT NULL DEFAULT 0,
    -- When to send; while a sender has it, when its lease ends. Null when there is nothing to send.
    next_attempt_at timestamptz,
    -- Set while a sender has the message.
    leased_until timestamptz,
    -- `ticket_seq` of the event that asked for the message; null until the feed has shown that event.
    requested_seq bigint,
    -- Set when the message was called off while a sender had it, or while it was uncertain: it is not tried again.
    cancel_reason text,
    PRIMARY KEY (tenant_id, message_id),
    UNIQUE (tenant_id, idempotency_key),
    CHECK ((state = 1) = (next_attempt_at IS NOT NULL))
);

-- What waits to be sent, for each account by time. Led by the account and not by the tenant, because one
-- search serves all tenants, and takes a few of each account.
CREATE INDEX active_messages_waiting ON active_messages (channel_account_id, next_attempt_at)
    WHERE next_attempt_at IS NOT NULL;

-- Messages that were called off while a sender had them.
CREATE INDEX active_messages_called_off ON active_messages (next_attempt_at)
    WHERE next_attempt_at IS NOT NULL AND cancel_reason IS NOT NULL;

-- Messages that a sender has, on the channels whose providers must not get one twice (all but 1 and 2, the log and
-- webhooks), to find those whose sender has gone.
CREATE INDEX active_messages_leased ON active_messages (leased_until)
    WHERE leased_until IS NOT NULL AND channel > 2;

-- Messages that somebody may have to decide about.
CREATE INDEX active_messages_uncertain ON active_messages (message_id) WHERE state = 7;

-- Waiting messages that must not be sent after some instant.
CREATE INDEX active_messages_valid_until ON active_messages (valid_until)
    WHERE next_attempt_at IS NOT NULL AND valid_until IS NOT NULL;

-- To find the message that a provider's status is about.
CREATE INDEX active_messages_by_provider_id ON active_messages (tenant_id, channel_account_id, provider_message_id)
    WHERE provider_message_id IS NOT NULL;

CREATE INDEX active_messages_by_ticket ON active_messages (tenant_id, ticket_id, message_id);

CREATE INDEX active_messages_by_state ON active_messages (tenant_id, state, message_id);

CREATE TABLE send_attempts (
    tenant_id bigint NOT NULL,
    message_id bigint NOT NULL,
    attempt integer NOT NULL,
    attempt_at timestamptz NOT NULL,
    outcome text NOT NULL,
    PRIMARY KEY (tenant_id, message_id, attempt),
    FOREIGN KEY (tenant_id, message_id) REFERENCES active_messages ON DELETE CASCADE
);

CREATE INDEX send_attempts_by_time ON send_attempts (attempt_at);

-- States that ticketing has not yet answered for. A row goes when it is answered.
CREATE TABLE state_reports (
    report_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    idempotency_key text NOT NULL,
    state smallint NOT NULL,
    state_at timestamptz NOT NULL,
    failure_reason text NOT NULL
);

-- What providers told already, so that its repetitions do nothing.
CREATE TABLE seen_callbacks (
    tenant_id bigint NOT NULL,
    channel_account_id bigint NOT NULL,
    -- Of one status or one message, not of a whole callback: providers put them together anew.
    callback_key text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, channel_account_id, callback_key)
);

CREATE INDEX seen_callbacks_by_time ON seen_callbacks (seen_at);

-- What customers wrote, until ticketing has answered for it. The ids are the order of arrival.
CREATE TABLE inbound_messages (
    inbound_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL,
    channel_account_id bigint NOT NULL,
    provider_message_id text NOT NULL,
    channel smallint NOT NULL,
    sender_address text NOT NULL,
    sender_name text NOT NULL,
    body_text text NOT NULL,
    attachment_urls text[] NOT NULL,
    sent_at timestamptz,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- How often ticketing could not take it.
    refusals integer NOT NULL DEFAULT 0,
    -- When to hand it over.
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Those that wait although others go: a sender's later messages wait for them.
CREATE INDEX inbound_messages_put_off ON inbound_messages (tenant_id, channel_account_id, sender_address, inbound_id)
    WHERE refusals > 0;

-- How far a feed is applied. `position` is the feed's own, opaque.
CREATE TABLE feed_positions (
    feed text NOT NULL PRIMARY KEY,
    position text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The last event of each ticket that a feed has shown, to see gaps. Feeds: 1 that of active messages, 2 that of webhook
-- subscriptions; each goes its own way.
CREATE TABLE ticket_positions (
    feed smallint NOT NULL,
    tenant_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    ticket_seq bigint NOT NULL,
    PRIMARY KEY (feed, tenant_id, ticket_id)
) WITH (fillfactor = 80);

-- First answers, for requests that are repeated under the same request id.
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

-- Tickets whose customers' personal data were erased, kept for good: nothing with such data is stored of them any more.
CREATE TABLE erased_tickets (
    tenant_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    erasure_id bigint NOT NULL,
    PRIMARY KEY (tenant_id, ticket_id)
);

CREATE INDEX erased_tickets_of_erasure ON erased_tickets (tenant_id, erasure_id, ticket_id);

-- Erasures that ticketing has told of. The row goes when ticketing has answered the report.
CREATE TABLE erasures (
    tenant_id bigint NOT NULL,
    erasure_id bigint NOT NULL,
    -- When ticketing told of the erasure first.
    told_at timestamptz NOT NULL,
    -- Whether all its tickets are noted.
    is_told boolean NOT NULL,
    -- An instant at which that was committed: what began later knows of the erased tickets.
    fence_at timestamptz,
    -- The transactions that were running then, by their virtual ids.
    fenced_transactions text[],
    -- The tickets up to this one are erased.
    after_ticket_id bigint NOT NULL DEFAULT 0,
    -- Rows that were changed or deleted.
    row_count bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, erasure_id)
);

-- Webhook subscriptions to ticket events.

CREATE TABLE webhook_subscriptions (
    tenant_id bigint NOT NULL CHECK (tenant_id > 0),
    subscription_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    webhook_url text NOT NULL,
    -- Types, or `ticket.*`; empty for all.
    event_types text[] NOT NULL,
    -- Empty for all.
    bot_ids bigint[] NOT NULL,
    include_customer_data boolean NOT NULL,
    -- The keys of the signatures, as they are: a hash could not sign.
    signing_secret bytea NOT NULL,
    previous_secret bytea,
    previous_secret_until timestamptz,
    -- Why nothing is sent; empty while something is.
    paused_reason text NOT NULL DEFAULT '',
    -- The live feed passes it by, and a replay of kind 1 leads it back.
    is_behind boolean NOT NULL DEFAULT false,
    -- Deliveries in state 1.
    waiting bigint NOT NULL DEFAULT 0,
    consecutive_failures integer NOT NULL DEFAULT 0,
    -- The endpoint asked to be left alone so long.
    rest_until timestamptz,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- What belongs to it is removed bit by bit, and then the row.
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, subscription_id)
);

CREATE INDEX webhook_subscriptions_deleted ON webhook_subscriptions (deleted_at) WHERE deleted_at IS NOT NULL;

-- One event for one subscription. States: 1 waiting, 2 delivered, 3 failed.
CREATE TABLE event_deliveries (
    tenant_id bigint NOT NULL,
    subscription_id bigint NOT NULL,
    event_id bigint NOT NULL,
    delivery_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    ticket_id bigint NOT NULL,
    ticket_seq bigint NOT NULL,
    -- How many events stand before it in the feed.
    feed_index bigint NOT NULL,
    event_type text NOT NULL,
    -- As it is signed, byte by byte.
    body text NOT NULL,
    state smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 3),
    -- Attempts begun, over all replays.
    attempts integer NOT NULL DEFAULT 0,
    -- Attempts begun since it was queued last: the place in the schedule.
    round_attempts integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at timestamptz,
    PRIMARY KEY (tenant_id, subscription_id, event_id),
    CHECK ((state = 1) = (settled_at IS NULL))
);

-- Led by the subscription alone, which makes it plain how many rows of one there are: a plan must not take this index
-- for a search of one event.
CREATE UNIQUE INDEX event_deliveries_by_state ON event_deliveries (subscription_id, state, delivery_id);

CREATE INDEX event_deliveries_waiting ON event_deliveries (tenant_id, subscription_id, ticket_id, ticket_seq)
    WHERE state = 1;

-- For erasures.
CREATE INDEX event_deliveries_of_ticket ON event_deliveries (tenant_id, ticket_id);

CREATE INDEX event_deliveries_settled ON event_deliveries (settled_at) WHERE settled_at IS NOT NULL;

-- The tickets that something waits for, for each subscription. Its first waiting delivery alone is sent.
CREATE TABLE event_lanes (
    tenant_id bigint NOT NULL,
    subscription_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    waiting bigint NOT NULL,
    -- While a sender has the lane, when its lease ends.
    next_attempt_at timestamptz NOT NULL,
    leased_until timestamptz,
    PRIMARY KEY (tenant_id, subscription_id, ticket_id)
) WITH (fillfactor = 80);

-- Led by the subscription and not by the tenant, because one search serves all tenants, and takes a few of each.
CREATE INDEX event_lanes_due ON event_lanes (subscription_id, next_attempt_at);

CREATE TABLE event_attempts (
    tenant_id bigint NOT NULL,
    subscription_id bigint NOT NULL,
    event_id bigint NOT NULL,
    attempt integer NOT NULL,
    attempt_at timestamptz NOT NULL,
    duration_ms integer NOT NULL,
    http_status smallint NOT NULL,
    outcome text NOT NULL,
    PRIMARY KEY (tenant_id, subscription_id, event_id, attempt),
    FOREIGN KEY (tenant_id, subscription_id, event_id) REFERENCES event_deliveries ON DELETE CASCADE
);

-- How far the live feed has come, in one row.
CREATE TABLE event_feed (
    feed text NOT NULL PRIMARY KEY,
    position text NOT NULL DEFAULT '',
    -- How many events stand before the position. The feed has one order, so it names a place as the position does.
    events bigint NOT NULL DEFAULT 0,
    newest_event_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

INSERT INTO event_feed (feed) VALUES ('ticketing');

-- Places of the feed from which replays begin. All events before one are at most as new as `newest_event_at`.
CREATE TABLE event_marks (
    events bigint NOT NULL PRIMARY KEY,
    position text NOT NULL,
    newest_event_at timestamptz,
    marked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX event_marks_by_event_time ON event_marks (newest_event_at, events);

CREATE INDEX event_marks_by_time ON event_marks (marked_at);

-- Reading the feed again. Kinds: 1 what a subscription missed, until it is level with the live feed; 2 what somebody
-- asked for, up to `until_events`. States: 1 running, 2 done, 3 failed.
CREATE TABLE event_replays (
    tenant_id bigint NOT NULL,
    replay_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    subscription_id bigint NOT NULL,
    kind smallint NOT NULL CHECK (kind BETWEEN 1 AND 2),
    state smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 3),
    position text NOT NULL,
    events bigint NOT NULL,
    -- Events before this place or this instant are passed over.
    first_event bigint NOT NULL DEFAULT 0,
    first_event_at timestamptz,
    until_events bigint,
    queued bigint NOT NULL DEFAULT 0,
    failure_reason text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When to go on; while somebody does, when its lease ends.
    next_step_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, subscription_id, replay_id)
);

CREATE UNIQUE INDEX event_replays_running ON event_replays (subscription_id, kind) WHERE state = 1;

CREATE INDEX event_replays_due ON event_replays (next_step_at) WHERE state = 1;

CREATE INDEX event_replays_settled ON event_replays (created_at) WHERE state <> 1;

-- The walls, around every table that has a tenant.
SELECT wall_off(pg_class.oid)
FROM pg_class
JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'tenant_id'
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relrowsecurity;

-- What the roles may do: no more than the program does as each.
GRANT SELECT, INSERT, UPDATE, DELETE ON
    active_messages, answered_requests, channel_accounts, erased_tickets, erasures, event_attempts, event_deliveries,
    event_feed, event_lanes, event_marks, event_replays, feed_positions, inbound_messages, seen_callbacks, send_attempts,
    state_reports, ticket_positions, webhook_subscriptions
TO plazo_notification_background;
-- Locks of rows count as updates.
GRANT SELECT, INSERT, UPDATE ON answered_requests, channel_accounts, event_replays, webhook_subscriptions
TO plazo_notification_request;
GRANT SELECT, UPDATE ON active_messages TO plazo_notification_request;
GRANT SELECT, INSERT ON seen_callbacks TO plazo_notification_request;
GRANT INSERT ON inbound_messages, state_reports TO plazo_notification_request;
GRANT SELECT ON event_attempts, event_deliveries, event_feed, event_lanes, event_marks, send_attempts
TO plazo_notification_request;
-- A replay holds the live feed for a moment; requests don't move it.
GRANT UPDATE (updated_at) ON event_feed TO plazo_notification_request;
-- The program looks whether it knows the schema. Whoever applies the migrations without it has no such table.
DO $$
BEGIN
    IF to_regclass('_sqlx_migrations') IS NOT NULL THEN
        GRANT SELECT ON _sqlx_migrations TO plazo_notification_background;
    END IF;
END
$$;
