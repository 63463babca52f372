-- The roles of one service and its database, for a server on which the services may not make them. Once for each service
-- with a database, by a superuser or a login with CREATEROLE and CREATEDB, through psql:
--
--     psql -v service=ticketing -v database=ticketing -f roles.sql postgres
--     psql -v service=notification -v database=notification -f roles.sql postgres
--     psql -v service=history -v database=history -f roles.sql postgres
--
-- It may be repeated. The three roles are logins without a password: set them with \password, or let the server know
-- them by certificate. They go into the service's configuration:
--
--     database.migration_url  plazo_SERVICE_owner       owns the database and its tables, and migrates
--     database.url            plazo_SERVICE_background  background work and the calls of other services: all tenants
--     database.request_url    plazo_SERVICE_request     requests: one tenant at a time, which each transaction names
\set ON_ERROR_STOP on

SELECT format('CREATE ROLE %I LOGIN', rolname)
FROM unnest(ARRAY['owner', 'background', 'request']) AS part,
    LATERAL (SELECT 'plazo_' || :'service' || '_' || part AS rolname) AS wanted
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE pg_roles.rolname = wanted.rolname)
\gexec

-- A development server may have made some of them without a login, or with rights that go round the walls. Only what is
-- wrong is changed: a right that not everybody may give can't be named by others either.
SELECT format('ALTER ROLE %I LOGIN', rolname)
FROM unnest(ARRAY['owner', 'background', 'request']) AS part
JOIN pg_roles ON rolname = 'plazo_' || :'service' || '_' || part
WHERE NOT rolcanlogin
\gexec
SELECT format('ALTER ROLE %I NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', rolname)
FROM unnest(ARRAY['owner', 'background', 'request']) AS part
JOIN pg_roles ON rolname = 'plazo_' || :'service' || '_' || part
WHERE rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls
\gexec

-- Who is no superuser may give a database only to a role that he is a member of.
SELECT format('GRANT %I TO CURRENT_USER', 'plazo_' || :'service' || '_owner')
FROM pg_roles
WHERE rolname = current_user AND NOT rolsuper
\gexec

SELECT format('CREATE DATABASE %I OWNER %I', :'database', 'plazo_' || :'service' || '_owner')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database')
\gexec

-- Nobody else comes in, nor makes temporary tables.
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'database')
\gexec
SELECT format(
    'GRANT CONNECT ON DATABASE %I TO %I, %I',
    :'database', 'plazo_' || :'service' || '_background', 'plazo_' || :'service' || '_request'
)
\gexec
