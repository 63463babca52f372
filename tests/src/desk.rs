//! A tenant's bot, agent and customer, and what they do, through gRPC as a caller would.

use std::collections::BTreeMap;

use plazo_proto::common::v1::{
    Author, AuthorKind, Channel as ContactChannel, ChannelIdentity, TimeUnit, TimeValue,
};
use plazo_proto::history::v1::SetBotHistoryRequest;
use plazo_proto::history::v1::history_service_client::HistoryServiceClient;
use plazo_proto::history::v1::history_settings_service_client::HistorySettingsServiceClient;
use plazo_proto::ticketing::v1::contact_service_client::ContactServiceClient;
use plazo_proto::ticketing::v1::settings_service_client::SettingsServiceClient;
use plazo_proto::ticketing::v1::ticket_service_client::TicketServiceClient;
use plazo_proto::ticketing::v1::{
    Agent, AlertSettings, AutoCloseSettings, Bot, Contact, CreateAgentRequest, CreateBotRequest,
    CreateContactRequest, CycleKind, InactivityPolicy, OpenTicketRequest, RecordMessageRequest,
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

/// What a policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// When the stages are due of which an agent's message is the anchor.
    pub stages: Stages,
    /// The alerts of the agent's side, in seconds after the customer's first unanswered message.
    pub agent_alerts_s: Option<(i32, i32)>,
    /// Whether tickets that no agent has written in are warned and closed.
    pub closes_unanswered: bool,
    /// Whether tickets are warned and closed whose customers wait for an agent who has written before.
    pub closes_while_customer_waits: bool,
    /// Tags that keep a ticket from being warned and closed.
    pub exclude_tags: Vec<String>,
}

impl From<Stages> for Rules {
    fn from(stages: Stages) -> Self {
        Self {
            stages,
            agent_alerts_s: None,
            closes_unanswered: false,
            closes_while_customer_waits: false,
            exclude_tags: Vec::new(),
        }
    }
}

impl Rules {
    /// Whether there is anything to do in a cycle of this kind.
    pub fn counts(&self, kind: CycleKind, agent_has_written: bool) -> bool {
        match kind {
            CycleKind::CustomerSilent => true,
            CycleKind::CustomerWaits => {
                let closes = if agent_has_written {
                    self.closes_while_customer_waits
                } else {
                    self.closes_unanswered
                };
                closes && self.stages.warning_and_close_s.is_some()
            }
            CycleKind::AgentSilent => self.agent_alerts_s.is_some(),
            CycleKind::Unspecified => false,
        }
    }

    /// Whether a ticket with these tags is neither warned nor closed.
    pub fn excludes(&self, tags: &[String]) -> bool {
        tags.iter().any(|tag| self.exclude_tags.contains(tag))
    }

    fn to_policy(&self) -> InactivityPolicy {
        let seconds = |value| {
            Some(TimeValue {
                value,
                unit: TimeUnit::Second.into(),
            })
        };
        let alerts = |(first_s, second_s)| AlertSettings {
            first_alert: seconds(first_s),
            second_alert: seconds(second_s),
        };
        let stages = self.stages;
        let warning = |(warning_s, _)| WarningSettings {
            warn_after: seconds(warning_s),
            text: WARNING_TEXT.to_owned(),
            image_url: String::new(),
        };
        let auto_close = |(_, close_s)| AutoCloseSettings {
            close_after: seconds(close_s),
            tags: vec!["silent".to_owned()],
            closing_text: CLOSING_TEXT.to_owned(),
            only_after_first_agent_message: Some(!self.closes_unanswered),
            close_while_customer_waits: self.closes_while_customer_waits,
            exclude_tags: self.exclude_tags.clone(),
            ..AutoCloseSettings::default()
        };
        InactivityPolicy {
            alerts: Some(alerts((stages.first_alert_s, stages.second_alert_s))),
            warning: stages.warning_and_close_s.map(warning),
            auto_close: stages.warning_and_close_s.map(auto_close),
            agent_alerts: self.agent_alerts_s.map(alerts),
            ..InactivityPolicy::default()
        }
    }
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
    /// Those of the first cycle of each ticket, where a policy of other stages was in force then.
    pub first_stages: Option<Stages>,
    /// For tickets that were put in under one version of the policy and whose clocks were started under another: which
    /// one it was in the end.
    pub started_under: BTreeMap<i64, i64>,
    /// What each version says that was ever set.
    pub policies: BTreeMap<i64, Rules>,
    /// The tickets.
    pub tickets: TicketServiceClient<SignedChannel>,
    /// What happened.
    pub history: HistoryServiceClient<SignedChannel>,
    settings: SettingsServiceClient<SignedChannel>,
    history_settings: HistorySettingsServiceClient<SignedChannel>,
}

