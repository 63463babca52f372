//! The servers that all tests of a binary share.

use std::collections::HashSet;
use std::time::Duration;

use plazo_local::TestServers;

#[tokio::test]
async fn databases_and_namespaces_are_fresh() {
    let servers = TestServers::shared().await;
    let (a, b, c) = tokio::try_join!(
        servers.fresh_database("it"),
        servers.fresh_database("it"),
        servers.fresh_database("other")
    )
    .expect("three databases at the same time");
    assert_eq!(HashSet::from([a, b, c]).len(), 3);
    assert_ne!(servers.fresh_namespace(), servers.fresh_namespace());
    let count = "SELECT count(*) > 2 FROM pg_database WHERE datname ~ '^(it|other)_';";
    assert_eq!(
        servers
            .postgres()
            .sql("postgres", count)
            .await
            .expect("a count"),
        "t\n"
    );
}

/// Each test has a runtime of its own; the servers must not die with the one that started them.
#[test]
fn servers_outlive_the_runtime_that_started_them() {
    let pids: Vec<i32> = (0..2)
        .map(|_| {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let pid = runtime.block_on(async {
                let servers = TestServers::shared().await;
                servers
                    .postgres()
                    .sql("postgres", "SELECT 1;")
                    .await
                    .expect("answers");
                servers.postgres().pid().expect("running")
            });
            runtime.shutdown_timeout(Duration::from_secs(5));
            pid
        })
        .collect();
    assert_eq!(pids[0], pids[1]);
}
