//! `plazo seed` on tables that history has made.

use plazo_history::{App, Config};
use plazo_local::TestServers;
use plazo_service::Listeners;
use plazo_service::config::{ConfigSources, load};

use crate::plazo::{Ended, command, data_folder, run};

/// What must hold of seeded rows, each as a count of those that break it.
const WRONG: &str = "
    SELECT 'open', count(*) FROM tickets WHERE state <> 3 OR closed_at IS NULL
    UNION ALL SELECT 'order', count(*) FROM tickets
        WHERE NOT opened_at <= coalesce(first_assigned_at, opened_at) OR NOT first_closed_at <= closed_at
            OR NOT opened_at <= first_closed_at OR closed_at > clock_timestamp()
    UNION ALL SELECT 'reopened', count(*) FROM tickets WHERE (reopen_count = 0) <> (first_closed_at = closed_at)
    UNION ALL SELECT 'handling', count(*) FROM tickets
        WHERE handling_ms > extract(epoch FROM closed_at - opened_at) * 1000 OR business_handling_ms > handling_ms
    UNION ALL SELECT 'business', count(*) FROM tickets
        WHERE (calendar_version = 0) <> (business_full_resolution_ms IS NULL)
            OR (calendar_version <> 0) <> EXISTS (
                SELECT FROM calendar_versions AS calendar
                WHERE calendar.tenant_id = tickets.tenant_id AND calendar.calendar_version = tickets.calendar_version)
    UNION ALL SELECT 'messages', count(*) FROM tickets
        WHERE customer_message_count + agent_message_count <> (
            SELECT count(*) FROM conversation_entries AS entry
            WHERE entry.tenant_id = tickets.tenant_id AND entry.ticket_id = tickets.ticket_id AND kind = 1)
    UNION ALL SELECT 'late', count(*) FROM stage_firings WHERE late_ms < 0
    UNION ALL SELECT 'dealings', count(*) FROM dealings
        WHERE NOT EXISTS (
            SELECT FROM tickets
            WHERE tickets.tenant_id = dealings.tenant_id AND tickets.ticket_id = dealings.ticket_id
                AND tickets.contact_id = dealings.contact_id AND tickets.bot_id = dealings.bot_id)
    UNION ALL SELECT 'contacts', count(*) FROM contacts
        WHERE last_interaction_at IS DISTINCT FROM (
            SELECT max(last_interaction_at) FROM tickets
            WHERE tickets.tenant_id = contacts.tenant_id AND tickets.contact_id = contacts.contact_id)
    UNION ALL SELECT 'unknown', count(*) FROM tickets
        WHERE NOT EXISTS (
            SELECT FROM contacts
            WHERE contacts.tenant_id = tickets.tenant_id AND contacts.contact_id = tickets.contact_id
                AND contacts.name = tickets.contact_name)";

/// Makes history's database.
pub(crate) async fn make_tables(servers: &TestServers) {
    servers
        .postgres()
        .create_database("history")
        .await
        .expect("a database is made");
    let mut config: Config = load(&ConfigSources::default()).expect("the defaults are valid");
    config.database.url = servers.postgres().database_url("history");
    config.database.migrate = true;
    config.server.listen = "127.0.0.1:0".parse().expect("an address");
    config.server.metrics_listen = None;
    let listeners = Listeners::bind(&config.server)
        .await
        .expect("ports are free");
    App::build(config, listeners).await.expect("it migrates");
}

async fn seed(servers: &TestServers, more: &[&str]) -> Ended {
    let url = servers.postgres().database_url("postgres");
    let mut arguments = vec!["seed", "--database-url", &url];
    arguments.extend(more);
    run(command(&arguments)).await
}

async fn sql(servers: &TestServers, query: &str) -> String {
    let answer = servers.postgres().sql("history", query).await;
    answer.expect("the query is answered").trim().to_owned()
}

#[tokio::test]
async fn rows_hold_together_and_nobodys_data_are_mixed_up() {
    let servers = TestServers::start().await.expect("servers start");
    let few = ["--tickets", "12000", "--contacts", "900", "--agents", "30"];

    servers
        .postgres()
        .create_database("history")
        .await
        .expect("a database is made");
    let refused = seed(&servers, &few).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("has no tables of history"),
        "{}",
        refused.stderr
    );

    make_tables(&servers).await;
    let ended = seed(&servers, &few).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("12,000 of 12,000 tickets"),
        "{}",
        ended.stderr
    );
    let counts = "SELECT count(*), min(ticket_id), max(ticket_id) FROM tickets";
    assert_eq!(sql(&servers, counts).await, "12000|1000000|1011999");
    assert_eq!(sql(&servers, "SELECT count(*) FROM contacts").await, "900");
    assert_eq!(
        sql(&servers, "SELECT count(*) FROM history_agents").await,
        "27"
    );
    for line in sql(&servers, WRONG).await.lines() {
        assert!(line.ends_with("|0"), "{line}");
    }

    // Nothing is added to somebody's data by mistake, and ids are given once.
    let refused = seed(&servers, &few).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("--add"), "{}", refused.stderr);
    let refused = seed(
        &servers,
        &[
            "--tenant",
            "2",
            "--first-ticket",
            "1000005",
            "--tickets",
            "10",
        ],
    )
    .await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("--first-ticket"),
        "{}",
        refused.stderr
    );
    let more = ["--add", "--tickets", "1000", "--months", "1", "--seed", "2"];
    let ended = seed(&servers, &more).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(sql(&servers, counts).await, "13000|1000000|3000999");
    for line in sql(&servers, WRONG).await.lines() {
        assert!(line.ends_with("|0"), "{line}");
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_rows() {
    let servers = TestServers::start().await.expect("servers start");
    make_tables(&servers).await;
    let mut seen = Vec::new();
    for (tenant, seed_of) in [("5", "9"), ("6", "9"), ("7", "10")] {
        let ended = seed(
            &servers,
            &[
                "--tenant",
                tenant,
                "--tickets",
                "3000",
                "--seed",
                seed_of,
                "--until",
                "2026-03-31",
                "--first-ticket",
                &format!("{tenant}000000"),
            ],
        )
        .await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let digest = format!(
            "SELECT md5(string_agg(row::text, ' ' ORDER BY id)) FROM (
                SELECT ticket_id AS id, (bot_id, agent_id, contact_name, opened_at, closed_at, handling_ms, tags) AS row
                FROM tickets WHERE tenant_id = {tenant}
             ) AS one"
        );
        seen.push(sql(&servers, &digest).await);
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], seen[2]);
}

#[tokio::test]
async fn a_folder_without_a_cluster_is_told() {
    let folder = data_folder();
    let path = folder.path().to_str().expect("a path in UTF-8");
    let ended = run(command(&["seed", "--data", path])).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("`plazo up`"), "{}", ended.stderr);
}
