//! The demo's side of the calls: whom it calls, as which actor, and what each conversation needs before it begins.

use std::time::Duration;

use plazo_proto::common::v1::{Author, AuthorKind, Channel, ChannelIdentity, TimeUnit, TimeValue};
use plazo_proto::ticketing::v1::contact_service_client::ContactServiceClient;
use plazo_proto::ticketing::v1::settings_service_client::SettingsServiceClient;
use plazo_proto::ticketing::v1::ticket_service_client::TicketServiceClient;
use plazo_proto::ticketing::v1::{
    Agent, AlertSettings, Anchor, AutoCloseSettings, Bot, ClosingNote, Contact, CreateAgentRequest,
    CreateBotRequest, CreateContactRequest, CreateQueueRequest, HoldTicketRequest,
    InactivityPolicy, ListBotsRequest, MessageKind, OpenTicketRequest, Queue, RecordMessageRequest,
    ResumeTicketRequest, SetExitRouteRequest, SetInactivityPolicyRequest, TagTicketsRequest,
    Ticket, TransferTicketRequest, WarningSettings, ticket_result,
};
use plazo_service::{
    Actor, ActorKind, BotScope, ClientConfig, Permission, ServiceChannel, connect_lazy,
};
use tonic::{Code, Request, Status};
use uuid::Uuid;

use super::DemoError;
use super::scenarios::{
    Act, CLOSE_S, EXCLUDED_TAG, FIRST_ALERT_S, SECOND_ALERT_S, Scenario, Step, WARNING_S,
};

/// The tenant in which the demo plays.
pub const TENANT_ID: i64 = 1;

/// The block of the bot that customers go to whose ticket is closed.
pub(super) const EXIT_ROUTE: &str = "despedida";

const FIRST_ANSWER_BOUND: Duration = Duration::from_secs(3);

/// What an administrator of the demo may do.
const ADMINISTRATOR: [Permission; 6] = [
    Permission::HelpdeskView,
    Permission::HelpdeskEdit,
    Permission::BuilderEdit,
    Permission::TicketsAttend,
    Permission::HistoryView,
    Permission::MessagesSend,
];

/// Calls ticketing.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    settings: SettingsServiceClient<ServiceChannel>,
    contacts: ContactServiceClient<ServiceChannel>,
    pub(super) tickets: TicketServiceClient<ServiceChannel>,
    /// For streams, which have no deadline.
    pub(super) watching: TicketServiceClient<ServiceChannel>,
}

/// What one conversation needs before it begins.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "ids are called so everywhere")]
pub(super) struct Stage {
    pub(super) bot_id: i64,
    queue_id: i64,
    agent_id: i64,
    contact_id: i64,
}

/// A channel whose calls an administrator of the demo's tenant makes.
pub(super) fn connect(endpoint: &str) -> Result<ServiceChannel, DemoError> {
    let config = ClientConfig::new(endpoint);
    config
        .validate("")
        .and_then(|()| connect_lazy(&config, administrator()))
        .map_err(|_| DemoError::Endpoint(endpoint.to_owned()))
}

fn administrator() -> Actor {
    Actor {
        tenant_id: TENANT_ID,
        kind: ActorKind::Administrator(1),
        permissions: ADMINISTRATOR.into_iter().collect(),
        bots: BotScope::All,
    }
}

impl Desk {
    /// Makes sure that a cluster answers.
    pub(super) async fn connect(endpoint: &str) -> Result<Self, DemoError> {
        let channel = connect(endpoint)?;
        let desk = Self {
            settings: SettingsServiceClient::new(channel.clone()),
            contacts: ContactServiceClient::new(channel.clone()),
            watching: TicketServiceClient::new(channel.for_streams()),
            tickets: TicketServiceClient::new(channel),
        };
        let no_answer = |reason: String| DemoError::NoCluster {
            endpoint: endpoint.to_owned(),
            reason,
        };
        let first_call = async {
            desk.settings
                .clone()
                .list_bots(ListBotsRequest::default())
                .await
        };
        match tokio::time::timeout(FIRST_ANSWER_BOUND, first_call).await {
            Ok(Ok(_)) => Ok(desk),
            Ok(Err(status)) if status.code() == Code::Unavailable => {
                Err(no_answer(status.message().to_owned()))
            }
            Ok(Err(status)) if status.code() == Code::Unimplemented => {
                Err(no_answer("it is not ticketing that answers".to_owned()))
            }
            Ok(Err(status)) => Err(DemoError::call("ListBots", status)),
            Err(_) => Err(no_answer("no answer within 3 s".to_owned())),
        }
    }

