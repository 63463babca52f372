-- One page of a tenant's messages, the last accepted first, older than message $6. Null filters take all.
SELECT tenant_id, message_id, idempotency_key, kind, bot_id, ticket_id, contact_id, channel, recipient_address,
    channel_account_id, body_text, image_url, last_customer_message_at, state, state_at, accepted_at,
    failure_reason, next_attempt_at, leased_until, valid_until, provider_message_id
FROM active_messages
WHERE tenant_id = $1
    AND ($2::smallint[] IS NULL OR state = ANY ($2))
    AND ($3::bigint IS NULL OR ticket_id = $3)
    AND ($4::bigint IS NULL OR bot_id = $4)
    AND ($5::bigint[] IS NULL OR bot_id = ANY ($5))
    AND message_id < $6
ORDER BY message_id DESC
LIMIT $7
