//! Bringing the schema up to date, or refusing one that the program does not know.

use plazo_service::ConfigError;
use sqlx::PgConnection;
use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migrator};

/// Why a service can't work with its database.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A URL of the configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No connection as the role that is needed. Missing roles are made by `deploy/postgresql/roles.sql`.
    #[error("the database can't be reached")]
    Connect(#[source] sqlx::Error),
    /// The migrations failed.
    #[error("the database could not be migrated")]
    Migrate(#[source] MigrateError),
    /// The database can't be asked.
    #[error("the database's schema could not be read")]
    Read(#[source] sqlx::Error),
    /// The schema is another one.
    #[error("the database's schema is not the one of this program: {0}")]
    Unknown(String),
}

/// Refuses a schema that lacks a migration, has one that this program does not know, or had one applied in another form.
pub(crate) async fn check(
    connection: &mut PgConnection,
    migrator: &Migrator,
) -> Result<(), SchemaError> {
    // Not checked as it is compiled: the table is made by the migrator, not by a migration.
    let applied = sqlx::query_as::<_, (i64, Vec<u8>, bool)>(
        "SELECT version, checksum, success FROM _sqlx_migrations ORDER BY version",
    );
    let applied = match applied.fetch_all(connection).await {
        Ok(applied) => applied,
        Err(error) if is_undefined_table(&error) => {
            let problem = "no migration was applied; run the migration job (--migrate), or \
                           set database.migrate = true";
            return Err(SchemaError::Unknown(problem.to_owned()));
        }
        Err(error) => return Err(SchemaError::Read(error)),
    };
    for wanted in migrator.iter() {
        let version = wanted.version;
        let problem = match applied.iter().find(|(applied, ..)| *applied == version) {
            None => "was not applied",
            Some((_, _, false)) => "was applied in part",
            Some((_, checksum, _)) if *checksum != *wanted.checksum => {
                "was applied in another form"
            }
            Some(_) => continue,
        };
        let problem = format!("migration {version} {problem}");
        return Err(SchemaError::Unknown(problem));
    }
    match applied
        .iter()
        .find(|(version, ..)| !migrator.version_exists(*version))
    {
        Some((version, ..)) => {
            let problem = format!("migration {version} is newer than this program");
            Err(SchemaError::Unknown(problem))
        }
        None => Ok(()),
    }
}

fn is_undefined_table(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(DatabaseError::code)
        .is_some_and(|code| code == "42P01")
}
