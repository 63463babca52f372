//! All rows of all databases, as digests.

use std::collections::{BTreeMap, HashSet};

use plazo::cluster::{Cluster, Service};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};

/// The tenant of tables that have none.
const NO_TENANT: i64 = 0;

/// A digest for each table and tenant.
pub(super) type Rows = BTreeMap<(String, i64), String>;

/// The databases of a cluster, and the statements that read all of their tables.
pub(super) struct Databases(Vec<Database>);

struct Database {
    pool: PgPool,
    digests: String,
    ids: String,
}

/// A table, and those of its columns that hold ids.
type Table = (String, bool, Vec<String>);

impl Databases {
    pub(super) async fn of(cluster: &Cluster) -> Self {
        let mut all = Vec::new();
        for service in Service::ALL {
            if let Some(url) = cluster.database_url(service) {
                all.push(Database::connect(service, &url).await);
            }
        }
        Self(all)
    }

    /// Digests of all rows.
    pub(super) async fn rows(&self) -> Rows {
        let mut all = Rows::new();
        for database in &self.0 {
            let rows: Vec<(String, i64, String)> =
                sqlx::query_as(AssertSqlSafe(database.digests.clone()))
                    .fetch_all(&database.pool)
                    .await
                    .expect("digests");
            all.extend(
                rows.into_iter()
                    .map(|(table, tenant_id, digest)| ((table, tenant_id), digest)),
            );
        }
        all
    }

    /// All ids in the rows of a tenant that are `first` or above.
    pub(super) async fn ids(&self, tenant_id: i64, first: i64) -> HashSet<i64> {
        let mut all = HashSet::new();
        for database in &self.0 {
            let ids: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(database.ids.clone()))
                .bind(tenant_id)
                .bind(first)
                .fetch_all(&database.pool)
                .await
                .expect("ids");
            all.extend(ids);
        }
        all
    }

    pub(super) async fn close(self) {
        for database in self.0 {
            database.pool.close().await;
        }
    }
}

impl Database {
    async fn connect(service: Service, url: &str) -> Self {
        let pool = PgPoolOptions::new().max_connections(1).connect(url);
        let pool = pool.await.expect("the database is there");
        let tables: Vec<Table> = sqlx::query_as(
            "SELECT c.oid::regclass::text,
                 EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'),
                 ARRAY(
                     SELECT a.attname::text FROM pg_attribute a
                     WHERE a.attrelid = c.oid AND a.attname LIKE '%\\_id' AND a.atttypid = 'bigint'::regtype
                 )
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
                 AND n.nspname NOT IN ('pg_catalog', 'information_schema')",
        )
        .fetch_all(&pool)
        .await
        .expect("the tables");
        let mut digests = Vec::new();
        let mut ids = Vec::new();
        for (table, has_tenant, id_columns) in tables {
            let (tenant, group) = if has_tenant {
                ("tenant_id::bigint".to_owned(), "GROUP BY tenant_id")
            } else {
                (format!("{NO_TENANT}::bigint"), "")
            };
            digests.push(format!(
                "SELECT '{service} {table}', {tenant},
                     count(*) || ' ' || coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '')
                 FROM {table} t {group}"
            ));
            let columns = id_columns.iter().filter(|_| has_tenant);
            ids.extend(columns.map(|column| {
                format!("SELECT {column} FROM {table} WHERE tenant_id = $1 AND {column} >= $2")
            }));
        }
        Self {
            pool,
            digests: digests.join("\nUNION ALL\n"),
            ids: ids.join("\nUNION\n"),
        }
    }
}

/// What differs between two looks at the rows of one tenant, or of all.
pub(super) fn changed(before: &Rows, after: &Rows, tenant_id: Option<i64>) -> Vec<String> {
    let keys: HashSet<_> = before.keys().chain(after.keys()).collect();
    let mut changed: Vec<String> = keys
        .into_iter()
        .filter(|(_, tenant)| tenant_id.is_none_or(|wanted| *tenant == wanted))
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|(table, tenant)| format!("{table} of tenant {tenant}"))
        .collect();
    changed.sort();
    changed
}
