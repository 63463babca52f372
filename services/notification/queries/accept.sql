-- Stores new messages with a report of each, and returns them. A message whose key is taken is left out:
-- see known_messages.sql. The rows come sorted by tenant and key, so that two batches with the same keys
-- wait for each other in one order.
--
-- A message that came by a call (no requested_seq) is held for $15 seconds if it is a warning: the feed may still
-- have an answer of the customer to show. One from the feed is due at once.
--
-- One of a ticket whose customer's personal data were erased is cancelled, and stored without them: under its key nothing
-- else is stored any more.
WITH input AS (
    SELECT u.*, erased.ticket_id IS NOT NULL AS is_erased
    FROM unnest(
        $1::bigint[], $2::text[], $3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::smallint[],
        $8::text[], $9::bigint[], $10::text[], $11::text[], $12::timestamptz[], $13::bigint[],
        $14::timestamptz[]
    ) AS u (
        tenant_id, idempotency_key, kind, bot_id, ticket_id, contact_id, channel,
        recipient_address, channel_account_id, body_text, image_url, last_customer_message_at, requested_seq,
        valid_until
    )
    LEFT JOIN erased_tickets AS erased ON erased.tenant_id = u.tenant_id AND erased.ticket_id = u.ticket_id
), now AS (
    SELECT clock_timestamp() AS at
), accepted AS (
    INSERT INTO active_messages (
        tenant_id, idempotency_key, kind, bot_id, ticket_id, contact_id, channel,
        recipient_address, channel_account_id, body_text, image_url, last_customer_message_at, requested_seq,
        valid_until, accepted_at, queued_at, state_at, next_attempt_at, state, failure_reason, cancel_reason
    )
    SELECT
        i.tenant_id, i.idempotency_key, i.kind, i.bot_id, i.ticket_id, i.contact_id, i.channel,
        CASE WHEN i.is_erased THEN '' ELSE i.recipient_address END,
        i.channel_account_id,
        CASE WHEN i.is_erased THEN '' ELSE i.body_text END,
        CASE WHEN i.is_erased THEN '' ELSE i.image_url END,
        i.last_customer_message_at,
        i.requested_seq, i.valid_until,
        now.at, now.at, now.at,
        CASE
            WHEN i.is_erased THEN NULL
            WHEN i.kind = 1 AND i.requested_seq IS NULL THEN now.at + make_interval(secs => $15)
            ELSE now.at
        END,
        CASE WHEN i.is_erased THEN 6 ELSE 1 END,
        CASE WHEN i.is_erased THEN 'PERSONAL_DATA_ERASED' ELSE '' END,
        CASE WHEN i.is_erased THEN 'PERSONAL_DATA_ERASED' END
    FROM input AS i, now
    ORDER BY i.tenant_id, i.idempotency_key
    ON CONFLICT (tenant_id, idempotency_key) DO NOTHING
    RETURNING tenant_id, message_id, idempotency_key, ticket_id, accepted_at, state, failure_reason
), reported AS (
    INSERT INTO state_reports (tenant_id, ticket_id, idempotency_key, state, state_at, failure_reason)
    SELECT tenant_id, ticket_id, idempotency_key, state, accepted_at, failure_reason
    FROM accepted
    WHERE ticket_id > 0
)
SELECT tenant_id AS "tenant_id!", message_id AS "message_id!", idempotency_key AS "idempotency_key!",
    accepted_at AS "accepted_at!"
FROM accepted
