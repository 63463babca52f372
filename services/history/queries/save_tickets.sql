-- Writes tickets as they are after a batch, new and known ones alike.
-- $9: the tags of each ticket, joined by the unit separator (31), because arrays of arrays must be rectangular.
INSERT INTO tickets AS known (
    tenant_id, ticket_id, bot_id, queue_id, agent_id, state, opened_at, previous_ticket_id, tags,
    customer_message_count, agent_message_count, reopen_count, contact_id, contact_name, contact_email,
    contact_phone, contact_channel, contact_address, closed_at, close_source, close_author_kind,
    close_author_id, close_exit_route, close_category, close_summary, is_unlinked, ticket_seq
)
SELECT
    tenant_id, ticket_id, bot_id, queue_id, agent_id, state, opened_at, previous_ticket_id,
    string_to_array(joined_tags, chr(31)),
    customer_message_count, agent_message_count, reopen_count, contact_id, contact_name, contact_email,
    contact_phone, contact_channel, contact_address, closed_at, close_source, close_author_kind,
    close_author_id, close_exit_route, close_category, close_summary, is_unlinked, ticket_seq
FROM unnest(
    $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::integer[], $7::timestamptz[],
    $8::bigint[], $9::text[], $10::integer[], $11::integer[], $12::integer[], $13::bigint[], $14::text[],
    $15::text[], $16::text[], $17::integer[], $18::text[], $19::timestamptz[], $20::integer[], $21::integer[],
    $22::bigint[], $23::text[], $24::text[], $25::text[], $26::boolean[], $27::bigint[]
) AS changed (
    tenant_id, ticket_id, bot_id, queue_id, agent_id, state, opened_at, previous_ticket_id, joined_tags,
    customer_message_count, agent_message_count, reopen_count, contact_id, contact_name, contact_email,
    contact_phone, contact_channel, contact_address, closed_at, close_source, close_author_kind,
    close_author_id, close_exit_route, close_category, close_summary, is_unlinked, ticket_seq
)
ON CONFLICT (tenant_id, ticket_id) DO UPDATE SET
    bot_id = excluded.bot_id,
    queue_id = excluded.queue_id,
    agent_id = excluded.agent_id,
    state = excluded.state,
    opened_at = excluded.opened_at,
    previous_ticket_id = excluded.previous_ticket_id,
    tags = excluded.tags,
    customer_message_count = excluded.customer_message_count,
    agent_message_count = excluded.agent_message_count,
    reopen_count = excluded.reopen_count,
    contact_id = excluded.contact_id,
    contact_name = excluded.contact_name,
    contact_email = excluded.contact_email,
    contact_phone = excluded.contact_phone,
    contact_channel = excluded.contact_channel,
    contact_address = excluded.contact_address,
    closed_at = excluded.closed_at,
    close_source = excluded.close_source,
    close_author_kind = excluded.close_author_kind,
    close_author_id = excluded.close_author_id,
    close_exit_route = excluded.close_exit_route,
    close_category = excluded.close_category,
    close_summary = excluded.close_summary,
    is_unlinked = excluded.is_unlinked,
    ticket_seq = excluded.ticket_seq
