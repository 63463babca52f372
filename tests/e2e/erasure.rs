//! A customer's personal data are erased through gRPC: they are nowhere any more, the proof says so of each service, and what
//! history counts and shows stays, also when it is built anew.

use std::time::Duration;

use plazo_proto::history::v1::projection_service_client::ProjectionServiceClient;
use plazo_proto::history::v1::report_service_client::ReportServiceClient;
use plazo_proto::history::v1::{
    Conversation, ConversationFilter, GetLatenessReportRequest, GetLatenessReportResponse,
    GetReportRequest, GetReportResponse, ListConversationsRequest, RebuildProjectionRequest,
    ReportGrouping, ReportInterval,
};
use plazo_proto::ticketing::v1::contact_service_client::ContactServiceClient;
use plazo_proto::ticketing::v1::erasure_service_client::ErasureServiceClient;
use plazo_proto::ticketing::v1::{
    CloseTicketRequest, ClosingNote, EraseContactRequest, Erasure, GetErasureRequest,
    UpdateContactRequest,
};
use plazo_tests::cluster::{Cluster, Durability};
use plazo_tests::desk::{Desk, Signature, SignedChannel, Stages, sign};
use plazo_tests::eventually;
use plazo_tests::process::Service;
use plazo_tests::truth::{Databases, now_us, proto_timestamp};
use plazo_tests::verify::verify_history;
use sqlx::PgPool;
use tonic::service::interceptor::InterceptedService;

const TENANT: i64 = 7;
const BOUND: Duration = Duration::from_secs(30);
const HOUR_US: i64 = 3_600_000_000;
/// The name of the customer who is erased, without its first letter, which search keys have in small letters.
const NAME: &str = "uleika";
/// Digits of his phone number.
const PHONE: &str = "987654321";
/// The name of another customer, who stays.
const KEPT: &str = "Teodoro";

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_customer_is_nowhere_and_history_stays_as_it_was() {
    let cluster = Cluster::start(Durability::Fast).await;
    let databases = Databases::open(&cluster).await;
    let play = Play::run(&cluster, &databases).await;
    for (service, pool) in play.databases() {
        for secret in play.secrets() {
            // Where and by what name he was warned is all that notification is told.
            let is_told = service != "notification" || secret != PHONE;
            assert_eq!(has(pool, &secret).await, is_told, "{service}: {secret}");
        }
    }
    let before = play.figures().await;
    before.assert_is_of_use();

    let proof = play.erase().await;
    assert_eq!(proof.ticket_count, 2);
    let services: Vec<_> = proof.services.iter().map(|it| &*it.service).collect();
    assert_eq!(services, ["ticketing", "notification", "history"]);
    for service in &proof.services {
        assert!(service.row_count > 0, "{service:?}");
    }
    databases.settle(BOUND).await;
    play.check(&before).await;

    play.rebuild().await;
    databases.settle(BOUND).await;
    play.check(&before).await;
    cluster.stop().await;
}

/// Two customers of a tenant, each with a bot of its own.
struct Play<'a> {
    cluster: &'a Cluster,
    databases: &'a Databases,
    started_us: i64,
    erased: Desk,
    kept: Desk,
}

/// What reports say.
#[derive(Debug, PartialEq)]
struct Figures {
    report: GetReportResponse,
    lateness: GetLatenessReportResponse,
    /// Without the texts of closing notes.
    conversations: Vec<Conversation>,
}

impl Figures {
    fn assert_is_of_use(&self) {
        assert_eq!(self.conversations.len(), 3);
        assert!(!self.lateness.stages.is_empty());
        let totals = self.report.totals.as_ref().expect("there are totals");
        assert_eq!(totals.customer_message_count, 4);
        assert_eq!(totals.agent_message_count, 4);
    }
}

