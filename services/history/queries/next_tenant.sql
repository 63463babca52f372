-- The next tenant with tickets or contacts, and for how long its tickets are kept. $2: the default; NULL: for ever.
SELECT next.tenant_id, coalesce(settings.retention_days, $2) AS keep_days
FROM (
    SELECT least(
        (SELECT min(tenant_id) FROM tickets WHERE tenant_id > $1),
        (SELECT min(tenant_id) FROM contacts WHERE tenant_id > $1)
    ) AS tenant_id
) AS next
LEFT JOIN tenant_settings AS settings ON settings.tenant_id = next.tenant_id
