-- What the figures of a report are made of, column by column: of at most $12 conversations, the first closed first, after the
-- one of ($10, $11). $4 to $9 as in report_page.sql. Columns instead of rows, because a report takes hundreds of thousands
-- and each row costs more to carry over than to read. $13: a ReportGrouping; what a conversation has in common with others
-- by it, as text; tags are joined by the unit separator (31).
SELECT
    -- Another one from the moment on in which a projection that was built anew serves.
    'tickets'::regclass::oid::bigint AS "table_oid!",
    coalesce(array_agg(ticket_id), '{}') AS "ticket_ids!",
    coalesce(array_agg(closed_at), '{}') AS "closed_at!",
    coalesce(array_agg(opened_at), '{}') AS "opened_at!",
    coalesce(array_agg(coalesce(first_closed_at, closed_at)), '{}') AS "first_closed_at!",
    coalesce(array_agg(first_assigned_at), '{}') AS "first_assigned_at!: Vec<Option<jiff_sqlx::Timestamp>>",
    coalesce(array_agg(first_agent_message_at), '{}') AS "first_agent_message_at!: Vec<Option<jiff_sqlx::Timestamp>>",
    coalesce(array_agg(close_source), '{}') AS "close_sources!",
    coalesce(array_agg(reopen_count), '{}') AS "reopen_counts!",
    coalesce(array_agg(customer_message_count), '{}') AS "customer_message_counts!",
    coalesce(array_agg(agent_message_count), '{}') AS "agent_message_counts!",
    coalesce(array_agg(later_response_count), '{}') AS "later_response_counts!",
    coalesce(array_agg(later_response_ms), '{}') AS "later_response_ms!",
    coalesce(array_agg(handling_ms), '{}') AS "handling_ms!",
    coalesce(array_agg(business_wait_ms), '{}') AS "business_wait_ms!: Vec<Option<i64>>",
    coalesce(array_agg(business_first_response_ms), '{}') AS "business_first_response_ms!: Vec<Option<i64>>",
    coalesce(array_agg(business_later_response_ms), '{}') AS "business_later_response_ms!: Vec<Option<i64>>",
    coalesce(array_agg(business_first_resolution_ms), '{}') AS "business_first_resolution_ms!: Vec<Option<i64>>",
    coalesce(array_agg(business_full_resolution_ms), '{}') AS "business_full_resolution_ms!: Vec<Option<i64>>",
    coalesce(array_agg(business_handling_ms), '{}') AS "business_handling_ms!: Vec<Option<i64>>",
    coalesce(array_agg(group_key) FILTER (WHERE $13::integer <> 0), '{}') AS "group_keys!"
FROM (
    SELECT *,
        CASE $13::integer
            WHEN 1 THEN bot_id::text
            WHEN 2 THEN queue_id::text
            WHEN 3 THEN agent_id::text
            WHEN 4 THEN array_to_string(tags, chr(31))
            WHEN 5 THEN coalesce(close_category, '')
            WHEN 6 THEN close_source::text
        END AS group_key
    FROM tickets
    WHERE tenant_id = $1
        AND closed_at >= $2
        AND closed_at < $3
        AND ($4::bigint[] IS NULL OR bot_id = ANY ($4))
        AND ($5::bigint[] IS NULL OR queue_id = ANY ($5))
        AND ($6::bigint[] IS NULL OR agent_id = ANY ($6))
        AND ($7::text[] IS NULL OR tags && $7)
        AND ($8::text[] IS NULL OR coalesce(close_category, '') = ANY ($8))
        AND ($9::integer[] IS NULL OR close_source = ANY ($9))
        -- Without a place from the beginning of the period: an index is read from this bound on, whatever others there are.
        AND (closed_at, ticket_id) > (coalesce($10::timestamptz, $2), coalesce($11::bigint, -1))
    ORDER BY closed_at, ticket_id
    LIMIT $12
) AS conversation
