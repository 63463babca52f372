UPDATE tickets
SET agent_id = changed.agent_id,
    state = changed.state,
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
    close_exit_route = changed.close_exit_route
FROM unnest(
    $1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::timestamptz[], $6::timestamptz[], $7::text[],
    $8::timestamptz[], $9::smallint[], $10::smallint[], $11::bigint[], $12::text[], $13::text[], $14::text[]
) AS changed (
    tenant_id, ticket_id, agent_id, state, first_assigned_at, first_agent_message_at, tags,
    closed_at, close_source, close_author_kind, close_author_id, close_category, close_summary, close_exit_route
)
WHERE tickets.tenant_id = changed.tenant_id AND tickets.ticket_id = changed.ticket_id
