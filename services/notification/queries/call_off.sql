-- Calls off the queued messages, each event those of one kind or the one with its key, that events of their tickets have made pointless.
--
-- Only messages whose request stands before the event in the ticket's sequence. The feed shows a ticket's
-- events in order, so a message without a requested_seq was asked for after this event, however early the
-- direct call brought it.
--
-- One that a sender has at this moment can't be fetched back, and of one that is uncertain nobody knows: they are
-- marked, and not tried again. So is a free text by WhatsApp (channel 3) that was sent: its provider may still say that
-- it could not be delivered, and then nothing must be sent in its place.
WITH called_off AS (
    SELECT DISTINCT ON (m.message_id) m.tenant_id, m.message_id, c.reason
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::integer[], $6::text[])
        AS c (tenant_id, ticket_id, ticket_seq, reason, kind, idempotency_key)
    JOIN active_messages AS m ON m.tenant_id = c.tenant_id AND m.ticket_id = c.ticket_id AND m.kind = c.kind
        AND (c.idempotency_key IS NULL OR m.idempotency_key = c.idempotency_key)
    WHERE (m.state IN (1, 7) OR m.state = 2 AND m.channel = 3) AND m.requested_seq < c.ticket_seq
    ORDER BY m.message_id, c.ticket_seq
), locked AS (
    SELECT m.tenant_id, m.message_id, m.leased_until IS NOT NULL OR m.state <> 1 AS is_out_of_reach, c.reason
    FROM active_messages AS m
    JOIN called_off AS c ON c.tenant_id = m.tenant_id AND c.message_id = m.message_id
    WHERE m.state IN (1, 7) OR m.state = 2 AND m.channel = 3
    ORDER BY m.message_id
    FOR UPDATE OF m
), changed AS (
    UPDATE active_messages AS m
    SET state = CASE WHEN l.is_out_of_reach THEN m.state ELSE 6 END,
        state_at = CASE WHEN l.is_out_of_reach THEN m.state_at ELSE clock_timestamp() END,
        failure_reason = CASE WHEN l.is_out_of_reach THEN m.failure_reason ELSE l.reason END,
        next_attempt_at = CASE WHEN l.is_out_of_reach THEN m.next_attempt_at END,
        cancel_reason = coalesce(m.cancel_reason, l.reason)
    FROM locked AS l
    WHERE m.tenant_id = l.tenant_id AND m.message_id = l.message_id
    RETURNING m.tenant_id, m.ticket_id, m.idempotency_key, m.state, m.state_at, m.failure_reason
), reported AS (
    INSERT INTO state_reports (tenant_id, ticket_id, idempotency_key, state, state_at, failure_reason)
    SELECT tenant_id, ticket_id, idempotency_key, state, state_at, failure_reason
    FROM changed
    WHERE state = 6 AND ticket_id > 0
)
SELECT count(*) FILTER (WHERE state = 6) AS "cancelled!" FROM changed
