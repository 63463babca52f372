//! Logins that do not see the rows of all tenants, given to commands that look at all of them.

use plazo_local::TestServers;
use plazo_service::Listeners;
use plazo_service::config::{ConfigSources, load};
use plazo_ticketing::{App, Config};

use crate::plazo::{Ended, command, run};
use crate::seed;

/// Tenants whose rows are there, and the logins by which they are reached.
async fn start() -> TestServers {
    let servers = TestServers::start().await.expect("servers start");
    let postgres = servers.postgres();
    for database in ["ticketing", "history"] {
        let created = postgres.create_database(database).await;
        created.expect("a database is made");
    }
    seed::make_tables(&servers).await;
    let mut config: Config = load(&ConfigSources::default()).expect("the defaults are valid");
    config.database.url = postgres.database_url("ticketing");
    config.database.migrate = true;
    config.server.listen = "127.0.0.1:0".parse().expect("an address");
    config.server.metrics_listen = None;
    let listeners = Listeners::bind(&config.server).await;
    let listeners = listeners.expect("ports are free");
    let built = App::build(config, listeners).await;
    built.expect("it migrates");
    let logins = "
        ALTER ROLE plazo_ticketing_request LOGIN; ALTER ROLE plazo_ticketing_background LOGIN;
        ALTER ROLE plazo_history_request LOGIN; ALTER ROLE plazo_history_background LOGIN;
        CREATE ROLE stranger LOGIN;";
    let altered = postgres.sql("postgres", logins).await;
    altered.expect("the roles may log in");
    servers
}

fn url(servers: &TestServers, database: &str, login: &str) -> String {
    let url = servers.postgres().database_url(database);
    url.replacen("plazo@", &format!("{login}@"), 1)
}

async fn verify(servers: &TestServers, ticketing: &str, history: &str) -> Ended {
    let (ticketing, history) = (
        url(servers, "ticketing", ticketing),
        url(servers, "history", history),
    );
    run(command(&[
        "verify",
        "history",
        "--patience-s",
        "0",
        "--ticketing-database-url",
        &ticketing,
        "--history-database-url",
        &history,
    ]))
    .await
}

#[tokio::test]
async fn a_login_that_sees_nothing_finds_no_equality() {
    let servers = start().await;
    let superuser = "plazo";
    for (ticketing, history) in [
        (superuser, superuser),
        ("plazo_ticketing_background", "plazo_history_background"),
    ] {
        let ended = verify(&servers, ticketing, history).await;
        assert_eq!(ended.code, Some(0), "{ticketing}: {}", ended.stderr);
    }
    for (ticketing, history, blind, of) in [
        (
            "plazo_ticketing_request",
            "plazo_history_request",
            "plazo_ticketing_request",
            "ticketing",
        ),
        (
            "plazo_ticketing_request",
            superuser,
            "plazo_ticketing_request",
            "ticketing",
        ),
        (
            "plazo_ticketing_background",
            "plazo_history_request",
            "plazo_history_request",
            "history",
        ),
        ("stranger", superuser, "stranger", "ticketing"),
    ] {
        let ended = verify(&servers, ticketing, history).await;
        assert_eq!(ended.code, Some(64), "{ticketing}: {}", ended.stderr);
        let part = format!(
            "the login {blind} does not see the rows of all tenants in the database of {of}"
        );
        assert!(ended.stderr.contains(&part), "{}", ended.stderr);
    }

    // A policy that shows all does not help where another one restricts it.
    let restriction = "CREATE POLICY narrow ON tickets AS RESTRICTIVE TO plazo_ticketing_background USING (tenant_id = 1)";
    let made = servers.postgres().sql("ticketing", restriction).await;
    made.expect("a policy is made");
    let ended = verify(
        &servers,
        "plazo_ticketing_background",
        "plazo_history_background",
    )
    .await;
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains("in 1 of its tables, tickets among them"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn nothing_is_seeded_by_a_login_that_sees_nothing() {
    let servers = start().await;
    let url = url(&servers, "postgres", "plazo_history_request");
    let ended = run(command(&[
        "seed",
        "--database-url",
        &url,
        "--tickets",
        "100",
    ]))
    .await;
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    let part = "the login plazo_history_request does not see the rows of all tenants in the database of history";
    assert!(ended.stderr.contains(part), "{}", ended.stderr);
}
