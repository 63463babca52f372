//! Closed tickets put straight into the tables, and a service that reports of them.

use std::fmt::Write as _;

use plazo_local::TestServers;
use plazo_proto::history::v1::report_service_client::ReportServiceClient;
use plazo_proto::history::v1::{
    Conversation, ConversationFilter, GetReportRequest, GetReportResponse,
    ListConversationsRequest, ReportFigures, TimeStatistics,
};
use plazo_proto::ticketing::v1::CloseSource;
use plazo_service::{Actor, ActorKind, BotScope, Permission, Permissions};
use prost_types::{Duration, Timestamp};
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::feed::Feed;
use crate::running::{Running, database_name, fresh_config};

/// 2 March 2026, 12:00 UTC, a Monday; in microseconds since 1970.
pub(crate) const NOON_US: i64 = 1_772_452_800_000_000;
pub(crate) const SECOND_US: i64 = 1_000_000;
pub(crate) const HOUR_US: i64 = 3_600 * SECOND_US;
pub(crate) const DAY_US: i64 = 24 * HOUR_US;

/// A ticket of tenant 1 and bot 3. Instants are microseconds since 1970.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) tenant_id: i64,
    pub(crate) ticket_id: i64,
    pub(crate) bot_id: i64,
    pub(crate) queue_id: i64,
    pub(crate) agent_id: i64,
    pub(crate) tags: &'static str,
    pub(crate) opened_us: i64,
    pub(crate) assigned_us: Option<i64>,
    pub(crate) answered_us: Option<i64>,
    pub(crate) first_closed_us: Option<i64>,
    /// None: it is open.
    pub(crate) closed_us: Option<i64>,
    pub(crate) source: CloseSource,
    pub(crate) note: Option<(&'static str, &'static str)>,
    pub(crate) reopen_count: i32,
    /// Of the customer and of agents.
    pub(crate) messages: (i32, i32),
    /// How many, and their sum in milliseconds.
    pub(crate) later_responses: (i32, i64),
    pub(crate) handling_ms: i64,
    pub(crate) calendar_version: i64,
    /// Wait, first response, sum of later responses, first and full resolution, handling.
    pub(crate) business_ms: [Option<i64>; 6],
}

impl Row {
    /// Opened at noon and closed by an agent so long after it, in microseconds.
    pub(crate) fn closed(ticket_id: i64, closed_after_us: i64) -> Self {
        Self {
            tenant_id: 1,
            ticket_id,
            bot_id: 3,
            queue_id: 0,
            agent_id: 0,
            tags: "{}",
            opened_us: NOON_US,
            assigned_us: None,
            answered_us: None,
            first_closed_us: Some(NOON_US + closed_after_us),
            closed_us: Some(NOON_US + closed_after_us),
            source: CloseSource::Agent,
            note: None,
            reopen_count: 0,
            messages: (0, 0),
            later_responses: (0, 0),
            handling_ms: 0,
            calendar_version: 0,
            business_ms: [None; 6],
        }
    }

    fn values(&self) -> String {
        let at = |us: Option<i64>| {
            us.map_or("NULL".to_owned(), |us| {
                format!("timestamptz 'epoch' + {us} * interval '1 microsecond'")
            })
        };
        let number = |ms: Option<i64>| ms.map_or("NULL".to_owned(), |ms| ms.to_string());
        let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let note = self.note.unzip();
        let note = [note.0, note.1].map(|part| part.map_or("NULL".to_owned(), text));
        let is_closed = self.closed_us.is_some();
        let of_close = |value: &str| {
            if is_closed {
                value.to_owned()
            } else {
                "NULL".to_owned()
            }
        };
        let mut values = vec![
            self.tenant_id.to_string(),
            self.ticket_id.to_string(),
            self.bot_id.to_string(),
            self.queue_id.to_string(),
            self.agent_id.to_string(),
            if is_closed { "3" } else { "2" }.to_owned(),
            at(Some(self.opened_us)),
            text(self.tags),
            self.messages.0.to_string(),
            self.messages.1.to_string(),
            self.reopen_count.to_string(),
            at(self.closed_us),
            of_close(&i32::from(self.source).to_string()),
            of_close("1"),
            of_close("1"),
            of_close("''"),
        ];
        values.extend(note);
        values.extend([self.assigned_us, self.answered_us, self.first_closed_us].map(at));
        values.extend([
            self.later_responses.0.to_string(),
            self.later_responses.1.to_string(),
            self.handling_ms.to_string(),
            self.calendar_version.to_string(),
        ]);
        values.extend(self.business_ms.map(number));
        format!("({})", values.join(", "))
    }
}

