//! Who asks, and what for: agents with many and with few contacts, and what there is for them to see.

use plazo_proto::history::v1::history_service_client::HistoryServiceClient;
use plazo_proto::history::v1::report_service_client::ReportServiceClient;
use plazo_tests::desk::{Signature, SignedChannel};
use plazo_tests::solo::Solo;
use sqlx::PgConnection;
use tonic::service::interceptor::InterceptedService;

use crate::history::TENANT;
use crate::history::bed::Bed;
use crate::report::Report;

/// A report may be larger than messages are by default.
const MESSAGE_BYTES: usize = 64 << 20;

/// Somebody who asks.
pub(super) struct Asker {
    pub(super) name: &'static str,
    channel: SignedChannel,
    /// What he can see, each a ticket with its contact.
    pub(super) seen: Vec<Seen>,
}

/// A ticket and its contact.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Seen {
    pub(super) ticket_id: i64,
    pub(super) contact_id: i64,
    pub(super) name: String,
    pub(super) email: String,
    pub(super) phone: String,
}

/// All who ask.
pub(super) struct World {
    pub(super) askers: Vec<Asker>,
    administrator: SignedChannel,
    /// Of the agents with most and with few tickets: the id, and how many tickets of 90 days.
    agents: Vec<(&'static str, i64, i64)>,
    /// Whole days before now, in microseconds since 1970.
    pub(super) now_us: i64,
}

impl World {
    /// Finds askers, and so many tickets for each.
    pub(super) async fn sample(bed: &Bed, service: &Solo, count: usize) -> Self {
        let mut connection = bed.connection().await;
        let ranked: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT agent_id, count(*) FROM dealings
             WHERE tenant_id = $1 AND last_dealt_at > clock_timestamp() - interval '90 days'
                 AND agent_id IN (SELECT agent_id FROM history_agents WHERE tenant_id = $1)
             GROUP BY agent_id ORDER BY 2 DESC, 1",
        )
        .bind(TENANT)
        .fetch_all(&mut connection)
        .await
        .expect("agents are found");
        let (most, tickets_of_most) = ranked[0];
        let (few, tickets_of_few) = *ranked.last().expect("there are agents");
        let administrator = sign(service, "administrator/1", "history:view,reports:view");
        let mut askers = Vec::new();
        for (name, agent_id) in [("agent with many", most), ("agent with few", few)] {
            askers.push(Asker {
                name,
                channel: sign(service, &format!("agent/{agent_id}"), "history:view"),
                seen: seen_by(&mut connection, Some(agent_id), count).await,
            });
        }
        askers.push(Asker {
            name: "administrator",
            channel: administrator.clone(),
            seen: seen_by(&mut connection, None, count).await,
        });
        let now_us: i64 = sqlx::query_scalar(
            "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
        )
        .fetch_one(&mut connection)
        .await
        .expect("the database has a clock");
        Self {
            askers,
            administrator,
            agents: vec![
                ("agent_with_many_tickets", most, tickets_of_most),
                ("agent_with_few_tickets", few, tickets_of_few),
            ],
            now_us,
        }
    }

    /// Who they are, into the report.
    pub(super) fn describe(&self, report: &mut Report) {
        for (name, agent_id, tickets) in &self.agents {
            report.set(name, *tickets);
            println!("  {name}: agent {agent_id} with {tickets} tickets of 90 days");
        }
    }

    /// The administrator's reports.
    pub(super) fn reports(&self) -> ReportServiceClient<SignedChannel> {
        ReportServiceClient::new(self.administrator.clone())
            .max_decoding_message_size(MESSAGE_BYTES)
    }
}

impl Asker {
    /// His history.
    pub(super) fn history(&self) -> HistoryServiceClient<SignedChannel> {
        HistoryServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES)
    }
}

fn sign(service: &Solo, actor: &str, permissions: &str) -> SignedChannel {
    let signature = Signature::new(TENANT, actor, permissions, "*");
    InterceptedService::new(service.channel(), signature)
}

/// Tickets that an agent can see, or somebody without his bounds, in no order.
async fn seen_by(connection: &mut PgConnection, agent_id: Option<i64>, count: usize) -> Vec<Seen> {
    const COLUMNS: &str = "ticket_id, contact_id, contact_name AS name, contact_email AS email, contact_phone AS phone";
    let count = i64::try_from(count).expect("a small number");
    let statement = match agent_id {
        Some(_) => format!(
            "SELECT {COLUMNS} FROM tickets
             WHERE tenant_id = $1
                 AND ticket_id IN (
                     SELECT ticket_id FROM dealings
                     WHERE tenant_id = $1 AND agent_id = $2
                         AND last_dealt_at > clock_timestamp() - interval '89 days'
                 )
                 AND closed_at BETWEEN clock_timestamp() - interval '89 days' AND clock_timestamp() - interval '4 hours'
             ORDER BY hashint8(ticket_id) LIMIT $3"
        ),
        None => format!(
            "SELECT {COLUMNS} FROM tickets
             WHERE tenant_id = $1 AND $2::bigint IS NULL
                 AND ticket_id IN (
                     SELECT min_id + (random() * (max_id - min_id))::bigint
                     FROM generate_series(1, $3),
                         (SELECT min(ticket_id) AS min_id, max(ticket_id) AS max_id FROM tickets WHERE tenant_id = $1) AS ids
                 )"
        ),
    };
    let seen: Vec<Seen> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(TENANT)
        .bind(agent_id)
        .bind(count)
        .fetch_all(connection)
        .await
        .expect("tickets are found");
    assert!(!seen.is_empty(), "there is something to see");
    seen
}
