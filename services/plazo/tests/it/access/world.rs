//! A tenant with one of everything, beside another bot of the same tenant.

mod making;

use std::collections::HashSet;
use std::time::Duration;

use plazo::cluster::Service;
use plazo_proto::history::v1 as history;
use plazo_proto::ticketing::v1 as ticketing;
use plazo_proto::timer::v1 as timer;
use plazo_service::{ActorKind, BotScope};
use prost::Message;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tonic::Code;
use uuid::Uuid;

use super::desk::{Caller, Desk, TENANT, outside_rights};
use super::requests::{HISTORY, TICKETS, TIMER};
use super::things::{AllSecrets, FIRST_ID, OF_BOT, OF_TENANT, SAID, Secrets, Things};
use making::{FAILED, UNCERTAIN, WAITING};

/// What a call needs to find, made for it alone where it changes that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// What all calls share; an open ticket.
    Shared,
    /// A closed ticket that the agent dealt with and that is in the history.
    PastTicket,
    /// A ticket of its own.
    OpenTicket,
    ClosedTicket,
    HeldTicket,
    /// Two contacts of its own, without tickets.
    Contacts,
    /// An active message of its own, in one of these states.
    WaitingMessage,
    FailedMessage,
    UncertainMessage,
    /// A subscription of its own.
    Subscription,
}

/// The tenant.
pub(super) struct World {
    things: Things,
    past_ticket_id: i64,
    /// A bot that is none of the things', and its agent.
    pub(super) other_bot_id: i64,
    pub(super) other_agent_id: i64,
    other_queue_id: i64,
    owner: Caller,
}

impl World {
    pub(super) async fn make(desk: &Desk) -> Self {
        begin_ids(desk).await;
        let owner = desk.administrator(TENANT);
        let nothing = Things {
            bot_id: 0,
            queue_id: 0,
            agent_id: 0,
            ticket_id: 0,
            subscription_id: 0,
            message_id: 0,
            contact_id: 0,
            other_contact_id: 0,
            calendar_id: 0,
            account_id: 0,
            erasure_id: 0,
            address: "sorbet".to_owned(),
            new_word: String::new(),
        };
        let mut world = Self {
            things: nothing,
            past_ticket_id: 0,
            other_bot_id: 0,
            other_agent_id: 0,
            other_queue_id: 0,
            owner,
        };
        world.things.calendar_id = world.calendar(desk).await;
        world.things.account_id = world.account(desk).await;
        world.things.bot_id = world.bot(desk, OF_BOT, world.things.calendar_id).await;
        world.things.queue_id = world.queue(desk, world.things.bot_id, OF_BOT).await;
        world.things.agent_id = world.agent(desk, world.things.bot_id, OF_BOT).await;
        world.policies(desk).await;
        world.other_bot_id = world.bot(desk, "Nachbar", 0).await;
        world.other_queue_id = world.queue(desk, world.other_bot_id, "Nachbar").await;
        world.other_agent_id = world.agent(desk, world.other_bot_id, "Nachbar").await;
        world.show_history(desk).await;
        let address = world.things.address.clone();
        world.things.contact_id = world.contact(desk, &address).await;
        world.things.other_contact_id = world.contact(desk, "other").await;
        world.past_ticket_id = world.conversation(desk).await;
        world.close(desk, world.past_ticket_id).await;
        world.things.ticket_id = world.conversation(desk).await;
        world.things.message_id = world.message(desk).await;
        world.things.subscription_id = world.subscription(desk).await;
        world.things.erasure_id = world.erasure(desk).await;
        world.wait_known(desk).await;
        world
    }

    /// What a call needs.
    pub(super) async fn things(&self, desk: &Desk, needs: Needs) -> Things {
        let mut things = Things {
            new_word: format!("{SAID}-{}", Uuid::new_v4().simple()),
            ..self.things.clone()
        };
        match needs {
            Needs::Shared => {}
            Needs::PastTicket => things.ticket_id = self.past_ticket_id,
            Needs::OpenTicket | Needs::ClosedTicket | Needs::HeldTicket => {
                things.ticket_id = self.ticket(desk).await;
                if needs == Needs::ClosedTicket {
                    self.close(desk, things.ticket_id).await;
                }
                if needs == Needs::HeldTicket {
                    self.hold(desk, things.ticket_id).await;
                }
            }
            Needs::Contacts => {
                things.address = Uuid::new_v4().to_string();
                things.contact_id = self.contact(desk, &things.address).await;
                things.other_contact_id = self.contact(desk, &Uuid::new_v4().to_string()).await;
            }
            Needs::WaitingMessage => things.message_id = self.message_in(desk, WAITING).await,
            Needs::FailedMessage => things.message_id = self.message_in(desk, FAILED).await,
            Needs::UncertainMessage => things.message_id = self.message_in(desk, UNCERTAIN).await,
            Needs::Subscription => things.subscription_id = self.subscription(desk).await,
        }
        things
    }

