//! The service works on its own schema only.

use plazo_history::App;
use plazo_local::TestServers;
use plazo_service::Listeners;

use crate::feed::Feed;
use crate::running::{database_name, fresh_config};

/// Builds the service without letting it migrate; the problem, if it refuses.
async fn refusal(mut config: plazo_history::Config) -> Option<String> {
    config.database.migrate = false;
    let listeners = Listeners::bind(&config.server)
        .await
        .expect("ports are free");
    let error = App::build(config, listeners).await.err()?;
    Some(plazo_service::status::chain(&error))
}

#[tokio::test]
async fn an_unknown_schema_is_refused() {
    let feed = Feed::start().await;
    let config = fresh_config(&feed).await;
    let refused = refusal(config.clone())
        .await
        .expect("the database is empty");
    // The roles belong to the server, and are missing on one that no test has migrated a database of yet.
    let is_told = ["no migration was applied", "there is no role"]
        .iter()
        .any(|problem| refused.contains(problem));
    assert!(is_told, "{refused}");

    let listeners = Listeners::bind(&config.server)
        .await
        .expect("ports are free");
    App::build(config.clone(), listeners)
        .await
        .expect("it migrates");
    assert_eq!(refusal(config.clone()).await, None);

    let name = database_name(&config.database.url);
    let postgres = TestServers::shared().await.postgres();
    for (change, problem) in [
        (
            "UPDATE _sqlx_migrations SET version = version + 10",
            "was not applied",
        ),
        (
            "UPDATE _sqlx_migrations SET version = version - 10, checksum = 'x'",
            "in another form",
        ),
        ("UPDATE _sqlx_migrations SET success = false", "in part"),
    ] {
        postgres
            .sql(&name, change)
            .await
            .expect("the change is made");
        let refused = refusal(config.clone())
            .await
            .expect("the schema is another one");
        assert!(refused.contains(problem), "{refused}");
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let feed = Feed::start().await;
    let config = fresh_config(&feed).await;
    let listeners = Listeners::bind(&config.server)
        .await
        .expect("ports are free");
    App::build(config.clone(), listeners)
        .await
        .expect("it migrates");
    let name = database_name(&config.database.url);
    let add =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'later', true, 'x', 0)";
    TestServers::shared()
        .await
        .postgres()
        .sql(&name, add)
        .await
        .expect("it is added");
    let refused = refusal(config).await.expect("the schema is newer");
    assert!(refused.contains("migration 9999 is newer"), "{refused}");
}
