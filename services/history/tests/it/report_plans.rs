//! What reports ask of the database is served by indexes, planned for the values at hand.

use crate::report_rows::{Desk, make_many};

/// The tickets lie in three partitions, a tenth of them in the tenant that is asked for.
const TICKETS: i64 = 60_000;
const ID_STEP: i64 = 40;

const FIRINGS: &str = "
    INSERT INTO stage_firings
        (tenant_id, ticket_id, ticket_seq, bot_id, queue_id, stage, cycle_kind, fired_at, late_ms)
    SELECT tenant_id, ticket_id, 1, bot_id, 0, 1, 1, closed_at, 0 FROM tickets;
    ANALYZE tickets;
    ANALYZE stage_firings;";

#[tokio::test]
async fn no_report_scans_a_table() {
    let desk = Desk::with(&[]).await;
    let partitions = format!("SELECT make_ticket_partitions({});", TICKETS * ID_STEP);
    desk.sql(&(partitions + &make_many(TICKETS, 10, ID_STEP) + FIRINGS))
        .await;
    desk.sql("VACUUM stage_firings").await;
    desk.sql("VACUUM tickets").await;
    let page = include_str!("../../queries/report_page.sql");
    let window = include_str!("../../queries/report_window.sql");
    let facts = include_str!("../../queries/report_facts.sql");
    let lateness = include_str!("../../queries/report_lateness.sql");
    let day = "'2026-03-10 00:00Z', '2026-03-11 00:00Z'";
    for (query, arguments, index) in [
        (
            page,
            format!("1, {day}, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 51, NULL, NULL"),
            "tenant_id_closed_at_ticket_id_idx",
        ),
        (
            page,
            format!("1, {day}, '{{3,4}}', NULL, NULL, '{{vip}}', NULL, NULL, '2026-03-10 12:00Z', 11, 51, '2026-03-10 02:00Z', 7"),
            "closed_at_ticket_id_idx",
        ),
        (
            page,
            "1, '2026-03-02 00:00Z', '2026-05-01 00:00Z', NULL, NULL, '{11}', NULL, NULL, NULL, NULL, NULL, 51, NULL, NULL".to_owned(),
            "tenant_id_agent_id_closed_at_ticket_id_idx",
        ),
        (
            window,
            format!("1, {day}, '2026-03-10 12:00Z', 11, 20000"),
            "Index Only Scan",
        ),
        (
            facts,
            format!("1, {day}, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 32768, 0"),
            "tenant_id_closed_at_ticket_id_idx",
        ),
        (
            facts,
            format!("1, {day}, NULL, NULL, NULL, '{{vip}}', NULL, '{{3}}', '2026-03-10 12:00Z', 11, 32768, 4"),
            "closed_at_ticket_id_idx",
        ),
        (
            lateness,
            format!("1, {day}, NULL, NULL"),
            "Index Only Scan",
        ),
    ] {
        let script = format!(
            "SET plan_cache_mode = force_custom_plan;
            PREPARE asked AS {query};
            EXPLAIN EXECUTE asked ({arguments});"
        );
        let plan = desk.sql(&script).await;
        assert!(!plan.contains("Seq Scan"), "{query}\n{plan}");
        assert!(plan.contains(index), "{query}\n{plan}");
    }
}
