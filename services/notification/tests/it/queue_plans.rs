//! The plans of the statements of the queue among many messages, few of which are due: what each reads does not grow with
//! what waits, whether a plan is made for the values at hand or once for all values.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use crate::support::World;

/// Messages in the table. Each has the number of its order as its id.
const MESSAGES: i64 = 100_000;
/// Each of that many is due, of all accounts.
const ONE_DUE_IN: i64 = 100;
/// Each of that many was sent before and waits for nothing.
const ONE_SENT_IN: i64 = 3;
const TENANTS: i64 = 50;
/// Of the accounts 0 to this one; 0 is the log's, which has no limit.
const ACCOUNTS: i64 = 40;

/// A statement, and what its plan must be.
struct Hot {
    name: &'static str,
    statement: &'static str,
    /// As `EXECUTE` takes them.
    arguments: String,
    /// How many rows of messages it may read.
    rows_max: f64,
    /// How it finds them.
    index: &'static str,
}

/// What a plan has read of messages.
#[derive(Debug, Default)]
struct Read {
    rows: f64,
    /// Scans by index name, or by kind without one.
    scans: Vec<String>,
}

async fn filled(world: &World) -> PgConnection {
    world.start().await.stop().await;
    let mut connection = PgConnection::connect(&world.database_url)
        .await
        .expect("it is there");
    sqlx::raw_sql(AssertSqlSafe(format!(
        "INSERT INTO active_messages (tenant_id, idempotency_key, kind, bot_id, ticket_id, contact_id, channel,
             recipient_address, channel_account_id, body_text, image_url, accepted_at, queued_at, state_at, valid_until,
             requested_seq, state, next_attempt_at)
         SELECT 1 + n % {TENANTS}, 'key' || n, 2, 1, n, 1, 2, 'address', n % ({ACCOUNTS} + 1), 'text', '', now(), now(),
             now(), now() + interval '1 day', 1, CASE WHEN waits THEN 1 ELSE 3 END,
             CASE WHEN waits THEN now() + CASE WHEN due THEN interval '-1 s' ELSE interval '1 h' END END
         FROM generate_series(1, {MESSAGES}) AS n,
             LATERAL (SELECT n % {ONE_DUE_IN} = 0 AS due, n % {ONE_DUE_IN} = 0 OR n % {ONE_SENT_IN} <> 0 AS waits) AS it;
         INSERT INTO state_reports (tenant_id, ticket_id, idempotency_key, state, state_at, failure_reason)
         SELECT 1 + n % {TENANTS}, n, 'key' || n, 1, now(), '' FROM generate_series(1, 20000) AS n;
         ANALYZE"
    )))
    .execute(&mut connection)
    .await
    .expect("the rows fit the schema");
    connection
}

fn tenant_of(message_id: i64) -> i64 {
    1 + message_id % TENANTS
}

/// An array of what these messages have, as it is written in SQL.
fn array<T: ToString>(message_ids: &[i64], value: impl Fn(i64) -> T) -> String {
    let values: Vec<String> = message_ids
        .iter()
        .map(|id| value(*id).to_string())
        .collect();
    format!("'{{{}}}'", values.join(","))
}

/// What it reads when it runs; nothing stays of it.
async fn read(connection: &mut PgConnection, hot: &Hot, mode: &str) -> Read {
    let mut transaction = connection.begin().await.expect("a transaction begins");
    let prepare = format!(
        "SET LOCAL plan_cache_mode = {mode}; PREPARE hot AS {}",
        hot.statement
    );
    sqlx::raw_sql(AssertSqlSafe(prepare))
        .execute(&mut *transaction)
        .await
        .expect("the statement is right");
    let arguments = if hot.arguments.is_empty() {
        String::new()
    } else {
        format!("({})", hot.arguments)
    };
    let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE hot {arguments}");
    let row = sqlx::raw_sql(AssertSqlSafe(explain))
        .fetch_one(&mut *transaction)
        .await
        .expect("the arguments are right");
    let text: String = row.get_unchecked(0);
    let plan: Value = serde_json::from_str(&text).expect("plans are JSON");
    sqlx::raw_sql("DEALLOCATE hot")
        .execute(&mut *transaction)
        .await
        .expect("it was prepared");
    transaction.rollback().await.expect("it ends");
    let mut read = Read::default();
    add(&plan[0]["Plan"], &mut read);
    read
}

/// Adds what a node and those below it read.
fn add(node: &Value, read: &mut Read) {
    let number = |name: &str| node[name].as_f64().unwrap_or(0.0);
    let kind = node["Node Type"].as_str().unwrap_or_default();
    let of_messages = node["Relation Name"] == "active_messages";
    if of_messages && kind.contains("Scan") {
        let each = number("Actual Rows")
            + number("Rows Removed by Filter")
            + number("Rows Removed by Index Recheck");
        read.rows += each * number("Actual Loops");
        let index = node["Index Name"].as_str();
        read.scans.push(index.unwrap_or(kind).to_owned());
    }
    // A bitmap names the index below it.
    if kind == "Bitmap Index Scan" {
        let index = node["Index Name"].as_str();
        read.scans.extend(index.map(ToOwned::to_owned));
    }
    for below in node["Plans"].as_array().into_iter().flatten() {
        add(below, read);
    }
}

