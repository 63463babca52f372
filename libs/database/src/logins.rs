//! As whom a service connects: `deploy/postgresql/roles.sql` makes the roles of production.

use plazo_service::ConfigError;
use sqlx::Connection as _;
use sqlx::error::DatabaseError;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::connect::{parse_url, timed_options};
use crate::schema::{self, SchemaError};

/// The ways into a service's database. Each may have a login of its own; or one login takes on the roles, as a superuser
/// can, and a member of both.
///
/// | for | by | as the role |
/// |---|---|---|
/// | requests | `request_url`, else `url` | `plazo_SERVICE_request`: the rows of one tenant, in transactions that name it |
/// | background work, and calls of other services | `url` | `plazo_SERVICE_background`: all rows |
/// | migrations | `migration_url`, else `url` | the login itself, which owns all that it makes |
#[derive(Clone, Copy)]
pub struct Logins<'a> {
    /// The service as in the names of its roles and in `application_name`: `ticketing`.
    pub service: &'static str,
    /// `database.url`.
    pub url: &'a str,
    /// `database.request_url`.
    pub request_url: Option<&'a str>,
    /// `database.migration_url`.
    pub migration_url: Option<&'a str>,
}

/// URLs may hold passwords, and are left out.
impl std::fmt::Debug for Logins<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logins")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

impl Logins<'_> {
    /// Options for a [`TenantPool`](crate::TenantPool), with a limit on each statement.
    pub fn request_options(
        &self,
        statement_timeout_ms: u64,
    ) -> Result<PgConnectOptions, ConfigError> {
        let (key, url) = match self.request_url {
            Some(url) => ("database.request_url", url),
            None => ("database.url", self.url),
        };
        self.options(key, url, "request", statement_timeout_ms)
    }

    /// Options for background work, with a limit on each statement.
    pub fn background_options(
        &self,
        statement_timeout_ms: u64,
    ) -> Result<PgConnectOptions, ConfigError> {
        self.options("database.url", self.url, "background", statement_timeout_ms)
    }

    /// Why there is no connection as the role of background work.
    fn not_connected(&self, error: sqlx::Error) -> SchemaError {
        let code = error.as_database_error().and_then(DatabaseError::code);
        let problem = match code.as_deref() {
            // An invalid value of the parameter that names the role.
            Some("22023") => "there is no role",
            Some("42501") => "the login may not take on the role",
            _ => return SchemaError::Connect(error),
        };
        SchemaError::Unknown(format!(
            "{problem} plazo_{}_background; run the migration job (--migrate) with a login that may make roles, or \
             deploy/postgresql/roles.sql before it",
            self.service
        ))
    }

    fn options(
        &self,
        key: &str,
        url: &str,
        role: &str,
        statement_timeout_ms: u64,
    ) -> Result<PgConnectOptions, ConfigError> {
        let service = self.service;
        let options = timed_options(key, url, &format!("plazo-{service}"), statement_timeout_ms)?;
        // Taken on as the connection is made: what resets the session's role comes back to this one.
        Ok(options.options([("role", format!("plazo_{service}_{role}"))]))
    }

    /// Brings the schema up to date.
    pub async fn migrate(&self, migrator: &Migrator) -> Result<(), SchemaError> {
        let (key, url) = match self.migration_url {
            Some(url) => ("database.migration_url", url),
            None => ("database.url", self.url),
        };
        // No limit on statements: one that changes a large table takes its time.
        let options = parse_url(key, url)?.application_name(&format!("plazo-{}", self.service));
        let mut connection = Box::pin(PgConnection::connect_with(&options))
            .await
            .map_err(SchemaError::Connect)?;
        // Its state is large, and would be in that of every caller.
        let outcome = Box::pin(migrator.run(&mut connection)).await;
        // A failed farewell changes nothing about what was done.
        let _ = connection.close().await;
        outcome.map_err(SchemaError::Migrate)
    }

    /// Migrates if `migrate` says so; otherwise refuses a schema that lacks a migration, has one that this program does
    /// not know, or had one applied in another form.
    pub async fn prepare(&self, migrator: &Migrator, migrate: bool) -> Result<(), SchemaError> {
        if migrate {
            return Box::pin(self.migrate(migrator)).await;
        }
        let options = self.background_options(0)?;
        let mut connection = Box::pin(PgConnection::connect_with(&options))
            .await
            .map_err(|error| self.not_connected(error))?;
        let outcome = Box::pin(schema::check(&mut connection, migrator)).await;
        let _ = connection.close().await;
        outcome
    }
}
