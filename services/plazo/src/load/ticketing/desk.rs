//! Desks of the load: for each tenant a bot with a policy of short deadlines, an agent and a customer.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use plazo_proto::common::v1::{Author, AuthorKind, Channel, ChannelIdentity, TimeUnit, TimeValue};
use plazo_proto::ticketing::v1::contact_service_client::ContactServiceClient;
use plazo_proto::ticketing::v1::settings_service_client::SettingsServiceClient;
use plazo_proto::ticketing::v1::ticket_service_client::TicketServiceClient;
use plazo_proto::ticketing::v1::{
    Agent, AlertSettings, Bot, Contact, CreateAgentRequest, CreateBotRequest, CreateContactRequest,
    InactivityPolicy, MessageKind, OpenTicketRequest, RecordMessageRequest,
    SetInactivityPolicyRequest,
};
use plazo_service::{Actor, ActorKind, BotScope, ClientConfig, Permission, ServiceChannel};
use tokio::time::{Instant, sleep};
use tonic::{Code, Request, Status};
use uuid::Uuid;

use super::Cluster;
use super::watch::Tickets;
use crate::load::LoadError;
use crate::load::caller::Caller;
use crate::load::handler::now_us;
use crate::load::ledger::SharedLedger;
use crate::load::options::LoadOptions;
use crate::load::schedule::Schedule;

const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LONGEST_BACKOFF: Duration = Duration::from_millis(500);
/// Desks are made so many at a time.
const DESKS_AT_ONCE: usize = 8;
/// Tickets are opened so many at a time: this is not what is measured.
const OPENINGS_AT_ONCE: usize = 16;
const OPENING_BOUND: Duration = Duration::from_secs(30);
/// The second alert is not waited for: the longest time that a policy can have, in days.
const SECOND_ALERT_DAYS: i32 = 400;

/// Who writes in a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    Agent,
    Customer,
}

/// The desks of all tenants.
#[derive(Debug)]
pub(super) struct Desks {
    caller: Arc<Caller>,
    tickets: TicketServiceClient<ServiceChannel>,
    of_tenants: Vec<Desk>,
}

#[derive(Debug, Clone)]
struct Desk {
    /// Which of the load's tenants, from 0.
    tenant: usize,
    /// Its id; with tokens, theirs count.
    tenant_id: i64,
    bot_id: i64,
    agent_id: i64,
    contact_id: i64,
}

impl Desks {
    /// Makes the desks, in tenants that nobody else has, or in those of the tokens.
    pub(super) async fn set_up(
        cluster: &Cluster<'_>,
        options: &LoadOptions,
    ) -> Result<Self, LoadError> {
        let Cluster { caller, endpoint } = *cluster;
        let channel = caller.connect(ClientConfig::new(endpoint))?;
        // Later loads have other tenants; thousands fit between those of two seconds.
        let first_tenant_id = (now_us() / 1_000_000) << 20;
        let ahead_s = i32::try_from(options.ahead.as_secs()).unwrap_or(i32::MAX);
        let desks: Vec<Desk> = stream::iter((0..).zip(first_tenant_id..))
            .take(options.tenants.into())
            .map(|ids| Desk::make(caller, channel.clone(), ids, ahead_s))
            .buffered(DESKS_AT_ONCE)
            .try_collect()
            .await
            .map_err(|(call, status): (_, Status)| match status.code() {
                Code::Unavailable | Code::Unimplemented => LoadError::NoTicketing {
                    endpoint: endpoint.to_owned(),
                    reason: status.message().to_owned(),
                },
                _ => LoadError::call_at(endpoint, call, status),
            })?;
        Ok(Self {
            caller: Arc::clone(caller),
            tickets: TicketServiceClient::new(channel),
            of_tenants: desks,
        })
    }

    /// Opens all tickets of the schedule.
    pub(super) async fn open_all(
        &self,
        schedule: &Schedule,
        tickets: &Tickets,
        ledger: &Arc<SharedLedger>,
    ) -> Result<(), LoadError> {
        let places = (0..).zip(&schedule.tenants);
        stream::iter(places)
            .map(|(index, tenant)| async move {
                let desk = &self.of_tenants[usize::from(*tenant)];
                let opening = OpenTicketRequest {
                    bot_id: desk.bot_id,
                    contact_id: desk.contact_id,
                    agent_id: desk.agent_id,
                    request_id: new_id(),
                    ..OpenTicketRequest::default()
                };
                let repeat = Repeat {
                    call: "OpenTicket",
                    give_up_at: Instant::now() + OPENING_BOUND,
                    ledger: Arc::clone(ledger),
                };
                let open = || {
                    let request = desk.sign(&self.caller, opening.clone());
                    let mut client = self.tickets.clone();
                    async move { client.open_ticket(request).await }
                };
                let (answer, _) = repeat.run(open).await?;
                let ticket = answer.into_inner().ticket.unwrap_or_default();
                tickets.add(index, ticket.ticket_id);
                Ok(())
            })
            .buffer_unordered(OPENINGS_AT_ONCE)
            .try_collect()
            .await
            .map_err(|status| LoadError::call("OpenTicket", status))
    }

