//! A tenant's bot, agent and customer, and what they do, through gRPC as a caller would.

use plazo_proto::common::v1::{
    Author, AuthorKind, Channel as ContactChannel, ChannelIdentity, TimeUnit, TimeValue,
};
use plazo_proto::history::v1::history_service_client::HistoryServiceClient;
use plazo_proto::ticketing::v1::contact_service_client::ContactServiceClient;
use plazo_proto::ticketing::v1::settings_service_client::SettingsServiceClient;
use plazo_proto::ticketing::v1::ticket_service_client::TicketServiceClient;
use plazo_proto::ticketing::v1::{
    Agent, AlertSettings, AutoCloseSettings, Bot, Contact, CreateAgentRequest, CreateBotRequest,
    CreateContactRequest, InactivityPolicy, OpenTicketRequest, RecordMessageRequest,
    SetExitRouteRequest, SetInactivityPolicyRequest, Ticket, WarningSettings,
};
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::cluster::Cluster;
use crate::process::Service;

/// The block of the bot that a customer goes to who fell silent.
pub const EXIT_ROUTE: &str = "silent";
/// The text of warnings, as it is set.
const WARNING_TEXT: &str = "{{contact_name}}, we close in {{time_left}}.";
/// The text after a close.
pub const CLOSING_TEXT: &str = "We closed. Write to us at any time.";

/// When the stages of a policy are due, in seconds after the anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stages {
    /// The yellow alert.
    pub first_alert_s: i32,
    /// The red alert.
    pub second_alert_s: i32,
    /// Warning and close; none for a policy of alerts alone.
    pub warning_and_close_s: Option<(i32, i32)>,
}

/// A bot with its policy, an agent and a customer.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The tenant.
    pub tenant_id: i64,
    /// The bot.
    pub bot_id: i64,
    /// The agent, who may attend the bot's tickets.
    pub agent_id: i64,
    /// The customer.
    pub contact: Contact,
    /// The version of the policy that was set last.
    pub policy_version: i64,
    /// Its stages.
    pub stages: Stages,
    /// The tickets.
    pub tickets: TicketServiceClient<SignedChannel>,
    /// What happened.
    pub history: HistoryServiceClient<SignedChannel>,
    settings: SettingsServiceClient<SignedChannel>,
}

impl Desk {
    /// Sets a desk up in this tenant.
    pub async fn set_up(cluster: &Cluster, tenant_id: i64, stages: Stages) -> Self {
        let ticketing = sign(cluster.channel(Service::Ticketing), tenant_id);
        let mut settings = SettingsServiceClient::new(ticketing.clone());
        let bot_id = create_bot(&mut settings).await;
        let agent_id = create_agent(&mut settings, bot_id).await;
        let contact =
            create_contact(&mut ContactServiceClient::new(ticketing.clone()), bot_id).await;
        let mut desk = Self {
            tenant_id,
            bot_id,
            agent_id,
            contact,
            policy_version: 0,
            stages,
            tickets: TicketServiceClient::new(ticketing),
            history: HistoryServiceClient::new(sign(cluster.channel(Service::History), tenant_id)),
            settings,
        };
        desk.set_stages(stages).await;
        desk
    }

    /// Replaces the policy, for the cycles that start from now on.
    pub async fn set_stages(&mut self, stages: Stages) {
        let seconds = |value| {
            Some(TimeValue {
                value,
                unit: TimeUnit::Second.into(),
            })
        };
        let alerts = AlertSettings {
            first_alert: seconds(stages.first_alert_s),
            second_alert: seconds(stages.second_alert_s),
        };
        let policy = InactivityPolicy {
            alerts: Some(alerts),
            warning: stages
                .warning_and_close_s
                .map(|(warning_s, _)| WarningSettings {
                    warn_after: seconds(warning_s),
                    text: WARNING_TEXT.to_owned(),
                    image_url: String::new(),
                }),
            auto_close: stages
                .warning_and_close_s
                .map(|(_, close_s)| AutoCloseSettings {
                    close_after: seconds(close_s),
                    tags: vec!["silent".to_owned()],
                    note: None,
                    closing_text: CLOSING_TEXT.to_owned(),
                }),
            ..InactivityPolicy::default()
        };
        let request = SetInactivityPolicyRequest {
            bot_id: self.bot_id,
            policy: Some(policy),
            ..SetInactivityPolicyRequest::default()
        };
        let answer = self.settings.set_inactivity_policy(request).await;
        let policy = answer.expect("a policy is set").into_inner().policy;
        self.policy_version = policy.expect("the policy comes back").version;
        self.stages = stages;
    }

