//! A page of contacts is the same whichever way leads to it.

use plazo_history::App;
use plazo_local::{PostgresServer, TestServers};
use plazo_service::Listeners;

use crate::feed::Feed;
use crate::plans::ROWS;
use crate::rows::run;
use crate::running::{database_name, fresh_config};

/// What all ways show of a contact, as members of a page; the order of the rows is a part of it.
const SHOWN: &str = r#""contact_id KIND", "last_interaction_at?""#;

/// Half of the tenant's contacts have some ten tickets each, of all agents and bots, and several at the same instant: of the last
/// hours, of the last days, and some that were closed too long ago to be seen.
const TANGLED: &str = "
    UPDATE tickets
    SET contact_id = drawn.contact_id, closed_at = drawn.at, last_interaction_at = drawn.at
    FROM (
        SELECT
            ticket_id, 1 + 5 * (abs(hashint8(ticket_id)::bigint) % 2003) AS contact_id,
            -- None comes to be seen while the test runs: the delay is 180 minutes.
            now() - CASE
                WHEN hashint8(7 * ticket_id) % 10 = 0 THEN abs(hashint8(-ticket_id)::bigint) % 200 * interval '7 minutes'
                ELSE abs(hashint8(-ticket_id)::bigint) % 1440 * interval '100 minutes'
            END AS at
        FROM tickets
        WHERE tenant_id = 2
    ) AS drawn
    WHERE tickets.tenant_id = 2 AND tickets.ticket_id = drawn.ticket_id;
    UPDATE dealings
    SET contact_id = ticket.contact_id, last_dealt_at = ticket.closed_at, closed_at = ticket.closed_at,
        closed_interaction_at = ticket.last_interaction_at, contact_name_key = contact.name_key,
        contact_other_keys = other_keys(contact.email_key, contact.phone_digits)
    FROM tickets AS ticket
    JOIN contacts AS contact ON contact.tenant_id = ticket.tenant_id AND contact.contact_id = ticket.contact_id
    WHERE dealings.tenant_id = 2 AND ticket.tenant_id = 2 AND ticket.ticket_id = dealings.ticket_id;
    UPDATE contacts
    SET last_interaction_at = ticket.at
    FROM (SELECT contact_id, max(last_interaction_at) AS at FROM tickets WHERE tenant_id = 2 GROUP BY contact_id) AS ticket
    WHERE contacts.tenant_id = 2 AND contacts.contact_id = ticket.contact_id;
    VACUUM ANALYZE;";

struct Ways<'a> {
    postgres: &'a PostgresServer,
    database: String,
}

impl Ways<'_> {
    /// The page that a query finds, a contact a line.
    async fn page(&self, query: &str, arguments: &str) -> String {
        let kind = if query.contains("\"contact_id!\"") {
            "!"
        } else {
            "?"
        };
        let shown = SHOWN.replace(" KIND", kind);
        let script = format!(
            "SET ROLE plazo_history_request;
            SET plazo.tenant_id = '2';
            SET plan_cache_mode = force_custom_plan;
            PREPARE asked AS SELECT {shown} FROM ({query}) AS found;
            EXECUTE asked ({arguments});"
        );
        self.postgres
            .sql(&self.database, &script)
            .await
            .expect("contacts are found")
    }
}

async fn ways(postgres: &PostgresServer) -> Ways<'_> {
    let feed = Feed::start().await;
    let config = fresh_config(&feed).await;
    let listeners = Listeners::bind(&config.server)
        .await
        .expect("ports are free");
    App::build(config.clone(), listeners)
        .await
        .expect("it migrates");
    let database = database_name(&config.database.url);
    run(&database, ROWS).await;
    run(&database, TANGLED).await;
    Ways { postgres, database }
}

/// Patterns that find all, some of each name, many, few and one, each with its longest.
const LOOKED_FOR: [(&str, &str); 6] = [
    ("{}", ""),
    ("{%a1b%}", "%a1b%"),
    ("{%elisa%}", "%elisa%"),
    ("{%glo%,%ab%}", "%glo%"),
    ("{%gloria%,%a1b%}", "%gloria%"),
    ("{%5511900000011%}", "%5511900000011%"),
];

