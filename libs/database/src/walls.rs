//! Tries the walls between tenants from within, for the tests of services: on every table of a schema, as its catalogue
//! has them, so that no table is forgotten.

use sqlx::error::DatabaseError;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

/// SQLSTATE of what a privilege or a policy refuses.
const REFUSED: &str = "42501";
/// SQLSTATE of a key that is there already.
const DUPLICATE: &str = "23505";

/// The walls of a service's database.
#[derive(Debug, Clone, Copy)]
pub struct Walls<'a> {
    /// The service as in the names of its roles.
    pub service: &'a str,
    /// A superuser's URL of a database that has the service's schema, and no more use after this: constraints go, and rows
    /// come that mean nothing.
    pub url: &'a str,
    /// The schemas that have its tables.
    pub schemas: &'a [&'a str],
    /// The tables that have no tenant, and why.
    pub without_tenant: &'a [(&'a str, &'a str)],
}

struct Table {
    /// With its schema.
    name: String,
    has_tenant: bool,
    is_partition: bool,
}

impl Walls<'_> {
    /// What is wrong, in words; empty when nothing is.
    pub async fn problems(&self) -> Result<Vec<String>, sqlx::Error> {
        let mut connection = PgConnection::connect(self.url).await?;
        let tables = self.tables(&mut connection).await?;
        let mut problems = self.unwalled(&mut connection, &tables).await?;
        problems.extend(self.excess_rights(&mut connection).await?);
        if !problems.is_empty() {
            return Ok(problems);
        }
        let walled: Vec<&Table> = tables.iter().filter(|table| table.has_tenant).collect();
        self.fill(&mut connection, &walled).await?;
        connection.close().await?;
        // On a connection that never heard of a tenant, and on one that has forgotten it.
        let mut connection = PgConnection::connect(self.url).await?;
        self.try_without_tenant(&mut connection, &walled, &mut problems)
            .await?;
        for table in &walled {
            self.try_as_tenant(&mut connection, table, &mut problems)
                .await?;
        }
        self.try_without_tenant(&mut connection, &walled, &mut problems)
            .await?;
        connection.close().await?;
        Ok(problems)
    }

    async fn tables(&self, connection: &mut PgConnection) -> Result<Vec<Table>, sqlx::Error> {
        let rows = sqlx::query_as::<_, (String, bool, bool)>(
            "SELECT format('%I.%I', nspname, relname), attname IS NOT NULL, relispartition
             FROM pg_class
             JOIN pg_namespace ON pg_namespace.oid = relnamespace
             LEFT JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'tenant_id'
             WHERE nspname = ANY ($1) AND relkind IN ('r', 'p', 'v', 'm', 'f')
             ORDER BY 1",
        )
        .bind(self.schemas)
        .fetch_all(connection)
        .await?;
        let tables = rows
            .into_iter()
            .map(|(name, has_tenant, is_partition)| Table {
                name,
                has_tenant,
                is_partition,
            });
        Ok(tables.collect())
    }

    /// Tables without walls, and without a reason for it.
    async fn unwalled(
        &self,
        connection: &mut PgConnection,
        tables: &[Table],
    ) -> Result<Vec<String>, sqlx::Error> {
        let mut problems = Vec::new();
        let is_excused = |table: &Table| {
            let mut excused = self.without_tenant.iter();
            excused.any(|(name, _)| table.name.rsplit('.').next() == Some(*name))
        };
        for table in tables {
            let name = &table.name;
            match (table.has_tenant, is_excused(table)) {
                (true, true) => {
                    problems.push(format!("{name} has a tenant, and is said to have none"));
                }
                (false, false) => {
                    problems.push(format!("{name} has no tenant, and no reason for it"));
                }
                (false, true) => {}
                (true, false) => {
                    let row = sqlx::query(
                        "SELECT relrowsecurity AND relforcerowsecurity,
                             (SELECT count(DISTINCT rolname) FROM pg_policy JOIN pg_roles ON pg_roles.oid = ANY (polroles)
                              WHERE polrelid = pg_class.oid AND rolname = ANY ($2))
                         FROM pg_class WHERE oid = $1::regclass",
                    )
                    .bind(name)
                    .bind([self.role("request"), self.role("background")])
                    .fetch_one(&mut *connection)
                    .await?;
                    if !row.try_get::<bool, _>(0)? {
                        problems.push(format!(
                            "{name}: row-level security is not enabled and forced"
                        ));
                    }
                    if row.try_get::<i64, _>(1)? != 2 {
                        problems.push(format!("{name}: a role has no policy"));
                    }
                }
            }
        }
        for (excused, _) in self.without_tenant {
            let is_there = |table: &Table| table.name.rsplit('.').next() == Some(*excused);
            if !tables.iter().any(is_there) {
                problems.push(format!("there is no table {excused} without a tenant"));
            }
        }
        Ok(problems)
    }

    /// Rights that a role has beyond its work.
    async fn excess_rights(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<String>, sqlx::Error> {
        let mut problems = Vec::new();
        for role in ["request", "background"] {
            let found: Vec<String> = sqlx::query_scalar(
                "SELECT 'the role goes round walls' FROM pg_roles
                     WHERE rolname = $1 AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)
                 UNION ALL
                 SELECT 'is a member of ' || roleid::regrole FROM pg_auth_members WHERE member = $1::regrole
                 UNION ALL
                 SELECT 'owns ' || oid::regclass FROM pg_class WHERE relowner = $1::regrole
                 UNION ALL
                 SELECT 'may make things in ' || nspname FROM pg_namespace
                     WHERE nspname = ANY ($2) AND has_schema_privilege($1, oid, 'CREATE')
                 UNION ALL
                 SELECT format('may %s %s', may, pg_class.oid::regclass)
                     FROM pg_class
                     JOIN pg_namespace ON pg_namespace.oid = relnamespace AND nspname = ANY ($2)
                     CROSS JOIN unnest('{TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS may
                     WHERE relkind IN ('r', 'p') AND has_table_privilege($1, pg_class.oid, may)
                 UNION ALL
                 SELECT 'may call ' || pg_proc.oid::regprocedure || ' with the rights of its owner'
                     FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace AND nspname = ANY ($2)
                     WHERE prosecdef AND $3 AND has_function_privilege($1, pg_proc.oid, 'EXECUTE')",
            )
            .bind(self.role(role))
            .bind(self.schemas)
            .bind(role == "request")
            .fetch_all(&mut *connection)
            .await?;
            problems.extend(found.into_iter().map(|found| format!("{role} {found}")));
        }
        Ok(problems)
    }

    /// Puts a row of tenant 1 and one of tenant 2 into each table, and a copy of them where the roles may read it.
    async fn fill(
        &self,
        connection: &mut PgConnection,
        tables: &[&Table],
    ) -> Result<(), sqlx::Error> {
        let constraints: Vec<String> = sqlx::query_scalar(
            "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname)
             FROM pg_constraint JOIN pg_namespace ON pg_namespace.oid = connamespace
             WHERE nspname = ANY ($1) AND contype IN ('c', 'f') AND coninhcount = 0 AND conrelid <> 0
             ORDER BY contype DESC",
        )
        .bind(self.schemas)
        .fetch_all(&mut *connection)
        .await?;
        for constraint in constraints {
            connection.execute(AssertSqlSafe(constraint)).await?;
        }
        connection.execute("CREATE SCHEMA copied").await?;
        // Without triggers, which would fill some tables from others.
        connection
            .execute("SET session_replication_role = replica")
            .await?;
        for table in tables.iter().filter(|table| !table.is_partition) {
            for tenant_id in [1, 2] {
                let insert = sample(connection, &table.name, tenant_id).await?;
                connection.execute(AssertSqlSafe(insert)).await?;
            }
            let copy = copy_of(&table.name);
            let copying = format!("CREATE TABLE {copy} AS SELECT * FROM {}", table.name);
            connection.execute(AssertSqlSafe(copying)).await?;
        }
        connection.execute("RESET session_replication_role").await?;
        let request = self.role("request");
        let grants = format!(
            "GRANT USAGE ON SCHEMA copied TO {request}; GRANT SELECT ON ALL TABLES IN SCHEMA copied TO {request}"
        );
        connection.execute(AssertSqlSafe(grants)).await?;
        Ok(())
    }

    /// Without a tenant nothing is seen, and background work sees all.
    async fn try_without_tenant(
        &self,
        connection: &mut PgConnection,
        tables: &[&Table],
        problems: &mut Vec<String>,
    ) -> Result<(), sqlx::Error> {
        for Table {
            name, is_partition, ..
        } in tables
        {
            let count = format!("SELECT FROM {name}");
            match self.attempt(connection, "request", None, &count).await? {
                Some(0) | None => {}
                Some(seen) => {
                    problems.push(format!("{name}: {seen} rows are seen without a tenant"));
                }
            }
            let seen = self.attempt(connection, "background", None, &count).await?;
            if !is_partition && seen != Some(2) {
                problems.push(format!("{name}: background work sees {seen:?}, not 2 rows"));
            }
        }
        Ok(())
    }

    /// Tenant 2 reaches its row at most, by statements that name no tenant.
    async fn try_as_tenant(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        problems: &mut Vec<String>,
    ) -> Result<(), sqlx::Error> {
        let name = &table.name;
        for (what, statement) in [
            ("select", format!("SELECT FROM {name}")),
            ("update", format!("UPDATE {name} SET tenant_id = 2")),
            ("delete", format!("DELETE FROM {name}")),
        ] {
            let reached = self
                .attempt(connection, "request", Some(2), &statement)
                .await?;
            if reached.is_some_and(|rows| rows > 1) || (reached == Some(0) && !table.is_partition) {
                problems.push(format!(
                    "{name}: {what} reaches {reached:?} rows, not its own alone"
                ));
            }
        }
        let mut smuggling = vec![("giving away", format!("UPDATE {name} SET tenant_id = 1"))];
        if !table.is_partition {
            let columns: String = sqlx::query_scalar(
                "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
                 WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
            )
            .bind(name)
            .fetch_one(&mut *connection)
            .await?;
            let copy = copy_of(name);
            let insert = format!(
                "INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {copy} WHERE tenant_id = 1"
            );
            smuggling.push(("insert", insert));
        }
        for (what, statement) in smuggling {
            let done = self
                .attempt(connection, "request", Some(2), &statement)
                .await?;
            if let Some(rows) = done {
                problems.push(format!(
                    "{name}: {what} is not refused for {rows} rows of another tenant"
                ));
            }
        }
        Ok(())
    }

    /// Runs a statement as a role, and undoes it. The rows that it reached; none when it was refused.
    async fn attempt(
        &self,
        connection: &mut PgConnection,
        role: &str,
        tenant_id: Option<i64>,
        statement: &str,
    ) -> Result<Option<u64>, sqlx::Error> {
        let mut begin = format!("BEGIN; SET LOCAL ROLE {}", self.role(role));
        if let Some(tenant_id) = tenant_id {
            begin = format!("{begin}; SET LOCAL plazo.tenant_id = '{tenant_id}'");
        }
        let mut transaction = connection.begin_with(AssertSqlSafe(begin)).await?;
        let outcome = transaction
            .execute(AssertSqlSafe(statement.to_owned()))
            .await;
        transaction.rollback().await?;
        match outcome {
            Ok(done) => Ok(Some(done.rows_affected())),
            Err(error) if has_code(&error, REFUSED) => Ok(None),
            // It met the row that it is a copy of: behind the walls.
            Err(error) if has_code(&error, DUPLICATE) => Ok(Some(1)),
            Err(error) => Err(error),
        }
    }

    fn role(&self, which: &str) -> String {
        format!("plazo_{}_{which}", self.service)
    }
}