    /// Opens a ticket of the customer, assigned to the agent.
    pub async fn open_ticket(&self) -> Ticket {
        let request = OpenTicketRequest {
            bot_id: self.bot_id,
            contact_id: self.contact.contact_id,
            agent_id: self.agent_id,
            ..OpenTicketRequest::default()
        };
        let answer = self.tickets.clone().open_ticket(request).await;
        let ticket = answer.expect("a ticket is opened").into_inner().ticket;
        ticket.expect("the ticket comes back")
    }

    /// The agent writes.
    pub async fn agent_writes(&self, ticket_id: i64, text: &str) {
        let request = self.message(ticket_id, AuthorKind::Agent, text);
        let answer = self.tickets.clone().record_message(request).await;
        answer.expect("the agent's message is recorded");
    }

    /// The customer writes.
    pub async fn customer_writes(&self, ticket_id: i64, text: &str) {
        let request = self.message(ticket_id, AuthorKind::Customer, text);
        let answer = self.tickets.clone().record_message(request).await;
        answer.expect("the customer's message is recorded");
    }

    /// What the agent or the customer writes, under a request id of its own.
    pub fn message(&self, ticket_id: i64, kind: AuthorKind, text: &str) -> RecordMessageRequest {
        let id = if kind == AuthorKind::Agent {
            self.agent_id
        } else {
            self.contact.contact_id
        };
        RecordMessageRequest {
            ticket_id,
            author: Some(Author {
                kind: kind.into(),
                id,
            }),
            text: text.to_owned(),
            request_id: uuid::Uuid::new_v4().to_string(),
            ..RecordMessageRequest::default()
        }
    }
}

/// A connection whose calls are made by an administrator of a tenant.
pub type SignedChannel = InterceptedService<Channel, Signature>;

/// Says in the metadata who makes a call.
#[derive(Debug, Clone)]
pub struct Signature {
    tenant: AsciiMetadataValue,
}

impl Interceptor for Signature {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        const PERMISSIONS: &str =
            "tickets:attend,helpdesk:view,helpdesk:edit,builder:edit,history:view,messages:send";
        let metadata = request.metadata_mut();
        metadata.insert("plazo-tenant", self.tenant.clone());
        for (key, value) in [
            ("plazo-actor", "administrator/1"),
            ("plazo-permissions", PERMISSIONS),
            ("plazo-bots", "*"),
        ] {
            metadata.insert(key, AsciiMetadataValue::from_static(value));
        }
        Ok(request)
    }
}

fn sign(channel: Channel, tenant_id: i64) -> SignedChannel {
    let tenant = AsciiMetadataValue::from(tenant_id);
    InterceptedService::new(channel, Signature { tenant })
}

async fn create_bot(settings: &mut SettingsServiceClient<SignedChannel>) -> i64 {
    let request = CreateBotRequest {
        bot: Some(Bot {
            name: "Reception".to_owned(),
            ..Bot::default()
        }),
        ..CreateBotRequest::default()
    };
    let answer = settings.create_bot(request).await;
    let bot = answer.expect("a bot is created").into_inner().bot;
    let bot_id = bot.expect("the bot comes back").bot_id;
    let request = SetExitRouteRequest {
        bot_id,
        exit_route: EXIT_ROUTE.to_owned(),
        ..SetExitRouteRequest::default()
    };
    settings
        .set_exit_route(request)
        .await
        .expect("the exit route is set");
    bot_id
}

async fn create_agent(settings: &mut SettingsServiceClient<SignedChannel>, bot_id: i64) -> i64 {
    let request = CreateAgentRequest {
        agent: Some(Agent {
            name: "Ana".to_owned(),
            bot_ids: vec![bot_id],
            ..Agent::default()
        }),
        ..CreateAgentRequest::default()
    };
    let answer = settings.create_agent(request).await;
    let agent = answer.expect("an agent is created").into_inner().agent;
    agent.expect("the agent comes back").agent_id
}

async fn create_contact(
    contacts: &mut ContactServiceClient<SignedChannel>,
    bot_id: i64,
) -> Contact {
    let request = CreateContactRequest {
        contact: Some(Contact {
            name: "Rui".to_owned(),
            channel_identity: Some(ChannelIdentity {
                channel: ContactChannel::Log.into(),
                address: format!("customer-of-{bot_id}"),
            }),
            ..Contact::default()
        }),
        ..CreateContactRequest::default()
    };
    let answer = contacts.create_contact(request).await;
    let contact = answer.expect("a contact is created").into_inner().contact;
    contact.expect("the contact comes back")
}
