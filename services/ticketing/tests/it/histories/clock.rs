//! A clock that the test sets.
//!
//! The service takes the time from PostgreSQL alone: `clock_timestamp()`, and `statement_timestamp()` where an index
//! needs a fixed instant. Both are ordinary functions of the schema `pg_catalog`, which is searched first only if
//! `search_path` does not name it. So the test's database has functions of the same names in a schema `movable`, and a
//! `search_path` that names `pg_catalog` behind it: the statements of the service, its migration and its column defaults
//! take the test's functions, and nothing of the service is made for the test. They read the last value of a sequence,
//! which belongs to no transaction: all connections see a new instant at once.

use plazo_local::TestServers;
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::support::Fixture;

const MOVABLE: &str = "
CREATE SCHEMA movable;
CREATE SEQUENCE movable.millis;
CREATE FUNCTION movable.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS $$ SELECT to_timestamp(last_value / 1000.0) FROM movable.millis $$;
CREATE FUNCTION movable.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT to_timestamp(last_value / 1000.0) FROM movable.millis $$;
GRANT USAGE ON SCHEMA movable TO PUBLIC;
GRANT SELECT ON SEQUENCE movable.millis TO PUBLIC;
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = public, movable, pg_catalog', current_database());
END $$;
";

/// Sets the time of one database.
#[derive(Debug)]
pub(super) struct MovableClock {
    pool: PgPool,
}

impl MovableClock {
    /// A service that goes by a clock, and this clock. It stands at `start_ms`, in milliseconds since 1970.
    pub(super) async fn start(start_ms: i64, settings: &[(&str, &str)]) -> (Fixture, Self) {
        let servers = TestServers::shared().await;
        let url = servers.fresh_database("ticketing").await;
        let url = url.expect("a database");
        // Before anybody else connects: a session keeps the search_path that it began with.
        let mut connection = PgConnection::connect(&url).await.expect("connected");
        sqlx::raw_sql(MOVABLE)
            .execute(&mut connection)
            .await
            .expect("a movable clock");
        sqlx::query("SELECT setval('movable.millis', $1)")
            .bind(start_ms)
            .execute(&mut connection)
            .await
            .expect("set");
        connection.close().await.expect("closed");
        let fixture = Fixture::start_on(&url, settings).await;
        let pool = fixture.pool.clone();
        (fixture, Self { pool })
    }

    /// Moves the clock, for all that begins from now on.
    pub(super) async fn set(&self, now_ms: i64) {
        sqlx::query("SELECT setval('movable.millis', $1)")
            .bind(now_ms)
            .execute(&self.pool)
            .await
            .expect("set");
    }
}
