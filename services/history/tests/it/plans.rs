//! What requests and the projection ask of the database is served by indexes.

use plazo_history::App;
use plazo_local::TestServers;
use plazo_service::Listeners;

use crate::feed::Feed;
use crate::running::{database_name, fresh_config};

/// Many tickets of few bots and agents, a tenth of them in the tenant that is asked for.
const TICKETS: &str = "
    INSERT INTO tickets
    SELECT n % 10, n, n % 7, 0, n % 50, 3, now(), 0, '{}', 0, 0, 0, 1, '', '', '', 0, '',
        now() - n * interval '1 minute', 1, 1, 1, '', NULL, NULL, false, 1
    FROM generate_series(1, 50000) AS n;
    INSERT INTO conversation_entries
    SELECT tenant_id, ticket_id, seq, 1, 1, 1, 1, '', '{}', now(), NULL
    FROM tickets, generate_series(1, 3) AS seq;
    ANALYZE tickets;
    ANALYZE conversation_entries;";

#[tokio::test]
async fn no_statement_scans_a_table() {
    let feed = Feed::start().await;
    let config = fresh_config(&feed).await;
    let listeners = Listeners::bind(&config.server)
        .await
        .expect("ports are free");
    App::build(config.clone(), listeners)
        .await
        .expect("it migrates");
    let database = database_name(&config.database.url);
    let postgres = TestServers::shared().await.postgres();
    postgres
        .sql(&database, TICKETS)
        .await
        .expect("tickets are made");

    for (query, arguments, index) in [
        (
            include_str!("../../queries/get_ticket.sql"),
            "1, 11, '{3}'",
            "tickets_pkey",
        ),
        (
            include_str!("../../queries/is_visible.sql"),
            "1, 11, NULL",
            "tickets_pkey",
        ),
        (
            include_str!("../../queries/list_closed.sql"),
            "1, NULL, NULL, now(), 11, 51",
            "tickets_closed ",
        ),
        (
            include_str!("../../queries/list_closed_of_bots.sql"),
            "1, NULL, now(), NULL, NULL, 51, '{3,4}'",
            "tickets_closed_by_bot",
        ),
        (
            include_str!("../../queries/list_closed_of_agent.sql"),
            "1, NULL, now(), NULL, NULL, 51, 12, '{3,4}'",
            "tickets_closed_by_agent",
        ),
        (
            include_str!("../../queries/list_entries.sql"),
            "1, 11, '{3}', 0, 101",
            "conversation_entries_pkey",
        ),
        (
            include_str!("../../queries/load_tickets.sql"),
            "'{1,2}', '{11,12}'",
            "tickets_pkey",
        ),
    ] {
        let script = format!(
            "SET plan_cache_mode = force_generic_plan;
            PREPARE asked AS {query};
            EXPLAIN EXECUTE asked ({arguments});"
        );
        let plan = postgres
            .sql(&database, &script)
            .await
            .expect("the plan is shown");
        assert!(!plan.contains("Seq Scan"), "{query}\n{plan}");
        assert!(
            !plan.contains("  Sort") || query.contains("LATERAL"),
            "{query}\n{plan}"
        );
        assert!(plan.contains(index), "{query}\n{plan}");
    }
}