    /// Somebody writes in a ticket, again and again until it is recorded or the time is over. Returns how often it was
    /// tried again.
    pub(super) fn write(
        &self,
        tenant: u16,
        ticket_id: i64,
        writer: Writer,
        give_up_at: Instant,
        ledger: Arc<SharedLedger>,
    ) -> impl Future<Output = Result<u64, Status>> + Send + use<> {
        let desk = self.of_tenants[usize::from(tenant)].clone();
        let (caller, client) = (Arc::clone(&self.caller), self.tickets.clone());
        let (kind, id, text) = match writer {
            Writer::Agent => (AuthorKind::Agent, desk.agent_id, "Ainda está aí?"),
            Writer::Customer => (AuthorKind::Customer, desk.contact_id, "Estou, sim."),
        };
        let message = RecordMessageRequest {
            ticket_id,
            author: Some(Author {
                kind: kind.into(),
                id,
            }),
            kind: MessageKind::Chat.into(),
            text: text.to_owned(),
            // Repeating it is recorded once.
            request_id: new_id(),
            ..RecordMessageRequest::default()
        };
        async move {
            let repeat = Repeat {
                call: "RecordMessage",
                give_up_at,
                ledger,
            };
            let write = || {
                let request = desk.sign(&caller, message.clone());
                let mut client = client.clone();
                async move { client.record_message(request).await.map(|_| ()) }
            };
            let ((), retries) = repeat.run(write).await?;
            Ok(retries)
        }
    }
}

/// Makes a call again and again until it is done or the time is over.
struct Repeat {
    call: &'static str,
    give_up_at: Instant,
    ledger: Arc<SharedLedger>,
}

impl Repeat {
    /// Returns how often it was tried again, too.
    async fn run<T, F>(&self, make: impl Fn() -> F) -> Result<(T, u64), Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut backoff = FIRST_BACKOFF;
        let mut retries = 0;
        loop {
            let status = match make().await {
                Ok(done) => return Ok((done, retries)),
                Err(status) => status,
            };
            self.note(&status);
            let is_passing = matches!(
                status.code(),
                Code::Unavailable
                    | Code::DeadlineExceeded
                    | Code::ResourceExhausted
                    | Code::Aborted
            );
            if !is_passing || Instant::now() + backoff >= self.give_up_at {
                return Err(status);
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
            retries += 1;
        }
    }

    fn note(&self, status: &Status) {
        let mut ledger = self.ledger.lock();
        ledger.faults.failed(now_us(), self.call, status);
    }
}

impl Desk {
    /// Fails with the name of the call and its answer.
    async fn make(
        caller: &Caller,
        channel: ServiceChannel,
        (tenant, tenant_id): (usize, i64),
        ahead_s: i32,
    ) -> Result<Self, (&'static str, Status)> {
        let mut desk = Self {
            tenant,
            tenant_id,
            bot_id: 0,
            agent_id: 0,
            contact_id: 0,
        };
        let mut settings = SettingsServiceClient::new(channel.clone());
        let bot = CreateBotRequest {
            bot: Some(Bot {
                name: "Load".to_owned(),
                ..Bot::default()
            }),
            request_id: new_id(),
        };
        let answer = settings.create_bot(desk.sign(caller, bot)).await;
        let answer = answer.map_err(|status| ("CreateBot", status))?;
        desk.bot_id = answer.into_inner().bot.unwrap_or_default().bot_id;

        let policy = SetInactivityPolicyRequest {
            bot_id: desk.bot_id,
            policy: Some(policy(ahead_s)),
            request_id: new_id(),
            ..SetInactivityPolicyRequest::default()
        };
        let answer = settings
            .set_inactivity_policy(desk.sign(caller, policy))
            .await;
        answer.map_err(|status| ("SetInactivityPolicy", status))?;

        let agent = CreateAgentRequest {
            agent: Some(Agent {
                name: "Load".to_owned(),
                bot_ids: vec![desk.bot_id],
                ..Agent::default()
            }),
            request_id: new_id(),
        };
        let answer = settings.create_agent(desk.sign(caller, agent)).await;
        let answer = answer.map_err(|status| ("CreateAgent", status))?;
        desk.agent_id = answer.into_inner().agent.unwrap_or_default().agent_id;

        let contact = CreateContactRequest {
            contact: Some(Contact {
                name: "Load".to_owned(),
                channel_identity: Some(ChannelIdentity {
                    channel: Channel::Log.into(),
                    address: format!("load-{tenant_id}"),
                }),
                ..Contact::default()
            }),
            request_id: new_id(),
        };
        let mut contacts = ContactServiceClient::new(channel);
        let answer = contacts.create_contact(desk.sign(caller, contact)).await;
        let answer = answer.map_err(|status| ("CreateContact", status))?;
        desk.contact_id = answer.into_inner().contact.unwrap_or_default().contact_id;
        Ok(desk)
    }

    fn sign<T>(&self, caller: &Caller, message: T) -> Request<T> {
        caller.sign(self.tenant, &self.actor(), message)
    }

    fn actor(&self) -> Actor {
        Actor {
            tenant_id: self.tenant_id,
            kind: ActorKind::Administrator(1),
            permissions: [
                Permission::HelpdeskView,
                Permission::HelpdeskEdit,
                Permission::BuilderEdit,
                Permission::TicketsAttend,
            ]
            .into_iter()
            .collect(),
            bots: BotScope::All,
        }
    }
}

/// A first alert after so many seconds, and nothing more for as long as a policy can wait.
fn policy(ahead_s: i32) -> InactivityPolicy {
    let time = |value, unit: TimeUnit| {
        Some(TimeValue {
            value,
            unit: unit.into(),
        })
    };
    InactivityPolicy {
        alerts: Some(AlertSettings {
            first_alert: time(ahead_s, TimeUnit::Second),
            second_alert: time(SECOND_ALERT_DAYS, TimeUnit::Day),
        }),
        ..InactivityPolicy::default()
    }
}

fn new_id() -> String {
    Uuid::new_v4().to_string()
}
