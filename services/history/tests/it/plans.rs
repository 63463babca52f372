//! What requests and the projection ask of the database is served by indexes.

use plazo_history::App;
use plazo_local::TestServers;
use plazo_service::Listeners;

use crate::feed::Feed;
use crate::rows::run;
use crate::running::{database_name, fresh_config};

/// 100,000 tickets in three partitions, 20,000 contacts, few bots and agents, a fifth of them in the tenant that is asked for.
pub(crate) const ROWS: &str = "
    SELECT make_ticket_partitions(2500000);
    INSERT INTO history_bots (tenant_id, bot_id)
    SELECT tenant_id, bot_id FROM generate_series(1, 5) AS tenant_id, generate_series(1, 7) AS bot_id;
    INSERT INTO history_agents (tenant_id, agent_id)
    SELECT tenant_id, agent_id FROM generate_series(1, 5) AS tenant_id, generate_series(0, 49) AS agent_id;
    INSERT INTO contacts (
        tenant_id, contact_id, name, email, phone, channel, address, last_interaction_at, name_key, email_key, phone_digits
    )
    SELECT 1 + n % 5, n, '', '', '', 3, '', now() - n * interval '4 minutes',
        (ARRAY['ana', 'bruno', 'carla', 'davi', 'elisa', 'fabio', 'gloria'])[1 + n % 7] || ' ' || md5(n::text),
        md5(n::text) || '@exemplo.com.br', (5511900000000 + n)::text
    FROM generate_series(1, 20000) AS n;
    INSERT INTO tickets (
        tenant_id, ticket_id, bot_id, queue_id, agent_id, state, opened_at, previous_ticket_id, tags,
        customer_message_count, agent_message_count, reopen_count, contact_id, contact_name, contact_email,
        contact_phone, contact_channel, contact_address, closed_at, close_source, close_author_kind, close_author_id,
        close_exit_route, is_unlinked, last_interaction_at, ticket_seq
    )
    SELECT 1 + n % 5, n * 25, 1 + n % 7, 0, (n / 5) % 50, 3, now(), 0, '{}', 0, 0, 0, 1 + (n - 1) % 20000, '', '', '', 0, '',
        now() - n * interval '1 minute', 1, 1, 1, '', false, now() - n * interval '1 minute', 1
    FROM generate_series(1, 100000) AS n;
    INSERT INTO dealings (
        tenant_id, agent_id, contact_id, ticket_id, bot_id, last_dealt_at, closed_at, closed_interaction_at,
        contact_name_key, contact_other_keys
    )
    SELECT
        tenant_id, agent_id, contact_id, ticket_id, bot_id, closed_at, closed_at, tickets.last_interaction_at,
        name_key, other_keys(email_key, phone_digits)
    FROM tickets
    LEFT JOIN contacts USING (tenant_id, contact_id);
    INSERT INTO conversation_entries
    SELECT tenant_id, ticket_id, seq, 1 + seq % 5, 1, 1, 1, '', '{}', now(), NULL
    FROM tickets, generate_series(1, 3) AS seq;
    VACUUM ANALYZE;";

/// The tables that grow.
const TABLES: [&str; 6] = [
    "tickets",
    "contacts",
    "contact_texts",
    "dealings",
    "conversation_entries",
    "stage_firings",
];

/// How the one query of the projection begins.
const PROJECTIONS: &str = "-- The tickets that a batch of events is about";

/// The statements of the functions that run beneath the walls, and with what they are asked.
const BENEATH: [(&str, &str); 2] = [
    ("matching_contacts", "2, '%0a1b2c%', '{%ana%}', 3001"),
    ("first_contacts", "2, '%0a1b2c%', '{%ana%}', '', 0, 1000"),
];

struct Asked {
    query: &'static str,
    arguments: String,
    /// An index that must be used.
    index: &'static str,
}

macro_rules! asked {
    ($file:literal, $index:literal, $($arguments:tt)*) => {
        Asked {
            query: include_str!(concat!("../../queries/", $file, ".sql")),
            arguments: format!($($arguments)*),
            index: $index,
        }
    };
}

