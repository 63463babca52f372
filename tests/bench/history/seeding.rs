//! Makes the tickets, by the command that people use for it.

use std::process::Stdio;

use sqlx::PgConnection;
use tokio::process::Command;
use tokio::time::Instant;

use crate::history::bed::Bed;
use crate::history::{Size, TENANT, tell};
use crate::report::Report;

const TABLES: [&str; 6] = [
    "tickets",
    "conversation_entries",
    "stage_firings",
    "dealings",
    "contacts",
    "contact_texts",
];

/// Reads what searches read into the server's own memory, where it has room.
const WARM_UP: &str = "CREATE EXTENSION IF NOT EXISTS pg_prewarm;
    SELECT sum(pg_prewarm(oid)) FROM pg_class
    WHERE relnamespace = 'projection'::regnamespace AND relkind IN ('r', 'i') AND relname ~ '^(contact|dealings)'";

/// Makes them unless they are there, and has the server look at the tables.
pub(super) async fn run(bed: &Bed, size: &Size, report: &mut Report) {
    let mut connection = bed.connection().await;
    let is_there: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM contacts WHERE tenant_id = $1)")
            .bind(TENANT)
            .fetch_one(&mut connection)
            .await
            .expect("the tables can be read");
    if !is_there {
        let began = Instant::now();
        seed(bed, size.tickets).await;
        let took_s = began.elapsed().as_secs_f64();
        tell(report, "seed_s", took_s);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        tell(report, "seed_tickets_per_s", size.tickets as f64 / took_s);
        // Pages that all can see need no look at each row later.
        for table in TABLES {
            run_statement(&mut connection, &format!("VACUUM (ANALYZE) {table}")).await;
        }
        run_statement(&mut connection, "CHECKPOINT").await;
    }
    let mut shown = Vec::new();
    for table in TABLES {
        let rows = rows_of(&mut connection, table).await;
        report.set(&format!("rows.{table}"), rows);
        shown.push(format!("{rows} {table}"));
    }
    let bytes: i64 = sqlx::query_scalar("SELECT pg_database_size(current_database())")
        .fetch_one(&mut connection)
        .await
        .expect("the size can be read");
    report.set("database_bytes", bytes);
    println!("  {}; {} MB", shown.join(", "), bytes >> 20);
    let began = Instant::now();
    tokio::task::block_in_place(|| bed.warm_up());
    run_statement(&mut connection, WARM_UP).await;
    tell(report, "warm_up_s", began.elapsed().as_secs_f64());
}

async fn seed(bed: &Bed, tickets: u64) {
    let own = std::env::current_exe().expect("this program has a path");
    let program = own
        .parent()
        .and_then(|folder| folder.parent())
        .expect("benchmarks lie in a folder of the build folder")
        .join("plazo");
    assert!(
        program.is_file(),
        "no program {}: build it with `cargo build --profile optimized -p plazo`",
        program.display()
    );
    let status = Command::new(program)
        .args(["seed", "--database-url", &bed.database_url()])
        .args(["--tenant", &TENANT.to_string()])
        .args(["--tickets", &tickets.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .expect("the command runs");
    assert!(status.success(), "plazo seed ended with {status}");
}

/// As the server knows it since it looked at the table; of all its partitions.
async fn rows_of(connection: &mut PgConnection, table: &str) -> i64 {
    sqlx::query_scalar(
        "SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint
         FROM pg_class
         WHERE relkind = 'r' AND (oid = $1::regclass
             OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = $1::regclass))",
    )
    .bind(table)
    .fetch_one(connection)
    .await
    .expect("the catalog can be read")
}

async fn run_statement(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}
