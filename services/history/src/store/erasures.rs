//! Erasures that were carried out, until ticketing has heard of them.

use jiff_sqlx::ToSqlx;

use super::RebuildStore;

/// An erasure that was carried out here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CarriedOut {
    pub(crate) tenant_id: i64,
    pub(crate) erasure_id: i64,
    pub(crate) erased_at: jiff::Timestamp,
    pub(crate) row_count: i64,
}

impl RebuildStore {
    /// Erasures of which ticketing has not heard, as far as is known.
    pub(crate) async fn unreported_erasures(
        &self,
        limit: i64,
    ) -> Result<Vec<CarriedOut>, sqlx::Error> {
        sqlx::query_as!(
            CarriedOut,
            "SELECT tenant_id, erasure_id, erased_at, row_count
             FROM erasures
             WHERE reported_at IS NULL AND is_whole
             ORDER BY tenant_id, erasure_id
             LIMIT $1",
            limit
        )
        .fetch_all(&self.pool)
        .await
    }

    /// Ticketing has heard of it as it was when the report was made; what came since is reported once more.
    pub(crate) async fn note_reported(&self, erasure: &CarriedOut) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "UPDATE erasures SET reported_at = clock_timestamp()
             WHERE tenant_id = $1 AND erasure_id = $2 AND erased_at = $3",
            erasure.tenant_id,
            erasure.erasure_id,
            erasure.erased_at.to_sqlx() as _
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
