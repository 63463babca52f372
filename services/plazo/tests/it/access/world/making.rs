//! How each thing is made, and brought into the state that a call needs.

use plazo::cluster::Service;
use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::history::v1 as history;
use plazo_proto::notification::v1 as notification;
use plazo_proto::ticketing::v1 as ticketing;
use prost::Message;
use sqlx::AssertSqlSafe;

use super::{World, connect, until};
use crate::access::desk::{Caller, Desk};
use crate::access::requests::{
    CHANNEL_ACCOUNTS, CONTACTS, ERASURES, HISTORY_SETTINGS, NOTIFICATIONS, SETTINGS, SUBSCRIPTIONS,
    TICKETS,
};
use crate::access::things::{OF_BOT, OF_TENANT};
use crate::access::values;

/// Columns of an active message: sent in a day, failed, and with an answer that was lost.
pub(super) const WAITING: &str =
    "state = 1, next_attempt_at = clock_timestamp() + interval '1 day'";
pub(super) const FAILED: &str = "state = 5, next_attempt_at = NULL, failure_reason = 'EXPIRED'";
pub(super) const UNCERTAIN: &str = "state = 7, next_attempt_at = NULL, failure_reason = 'TIMEOUT'";

impl World {
    async fn done<A: Message + Default>(
        &self,
        desk: &Desk,
        service: &str,
        method: &str,
        request: impl Message,
    ) -> A {
        let path = format!("{service}/{method}");
        desk.done(&path, request, &self.owner).await
    }

    pub(super) async fn calendar(&self, desk: &Desk) -> i64 {
        let request = ticketing::CreateCalendarRequest {
            calendar: Some(values::calendar(OF_TENANT)),
            ..Default::default()
        };
        let made = self.done(desk, SETTINGS, "CreateCalendar", request);
        let made: ticketing::CreateCalendarResponse = made.await;
        made.calendar.unwrap_or_default().calendar_id
    }

    pub(super) async fn account(&self, desk: &Desk) -> i64 {
        let request = notification::CreateChannelAccountRequest {
            account: Some(values::account(OF_TENANT)),
            ..Default::default()
        };
        let made = self.done(desk, CHANNEL_ACCOUNTS, "CreateChannelAccount", request);
        let made: notification::CreateChannelAccountResponse = made.await;
        made.account.unwrap_or_default().channel_account_id
    }

    pub(super) async fn bot(&self, desk: &Desk, name: &str, calendar_id: i64) -> i64 {
        let request = ticketing::CreateBotRequest {
            bot: Some(values::bot(name, calendar_id)),
            ..Default::default()
        };
        let made = self.done(desk, SETTINGS, "CreateBot", request);
        let made: ticketing::CreateBotResponse = made.await;
        made.bot.unwrap_or_default().bot_id
    }

    pub(super) async fn queue(&self, desk: &Desk, bot_id: i64, name: &str) -> i64 {
        let request = ticketing::CreateQueueRequest {
            queue: Some(values::queue(name, bot_id)),
            ..Default::default()
        };
        let made = self.done(desk, SETTINGS, "CreateQueue", request);
        let made: ticketing::CreateQueueResponse = made.await;
        made.queue.unwrap_or_default().queue_id
    }

    pub(super) async fn agent(&self, desk: &Desk, bot_id: i64, name: &str) -> i64 {
        let request = ticketing::CreateAgentRequest {
            agent: Some(values::agent(name, bot_id)),
            ..Default::default()
        };
        let made = self.done(desk, SETTINGS, "CreateAgent", request);
        let made: ticketing::CreateAgentResponse = made.await;
        made.agent.unwrap_or_default().agent_id
    }

    /// The first alert comes at once, and the second not while the test lasts.
    pub(super) async fn policies(&self, desk: &Desk) {
        for queue_id in [0, self.things.queue_id] {
            let request = ticketing::SetInactivityPolicyRequest {
                bot_id: self.things.bot_id,
                queue_id,
                policy: Some(values::policy()),
                ..Default::default()
            };
            let set = self.done(desk, SETTINGS, "SetInactivityPolicy", request);
            let _: ticketing::SetInactivityPolicyResponse = set.await;
        }
    }

    /// To both agents, of both bots, and at once.
    pub(super) async fn show_history(&self, desk: &Desk) {
        for bot_id in [self.things.bot_id, self.other_bot_id] {
            let request = history::SetBotHistoryRequest {
                bot_id,
                enabled: true,
                ..Default::default()
            };
            let set = self.done(desk, HISTORY_SETTINGS, "SetBotHistory", request);
            let _: history::SetBotHistoryResponse = set.await;
        }
        let request = history::SetAgentAccessRequest {
            agent_ids: vec![self.things.agent_id, self.other_agent_id],
            granted: true,
            ..Default::default()
        };
        let set = self.done(desk, HISTORY_SETTINGS, "SetAgentAccess", request);
        let _: history::SetAgentAccessResponse = set.await;
        let request = history::UpdateHistorySettingsRequest {
            settings: Some(values::history_settings()),
            ..Default::default()
        };
        let set = self.done(desk, HISTORY_SETTINGS, "UpdateHistorySettings", request);
        let _: history::UpdateHistorySettingsResponse = set.await;
    }

