# Run once, when the server's data are made: for each service its roles, with the service's password of the Secret, and its
# database.
# shellcheck shell=bash
PGPASSWORD=$(cat /run/secrets/postgres/postgres)
export PGPASSWORD
for service in ticketing notification history; do
    psql --no-psqlrc --quiet --username postgres --dbname postgres --set service="$service" --set database="$service" \
        --file /run/plazo-roles/roles.sql
    psql --no-psqlrc --quiet --username postgres --dbname postgres --set ON_ERROR_STOP=1 --set service="$service" \
        --set password="$(cat "/run/secrets/postgres/$service")" <<'SQL'
SELECT format('ALTER ROLE %I PASSWORD %L', 'plazo_' || :'service' || '_' || part, :'password')
FROM unnest(ARRAY['owner', 'background', 'request']) AS part
\gexec
SQL
done
unset PGPASSWORD
