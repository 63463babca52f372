//! The demo against a cluster in this process.

use plazo::cluster::{Cluster, ClusterError, ClusterOptions};
use plazo::demo::timeline::Timeline;
use plazo::demo::verdict::Problem;
use plazo::demo::{self, DemoOptions, Report};
use plazo_local::TestServers;

/// A machine on which other tests run may be too busy for a demo; one that goes wrong for any other reason fails.
const ATTEMPTS: usize = 3;

/// Problems of conversations that were played and served in time: they have no excuse.
fn without_excuse(report: &Report) -> Vec<&Problem> {
    let is_slow =
        |problem: &Problem| matches!(problem, Problem::WrittenLate { .. } | Problem::Late { .. });
    report
        .played
        .iter()
        .filter(|played| !played.verdict.problems.iter().any(is_slow))
        .flat_map(|played| &played.verdict.problems)
        .collect()
}

#[tokio::test]
async fn the_demo_passes() {
    let mut cluster = Cluster::start(ClusterOptions::temporary())
        .await
        .expect("a cluster");
    let options = DemoOptions {
        needs_all_services: true,
        ..DemoOptions::new(cluster.endpoints())
    };
    let mut passed = false;
    for _ in 0..ATTEMPTS {
        let report = demo::run(&options, &mut Timeline::of_stdout())
            .await
            .expect("it is played");
        assert!(without_excuse(&report).is_empty(), "{:#?}", report.played);
        assert_eq!(report.unchecked, Vec::<String>::new());
        if report.passed() {
            passed = true;
            break;
        }
    }
    assert!(passed, "it was late in each of {ATTEMPTS} attempts");
    cluster.stop().await.expect("an orderly end");
}

#[tokio::test]
async fn given_servers_are_used() {
    let servers = TestServers::start().await.expect("servers");
    let options = ClusterOptions {
        database_url: Some(servers.postgres().database_url("postgres")),
        redis_url: Some(servers.redis_url()),
        ..ClusterOptions::temporary()
    };
    let mut cluster = Cluster::start(options.clone()).await.expect("a cluster");
    assert!(cluster.postgres().is_none() && cluster.redis().is_none());
    cluster.stop().await.expect("an orderly end");
    let found = servers
        .postgres()
        .sql(
            "postgres",
            "SELECT datname FROM pg_database WHERE datname !~ '^(template|postgres)' ORDER BY 1;",
        )
        .await
        .expect("a list of databases");
    assert_eq!(
        found.lines().collect::<Vec<_>>(),
        ["history", "notification", "ticketing"]
    );

    // A second time the databases are there already. A setting that can't be is refused.
    let wrong = options.setting("PLAZO_TIMER__TIMER__LANES", "3");
    let error = Cluster::start(wrong)
        .await
        .expect_err("16 shards don't make 3 lanes");
    assert!(matches!(error, ClusterError::Config { .. }), "{error}");
    assert!(error.is_usage());
}
