//! The walls between tenants, in the database itself.

use plazo_database::walls::Walls;
use plazo_local::{PostgresOptions, PostgresServer};
use plazo_proto::history::v1::{ContactOrder, SearchContactsRequest};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tonic::Request;

use crate::events::Writer;
use crate::feed::Feed;
use crate::rebuild::{rebuilt, snapshot_of, sql, wish};
use crate::rows::{ContactRow, Rows};
use crate::running::{Running, fresh_config, viewer};

const ROLES: &str = include_str!("../../../../deploy/postgresql/roles.sql");

#[tokio::test]
async fn every_table_holds_each_tenant_to_its_own_rows() {
    let feed = Feed::start().await;
    let config = fresh_config(&feed).await;
    Running::start(config.clone()).await.stop().await;
    // Tables that a rebuild makes, one that serves after it, and partitions of both.
    let script =
        "SELECT begin_projection(); SELECT make_ticket_partitions('projection_next', 1000000);";
    let as_background = format!(
        "DELETE FROM history_bots;
         SET ROLE plazo_history_background; {script} SELECT swap_projections(); {script}"
    );
    sql(&config, &as_background).await;
    let walls = Walls {
        service: "history",
        url: &config.database.url,
        schemas: &["public", "projection", "projection_next"],
        without_tenant: &[
            ("_sqlx_migrations", "which migrations were applied"),
            (
                "feed_position",
                "how far the feed of all tenants is applied",
            ),
            (
                "projection_rebuilds",
                "whether the tables of all tenants are to be built anew",
            ),
        ],
    };
    let problems = walls.problems().await.expect("tried");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test]
async fn the_search_beneath_the_walls_finds_contacts_of_the_named_tenant_alone() {
    let feed = Feed::start().await;
    let config = fresh_config(&feed).await;
    let history = Running::start(config.clone()).await;
    let of_other = ContactRow {
        tenant_id: 2,
        ..ContactRow::named(6, "Ana")
    };
    Rows::default()
        .contact(&ContactRow::named(5, "Ana"))
        .contact(&of_other)
        .save(&history.database)
        .await;
    for search in [
        "search.matching_contacts('{%ana%}', '%ana%', 10)",
        "search.first_contacts('{%ana%}', '%ana%', '', 0, 10)",
    ] {
        let found = async |setting: &str| {
            let script = format!(
                "SET ROLE plazo_history_request; {setting};
                 SELECT string_agg(contact_id::text, ' ') FROM {search}"
            );
            sql(&config, &script).await.trim().to_owned()
        };
        assert_eq!(found("SET plazo.tenant_id = '1'").await, "5");
        assert_eq!(found("SET plazo.tenant_id = '2'").await, "6");
        assert_eq!(found("SET plazo.tenant_id = ''").await, "");
        assert_eq!(found("RESET plazo.tenant_id").await, "");
    }
    // They are the only functions that requests may call with the rights of their owner.
    let functions = "SELECT oid::regprocedure FROM pg_proc
        WHERE prosecdef AND has_function_privilege('plazo_history_request', oid, 'EXECUTE') ORDER BY 1";
    let functions = sql(&config, functions).await;
    let only = [
        "search.matching_contacts(text[],text,bigint)",
        "search.first_contacts(text[],text,text,bigint,bigint)",
    ];
    let mut functions: Vec<&str> = functions.lines().collect();
    functions.sort_unstable_by_key(|name| std::cmp::Reverse(*name));
    assert_eq!(functions, only);
}

/// How many contacts administrators of two tenants find, in both orders.
async fn found_by_both(history: &Running) -> Vec<usize> {
    let mut found = Vec::new();
    for tenant_id in [1, 2] {
        for order_by in [ContactOrder::Name, ContactOrder::LastInteraction] {
            let request = viewer(tenant_id).sign(Request::new(SearchContactsRequest {
                query: "ana".to_owned(),
                order_by: order_by.into(),
                ..SearchContactsRequest::default()
            }));
            let answer = history.client.clone().search_contacts(request).await;
            let answer = answer.expect("the search is answered").into_inner();
            found.push(answer.contacts.len());
        }
    }
    found
}

#[tokio::test]
async fn logins_of_their_own_serve_build_anew_and_keep_to_their_rights() {
    let options = PostgresOptions::temporary().durable(false);
    let server = PostgresServer::start(options).await.expect("a server");
    let script = format!("\\set service history\n\\set database past\n{ROLES}");
    server.sql("postgres", &script).await.expect("the roles");
    let as_role = |part: &str| {
        let url = server.database_url("past");
        url.replacen("plazo@", &format!("plazo_history_{part}@"), 1)
    };
    let feed = Feed::start().await;
    let mut config = fresh_config(&feed).await;
    config.database.url = as_role("background");
    config.database.request_url = Some(as_role("request"));
    config.database.migration_url = Some(as_role("owner"));
    let history = Running::start(config).await;
    let mut ticket = Writer::new(1, 3, 7);
    let events = vec![ticket.opened(12), ticket.closed()];
    feed.send(events.clone());
    history.ticket_at(&viewer(1), 7, 2).await;
    assert!(history.ticket(&viewer(2), 7).await.is_err());
    assert_eq!(found_by_both(&history).await, [1, 1, 0, 0]);
    {
        let mut snapshot = feed.snapshot();
        snapshot.position = "1".to_owned();
        snapshot.part = 1;
        snapshot.tickets = vec![snapshot_of(events, 0)];
    }
    for times in [1.0, 2.0] {
        wish(&history).await;
        rebuilt(&history, times).await;
        assert_eq!(found_by_both(&history).await, [1, 1, 0, 0]);
    }

    let request = as_role("request");
    let mut connection = PgConnection::connect(&request).await.expect("connected");
    for escape in [
        "SET ROLE plazo_history_background",
        "SET ROLE plazo_history_owner",
        "SET row_security = off; SELECT FROM tickets",
        "ALTER TABLE tickets DISABLE ROW LEVEL SECURITY",
        "CREATE SCHEMA loot",
        "CREATE TEMPORARY TABLE contacts (contact_id bigint)",
        "DELETE FROM tickets",
        "SELECT FROM tickets_p0",
        "SELECT FROM feed_position",
        "SELECT make_ticket_partitions(5000000)",
        "SELECT begin_projection()",
        "SELECT swap_projections()",
        "SELECT drop_some_tables('projection_old')",
        "SELECT drop_ticket_partition('projection', 0)",
        "SELECT wall_off('tickets')",
    ] {
        let outcome = connection.execute(escape).await;
        assert!(outcome.is_err(), "{escape}");
        connection.execute("RESET ALL").await.expect("reset");
        let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM tickets")
            .fetch_one(&mut connection)
            .await
            .expect("counted");
        assert_eq!(seen, 0, "{escape}");
    }
    history.stop().await;
}