impl Desk {
    /// Sets a desk up in this tenant.
    pub async fn set_up(cluster: &Cluster, tenant_id: i64, stages: Stages) -> Self {
        let ticketing = cluster.channel(Service::Ticketing);
        let history = cluster.channel(Service::History);
        Self::set_up_at(ticketing, history, tenant_id, stages).await
    }

    /// The same, with services that may be anywhere.
    pub async fn set_up_at(
        ticketing: Channel,
        history: Channel,
        tenant_id: i64,
        stages: Stages,
    ) -> Self {
        let ticketing = sign(ticketing, tenant_id);
        let history = sign(history, tenant_id);
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
            first_stages: None,
            started_under: BTreeMap::new(),
            policies: BTreeMap::new(),
            tickets: TicketServiceClient::new(ticketing),
            history: HistoryServiceClient::new(history.clone()),
            settings,
            history_settings: HistorySettingsServiceClient::new(history),
        };
        desk.set_stages(stages).await;
        desk
    }

    /// Switches the bot's history on, without which history shows nothing of it.
    pub async fn show_history(&self) {
        let request = SetBotHistoryRequest {
            bot_id: self.bot_id,
            enabled: true,
            ..SetBotHistoryRequest::default()
        };
        let answer = self.history_settings.clone().set_bot_history(request).await;
        answer.expect("the bot's history is switched on");
    }

    /// Replaces the policy, for the cycles that start from now on.
    pub async fn set_stages(&mut self, stages: Stages) {
        self.set_rules(stages.into(), false).await;
    }

    /// Replaces the policy, for the cycles that start from now on and, if wanted, for those that run.
    pub async fn set_rules(&mut self, rules: Rules, apply_to_open_tickets: bool) {
        let request = SetInactivityPolicyRequest {
            bot_id: self.bot_id,
            policy: Some(rules.to_policy()),
            apply_to_open_tickets,
            ..SetInactivityPolicyRequest::default()
        };
        let answer = self.settings.set_inactivity_policy(request).await;
        let policy = answer.expect("a policy is set").into_inner().policy;
        self.policy_version = policy.expect("the policy comes back").version;
        self.stages = rules.stages;
        self.policies.insert(self.policy_version, rules);
    }

    /// Opens a ticket of the customer, assigned to the agent.
    pub async fn open_ticket(&self) -> Ticket {
        let answer = self.tickets.clone().open_ticket(self.opening()).await;
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

    /// The opening of a ticket of the customer, assigned to the agent, under a request id of its own.
    pub fn opening(&self) -> OpenTicketRequest {
        OpenTicketRequest {
            bot_id: self.bot_id,
            contact_id: self.contact.contact_id,
            agent_id: self.agent_id,
            request_id: uuid::Uuid::new_v4().to_string(),
            ..OpenTicketRequest::default()
        }
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

/// A connection that says in each call who makes it.
pub type SignedChannel = InterceptedService<Channel, Signature>;

/// Says in the metadata who makes a call.
#[derive(Debug, Clone)]
pub struct Signature {
    metadata: Vec<(&'static str, AsciiMetadataValue)>,
}

impl Signature {
    /// Tenant, actor as in `agent/7`, permissions, and the bots as in `1,2` or `*`.
    pub fn new(tenant_id: i64, actor: &str, permissions: &str, bots: &str) -> Self {
        let value = |text: &str| AsciiMetadataValue::try_from(text).expect("plain text");
        Self {
            metadata: vec![
                ("plazo-tenant", AsciiMetadataValue::from(tenant_id)),
                ("plazo-actor", value(actor)),
                ("plazo-permissions", value(permissions)),
                ("plazo-bots", value(bots)),
            ],
        }
    }
}

impl Interceptor for Signature {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (key, value) in &self.metadata {
            request.metadata_mut().insert(*key, value.clone());
        }
        Ok(request)
    }
}

/// A connection whose calls are made by an administrator of a tenant.
pub fn sign(channel: Channel, tenant_id: i64) -> SignedChannel {
    const PERMISSIONS: &str =
        "tickets:attend,helpdesk:view,helpdesk:edit,builder:edit,history:view,messages:send";
    let signature = Signature::new(tenant_id, "administrator/1", PERMISSIONS, "*");
    InterceptedService::new(channel, signature)
}

/// A connection whose calls are made by the timer.
pub fn sign_as_timer(channel: Channel) -> SignedChannel {
    InterceptedService::new(channel, Signature::new(0, "service/timer", "service", "*"))
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
