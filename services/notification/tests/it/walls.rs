//! The walls between tenants, in the database itself.

use plazo_database::walls::Walls;
use plazo_local::{PostgresOptions, PostgresServer};
use plazo_proto::notification::v1::ActiveMessageState as State;
use sqlx::{Connection as _, PgConnection};

use crate::support::{World, warning};

const ROLES: &str = include_str!("../../../../deploy/postgresql/roles.sql");

#[tokio::test]
async fn every_table_holds_each_tenant_to_its_own_rows() {
    let world = World::new().await;
    world.start().await.stop().await;
    let walls = Walls {
        service: "notification",
        url: &world.database_url,
        schemas: &["public"],
        without_tenant: &[
            ("_sqlx_migrations", "which migrations were applied"),
            (
                "feed_positions",
                "how far the feed of all tenants is applied",
            ),
            ("event_feed", "the same for webhook subscriptions"),
            ("event_marks", "places of that feed"),
        ],
    };
    let problems = walls.problems().await.expect("tried");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test]
async fn logins_of_their_own_serve_and_send() {
    let options = PostgresOptions::temporary().durable(false);
    let server = PostgresServer::start(options).await.expect("a server");
    let script = format!("\\set service notification\n\\set database messages\n{ROLES}");
    server.sql("postgres", &script).await.expect("the roles");
    let as_role = |part: &str| {
        let url = server.database_url("messages");
        url.replacen("plazo@", &format!("plazo_notification_{part}@"), 1)
    };
    let world = World::new()
        .await
        .with("database.url", &as_role("background"))
        .with("database.request_url", &as_role("request"))
        .with("database.migration_url", &as_role("owner"));
    let service = world.start().await;
    let sent = service.api.send(vec![warning(1, 1)]).await;
    service
        .api
        .until(sent[0].message_id, State::Delivered)
        .await;
    let mut connection = PgConnection::connect(&as_role("request"))
        .await
        .expect("connected");
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM active_messages")
        .fetch_one(&mut connection)
        .await
        .expect("counted");
    assert_eq!(seen, 0);
    service.stop().await;
}