    pub(super) async fn contact(&self, desk: &Desk, address: &str) -> i64 {
        let request = ticketing::CreateContactRequest {
            contact: Some(values::contact(OF_TENANT, address)),
            ..Default::default()
        };
        let made = self.done(desk, CONTACTS, "CreateContact", request);
        let made: ticketing::CreateContactResponse = made.await;
        made.contact.unwrap_or_default().contact_id
    }

    pub(super) async fn ticket(&self, desk: &Desk) -> i64 {
        let request = ticketing::OpenTicketRequest {
            bot_id: self.things.bot_id,
            queue_id: self.things.queue_id,
            contact_id: self.things.contact_id,
            agent_id: self.things.agent_id,
            ..Default::default()
        };
        let made = self.done(desk, TICKETS, "OpenTicket", request);
        let made: ticketing::OpenTicketResponse = made.await;
        made.ticket.unwrap_or_default().ticket_id
    }

    /// A ticket in which something was said.
    pub(super) async fn conversation(&self, desk: &Desk) -> i64 {
        let mut things = self.things.clone();
        things.ticket_id = self.ticket(desk).await;
        let from_customer = ticketing::RecordMessageRequest {
            author: Some(Author {
                kind: AuthorKind::Customer.into(),
                ..Default::default()
            }),
            ..values::message(&things, ticketing::MessageKind::Chat, OF_BOT)
        };
        let comment = values::message(&things, ticketing::MessageKind::Comment, OF_BOT);
        let answer = values::message(&things, ticketing::MessageKind::Chat, OF_BOT);
        for request in [from_customer, comment, answer] {
            let recorded = self.done(desk, TICKETS, "RecordMessage", request);
            let _: ticketing::RecordMessageResponse = recorded.await;
        }
        let request = ticketing::TagTicketsRequest {
            ticket_ids: vec![things.ticket_id],
            add_tags: vec![OF_BOT.to_owned()],
            ..Default::default()
        };
        let tagged = self.done(desk, TICKETS, "TagTickets", request);
        let _: ticketing::TagTicketsResponse = tagged.await;
        things.ticket_id
    }

    pub(super) async fn close(&self, desk: &Desk, ticket_id: i64) {
        let request = ticketing::CloseTicketRequest {
            ticket_id,
            note: Some(values::note(OF_BOT)),
            ..Default::default()
        };
        let closed = self.done(desk, TICKETS, "CloseTicket", request);
        let _: ticketing::CloseTicketResponse = closed.await;
    }

    pub(super) async fn hold(&self, desk: &Desk, ticket_id: i64) {
        let request = ticketing::HoldTicketRequest {
            ticket_id,
            reason: OF_BOT.to_owned(),
            ..Default::default()
        };
        let held = self.done(desk, TICKETS, "HoldTicket", request);
        let _: ticketing::HoldTicketResponse = held.await;
    }

    /// A message that the log has taken.
    pub(super) async fn message(&self, desk: &Desk) -> i64 {
        let request = notification::SendActiveMessagesRequest {
            messages: vec![values::active_message(&self.things, OF_BOT)],
        };
        let path = format!("{NOTIFICATIONS}/SendActiveMessages");
        let sent: notification::SendActiveMessagesResponse =
            desk.done(&path, request, &Caller::Service).await;
        let message_id = sent.results.first().map_or(0, |it| it.message_id);
        let mut notification = connect(desk, Service::Notification).await;
        until("the log takes the message", async || {
            let waits = "SELECT next_attempt_at IS NULL FROM active_messages WHERE message_id = $1";
            let row = sqlx::query_scalar(waits).bind(message_id);
            row.fetch_one(&mut notification).await.expect("its state")
        })
        .await;
        message_id
    }

    /// A message in a state that only a provider's failure could bring about.
    pub(super) async fn message_in(&self, desk: &Desk, state: &str) -> i64 {
        let message_id = self.message(desk).await;
        let mut notification = connect(desk, Service::Notification).await;
        let update = format!("UPDATE active_messages SET {state} WHERE message_id = $1");
        let update = sqlx::query(AssertSqlSafe(update)).bind(message_id);
        update.execute(&mut notification).await.expect("its state");
        message_id
    }

    /// To events that don't happen.
    pub(super) async fn subscription(&self, desk: &Desk) -> i64 {
        let request = notification::CreateWebhookSubscriptionRequest {
            subscription: Some(values::subscription(&self.things, OF_BOT)),
            ..Default::default()
        };
        let made = self.done(desk, SUBSCRIPTIONS, "CreateWebhookSubscription", request);
        let made: notification::CreateWebhookSubscriptionResponse = made.await;
        made.subscription.unwrap_or_default().subscription_id
    }

    /// An erasure that is complete.
    pub(super) async fn erasure(&self, desk: &Desk) -> i64 {
        let contact_id = self.contact(desk, "erased").await;
        let request = ticketing::EraseContactRequest {
            contact_id,
            ..Default::default()
        };
        let erased = self.done(desk, ERASURES, "EraseContact", request);
        let erased: ticketing::EraseContactResponse = erased.await;
        let erasure_id = erased.erasure.unwrap_or_default().erasure_id;
        until("all services have erased", async || {
            let request = ticketing::GetErasureRequest { erasure_id };
            let known = self.done(desk, ERASURES, "GetErasure", request);
            let known: ticketing::GetErasureResponse = known.await;
            known.erasure.unwrap_or_default().complete
        })
        .await;
        erasure_id
    }
}