    /// Makes bot, policy, queue, agent and contact.
    pub(super) async fn set_up(&self, scenario: &Scenario, speed: u32) -> Result<Stage, DemoError> {
        let mut settings = self.settings.clone();
        let bot = Bot {
            name: format!("Demo: {}", scenario.example),
            ..Bot::default()
        };
        let request = CreateBotRequest {
            bot: Some(bot),
            request_id: new_id(),
        };
        let answer = settings
            .create_bot(request)
            .await
            .map_err(|s| DemoError::call("CreateBot", s))?;
        let bot_id = answer.into_inner().bot.unwrap_or_default().bot_id;

        let request = SetExitRouteRequest {
            bot_id,
            exit_route: EXIT_ROUTE.to_owned(),
            etag: String::new(),
            request_id: new_id(),
        };
        settings
            .set_exit_route(request)
            .await
            .map_err(|s| DemoError::call("SetExitRoute", s))?;

        let policy = policy(scenario, scenario.speed(speed), 1);
        self.put_in_force(bot_id, policy, false).await?;

        let queue = Queue {
            queue_id: 0,
            bot_id,
            name: scenario.queue.to_owned(),
            ..Queue::default()
        };
        let request = CreateQueueRequest {
            queue: Some(queue),
            request_id: new_id(),
        };
        let answer = settings
            .create_queue(request)
            .await
            .map_err(|s| DemoError::call("CreateQueue", s))?;
        let queue_id = answer.into_inner().queue.unwrap_or_default().queue_id;

        let agent = Agent {
            name: scenario.agent.to_owned(),
            bot_ids: vec![bot_id],
            ..Agent::default()
        };
        let request = CreateAgentRequest {
            agent: Some(agent),
            request_id: new_id(),
        };
        let answer = settings
            .create_agent(request)
            .await
            .map_err(|s| DemoError::call("CreateAgent", s))?;
        let agent_id = answer.into_inner().agent.unwrap_or_default().agent_id;

        let contact_id = self.create_contact(scenario).await?;
        Ok(Stage {
            bot_id,
            queue_id,
            agent_id,
            contact_id,
        })
    }

    async fn create_contact(&self, scenario: &Scenario) -> Result<i64, DemoError> {
        // A contact's address is unique in the tenant, and the demo is played more than once.
        let address = format!("demo-{}-{}", scenario.name, Uuid::new_v4().simple());
        let contact = Contact {
            name: scenario.customer.to_owned(),
            phone: scenario.phone.to_owned(),
            channel_identity: Some(ChannelIdentity {
                channel: Channel::Log.into(),
                address,
            }),
            ..Contact::default()
        };
        let request = CreateContactRequest {
            contact: Some(contact),
            request_id: new_id(),
        };
        let answer = self
            .contacts
            .clone()
            .create_contact(request)
            .await
            .map_err(|s| DemoError::call("CreateContact", s))?;
        Ok(answer.into_inner().contact.unwrap_or_default().contact_id)
    }

    /// The bot hands the customer over to the agent.
    pub(super) async fn open(&self, stage: &Stage) -> Result<Ticket, DemoError> {
        let request = OpenTicketRequest {
            bot_id: stage.bot_id,
            queue_id: stage.queue_id,
            contact_id: stage.contact_id,
            agent_id: stage.agent_id,
            request_id: new_id(),
        };
        let answer = self
            .tickets
            .clone()
            .open_ticket(stage.bot().sign(Request::new(request)))
            .await
            .map_err(|s| DemoError::call("OpenTicket", s))?;
        Ok(answer.into_inner().ticket.unwrap_or_default())
    }

    /// Replaces the policy of a conversation's bot.
    pub(super) async fn set_policy(
        &self,
        stage: &Stage,
        policy: InactivityPolicy,
        apply_to_open_tickets: bool,
    ) -> Result<(), DemoError> {
        self.put_in_force(stage.bot_id, policy, apply_to_open_tickets)
            .await
    }

    async fn put_in_force(
        &self,
        bot_id: i64,
        policy: InactivityPolicy,
        apply_to_open_tickets: bool,
    ) -> Result<(), DemoError> {
        let request = SetInactivityPolicyRequest {
            bot_id,
            policy: Some(policy),
            request_id: new_id(),
            apply_to_open_tickets,
            ..SetInactivityPolicyRequest::default()
        };
        let answer = self.settings.clone().set_inactivity_policy(request).await;
        answer
            .map(|_| ())
            .map_err(|s| DemoError::call("SetInactivityPolicy", s))
    }

    /// Somebody writes, or the agent does something else to the ticket.
    pub(super) async fn act(
        &self,
        stage: &Stage,
        ticket_id: i64,
        step: &Step,
    ) -> Result<(), DemoError> {
        let mut tickets = self.tickets.clone();
        let request_id = new_id();
        match step.act {
            Act::Hold => {
                let request = HoldTicketRequest {
                    ticket_id,
                    reason: step.text.to_owned(),
                    request_id,
                    ..HoldTicketRequest::default()
                };
                let answer = tickets.hold_ticket(stage.agent().sign(Request::new(request)));
                let answer = answer.await.map(|_| ());
                answer.map_err(|s| DemoError::call("HoldTicket", s))
            }
            Act::Resume => {
                let request = ResumeTicketRequest {
                    ticket_id,
                    request_id,
                    ..ResumeTicketRequest::default()
                };
                let answer = tickets.resume_ticket(stage.agent().sign(Request::new(request)));
                let answer = answer.await.map(|_| ());
                answer.map_err(|s| DemoError::call("ResumeTicket", s))
            }
            Act::Transfer => {
                let request = TransferTicketRequest {
                    ticket_id,
                    queue_id: stage.queue_id,
                    request_id,
                    ..TransferTicketRequest::default()
                };
                let answer = tickets.transfer_ticket(stage.agent().sign(Request::new(request)));
                let answer = answer.await.map(|_| ());
                answer.map_err(|s| DemoError::call("TransferTicket", s))
            }
            Act::AddTag | Act::RemoveTag => self.tag(stage, ticket_id, step).await,
            _ => self.write(stage, ticket_id, step).await,
        }
    }