impl<'a> Play<'a> {
    /// Plays it until both customers' tickets are closed and all services know of it.
    async fn run(cluster: &'a Cluster, databases: &'a Databases) -> Self {
        let stages = Stages {
            first_alert_s: 1,
            second_alert_s: 2,
            warning_and_close_s: Some((3, 3_000)),
        };
        let play = Self {
            cluster,
            databases,
            started_us: now_us(&databases.ticketing).await,
            erased: Desk::set_up(cluster, TENANT, stages).await,
            kept: Desk::set_up(cluster, TENANT, stages).await,
        };
        play.name(&play.erased, "Zuleika Prado", "+5511987654321")
            .await;
        play.name(&play.kept, "Teodoro Lima", "+5511912345678")
            .await;

        let desk = &play.erased;
        let warned = desk.open_ticket().await.ticket_id;
        desk.customer_writes(warned, "I am Zuleika").await;
        desk.agent_writes(warned, "Hello Zuleika").await;
        let other = play.kept.open_ticket().await.ticket_id;
        play.kept.customer_writes(other, "I am Teodoro").await;
        play.kept.agent_writes(other, "Hello Teodoro").await;
        for name in ["Zuleika Prado", "Teodoro Lima"] {
            eventually("he is warned by his name", BOUND, async || {
                has(&databases.notification, &format!("{name}, we close")).await
            })
            .await;
        }
        close(desk, warned, "billing", "Zuleika was warned").await;
        let second = desk.open_ticket().await.ticket_id;
        for _ in 0..2 {
            desk.customer_writes(second, "Zuleika once more").await;
            desk.agent_writes(second, "Zuleika, what is it?").await;
        }
        close(desk, second, "delivery", "Zuleika asked twice").await;
        close(&play.kept, other, "billing", "Teodoro had a question").await;
        databases.settle(BOUND).await;
        play
    }

    /// Gives a desk's customer a name, a phone number and an e-mail address.
    async fn name(&self, desk: &Desk, name: &str, phone: &str) {
        let mut contact = desk.contact.clone();
        contact.name = name.to_owned();
        contact.email = format!("{}@example.org", name.replace(' ', "."));
        contact.phone = phone.to_owned();
        let request = UpdateContactRequest {
            contact: Some(contact),
            ..UpdateContactRequest::default()
        };
        let channel = sign(self.cluster.channel(Service::Ticketing), TENANT);
        let answer = ContactServiceClient::new(channel)
            .update_contact(request)
            .await;
        answer.expect("the contact is changed");
    }

    /// What tells who the customer is.
    fn secrets(&self) -> Vec<String> {
        let identity = self.erased.contact.channel_identity.as_ref();
        let address = &identity.expect("he has an identity").address;
        [NAME, PHONE, address.as_str()].map(str::to_owned).to_vec()
    }