fn all_asked() -> Vec<Asked> {
    let agent = "2, 12, '{3,4}', 7776000, 10800";
    let other = "2, NULL, '{3,4}', 7776000, 10800";
    let matches = "'{%ana%,%0a1b2c%}'";
    let many = "'{%a%}'";
    vec![
        asked!("load_tickets", "p0_pkey", "'{{1,2}}', '{{11,12}}'"),
        asked!("get_ticket", "p0_pkey", "{agent}, 275"),
        asked!("get_ticket", "p0_pkey", "{other}, 275"),
        asked!("is_ticket_visible", "p0_pkey", "{agent}, 275"),
        asked!(
            "list_closed_of_bots",
            "tickets_p0_tenant_id_bot_id_closed_at",
            "2, NULL, NULL, now(), NULL, NULL, 0, 51"
        ),
        asked!(
            "list_closed_of_agent",
            "tickets_p0_tenant_id_agent_id_closed_at",
            "2, NULL, NULL, now(), NULL, NULL, 0, 51, 12"
        ),
        asked!(
            "list_closed_for_agent",
            "dealings_p0_tenant_id_agent_id_closed_dealt_at",
            "{agent}, NULL, NULL, NULL, NULL, 0, 51"
        ),
        asked!(
            "list_closed_of_agent_for_agent",
            "tickets_p0_tenant_id_agent_id_closed_at",
            "{agent}, NULL, NULL, NULL, NULL, 0, 51, 13"
        ),
        asked!(
            "list_entries",
            "conversation_entries_p0_pkey",
            "{agent}, 275, 0, 51"
        ),
        asked!(
            "list_entries_newest_first",
            "conversation_entries_p0_pkey",
            "{agent}, 275, 9, 51"
        ),
        asked!("is_contact_visible", "dealings_p0_", "{agent}, 12"),
        asked!("get_contact", "contacts_pkey", "{agent}, 12, false"),
        asked!("get_contact", "contacts_pkey", "{other}, 12, true"),
        asked!(
            "list_contact_tickets",
            "tickets_p0_tenant_id_contact_id",
            "{agent}, 12, 0, 99999999, 51"
        ),
        asked!(
            "list_comments",
            "tickets_p0_tenant_id_contact_id",
            "{agent}, 12, NULL, NULL, NULL, 51"
        ),
        asked!(
            "search_dealt_by_name",
            "dealings_p0_tenant_id_agent_id_closed_dealt_at",
            "{agent}, {matches}, 0, '', 0, 51"
        ),
        asked!(
            "search_dealt_by_interaction",
            "dealings_p0_tenant_id_agent_id_closed_dealt_at",
            "{agent}, {matches}, 0, NULL, 99999999, 51, 4000, 40000"
        ),
        asked!(
            "search_dealt_by_interaction",
            "tickets_p0_tenant_id_closed_interaction_at",
            "{agent}, '{{}}', 0, NULL, 99999999, 51, 0, 100"
        ),
        asked!(
            "search_few_by_name",
            "contacts_pkey",
            "2, NULL, true, {matches}, '', 0, 51, '%0a1b2c%', 20000, 0"
        ),
        asked!(
            "search_few_by_interaction",
            "contacts_pkey",
            "2, NULL, true, {matches}, NULL, 99999999, 51, '%0a1b2c%', 3000, 0"
        ),
        asked!(
            "search_near_by_name",
            "contact_texts_by_name",
            "2, NULL, true, {many}, '', 0, 51, 0, 100"
        ),
        asked!(
            "search_near_by_interaction",
            "contacts_by_interaction",
            "2, NULL, {many}, NULL, 99999999, 51, 0, 100"
        ),
        asked!(
            "search_many_by_name",
            "contact_texts_by_name",
            "2, NULL, true, {many}, '', 0, 51, 0"
        ),
        asked!(
            "search_many_by_interaction",
            "contacts_by_interaction",
            "2, NULL, {many}, NULL, 99999999, 51, 0"
        ),
    ]
}

#[tokio::test]
async fn no_statement_scans_a_table() {
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

    let postgres = TestServers::shared().await.postgres();
    for (function, arguments) in BENEATH {
        let statement = format!(
            "SELECT regexp_replace(split_part(prosrc, '$search$', 2), '--[^\n]*', '', 'g')
            FROM pg_proc WHERE proname = '{function}'"
        );
        let statement = run(&database, &statement).await;
        // Always planned for its values.
        let script = format!("PREPARE asked AS {statement}; EXPLAIN EXECUTE asked ({arguments});");
        let plan = run(&database, &script).await;
        assert!(plan.contains("contact_texts_by_text"), "{plan}");
    }
    for Asked {
        query,
        arguments,
        index,
    } in all_asked()
    {
        // As the service asks: for one tenant, planned for the arguments; or for the projection, planned for them or for all.
        let (role, modes): (_, &[&str]) = if query.starts_with(PROJECTIONS) {
            ("background", &["force_custom_plan", "force_generic_plan"])
        } else {
            ("request", &["force_custom_plan"])
        };
        for mode in modes {
            let script = format!(
                "SET ROLE plazo_history_{role};
                SET plazo.tenant_id = '2';
                SET plan_cache_mode = {mode};
                PREPARE asked AS {query};
                EXPLAIN EXECUTE asked ({arguments});"
            );
            let plan = postgres
                .sql(&database, &script)
                .await
                .expect("the plan is shown");
            for table in TABLES {
                let scans = plan.contains(&format!("Seq Scan on {table}"));
                assert!(!scans, "{mode}: {query}\n{plan}");
            }
            assert!(plan.contains(index), "{mode}: {index}: {query}\n{plan}");
        }
    }
}