fn of_the_sender(due: &[i64]) -> Vec<Hot> {
    let lanes = 40.0;
    vec![
        Hot {
            name: "claim",
            statement: include_str!("../../queries/claim.sql"),
            arguments: "256, 8, '{1,2}', '{3,0}', 20, -1".to_owned(),
            // A look for each lane, what is due in it, and again to write it.
            rows_max: 2.0 * 256.0 + 2.0 * lanes,
            index: "active_messages_waiting",
        },
        Hot {
            name: "settle",
            statement: include_str!("../../queries/settle.sql"),
            arguments: [
                array(due, tenant_of),
                array(due, |id| id),
                array(due, |_| 0),
                array(due, |_| "2026-01-01T00:00:00Z"),
                array(due, |_| "OK"),
                array(due, |_| 3),
                array(due, |_| "\"\""),
                array(due, |_| 0),
                array(due, |_| "NULL"),
                array(due, |_| true),
            ]
            .join(", "),
            rows_max: 2.0 * 256.0,
            index: "active_messages_pkey",
        },
        Hot {
            name: "park_uncertain",
            statement: include_str!("../../queries/park_uncertain.sql"),
            arguments: String::new(),
            rows_max: 0.0,
            index: "active_messages_leased",
        },
        Hot {
            name: "expire",
            statement: include_str!("../../queries/expire.sql"),
            arguments: String::new(),
            rows_max: 0.0,
            index: "active_messages_valid_until",
        },
        Hot {
            name: "settle_called_off",
            statement: include_str!("../../queries/settle_called_off.sql"),
            arguments: String::new(),
            rows_max: 0.0,
            index: "active_messages_called_off",
        },
    ]
}

fn of_callers_and_the_feed(due: &[i64]) -> Vec<Hot> {
    vec![
        Hot {
            name: "known_messages",
            statement: include_str!("../../queries/known_messages.sql"),
            arguments: [array(due, tenant_of), array(due, |id| format!("key{id}"))].join(", "),
            rows_max: 256.0,
            index: "active_messages_tenant_id_idempotency_key_key",
        },
        Hot {
            name: "mark_requested",
            statement: include_str!("../../queries/mark_requested.sql"),
            arguments: [
                array(due, tenant_of),
                array(due, |id| format!("key{id}")),
                array(due, |_| 2),
            ]
            .join(", "),
            rows_max: 2.0 * 256.0,
            index: "active_messages_tenant_id_idempotency_key_key",
        },
        Hot {
            name: "call_off",
            statement: include_str!("../../queries/call_off.sql"),
            arguments: [
                array(due, tenant_of),
                array(due, |id| id),
                array(due, |_| 2),
                array(due, |_| "CUSTOMER_ANSWERED"),
                array(due, |_| 2),
                array(due, |_| "NULL"),
            ]
            .join(", "),
            rows_max: 3.0 * 256.0,
            index: "active_messages_by_ticket",
        },
    ]
}

#[tokio::test]
async fn no_statement_of_the_queue_reads_what_waits_for_later() {
    let world = World::new().await;
    let mut connection = filled(&world).await;
    let due: Vec<i64> = (1..=256).map(|n| n * ONE_DUE_IN).collect();
    let mut all = of_the_sender(&due);
    all.extend(of_callers_and_the_feed(&due));
    for hot in all {
        for mode in ["force_custom_plan", "force_generic_plan"] {
            let read = read(&mut connection, &hot, mode).await;
            let name = hot.name;
            assert!(
                read.scans.iter().any(|scan| scan == hot.index),
                "{name}, {mode}: {read:?}"
            );
            assert!(
                !read.scans.iter().any(|scan| scan == "Seq Scan"),
                "{name}, {mode}: {read:?}"
            );
            assert!(read.rows <= hot.rows_max, "{name}, {mode}: {read:?}");
        }
    }
}

#[tokio::test]
async fn a_claim_takes_what_is_due_and_nothing_else() {
    let world = World::new().await;
    let mut connection = filled(&world).await;
    let claim = AssertSqlSafe(include_str!("../../queries/claim.sql"));
    let claimed = sqlx::query(claim)
        .bind(MESSAGES)
        .bind(MESSAGES)
        .bind(Vec::<i64>::new())
        .bind(Vec::<i64>::new())
        .bind(20.0_f64)
        .bind(-1_i64)
        .fetch_all(&mut connection)
        .await
        .expect("the statement is right");
    let claimed = i64::try_from(claimed.len()).expect("a count");
    assert_eq!(claimed, MESSAGES / ONE_DUE_IN);
}