#[tokio::test]
async fn an_agent_with_many_contacts_gets_the_page_of_one_with_few() {
    let servers = TestServers::shared().await;
    let ways = ways(servers.postgres()).await;
    let agent = "2, 12, '{3,4}', 7776000, 10800";
    let query = include_str!("../../queries/search_dealt_by_interaction.sql");
    for (patterns, _) in LOOKED_FOR {
        for place in ["NULL, 99999999", "now() - interval '9 days', 9000"] {
            for bot_id in [0, 3] {
                let asked = format!("{agent}, '{patterns}', {bot_id}, {place}, 11");
                let few = ways.page(query, &format!("{asked}, 1000000, 100")).await;
                assert!(!few.is_empty() || patterns != "{}", "{asked}");
                // Walks that end before the page, in it and behind it, and one through all.
                for walked in [1, 50, 700, 1_000_000] {
                    let many = ways.page(query, &format!("{asked}, 0, {walked}")).await;
                    assert_eq!(few, many, "{asked}, {walked}");
                }
            }
        }
    }
}

#[tokio::test]
async fn contacts_that_are_near_few_or_many_make_the_same_page() {
    let servers = TestServers::shared().await;
    let ways = ways(servers.postgres()).await;
    for (patterns, longest) in LOOKED_FOR.into_iter().skip(1) {
        for place in ["'', 0", "'carla', 9000"] {
            let asked = format!("2, NULL, true, '{patterns}', {place}, 11");
            let near = include_str!("../../queries/search_near_by_name.sql");
            let near = ways.page(near, &format!("{asked}, 0, 1000000")).await;
            let few = include_str!("../../queries/search_few_by_name.sql");
            let few = ways
                .page(few, &format!("{asked}, '{longest}', 1000000, 0"))
                .await;
            let many = include_str!("../../queries/search_many_by_name.sql");
            let many = ways.page(many, &format!("{asked}, 0")).await;
            assert_eq!(
                near.trim_end_matches(['|', '\n']),
                many.trim_end(),
                "{asked}"
            );
            assert_eq!(near, few, "{asked}");
            assert!(
                near.lines().count() == 11 || patterns != "{%elisa%}",
                "{asked}"
            );
        }
        for place in ["NULL, 99999999", "now() - interval '9 days', 9000"] {
            let asked = format!("2, NULL, '{patterns}', {place}, 11");
            let near = include_str!("../../queries/search_near_by_interaction.sql");
            let near = ways.page(near, &format!("{asked}, 0, 1000000")).await;
            let few = format!("2, NULL, true, '{patterns}', {place}, 11, '{longest}', 1000000, 0");
            let few = ways
                .page(
                    include_str!("../../queries/search_few_by_interaction.sql"),
                    &few,
                )
                .await;
            let many = include_str!("../../queries/search_many_by_interaction.sql");
            let many = ways.page(many, &format!("{asked}, 0")).await;
            assert_eq!(
                near.trim_end_matches(['|', '\n']),
                many.trim_end(),
                "{asked}"
            );
            assert_eq!(near, few, "{asked}");
            assert!(
                near.lines().count() == 11 || patterns != "{%elisa%}",
                "{asked}"
            );
        }
    }
}

#[tokio::test]
async fn contacts_that_are_not_near_are_said_to_be_so() {
    let servers = TestServers::shared().await;
    let ways = ways(servers.postgres()).await;
    for (query, asked) in [
        (
            include_str!("../../queries/search_near_by_name.sql"),
            "2, NULL, true, '{%elisa%}', '', 0, 11, 0, 100",
        ),
        (
            include_str!("../../queries/search_near_by_interaction.sql"),
            "2, NULL, '{%5511900000011%}', NULL, 99999999, 11, 0, 1",
        ),
    ] {
        let query = format!(
            "SELECT \"is_too_many!\" AS \"contact_id?\", NULL AS \"last_interaction_at?\" FROM ({query}) AS told"
        );
        assert_eq!(ways.page(&query, asked).await.trim(), "t|", "{asked}");
    }
}
