-- Takes messages that are due, at most $1 in all and $2 of each account, but $4 of the accounts in $3; only of
-- accounts above $6; under a lease of $5 seconds. While the lease lasts, next_attempt_at is its end, so that the
-- messages of a sender that died come due by themselves.
--
-- Due is judged by statement_timestamp(), which can bound the search of the index; clock_timestamp() would be
-- asked for each row, and all that waits for later would be read.
--
-- `lanes` hops through the index from account to account: it costs one look for each account with waiting
-- messages, however many messages wait. Account 0 (channels that need none) is a lane too, of any size.
--
-- The channels 1 and 2 (the log and webhooks) are sent again when a lease ends; of others nobody knows whether they
-- were sent: see park_uncertain.sql. Accounts that were stopped have no turn. What must not be sent any more is left to
-- expire.sql.
--
-- Messages that were called off under a lease that has ended are skipped here: see settle_called_off.sql.
WITH RECURSIVE lanes AS (
    (
        SELECT channel_account_id FROM active_messages
        WHERE next_attempt_at IS NOT NULL AND channel_account_id > $6
        ORDER BY channel_account_id
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT m.channel_account_id FROM active_messages AS m
        WHERE m.next_attempt_at IS NOT NULL AND m.channel_account_id > lanes.channel_account_id
        ORDER BY m.channel_account_id
        LIMIT 1
    )
    FROM lanes
    WHERE lanes.channel_account_id IS NOT NULL
), due AS (
    SELECT d.tenant_id, d.message_id
    FROM lanes
    CROSS JOIN LATERAL (
        SELECT m.tenant_id, m.message_id
        FROM active_messages AS m
        WHERE m.channel_account_id = lanes.channel_account_id
            AND m.next_attempt_at <= statement_timestamp()
            AND m.cancel_reason IS NULL
            AND (m.leased_until IS NULL OR m.channel <= 2)
            AND (m.valid_until IS NULL OR m.valid_until > statement_timestamp())
        ORDER BY m.next_attempt_at
        LIMIT CASE
            WHEN lanes.channel_account_id = 0 THEN $1::bigint
            WHEN EXISTS (
                SELECT FROM channel_accounts AS stopped
                WHERE stopped.channel_account_id = lanes.channel_account_id AND stopped.stopped_at IS NOT NULL
            ) THEN 0
            ELSE coalesce(
                (
                    SELECT busy.room FROM unnest($3::bigint[], $4::bigint[]) AS busy (channel_account_id, room)
                    WHERE busy.channel_account_id = lanes.channel_account_id
                ),
                $2::bigint
            )
        END
        FOR UPDATE SKIP LOCKED
    ) AS d
    WHERE lanes.channel_account_id IS NOT NULL
    LIMIT $1::bigint
), claimed AS (
    UPDATE active_messages AS m
    SET attempts = m.attempts + 1,
        round_attempts = m.round_attempts + 1,
        leased_until = clock_timestamp() + make_interval(secs => $5),
        next_attempt_at = clock_timestamp() + make_interval(secs => $5)
    FROM due
    WHERE m.tenant_id = due.tenant_id AND m.message_id = due.message_id
    RETURNING m.*
)
SELECT
    c.tenant_id AS "tenant_id!", c.message_id AS "message_id!", c.kind AS "kind!", c.bot_id AS "bot_id!",
    c.ticket_id AS "ticket_id!", c.contact_id AS "contact_id!", c.channel AS "channel!",
    c.recipient_address AS "recipient_address!", c.channel_account_id AS "channel_account_id!",
    c.body_text AS "body_text!", c.image_url AS "image_url!", c.last_customer_message_at, c.refused_message_id IS NOT NULL AS "text_refused!",
    c.accepted_at AS "accepted_at!", c.queued_at AS "queued_at!", c.valid_until, c.attempts AS "attempts!", c.round_attempts AS "round_attempts!",
    clock_timestamp() AS "now!",
    a.channel AS "account_channel?", a.enabled AS "account_enabled?", a.stopped_at IS NOT NULL AS "account_stopped?",
    a.settings AS "account_settings?",
    a.credential_name AS "credential_name?", a.signing_secret AS "signing_secret?"
FROM claimed AS c
LEFT JOIN channel_accounts AS a
    ON a.tenant_id = c.tenant_id AND a.channel_account_id = c.channel_account_id
