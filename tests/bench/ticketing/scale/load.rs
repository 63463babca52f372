//! Fills ticketing's tables by COPY.

use plazo_tests::truth::now_us;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use crate::ticketing::bed::Bed;
use crate::ticketing::scale::DATABASE;
use crate::ticketing::scale::copy::copy;
use crate::ticketing::scale::rows::{GROUPS, Loading, TRANSACTIONS, Table};
use crate::ticketing::scale::shape::Shape;

/// Fills the tables, with the indexes made afterwards, and has the server look at them.
pub(super) async fn load(bed: &Bed, shape: &Shape) {
    let pool = bed.pool(DATABASE, 1).await;
    let mut connection = bed.connection(DATABASE).await;
    let loading = Loading {
        shape: shape.clone(),
        now_us: now_us(&pool).await,
        first_transaction_id: use_transactions_up(&mut connection).await,
    };
    make_past_partitions(&mut connection).await;
    let indexes = drop_indexes(&mut connection).await;

    let mut tasks = JoinSet::new();
    for tables in GROUPS {
        let (loading, connection) = (loading.clone(), bed.connection(DATABASE).await);
        tasks.spawn(fill(loading, connection, tables));
    }
    tasks.join_all().await;

    let (half, other_half) = indexes.split_at(indexes.len() / 2);
    tokio::join!(
        make_indexes(bed.connection(DATABASE).await, half),
        make_indexes(bed.connection(DATABASE).await, other_half),
    );
    set_sequences(&mut connection).await;
    run(&mut connection, "VACUUM (ANALYZE) ticket_events").await;
    run(&mut connection, "ANALYZE").await;
    run(&mut connection, "CHECKPOINT").await;
}

async fn fill(loading: Loading, mut connection: PgConnection, tables: &[Table]) {
    // Foreign keys hold by construction; looking each of them up would take longer than all the rest.
    run(&mut connection, "SET session_replication_role = replica").await;
    for table in tables {
        let mut transaction = connection.begin().await.expect("a transaction begins");
        let Table { name, columns, .. } = table;
        let mut options = "FORMAT binary";
        if table.freeze {
            // A table that was emptied in the same transaction takes rows that need no look at them later.
            run(&mut transaction, &format!("TRUNCATE {name}")).await;
            options = "FORMAT binary, FREEZE";
        }
        let statement = format!("COPY {name} ({columns}) FROM STDIN WITH ({options})");
        let numbers = 1..=(table.numbers)(&loading.shape);
        copy(&mut transaction, &statement, numbers, |rows, number| {
            (table.add)(&loading, rows, number);
        })
        .await;
        transaction.commit().await.expect("rows are committed");
    }
}

async fn run(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// Ends transactions that loaded events can stand under, and returns the first one's id.
async fn use_transactions_up(connection: &mut PgConnection) -> i64 {
    let first = sqlx::query_scalar("SELECT pg_current_xact_id()::text::bigint")
        .fetch_one(&mut *connection)
        .await
        .expect("a transaction has an id");
    run(
        connection,
        &format!(
            "DO $$
             BEGIN
                 SET synchronous_commit = off;
                 FOR number IN 1..{TRANSACTIONS} LOOP
                     PERFORM pg_current_xact_id();
                     COMMIT;
                 END LOOP;
                 RESET synchronous_commit;
             END
             $$"
        ),
    )
    .await;
    first
}

/// The weeks in which loaded events were written, as ticketing had made them then.
async fn make_past_partitions(connection: &mut PgConnection) {
    run(
        connection,
        "DO $$
         DECLARE
             first_day date := date_trunc('week', clock_timestamp() AT TIME ZONE 'UTC')::date;
             day date;
         BEGIN
             FOR day IN SELECT first_day - 7 * n FROM generate_series(1, 12) AS n LOOP
                 EXECUTE format(
                     'CREATE TABLE IF NOT EXISTS %I PARTITION OF ticket_events FOR VALUES FROM (%L) TO (%L)',
                     'ticket_events_' || to_char(day, 'YYYYMMDD'),
                     day::timestamp AT TIME ZONE 'UTC',
                     (day + 7)::timestamp AT TIME ZONE 'UTC'
                 );
             END LOOP;
         END
         $$",
    )
    .await;
}

/// Drops the indexes that no constraint needs, and returns what makes them.
async fn drop_indexes(connection: &mut PgConnection) -> Vec<String> {
    let names: Vec<String> = GROUPS
        .iter()
        .flat_map(|tables| tables.iter())
        .map(|table| table.name.to_owned())
        .collect();
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "SELECT index.indexrelid::regclass::text, pg_get_indexdef(index.indexrelid)
         FROM pg_index AS index
         JOIN pg_class AS on_table ON on_table.oid = index.indrelid
         WHERE on_table.relname = ANY ($1)
             AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = index.indexrelid)
         ORDER BY 1",
    )
    .bind(names)
    .fetch_all(&mut *connection)
    .await
    .expect("indexes can be read");
    let mut definitions = Vec::with_capacity(indexes.len());
    for (name, definition) in indexes {
        run(connection, &format!("DROP INDEX {name}")).await;
        // Of the partitions too.
        definitions.push(definition.replace(" ON ONLY ", " ON "));
    }
    definitions
}

async fn make_indexes(mut connection: PgConnection, definitions: &[String]) {
    for definition in definitions {
        run(&mut connection, definition).await;
    }
}

/// What is made from now on gets ids above those that were loaded.
async fn set_sequences(connection: &mut PgConnection) {
    for (sequence, table, column) in [
        ("pg_get_serial_sequence('bots', 'bot_id')", "bots", "bot_id"),
        (
            "pg_get_serial_sequence('inactivity_policies', 'policy_version')",
            "inactivity_policies",
            "policy_version",
        ),
        (
            "pg_get_serial_sequence('queues', 'queue_id')",
            "queues",
            "queue_id",
        ),
        (
            "pg_get_serial_sequence('agents', 'agent_id')",
            "agents",
            "agent_id",
        ),
        (
            "pg_get_serial_sequence('contacts', 'contact_id')",
            "contacts",
            "contact_id",
        ),
        (
            "pg_get_serial_sequence('tickets', 'ticket_id')",
            "tickets",
            "ticket_id",
        ),
        (
            "pg_get_serial_sequence('messages', 'message_id')",
            "messages",
            "message_id",
        ),
        ("'ticket_event_ids'", "ticket_events", "event_id"),
    ] {
        let statement = format!("SELECT setval({sequence}, (SELECT max({column}) FROM {table}))");
        run(connection, &statement).await;
    }
}
