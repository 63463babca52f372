UPDATE tickets
SET queue_id = changed.queue_id,
    agent_id = changed.agent_id,
    state = changed.state,
    is_unlinked = changed.is_unlinked,
    first_assigned_at = changed.first_assigned_at,
    first_agent_message_at = changed.first_agent_message_at,
    -- Arrays of arrays can't be ragged: the tags of a ticket come as one text. No tag has control characters.
    tags = string_to_array(changed.tags, chr(31)),
    closed_at = changed.closed_at,
    close_source = changed.close_source,
    close_author_kind = changed.close_author_kind,
    close_author_id = changed.close_author_id,
    close_category = changed.close_category,
    close_summary = changed.close_summary,
    close_exit_route = changed.close_exit_route,
    state_before_close = changed.state_before_close,
    agent_before_close = changed.agent_before_close,
    tags_of_close = string_to_array(changed.tags_of_close, chr(31)),
    automation_before_close = changed.automation_before_close,
    automation_until_before_close = changed.automation_until_before_close,
    hold_reason = changed.hold_reason,
    held_at = changed.held_at,
    hold_author_kind = changed.hold_author_kind,
    hold_author_id = changed.hold_author_id
FROM unnest(
    $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::boolean[], $7::timestamptz[],
    $8::timestamptz[], $9::text[], $10::timestamptz[], $11::smallint[], $12::smallint[], $13::bigint[], $14::text[],
    $15::text[], $16::text[], $17::smallint[], $18::bigint[], $19::text[], $20::text[], $21::timestamptz[],
    $22::smallint[], $23::bigint[], $24::smallint[], $25::timestamptz[]
) AS changed (
    tenant_id, ticket_id, queue_id, agent_id, state, is_unlinked, first_assigned_at, first_agent_message_at, tags,
    closed_at, close_source, close_author_kind, close_author_id, close_category, close_summary, close_exit_route,
    state_before_close, agent_before_close, tags_of_close, hold_reason, held_at, hold_author_kind, hold_author_id,
    automation_before_close, automation_until_before_close
)
WHERE tickets.tenant_id = changed.tenant_id AND tickets.ticket_id = changed.ticket_id