    async fn tag(&self, stage: &Stage, ticket_id: i64, step: &Step) -> Result<(), DemoError> {
        let tags = vec![step.text.to_owned()];
        let (add_tags, remove_tags) = match step.act {
            Act::AddTag => (tags, Vec::new()),
            _ => (Vec::new(), tags),
        };
        let request = TagTicketsRequest {
            ticket_ids: vec![ticket_id],
            add_tags,
            remove_tags,
            request_id: new_id(),
        };
        let failed = |status| DemoError::call("TagTickets", status);
        let mut tickets = self.tickets.clone();
        let answer = tickets.tag_tickets(stage.agent().sign(Request::new(request)));
        let results = answer.await.map_err(failed)?.into_inner().results;
        match results.into_iter().next().and_then(|result| result.result) {
            Some(ticket_result::Result::Ticket(_)) => Ok(()),
            Some(ticket_result::Result::Error(error)) => Err(failed(Status::new(
                Code::from_i32(error.code),
                error.description,
            ))),
            None => Err(failed(Status::internal("no answer for the ticket"))),
        }
    }

    /// The agent himself writes, or the bot tells what others wrote.
    async fn write(&self, stage: &Stage, ticket_id: i64, step: &Step) -> Result<(), DemoError> {
        let (actor, author_kind) = match step.act {
            Act::Customer => (stage.bot(), Some(AuthorKind::Customer)),
            Act::System => (stage.bot(), Some(AuthorKind::System)),
            _ => (stage.agent(), None),
        };
        let kind = if step.act == Act::Note {
            MessageKind::Note
        } else {
            MessageKind::Chat
        };
        let request = RecordMessageRequest {
            ticket_id,
            author: author_kind.map(|kind| Author {
                kind: kind.into(),
                id: 0,
            }),
            kind: kind.into(),
            text: step.text.to_owned(),
            attachment_urls: Vec::new(),
            channel_time: None,
            request_id: new_id(),
        };
        let answer = self
            .tickets
            .clone()
            .record_message(actor.sign(Request::new(request)))
            .await;
        answer
            .map(|_| ())
            .map_err(|s| DemoError::call("RecordMessage", s))
    }
}

impl Stage {
    fn bot(&self) -> Actor {
        self.actor(ActorKind::Bot(self.bot_id))
    }

    fn agent(&self) -> Actor {
        self.actor(ActorKind::Agent(self.agent_id))
    }

    fn actor(&self, kind: ActorKind) -> Actor {
        Actor {
            tenant_id: TENANT_ID,
            kind,
            permissions: [Permission::TicketsAttend].into_iter().collect(),
            bots: BotScope::Only(vec![self.bot_id]),
        }
    }
}

/// The policy of a conversation, whose times are so many times those of the examples at this speed.
pub(super) fn policy(scenario: &Scenario, speed: u32, times: u32) -> InactivityPolicy {
    let seconds = |seconds: u32| {
        // A few seconds always fit.
        let value = i32::try_from(seconds * times / speed.max(1)).unwrap_or(i32::MAX);
        Some(TimeValue {
            value,
            unit: TimeUnit::Second.into(),
        })
    };
    let anchor = if scenario.counts_from_first_message {
        Anchor::FirstMessage
    } else {
        Anchor::LastMessage
    };
    InactivityPolicy {
        version: 0,
        anchor: anchor.into(),
        alerts: Some(AlertSettings {
            first_alert: seconds(FIRST_ALERT_S),
            second_alert: seconds(SECOND_ALERT_S),
        }),
        auto_close: Some(AutoCloseSettings {
            close_after: seconds(CLOSE_S),
            tags: vec!["inativo".to_owned()],
            note: Some(ClosingNote {
                category: "Inatividade".to_owned(),
                summary: "O cliente não respondeu.".to_owned(),
            }),
            closing_text: String::new(),
            exclude_tags: vec![EXCLUDED_TAG.to_owned()],
            ..AutoCloseSettings::default()
        }),
        warning: Some(WarningSettings {
            warn_after: seconds(WARNING_S),
            text: scenario.warning.to_owned(),
            image_url: String::new(),
        }),
        ..InactivityPolicy::default()
    }
}

fn new_id() -> String {
    Uuid::new_v4().to_string()
}

/// Whether the same call may be made again.
pub(super) fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted
    )
}