    fn databases(&self) -> [(&'static str, &PgPool); 3] {
        [
            ("ticketing", &self.databases.ticketing),
            ("notification", &self.databases.notification),
            ("history", &self.databases.history),
        ]
    }

    /// Erases the customer, and waits for the proof of all services.
    async fn erase(&self) -> Erasure {
        let channel = sign(self.cluster.channel(Service::Ticketing), TENANT);
        let mut erasures = ErasureServiceClient::new(channel);
        let request = EraseContactRequest {
            contact_id: self.erased.contact.contact_id,
            ..EraseContactRequest::default()
        };
        let answer = erasures.erase_contact(request).await;
        let erasure = answer.expect("it begins").into_inner().erasure;
        let mut erasure = erasure.expect("the erasure comes back");
        let erasure_id = erasure.erasure_id;
        eventually("all services have erased", BOUND, async || {
            let answer = erasures.get_erasure(GetErasureRequest { erasure_id });
            let answer = answer.await.expect("it is there").into_inner();
            erasure = answer.erasure.expect("the erasure comes back");
            erasure.complete
        })
        .await;
        erasure
    }

    /// Sees that the customer is nowhere, the other one is where he was, history equals the truth, and reports are as they were.
    async fn check(&self, before: &Figures) {
        for (service, pool) in self.databases() {
            for secret in self.secrets() {
                assert!(!has(pool, &secret).await, "{service} has {secret}");
            }
            assert!(has(pool, KEPT).await, "{service} has lost {KEPT}");
        }
        let verified = verify_history(self.cluster, BOUND).await;
        assert!(verified.is_equal, "{}", verified.told);
        assert_eq!(&self.figures().await, before);
    }

    /// Has history build its tables anew, and waits until the new ones serve.
    async fn rebuild(&self) {
        let signature = Signature::new(0, "service/operator", "service", "*");
        let channel = InterceptedService::new(self.cluster.channel(Service::History), signature);
        let mut projection = ProjectionServiceClient::new(channel);
        let wish = projection.rebuild_projection(RebuildProjectionRequest {});
        wish.await.expect("the wish is taken");
        eventually("history is built anew", BOUND, async || {
            let metrics = self.cluster.metrics(Service::History).await;
            metrics.sum("plazo_history_rebuilds_total", "") > 0.5
        })
        .await;
    }

    async fn figures(&self) -> Figures {
        let signature = Signature::new(TENANT, "administrator/1", "reports:view", "*");
        let channel = InterceptedService::new(self.cluster.channel(Service::History), signature);
        let mut reports = ReportServiceClient::new(channel);
        let from_time = Some(proto_timestamp(self.started_us - HOUR_US));
        let until_time = Some(proto_timestamp(self.started_us + HOUR_US));
        let filter = ConversationFilter {
            closed_from_time: from_time,
            closed_until_time: until_time,
            ..ConversationFilter::default()
        };
        let request = GetReportRequest {
            filter: Some(filter.clone()),
            interval: ReportInterval::Hour.into(),
            grouping: ReportGrouping::Category.into(),
            series_of_groups: true,
            ..GetReportRequest::default()
        };
        let report = reports.get_report(request).await;
        let request = GetLatenessReportRequest {
            fired_from_time: from_time,
            fired_until_time: until_time,
            ..GetLatenessReportRequest::default()
        };
        let lateness = reports.get_lateness_report(request).await;
        Figures {
            report: report.expect("the report is made").into_inner(),
            lateness: lateness.expect("the report is made").into_inner(),
            conversations: conversations(&mut reports, filter).await,
        }
    }
}

/// All of them, without what was written about them.
async fn conversations(
    reports: &mut ReportServiceClient<SignedChannel>,
    filter: ConversationFilter,
) -> Vec<Conversation> {
    let request = ListConversationsRequest {
        filter: Some(filter),
        page_size: 100,
        page_token: String::new(),
    };
    let page = reports.list_conversations(request).await;
    let page = page.expect("they are listed").into_inner();
    assert!(page.next_page_token.is_empty());
    let mut conversations = page.conversations;
    for conversation in &mut conversations {
        conversation.summary.clear();
    }
    conversations
}

async fn close(desk: &Desk, ticket_id: i64, category: &str, summary: &str) {
    let request = CloseTicketRequest {
        ticket_id,
        note: Some(ClosingNote {
            category: category.to_owned(),
            summary: summary.to_owned(),
        }),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..CloseTicketRequest::default()
    };
    let answer = desk.tickets.clone().close_ticket(request).await;
    answer.expect("the ticket is closed");
}

/// Whether a text stands in any row of a database.
async fn has(pool: &PgPool, text: &str) -> bool {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
         WHERE table_schema NOT IN ('pg_catalog', 'information_schema')",
    )
    .fetch_all(pool)
    .await
    .expect("the tables are listed");
    for table in tables {
        // Bytes are written as hexadecimal digits.
        let query = format!(
            "SELECT EXISTS (SELECT FROM {table} AS it WHERE it::text LIKE '%' || $1 || '%'
                 OR it::text LIKE '%' || encode(convert_to($1, 'UTF8'), 'hex') || '%')"
        );
        let found = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).bind(text);
        match found.fetch_one(pool).await {
            Ok(true) => return true,
            Ok(false) => {}
            // History drops the tables that served before a rebuild.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => {}
            Err(error) => panic!("{table} is searched: {error}"),
        }
    }
    false
}
