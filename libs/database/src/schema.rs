//! Bringing the schema up to date, or refusing one that the program does not know.

use sqlx::PgPool;
use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migrator};

/// Why a service can't work with its database.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
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

/// Migrates if `migrate` says so; otherwise refuses a schema that lacks a migration, has one that this program does
/// not know, or had one applied in another form.
pub async fn prepare_schema(
    pool: &PgPool,
    migrator: &Migrator,
    migrate: bool,
) -> Result<(), SchemaError> {
    if migrate {
        return migrator.run(pool).await.map_err(SchemaError::Migrate);
    }
    // Not checked as it is compiled: the table is made by the migrator, not by a migration.
    let applied = sqlx::query_as::<_, (i64, Vec<u8>, bool)>(
        "SELECT version, checksum, success FROM _sqlx_migrations ORDER BY version",
    );
    let applied = match applied.fetch_all(pool).await {
        Ok(applied) => applied,
        Err(error) if is_undefined_table(&error) => {
            let problem = "no migration was applied; run the migration job, or set \
                           database.migrate = true";
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