const COLUMNS: &str = "
    tenant_id, ticket_id, bot_id, queue_id, agent_id, state, opened_at, tags, customer_message_count,
    agent_message_count, reopen_count, closed_at, close_source, close_author_kind, close_author_id,
    close_exit_route, close_category, close_summary, first_assigned_at, first_agent_message_at,
    first_closed_at, later_response_count, later_response_ms, handling_ms, calendar_version,
    business_wait_ms, business_first_response_ms, business_later_response_ms,
    business_first_resolution_ms, business_full_resolution_ms, business_handling_ms, previous_ticket_id,
    contact_id, contact_name, contact_email, contact_phone, contact_channel, contact_address,
    is_unlinked, ticket_seq";

/// A statement that makes so many tickets of these tenants, 7 bots and 5,000 agents, closed a minute after one another from
/// noon on, with ids that are so far apart. Their notes have 500 bytes.
pub(crate) fn make_many(count: i64, tenants: i64, id_step: i64) -> String {
    let noon = format!("timestamptz 'epoch' + {NOON_US} * interval '1 microsecond'");
    format!(
        "INSERT INTO tickets ({COLUMNS})
        SELECT 1 + n % {tenants}, n * {id_step}, 1 + n % 7, n % 20, n % 5000, 3, {noon}, '{{vip}}', 4, 3, 0,
            {noon} + n * interval '1 minute', 1 + n % 5, 1, 1, '', repeat('x', 100), repeat('y', 400),
            {noon} + n % 1000 * interval '1 second', {noon} + n % 3000 * interval '1 second',
            {noon} + n * interval '1 minute', n % 4, n % 4 * 7000, n % 5000 * 1000, 0, NULL, NULL, NULL, NULL,
            NULL, NULL, 0, 5, '', '', '', 0, '', false, 1
        FROM generate_series(1, {count}) AS n;"
    )
}

/// A service and its database.
pub(crate) struct Desk {
    pub(crate) running: Running,
    pub(crate) client: ReportServiceClient<Channel>,
    database: String,
    _feed: Feed,
}

impl Desk {
    pub(crate) async fn with(rows: &[Row]) -> Self {
        let feed = Feed::start().await;
        let config = fresh_config(&feed).await;
        Self::start(feed, config, rows).await
    }

    pub(crate) async fn start(feed: Feed, config: plazo_history::Config, rows: &[Row]) -> Self {
        let database = database_name(&config.database.url);
        let running = Running::start(config).await;
        let desk = Self {
            client: running.reports().await,
            running,
            database,
            _feed: feed,
        };
        desk.add(rows).await;
        desk
    }

    pub(crate) async fn add(&self, rows: &[Row]) {
        if rows.is_empty() {
            return;
        }
        let mut script = format!(
            "INSERT INTO tickets ({COLUMNS}) SELECT made.*, 0, 5, '', '', '', 0, '', false, 1 FROM (VALUES "
        );
        for (index, row) in rows.iter().enumerate() {
            let values = row.values();
            // The first line says what the columns are, where it says NULL too.
            let values = if index == 0 {
                with_types(&values)
            } else {
                values
            };
            let separator = if index == 0 { "" } else { ", " };
            write!(script, "{separator}{values}").expect("a text takes more");
        }
        script.push_str(") AS made;");
        self.sql(&script).await;
    }

    pub(crate) async fn sql(&self, script: &str) -> String {
        let postgres = TestServers::shared().await.postgres();
        let answer = postgres.sql(&self.database, script).await;
        answer.expect("the script is run")
    }

