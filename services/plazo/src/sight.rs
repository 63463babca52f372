//! Whether a database login sees the rows of all tenants. Row-level security hides rows without a word, so what is
//! compared or counted with a login of requests would be nothing, and nothing would be wrong.

use sqlx::postgres::PgPool;

/// Tables that can be found without their schema and hide rows: no policy of one of the login's roles shows it all, or one
/// that restricts the others stands beside it.
const HIDING: &str = "
    SELECT relname::text FROM pg_class
    WHERE relkind IN ('r', 'p') AND NOT relispartition AND pg_table_is_visible(pg_class.oid)
        AND row_security_active(pg_class.oid)
        AND (
            SELECT bool_or(polpermissive AND shows_all) AND bool_and(polpermissive OR shows_all)
            FROM pg_policy,
                LATERAL (SELECT pg_get_expr(polqual, polrelid) IS NOT DISTINCT FROM 'true' AS shows_all) AS shown
            WHERE polrelid = pg_class.oid AND polcmd IN ('r', '*')
                AND EXISTS (
                    SELECT FROM unnest(polroles) AS role (oid)
                    WHERE CASE role.oid WHEN 0 THEN true ELSE pg_has_role(role.oid, 'USAGE') END
                )
        ) IS NOT TRUE
    ORDER BY relname";

/// A login that does not see all tenants.
#[derive(Debug, thiserror::Error)]
#[error(
    "the login {login} does not see the rows of all tenants in the database of {service}: row-level security hides them in \
     {} of its tables, {} among them; give the login of background work, plazo_{service}_background, or of the owner",
    .hiding.len(), .hiding.first().map_or("", String::as_str)
)]
pub struct BlindLogin {
    /// Whose database.
    service: &'static str,
    /// Who was connected.
    login: String,
    /// The tables, by name; at least one.
    hiding: Vec<String>,
}

/// Why a login can't be used.
#[derive(Debug)]
pub(crate) enum SightError {
    /// It does not see enough.
    Blind(BlindLogin),
    /// Nobody knows.
    Database(sqlx::Error),
}

impl From<sqlx::Error> for SightError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// Refuses a login that does not see the rows of all tenants in the tables of a service.
pub(crate) async fn check(pool: &PgPool, service: &'static str) -> Result<(), SightError> {
    let hiding: Vec<String> = sqlx::query_scalar(HIDING).fetch_all(pool).await?;
    if hiding.is_empty() {
        return Ok(());
    }
    let login = sqlx::query_scalar("SELECT current_user::text")
        .fetch_one(pool)
        .await?;
    Err(SightError::Blind(BlindLogin {
        service,
        login,
        hiding,
    }))
}
