//! The plans of the statements that run all the time.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::support::World;

/// Fifty thousand messages, some of which are known to their provider.
async fn filled(world: &World) -> PgConnection {
    world.start().await.stop().await;
    let mut connection = PgConnection::connect(&world.database_url)
        .await
        .expect("it is there");
    sqlx::raw_sql(
        "INSERT INTO active_messages (tenant_id, idempotency_key, kind, bot_id, ticket_id, contact_id,
             channel, recipient_address, channel_account_id, body_text, image_url, accepted_at, queued_at, state_at,
             state, provider_message_id)
         SELECT 1 + n % 50, 'key' || n, 1, 1, n, 1, 3, 'address', 1 + n % 20, 'text', '', now(), now(), now(),
             2, 'wamid.' || n
         FROM generate_series(1, 50000) AS n;
         ANALYZE active_messages",
    )
    .execute(&mut connection)
    .await
    .expect("the rows fit the schema");
    connection
}

#[tokio::test]
async fn statuses_find_their_messages_by_index() {
    let world = World::new().await;
    let mut connection = filled(&world).await;
    // As a callback does: what its role may see must not stand between the search and the index.
    let role = "SET ROLE plazo_notification_request; SET plazo.tenant_id = '2'";
    let role = sqlx::raw_sql(role).execute(&mut connection);
    role.await.expect("the role is there");
    let explain = format!(
        "EXPLAIN (ANALYZE) {}",
        include_str!("../../queries/apply_statuses.sql")
    );
    let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explain))
        .bind(2_i64)
        .bind(2_i64)
        .bind(vec![Some(1_i64), None, None])
        .bind(vec!["wamid.1", "wamid.101", "wamid.201"])
        .bind(vec![3_i16; 3])
        .bind(vec![3_i16; 3])
        .bind(vec![""; 3])
        .bind(vec![false; 3])
        .fetch_all(&mut connection)
        .await
        .expect("the statement is right");
    let plan = plan.join("\n");
    assert!(plan.contains("active_messages_by_provider_id"), "{plan}");
    assert!(!plan.contains("Seq Scan on active_messages"), "{plan}");
    let read = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM active_messages WHERE state = 3");
    assert_eq!(read.fetch_one(&mut connection).await.expect("counted"), 3);
}

/// Subscriptions with many events, few of which are due.
async fn with_many_events() -> (World, PgConnection) {
    let world = World::new().await;
    world.start().await.stop().await;
    let mut connection = PgConnection::connect(&world.database_url)
        .await
        .expect("it is there");
    sqlx::raw_sql(
        "INSERT INTO webhook_subscriptions (tenant_id, name, webhook_url, event_types, bot_ids,
             include_customer_data, signing_secret)
         SELECT 1 + n / 20, 'name', 'https://example.com', '{}', '{}', false, 'secret'
         FROM generate_series(0, 999) AS n;
         INSERT INTO event_deliveries (tenant_id, subscription_id, event_id, ticket_id, ticket_seq, feed_index,
             event_type, body, state, settled_at)
         SELECT s.tenant_id, s.subscription_id, n, n, n, n, 'ticket.closed', '{}', CASE WHEN n <= 80 THEN 1 ELSE 2 END,
             CASE WHEN n > 80 THEN now() - make_interval(secs => n) END
         FROM webhook_subscriptions AS s, generate_series(1, 100) AS n;
         INSERT INTO event_lanes (tenant_id, subscription_id, ticket_id, waiting, next_attempt_at)
         SELECT s.tenant_id, s.subscription_id, n, 1,
             now() + CASE WHEN s.subscription_id % 100 = 0 THEN interval '-1 s' ELSE interval '1 h' END
         FROM webhook_subscriptions AS s, generate_series(1, 80) AS n;
         INSERT INTO event_replays (tenant_id, subscription_id, kind, state, position, events, next_step_at)
         SELECT s.tenant_id, s.subscription_id, 2, CASE WHEN n = 1 AND s.subscription_id < 20 THEN 1 ELSE 2 END, '', 0,
             now()
         FROM webhook_subscriptions AS s, generate_series(1, 10) AS n;
         INSERT INTO event_marks (events, position, newest_event_at, marked_at)
         SELECT n, 'p', now(), now() - make_interval(secs => n) FROM generate_series(1, 50000) AS n;
         INSERT INTO event_attempts (tenant_id, subscription_id, event_id, attempt, attempt_at, duration_ms,
             http_status, outcome)
         SELECT tenant_id, subscription_id, event_id, 1, now(), 5, 200, 'OK' FROM event_deliveries
         WHERE event_id > 50;
         ANALYZE",
    )
    .execute(&mut connection)
    .await
    .expect("the rows fit the schema");
    (world, connection)
}