    pub(crate) async fn report(
        &self,
        actor: &Actor,
        message: GetReportRequest,
    ) -> Result<GetReportResponse, Status> {
        let request = actor.sign(Request::new(message));
        let response = self.client.clone().get_report(request).await?;
        Ok(response.into_inner())
    }

    pub(crate) async fn totals(&self, filter: ConversationFilter) -> ReportFigures {
        let message = GetReportRequest {
            filter: Some(filter),
            ..Default::default()
        };
        let report = self.report(&manager(1), message).await;
        let report = report.expect("the report is made");
        report.totals.expect("a report has totals")
    }

    /// All pages of the list.
    pub(crate) async fn list(
        &self,
        actor: &Actor,
        filter: ConversationFilter,
    ) -> Vec<Conversation> {
        let mut listed = Vec::new();
        let mut message = ListConversationsRequest {
            filter: Some(filter),
            page_size: 3,
            page_token: String::new(),
        };
        loop {
            let request = actor.sign(Request::new(message.clone()));
            let page = self.client.clone().list_conversations(request).await;
            let page = page.expect("the page is shown").into_inner();
            assert!(page.conversations.len() <= 3);
            listed.extend(page.conversations);
            if page.next_page_token.is_empty() {
                return listed;
            }
            message.page_token = page.next_page_token;
        }
    }
}

/// The same line of values, where each NULL says of what type it is.
fn with_types(values: &str) -> String {
    let types = [
        "bigint",
        "bigint",
        "bigint",
        "bigint",
        "bigint",
        "integer",
        "timestamptz",
        "text[]",
        "integer",
        "integer",
        "integer",
        "timestamptz",
        "integer",
        "integer",
        "bigint",
        "text",
        "text",
        "text",
        "timestamptz",
        "timestamptz",
        "timestamptz",
        "integer",
        "bigint",
        "bigint",
        "bigint",
        "bigint",
        "bigint",
        "bigint",
        "bigint",
        "bigint",
        "bigint",
    ];
    let inner = values.trim_start_matches('(').trim_end_matches(')');
    let values_of_types: Vec<_> = inner
        .split(", ")
        .zip(types)
        .map(|(value, of)| format!("({value})::{of}"))
        .collect();
    assert_eq!(
        values_of_types.len(),
        types.len(),
        "texts of the first line have no comma"
    );
    format!("({})", values_of_types.join(", "))
}

/// Somebody of a tenant who may see the reports of all bots.
pub(crate) fn manager(tenant_id: i64) -> Actor {
    Actor {
        tenant_id,
        kind: ActorKind::Administrator(1),
        permissions: Permissions::NONE.with(Permission::ReportsView),
        bots: BotScope::All,
    }
}

/// A period from and until so long after noon, in microseconds.
pub(crate) fn period(from_us: i64, until_us: i64) -> ConversationFilter {
    ConversationFilter {
        closed_from_time: Some(timestamp(NOON_US + from_us)),
        closed_until_time: Some(timestamp(NOON_US + until_us)),
        ..Default::default()
    }
}

pub(crate) fn timestamp(us: i64) -> Timestamp {
    Timestamp {
        seconds: us.div_euclid(SECOND_US),
        nanos: i32::try_from(us.rem_euclid(SECOND_US) * 1_000).expect("below a second"),
    }
}

pub(crate) fn ids(conversations: &[Conversation]) -> Vec<i64> {
    conversations.iter().map(|known| known.ticket_id).collect()
}

pub(crate) fn number(count: usize) -> i64 {
    i64::try_from(count).expect("a small number")
}

pub(crate) fn ms(duration: Option<&Duration>) -> Option<i64> {
    duration.map(|span| span.seconds * 1_000 + i64::from(span.nanos) / 1_000_000)
}

/// Count, and mean, percentiles 50, 90 and 99 and maximum in milliseconds.
pub(crate) type Known = (i64, [Option<i64>; 5]);

pub(crate) fn known(statistics: Option<&TimeStatistics>) -> Known {
    let statistics = statistics.expect("figures have all times");
    let values = [
        &statistics.mean,
        &statistics.p50,
        &statistics.p90,
        &statistics.p99,
        &statistics.max,
    ];
    (statistics.count, values.map(|value| ms(value.as_ref())))
}