    /// What must not be told to whom.
    pub(super) async fn secrets(&self, desk: &Desk) -> AllSecrets {
        let ids = desk.databases.ids(TENANT, FIRST_ID).await;
        let without = |shared: &HashSet<i64>| ids.difference(shared).copied().collect();
        let neighbours = HashSet::from([
            self.other_bot_id,
            self.other_queue_id,
            self.other_agent_id,
            self.things.calendar_id,
            self.things.account_id,
        ]);
        let mut shared = self.contact_ids(desk).await;
        shared.extend(&neighbours);
        AllSecrets {
            of_bot: Secrets {
                texts: vec![OF_BOT],
                ids: without(&shared),
            },
            in_history: Secrets {
                texts: vec![OF_BOT, OF_TENANT],
                ids: without(&neighbours),
            },
            of_tenant: Secrets {
                texts: vec![OF_BOT, OF_TENANT],
                ids,
            },
        }
    }

    /// The ids of contacts and of their erasures.
    async fn contact_ids(&self, desk: &Desk) -> HashSet<i64> {
        let mut ticketing = connect(desk, Service::Ticketing).await;
        let ids: Vec<i64> = sqlx::query_scalar(
            "SELECT contact_id FROM contacts WHERE tenant_id = $1
             UNION ALL SELECT erasure_id FROM erasures WHERE tenant_id = $1",
        )
        .bind(TENANT)
        .fetch_all(&mut ticketing)
        .await
        .expect("contacts");
        ids.into_iter().collect()
    }

    /// Waits until the other services know of the tickets.
    async fn wait_known(&self, desk: &Desk) {
        let kind = ActorKind::Agent(self.things.agent_id);
        let agent = desk.caller(TENANT, kind, &outside_rights(), BotScope::All);
        until("history shows the closed ticket to its agent", async || {
            let request = history::GetTicketHistoryRequest {
                ticket_id: self.past_ticket_id,
            };
            let path = format!("{HISTORY}/GetTicketHistory");
            let answer = desk.call(&path, request.encode_to_vec(), &agent).await;
            answer.code == Code::Ok
        })
        .await;
        until(
            "the open ticket is yellow, and the timer has its next deadline",
            async || {
                let request = ticketing::GetTicketRequest {
                    ticket_id: self.things.ticket_id,
                };
                let get = format!("{TICKETS}/GetTicket");
                let answer: ticketing::GetTicketResponse =
                    desk.done(&get, request, &self.owner).await;
                let ticket = answer.ticket.unwrap_or_default();
                let request = timer::GetTicketEntriesRequest {
                    ticket_id: self.things.ticket_id,
                    ..Default::default()
                };
                let entries = format!("{TIMER}/GetTicketEntries");
                let known: timer::GetTicketEntriesResponse =
                    desk.done(&entries, request, &self.owner).await;
                let is_known = known.entries.iter().any(|entry| {
                    let of = entry.ticket.unwrap_or_default();
                    of.generation == ticket.generation
                });
                ticket.alert() == ticketing::Alert::Yellow && is_known
            },
        )
        .await;
    }
}

async fn connect(desk: &Desk, service: Service) -> PgConnection {
    let url = desk.cluster.database_url(service).expect("a database");
    let connection = PgConnection::connect(&url).await;
    connection.expect("the database is there")
}

/// Lets each kind of thing have ids of its own, long ones.
async fn begin_ids(desk: &Desk) {
    let mut first = FIRST_ID;
    for service in [Service::Ticketing, Service::Notification] {
        let mut connection = connect(desk, service).await;
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT quote_ident(schemaname) || '.' || quote_ident(sequencename) FROM pg_sequences
             WHERE sequencename LIKE '%\\_id\\_seq' ORDER BY 1",
        )
        .fetch_all(&mut connection)
        .await
        .expect("the sequences");
        for name in names {
            first += 10_000;
            let restart = format!("ALTER SEQUENCE {name} RESTART WITH {first}");
            let restart = sqlx::query(AssertSqlSafe(restart));
            restart.execute(&mut connection).await.expect("it restarts");
        }
    }
}

/// Waits for a condition, within a bound.
pub(super) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    const LOOKS: u32 = 300;
    for _ in 0..LOOKS {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: not in time");
}
