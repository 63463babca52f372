//! A well-formed request of every RPC, which succeeds for whoever has the right to it.

mod history;
mod notification;
mod services;
mod settings;
mod tickets;

use prost::Message;

use super::things::Things;
use super::world::Needs;

pub(super) const TICKETS: &str = "/plazo.ticketing.v1.TicketService";
pub(super) const SETTINGS: &str = "/plazo.ticketing.v1.SettingsService";
pub(super) const CONTACTS: &str = "/plazo.ticketing.v1.ContactService";
pub(super) const ERASURES: &str = "/plazo.ticketing.v1.ErasureService";
pub(super) const NOTIFICATIONS: &str = "/plazo.notification.v1.NotificationService";
pub(super) const CHANNEL_ACCOUNTS: &str = "/plazo.notification.v1.ChannelAccountService";
pub(super) const SUBSCRIPTIONS: &str = "/plazo.notification.v1.WebhookSubscriptionService";
pub(super) const HISTORY: &str = "/plazo.history.v1.HistoryService";
pub(super) const HISTORY_SETTINGS: &str = "/plazo.history.v1.HistorySettingsService";
pub(super) const OUTREACH: &str = "/plazo.history.v1.OutreachService";
pub(super) const REPORTS: &str = "/plazo.history.v1.ReportService";
pub(super) const TIMER: &str = "/plazo.timer.v1.TimerService";

/// Makes the encoded request.
type MakeMessage = Box<dyn Fn(&Things) -> Vec<u8> + Send + Sync>;

/// One call.
pub(super) struct Call {
    /// The path of the RPC and, where it is called in several ways, a question mark and which one.
    pub(super) name: String,
    pub(super) needs: Needs,
    /// Whether the one who makes it with success is the agent of the things, and not an administrator.
    pub(super) is_by_agent: bool,
    /// Whether the one who makes it with success must be allowed all bots, and not that of the things alone.
    pub(super) needs_all_bots: bool,
    /// Whether its success may tell of nothing.
    pub(super) may_be_empty: bool,
    message: MakeMessage,
}

impl Call {
    /// The path of the RPC.
    pub(super) fn path(&self) -> &str {
        let end = self.name.find('?').unwrap_or(self.name.len());
        &self.name[..end]
    }

    /// The request, about these things.
    pub(super) fn message(&self, things: &Things) -> Vec<u8> {
        (self.message)(things)
    }

    fn by_agent(mut self) -> Self {
        self.is_by_agent = true;
        self
    }

    fn with_all_bots(mut self) -> Self {
        self.needs_all_bots = true;
        self
    }

    fn may_be_empty(mut self) -> Self {
        self.may_be_empty = true;
        self
    }
}

/// All of them.
pub(super) fn all() -> Vec<Call> {
    let mut all = tickets::calls();
    all.extend(settings::calls());
    all.extend(notification::calls());
    all.extend(history::calls());
    all.extend(services::calls());
    all
}

/// A call that is made by an administrator of the things' bot.
fn call<M: Message + 'static>(
    service: &str,
    method: &str,
    needs: Needs,
    message: fn(&Things) -> M,
) -> Call {
    Call {
        name: format!("{service}/{method}"),
        needs,
        is_by_agent: false,
        needs_all_bots: false,
        may_be_empty: false,
        message: Box::new(move |things| message(things).encode_to_vec()),
    }
}