fn copy_of(table: &str) -> String {
    format!("copied.{}", table.replace(['.', '"'], "_"))
}

/// A statement that inserts a row into a table, with values in the columns that have no default.
async fn sample(
    connection: &mut PgConnection,
    table: &str,
    tenant_id: i64,
) -> Result<String, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT format(
             'INSERT INTO %s (%s) VALUES (%s)', $1,
             string_agg(quote_ident(attname), ', ' ORDER BY attnum),
             string_agg(
                 CASE
                     WHEN typcategory = 'A' THEN quote_literal('{}')
                     WHEN typcategory = 'D' THEN 'clock_timestamp()'
                     WHEN typcategory = 'B' THEN 'false'
                     WHEN typname = 'uuid' THEN 'gen_random_uuid()'
                     WHEN typname = 'bytea' THEN quote_literal('\\x0' || $2)
                     WHEN typname = 'jsonb' THEN quote_literal('{}')
                     ELSE quote_literal($2)
                 END,
                 ', ' ORDER BY attnum
             )
         )
         FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
         WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attnotnull AND NOT atthasdef
             AND attidentity = ''",
    )
    .bind(table)
    .bind(tenant_id)
    .fetch_one(connection)
    .await
}

fn has_code(error: &sqlx::Error, wanted: &str) -> bool {
    error
        .as_database_error()
        .and_then(DatabaseError::code)
        .is_some_and(|code| code == wanted)
}
