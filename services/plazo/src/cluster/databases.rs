//! Databases on a PostgreSQL server that was given.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use url::Url;

use super::error::ClusterError;
use super::options::Service;

/// The database that every server has, for a URL that names none.
const MAINTENANCE: &str = "postgres";

/// The services with a database, and how it is made.
const DATABASES: [(Service, &str); 3] = [
    (Service::Ticketing, "CREATE DATABASE ticketing"),
    (Service::Notification, "CREATE DATABASE notification"),
    (Service::History, "CREATE DATABASE history"),
];

/// PostgreSQL's code for a database that is there.
const DUPLICATE_DATABASE: &str = "42P04";

/// Services with a database.
pub(super) fn owners() -> impl Iterator<Item = Service> {
    DATABASES.into_iter().map(|(service, _)| service)
}

/// Reads the URL of a server.
pub(super) fn parse(url: &str) -> Result<Url, ClusterError> {
    let parsed = Url::parse(url).map_err(|error| ClusterError::DatabaseUrl(error.into()))?;
    PgConnectOptions::from_str(url).map_err(|error| ClusterError::DatabaseUrl(error.into()))?;
    if !matches!(parsed.scheme(), "postgres" | "postgresql") {
        return Err(ClusterError::DatabaseUrl(
            "it begins with another word".into(),
        ));
    }
    Ok(parsed)
}

/// The URL of one database on the server.
pub(super) fn on_server(server: &Url, database: &str) -> String {
    let mut url = server.clone();
    url.set_path(database);
    url.into()
}

/// The URL of history's database on a server that was given.
pub(crate) fn history_url(
    server: &str,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let server = parse(server).map_err(|error| match error {
        ClusterError::DatabaseUrl(source) => source,
        other => other.into(),
    })?;
    Ok(on_server(&server, Service::History.name()))
}

/// Makes the databases that are missing.
pub(super) async fn create(server: &Url) -> Result<(), ClusterError> {
    let is_named = server.path().len() > 1;
    let url = if is_named {
        server.to_string()
    } else {
        on_server(server, MAINTENANCE)
    };
    let options = PgConnectOptions::from_str(&url)
        .map_err(|error| ClusterError::DatabaseUrl(error.into()))?;
    let failed = |database| move |source| ClusterError::CreateDatabase { database, source };
    let first = Service::Ticketing.name();
    let mut connection: PgConnection = options.connect().await.map_err(failed(first))?;
    for (service, statement) in DATABASES {
        let exists: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                .bind(service.name())
                .fetch_one(&mut connection)
                .await
                .map_err(failed(service.name()))?;
        if exists {
            continue;
        }
        match sqlx::query(statement).execute(&mut connection).await {
            // Another cluster on this server was faster.
            Err(sqlx::Error::Database(error))
                if error.code().as_deref() == Some(DUPLICATE_DATABASE) => {}
            Err(error) => return Err(failed(service.name())(error)),
            Ok(_) => {}
        }
    }
    // The databases are there, whatever becomes of the connection.
    let _ = connection.close().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_all_but_its_database() {
        for (url, expected) in [
            (
                "postgres://plazo:pw@db:5433",
                "postgres://plazo:pw@db:5433/history",
            ),
            (
                "postgres://plazo@db/postgres?sslmode=require",
                "postgres://plazo@db/history?sslmode=require",
            ),
            (
                "postgres:///x?host=/run/postgresql",
                "postgres:///history?host=/run/postgresql",
            ),
        ] {
            let server = parse(url).expect(url);
            assert_eq!(on_server(&server, "history"), expected);
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for url in ["localhost", "mysql://db", "postgres://db:port"] {
            let error = parse(url).expect_err(url);
            assert!(matches!(error, ClusterError::DatabaseUrl(_)), "{error}");
        }
    }
}
