//! The plans of the statements that run all the time.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::support::World;

#[tokio::test]
async fn a_claim_and_the_tidying_read_only_what_is_due() {
    let world = World::new().await;
    world.start().await.stop().await;
    let mut connection = PgConnection::connect(&world.database_url)
        .await
        .expect("it is there");
    sqlx::raw_sql(
        "INSERT INTO active_messages (tenant_id, idempotency_key, kind, bot_id, ticket_id, contact_id,
             channel, recipient_address, channel_account_id, body_text, image_url, accepted_at, queued_at, state_at,
             next_attempt_at)
         SELECT 1 + n % 50, 'key' || n, 1, 1, n, 1, 2, 'address', 1 + n % 20, 'text', '', now(), now(), now(),
             now() + CASE WHEN n % 100 = 0 THEN interval '-1 s' ELSE interval '1 h' END
         FROM generate_series(1, 50000) AS n;
         ANALYZE active_messages",
    )
    .execute(&mut connection)
    .await
    .expect("the rows fit the schema");

    for (name, statement) in [
        (
            "park_uncertain",
            include_str!("../../queries/park_uncertain.sql"),
        ),
        ("expire", include_str!("../../queries/expire.sql")),
        (
            "settle_called_off",
            include_str!("../../queries/settle_called_off.sql"),
        ),
    ] {
        let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN {statement}")))
            .fetch_all(&mut connection)
            .await
            .expect("the statement is right");
        let plan = plan.join("\n");
        assert!(plan.contains("Index"), "{name}: {plan}");
        assert!(
            !plan.contains("Seq Scan on active_messages"),
            "{name}: {plan}"
        );
    }

    let explain = format!(
        "EXPLAIN (ANALYZE) {}",
        include_str!("../../queries/claim.sql")
    );
    let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explain))
        .bind(256_i64)
        .bind(8_i64)
        .bind(vec![1_i64])
        .bind(vec![3_i64])
        .bind(20.0_f64)
        .bind(-1_i64)
        .fetch_all(&mut connection)
        .await
        .expect("the statement is right");
    let plan = plan.join("\n");
    let bounded = plan
        .lines()
        .any(|line| line.contains("Index Cond") && line.contains("statement_timestamp()"));
    assert!(bounded, "{plan}");
    assert!(!plan.contains("Seq Scan on active_messages"), "{plan}");
}