fn assert_no_table_is_read_whole(plan: &[String]) {
    let plan = plan.join("\n");
    for table in ["deliveries", "lanes", "attempts", "replays", "marks"] {
        assert!(
            !plan.contains(&format!("Seq Scan on event_{table}")),
            "{plan}"
        );
    }
    assert!(
        !plan.contains("Seq Scan on webhook_subscriptions"),
        "{plan}"
    );
}

#[tokio::test]
async fn a_claim_of_events_reads_only_what_is_due() {
    let (_world, mut connection) = with_many_events().await;
    let claim = include_str!("../../queries/claim_events.sql");
    let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN (ANALYZE) {claim}")))
        .bind(128_i64)
        .bind(4_i64)
        .bind(vec![100_i64])
        .bind(vec![3_i64])
        .bind(20.0_f64)
        .bind(-1_i64)
        .fetch_all(&mut connection)
        .await
        .expect("the statement is right");
    let bounded = plan
        .iter()
        .any(|line| line.contains("Index Cond") && line.contains("statement_timestamp()"));
    assert!(bounded, "{plan:?}");
    // Nor what the subscription got before.
    let filtered = plan
        .iter()
        .any(|line| line.contains("Removed by Join Filter"));
    assert!(!filtered, "{plan:?}");
    assert_no_table_is_read_whole(&plan);

    let step = include_str!("../../queries/claim_replay_step.sql");
    let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN (ANALYZE) {step}")))
        .bind(60.0_f64)
        .bind(5_000_i64)
        .fetch_all(&mut connection)
        .await
        .expect("the statement is right");
    assert_no_table_is_read_whole(&plan);
}

#[tokio::test]
async fn queueing_and_settling_events_reads_only_these() {
    let (_world, mut connection) = with_many_events().await;
    let enqueue = include_str!("../../queries/enqueue_events.sql");
    let plan: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN (ANALYZE) {enqueue}")))
            .bind(vec![1_i64; 2])
            .bind(vec![1_i64, 2])
            .bind(vec![1_000_i64; 2])
            .bind(vec![5_i64; 2])
            .bind(vec![99_i64; 2])
            .bind(vec![99_i64; 2])
            .bind(vec!["ticket.closed".to_owned(); 2])
            .bind(vec!["{}".to_owned(); 2])
            .bind(None::<jiff_sqlx::Timestamp>)
            .fetch_all(&mut connection)
            .await
            .expect("the statement is right");
    assert_no_table_is_read_whole(&plan);

    let settle = include_str!("../../queries/settle_events.sql");
    let now = jiff_sqlx::Timestamp::from(jiff::Timestamp::now());
    let plan: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN (ANALYZE) {settle}")))
            .bind(vec![1_i64; 2])
            .bind(vec![1_i64, 2])
            .bind(vec![5_i64; 2])
            .bind(vec![0_i32; 2])
            .bind(vec![now; 2])
            .bind(vec![7_i32; 2])
            .bind(vec![200_i16; 2])
            .bind(vec!["OK".to_owned(); 2])
            .bind(vec![2_i16; 2])
            .bind(vec![0.0_f64; 2])
            .bind(vec![0.0_f64; 2])
            .bind(vec![false; 2])
            .fetch_all(&mut connection)
            .await
            .expect("the statement is right");
    assert_no_table_is_read_whole(&plan);
}
