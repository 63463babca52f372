-- The time zone of a tenant's reports; no row before settings were made.
SELECT time_zone FROM tenant_settings WHERE tenant_id = $1
