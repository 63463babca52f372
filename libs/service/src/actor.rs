//! Who makes a call, and what they may do.
//!
//! An [`Actor`] is made in one place only, the layer in `actor/layer.rs`, from a token, a certificate or, where they are
//! believed, the metadata of the request (see [`access`](crate::access)); handlers take tenant, permissions and bots from
//! it and from nowhere else. As metadata:
//!
//! ```text
//! plazo-tenant: 7
//! plazo-actor: agent/12                (bot/3, administrator/1, service/timer)
//! plazo-permissions: tickets:attend,history:view
//! plazo-bots: 1,2                      (or *; absent means none, and all for administrators and services)
//! ```
//!
//! A service acts across tenants: its `plazo-tenant` may be 0 or absent, and the messages that it sends
//! carry tenant ids.

mod layer;
mod metadata;

use std::fmt;

use tonic::{Request, Status};

use crate::status;

pub(crate) use layer::{ActorRules, check_actor};
pub(crate) use metadata::{default_bots, is_service_name, parse_actor_kind};

/// The methods of a service and who may call them: any one of the permissions will do. A server whose
/// table lacks a method that it serves does not start; a call of any other method is answered
/// UNIMPLEMENTED.
///
/// ```
/// use plazo_service::{MethodPermissions, Permission};
/// const PERMISSIONS: MethodPermissions = &[
///     ("/plazo.ticketing.v1.TicketService/OpenTicket", &[Permission::TicketsAttend]),
///     ("/plazo.ticketing.v1.TicketEventService/StreamEvents", &[Permission::Service]),
/// ];
/// ```
pub type MethodPermissions = &'static [(&'static str, &'static [Permission])];

/// The maker of a call, of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The tenant, above zero; zero for a service that acts across tenants.
    pub tenant_id: i64,
    /// What the actor is, and which one.
    pub kind: ActorKind,
    /// What the actor may do.
    pub permissions: Permissions,
    /// For which bots.
    pub bots: BotScope,
}

/// What an actor is, and which one. Ids are above zero.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ActorKind {
    /// A person who attends tickets.
    Agent(i64),
    /// An automation.
    Bot(i64),
    /// A person who changes settings.
    Administrator(i64),
    /// A service of Plazo, by its name (lower-case letters, digits, dashes).
    Service(String),
}

/// A right to make certain calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// `helpdesk:view`: read settings, queues, calendars, agents.
    HelpdeskView,
    /// `helpdesk:edit`: change them.
    HelpdeskEdit,
    /// `builder:edit`: exit routes and action blocks of a bot.
    BuilderEdit,
    /// `tickets:attend`: read, assign, write in, hold and close tickets of the permitted bots.
    TicketsAttend,
    /// `history:view`: the contact history.
    HistoryView,
    /// `messages:send`: active messages.
    MessagesSend,
    /// `reports:view`: reports.
    ReportsView,
    /// `service`: the calls that services make to each other. Only a service can have it.
    Service,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::HelpdeskView,
        Self::HelpdeskEdit,
        Self::BuilderEdit,
        Self::TicketsAttend,
        Self::HistoryView,
        Self::MessagesSend,
        Self::ReportsView,
        Self::Service,
    ];

    /// By its name: `tickets:attend`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|permission| permission.name() == name)
    }

    /// The permission as it is written in tokens and metadata.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HelpdeskView => "helpdesk:view",
            Self::HelpdeskEdit => "helpdesk:edit",
            Self::BuilderEdit => "builder:edit",
            Self::TicketsAttend => "tickets:attend",
            Self::HistoryView => "history:view",
            Self::MessagesSend => "messages:send",
            Self::ReportsView => "reports:view",
            Self::Service => "service",
        }
    }
}

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u8);

impl Permissions {
    /// No permission at all.
    pub const NONE: Self = Self(0);

    /// The set with `permission` in it as well.
    #[must_use]
    pub const fn with(self, permission: Permission) -> Self {
        Self(self.0 | 1 << permission as u8)
    }

    /// Whether `permission` is in the set.
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u8) != 0
    }

    /// Whether any of `wanted` is in the set.
    pub fn contains_any(self, wanted: &[Permission]) -> bool {
        wanted.iter().any(|permission| self.contains(*permission))
    }

    /// The permissions in the set.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL
            .into_iter()
            .filter(move |permission| self.contains(*permission))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        permissions.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(Permission::name))
            .finish()
    }
}

/// The bots whose tickets an actor may deal with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BotScope {
    /// Every bot of the tenant.
    All,
    /// These bots: sorted, each once.
    Only(Vec<i64>),
}

impl BotScope {
    /// These bots, in whatever order.
    pub fn only(mut bot_ids: Vec<i64>) -> Self {
        bot_ids.sort_unstable();
        bot_ids.dedup();
        Self::Only(bot_ids)
    }
}

impl Actor {
    /// The actor of a service's own calls: across tenants, with the `service` permission alone.
    pub fn service(name: &str) -> Self {
        Self {
            tenant_id: 0,
            kind: ActorKind::Service(name.to_owned()),
            permissions: Permissions::NONE.with(Permission::Service),
            bots: BotScope::All,
        }
    }

    /// The actor of the call that `request` belongs to. INTERNAL if the request did not come through
    /// the server's layers.
    pub fn of<T>(request: &Request<T>) -> Result<&Self, Status> {
        request.extensions().get().ok_or_else(|| {
            tracing::error!("a handler was reached without an actor");
            status::internal_unlogged()
        })
    }

    /// Whether the actor may deal with a bot's tickets.
    pub fn may_use_bot(&self, bot_id: i64) -> bool {
        match &self.bots {
            BotScope::All => true,
            BotScope::Only(bot_ids) => bot_ids.binary_search(&bot_id).is_ok(),
        }
    }

    /// PERMISSION_DENIED unless the actor may use the bot; the same answer whether the bot exists or
    /// not. For requests that name the bot. Where the bot is known only from a stored row (a ticket
    /// asked for by its id), ask [`Self::may_use_bot`] and answer as if the row did not exist.
    pub fn require_bot(&self, bot_id: i64) -> Result<(), Status> {
        if self.may_use_bot(bot_id) {
            Ok(())
        } else {
            Err(status::permission_denied(
                "BOT_NOT_PERMITTED",
                "the actor may not use this bot",
            ))
        }
    }

    /// The agent's id, if the actor is an agent.
    pub fn agent_id(&self) -> Option<i64> {
        match self.kind {
            ActorKind::Agent(id) => Some(id),
            _ => None,
        }
    }
}

/// As in metadata: `agent/12`, `service/timer`.
impl fmt::Display for ActorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id) => write!(f, "agent/{id}"),
            Self::Bot(id) => write!(f, "bot/{id}"),
            Self::Administrator(id) => write!(f, "administrator/{id}"),
            Self::Service(name) => write!(f, "service/{name}"),
        }
    }
}
