-- Active messages, the accounts that send them, and what must be told to ticketing.
--
-- Numbers of kinds, channels and states are those of plazo.notification.v1 and plazo.common.v1.

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

-- How far a feed is applied. `position` is the feed's own, opaque.
CREATE TABLE feed_positions (
    feed text NOT NULL PRIMARY KEY,
    position text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The last event of each ticket that was applied, to see gaps.
CREATE TABLE ticket_positions (
    tenant_id bigint NOT NULL,
    ticket_id bigint NOT NULL,
    ticket_seq bigint NOT NULL,
    PRIMARY KEY (tenant_id, ticket_id)
) WITH (fillfactor = 80);

-- First answers, for requests that are repeated under the same request id.
CREATE TABLE answered_requests (
    tenant_id bigint NOT NULL,
    request_id uuid NOT NULL,
    method text NOT NULL,
    -- SHA-256 of the request.
    fingerprint bytea NOT NULL,
    -- Null only within the transaction that answers.
    answer bytea,
    answered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, request_id)
);

CREATE INDEX answered_requests_by_time ON answered_requests (answered_at);
