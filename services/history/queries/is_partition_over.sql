-- Whether nothing in a partition is to be kept, and no ticket of it can come any more: ids rise with the opening, and a later
-- partition has tickets that were opened a day ago. $2: the default of days; NULL: for ever.
SELECT (
    NOT EXISTS (
        SELECT FROM tickets AS ticket
        LEFT JOIN tenant_settings AS settings USING (tenant_id)
        WHERE ticket.ticket_id >= $1::bigint * 1000000
            AND ticket.ticket_id < ($1 + 1) * 1000000
            AND (
                ticket.closed_at IS NULL
                OR coalesce(settings.retention_days, $2) IS NULL
                OR ticket.closed_at >= statement_timestamp() - make_interval(days => coalesce(settings.retention_days, $2))
            )
    ) AND EXISTS (
        SELECT FROM tickets
        WHERE ticket_id >= ($1 + 1) * 1000000
            AND opened_at < statement_timestamp() - interval '1 day'
    )
) AS "is_over!"
