//! The walls between tenants, in the database itself.

use plazo_database::walls::Walls;
use plazo_local::{PostgresOptions, PostgresServer, TestServers};
use plazo_proto::ticketing::v1::GetTicketRequest;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::desk::{BOUND, Desk};
use crate::support::Fixture;

const ROLES: &str = include_str!("../../../../deploy/postgresql/roles.sql");

/// Tries the walls of a fresh database, after these changes by its owner. What is wrong with them.
async fn problems_after(changes: &str) -> Vec<String> {
    let servers = TestServers::shared().await;
    let url = servers
        .fresh_database("ticketing")
        .await
        .expect("a database");
    let fixture = Fixture::start_on(&url, &[]).await;
    let sql = sqlx::raw_sql(AssertSqlSafe(changes.to_owned()));
    sql.execute(&fixture.pool).await.expect("changed");
    drop(fixture);
    let walls = Walls {
        service: "ticketing",
        url: &url,
        schemas: &["public"],
        without_tenant: &[
            ("_sqlx_migrations", "which migrations were applied"),
            (
                "feed",
                "what the feed of all tenants is, and where it begins",
            ),
            ("event_keeping", "how far whole weeks of events are kept"),
        ],
    };
    walls.problems().await.expect("tried")
}

#[tokio::test]
async fn every_table_holds_each_tenant_to_its_own_rows() {
    let problems = problems_after("").await;
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test]
async fn holes_in_the_walls_are_found() {
    let problems = problems_after(
        "ALTER TABLE messages NO FORCE ROW LEVEL SECURITY;
         DROP POLICY background ON bots;
         CREATE TABLE forgotten (tenant_id bigint);
         CREATE TABLE stray (name text);
         GRANT TRUNCATE ON tickets TO plazo_ticketing_request;
         GRANT EXECUTE ON FUNCTION make_event_partitions TO plazo_ticketing_request",
    )
    .await;
    for part in [
        "public.messages: row-level security",
        "public.bots: a role has no policy",
        "public.forgotten: row-level security",
        "public.stray has no tenant",
        "request may TRUNCATE tickets",
        "request may call make_event_partitions",
    ] {
        let found = problems.iter().any(|problem| problem.starts_with(part));
        assert!(found, "{part}: {problems:?}");
    }
    let problems = problems_after(
        "ALTER POLICY request ON messages USING (true) WITH CHECK (tenant_id = 2);
         ALTER POLICY request ON tickets WITH CHECK (true);
         ALTER POLICY request ON bots USING (false);
         ALTER POLICY background ON agents USING (tenant_id = 1)",
    )
    .await;
    for part in [
        "public.messages: 2 rows are seen without a tenant",
        "public.messages: select reaches",
        "public.tickets: giving away is not refused",
        "public.tickets: insert is not refused",
        "public.bots: select reaches Some(0)",
        "public.agents: background work sees Some(1)",
    ] {
        let found = problems.iter().any(|problem| problem.starts_with(part));
        assert!(found, "{part}: {problems:?}");
    }
}

#[tokio::test]
async fn databases_of_one_server_make_the_roles_at_the_same_time() {
    let options = PostgresOptions::temporary().durable(false);
    let server = PostgresServer::start(options).await.expect("a server");
    let starts = (0..6).map(async |number| {
        let name = format!("desk_{number}");
        server.create_database(&name).await.expect("a database");
        Fixture::start_on(&server.database_url(&name), &[]).await
    });
    for fixture in futures::future::join_all(starts).await {
        Desk::on(fixture).await.open().await;
    }
}

#[tokio::test]
async fn the_program_migrates_and_ends() {
    let servers = TestServers::shared().await;
    let url = servers
        .fresh_database("ticketing")
        .await
        .expect("a database");
    let run = async |argument: &str| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_plazo-ticketing"));
        command.arg(argument).kill_on_drop(true);
        command.env("PLAZO_TICKETING__DATABASE__URL", &url);
        let ended = command.output();
        tokio::time::timeout(BOUND, ended)
            .await
            .expect("it ends")
            .expect("it runs")
    };
    for _ in 0..2 {
        let migrated = run("--migrate").await;
        assert!(migrated.status.success(), "{migrated:?}");
    }
    let migrate = ("DATABASE__MIGRATE", "false");
    let fixture = Fixture::start_on(&url, &[migrate]).await;
    Desk::on(fixture).await.open().await;
}

#[tokio::test]
async fn logins_of_their_own_serve_and_keep_to_their_rights() {
    let options = PostgresOptions::temporary().durable(false);
    let server = PostgresServer::start(options).await.expect("a server");
    let script = format!("\\set service ticketing\n\\set database desk\n{ROLES}");
    for _ in 0..2 {
        server.sql("postgres", &script).await.expect("the roles");
    }
    let as_role = |part: &str| {
        let url = server.database_url("desk");
        url.replacen("plazo@", &format!("plazo_ticketing_{part}@"), 1)
    };
    let (request, owner) = (as_role("request"), as_role("owner"));
    let urls = [
        ("DATABASE__REQUEST_URL", request.as_str()),
        ("DATABASE__MIGRATION_URL", owner.as_str()),
    ];
    let desk = Desk::on(Fixture::start_on(&as_role("background"), &urls).await).await;
    let ticket_id = desk.open().await.ticket_id;
    let foreign = desk.fixture.administrator_of(8);
    let asked = GetTicketRequest { ticket_id };
    let answer = foreign.tickets.clone().get_ticket(asked).await;
    assert!(answer.is_err(), "another tenant's ticket is shown");

    let mut connection = PgConnection::connect(&request).await.expect("connected");
    for escape in [
        "SET ROLE plazo_ticketing_background",
        "SET ROLE plazo_ticketing_owner",
        "SET SESSION AUTHORIZATION plazo_ticketing_background",
        "SET row_security = off; SELECT FROM tickets",
        "ALTER TABLE tickets DISABLE ROW LEVEL SECURITY",
        "CREATE TABLE loot (ticket_id bigint)",
        "CREATE TEMPORARY TABLE loot (ticket_id bigint)",
        "TRUNCATE tickets",
        "SELECT make_event_partitions(3)",
        "SELECT FROM ticket_events_default",
    ] {
        assert!(connection.execute(escape).await.is_err(), "{escape}");
        connection.execute("RESET ALL").await.expect("reset");
        connection.execute("RESET ROLE").await.expect("reset");
        let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM tickets")
            .fetch_one(&mut connection)
            .await
            .expect("counted");
        assert_eq!(seen, 0, "{escape}");
    }
    // The owner migrates data too: his policy shows him all.
    let mut connection = PgConnection::connect(&owner).await.expect("connected");
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM tickets")
        .fetch_one(&mut connection)
        .await
        .expect("counted");
    assert_eq!(seen, 1);
}
