-- Blanks a contact's personal data in its tickets that were opened before ($4), and in those that an event told of ($3).
-- What reports count stays.
UPDATE tickets
SET contact_name = '', contact_email = '', contact_phone = '', contact_address = '',
    close_summary = CASE WHEN close_summary IS NOT NULL THEN '' END
WHERE tenant_id = $1
    AND ((contact_id = $2 AND opened_at <= $4) OR ticket_id = ANY ($3::bigint[]))
    AND NOT (
        contact_name = '' AND contact_email = '' AND contact_phone = '' AND contact_address = ''
        AND coalesce(close_summary, '') = ''
    )
