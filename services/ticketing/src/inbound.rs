//! What customers wrote, as their channels tell it: each message finds its contact and ticket, and is recorded once.

use std::collections::HashMap;

use futures::{FutureExt as _, StreamExt as _, stream};
use jiff::Timestamp;
use plazo_proto::common::v1::{Author, AuthorKind, Channel};
use plazo_proto::ticketing::v1::MessageKind;
use plazo_service::Actor;
use plazo_service::status::chain;
use sqlx::PgConnection;

use crate::changes::Changes;
use crate::error::Error;
use crate::store::contacts::{self, Contact, NewContact};
use crate::store::inbound::{self as rows, AccountKey};
use crate::store::messages::NewMessage;
use crate::store::settings::PolicyCache;
use crate::store::settings::bots::{self, InboundBot};
use crate::store::tickets::{self, NewTicket};
use crate::tickets::change::TicketChange;
use crate::tickets::record::{AddressedMessage, WayIn, record_message};
use crate::validate::MAX_NAME_CHARS;

/// So many senders of a batch are dealt with at the same time: each is a transaction of its own.
const SENDERS_AT_ONCE: usize = 4;
/// A deadlock or failed serialization is tried so often in all.
const MAX_ATTEMPTS: u32 = 4;

/// Who wrote to whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Conversation {
    /// The channel account that it came by.
    pub account: AccountKey,
    /// The bot; none for those that send by the account.
    pub bot_id: Option<i64>,
    /// The customer's channel.
    pub channel: Channel,
    /// The customer's address there.
    pub address: String,
}

/// One message, well-formed. Without `Debug`, so that nothing of it gets into a log.
#[derive(Clone)]
pub struct Inbound {
    /// Who wrote to whom.
    pub conversation: Conversation,
    /// The channel's name for it.
    pub provider_message_id: String,
    /// How the sender calls himself.
    pub sender_name: String,
    /// The text.
    pub text: String,
    /// Addresses of attachments.
    pub attachment_urls: Vec<String>,
    /// When it was written, as the channel says.
    pub sent_at: Option<Timestamp>,
}

/// What was done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was recorded in this ticket.
    Recorded(i64),
    /// It came before, and stands in this ticket unless it was ignored.
    Duplicate(Option<i64>),
    /// There is no ticket for it.
    Ignored,
    /// There is no such bot.
    NoBot,
    /// It failed, and may succeed later.
    NotNow,
}

/// Takes messages, and answers in the same order. Those of one conversation are taken in one transaction.
pub async fn take_all(
    changes: &Changes,
    policies: &PolicyCache,
    inbound: &[Inbound],
) -> Vec<Taken> {
    let mut places: HashMap<&Conversation, Vec<usize>> = HashMap::new();
    for (place, message) in inbound.iter().enumerate() {
        places.entry(&message.conversation).or_default().push(place);
    }
    let mut taken = vec![Taken::NotNow; inbound.len()];
    let takings = places.into_iter().map(|(conversation, places)| {
        let messages: Vec<&Inbound> = places.iter().map(|&place| &inbound[place]).collect();
        async move {
            let taken = take_conversation(changes, policies, conversation, &messages).await;
            (places, taken)
        }
        .boxed()
    });
    let takings: Vec<_> = takings.collect();
    let mut answers = stream::iter(takings).buffer_unordered(SENDERS_AT_ONCE);
    while let Some((places, answers)) = answers.next().await {
        match answers {
            Ok(answers) => {
                for (place, answer) in places.into_iter().zip(answers) {
                    taken[place] = answer;
                }
            }
            Err(error) => tracing::warn!(error = chain(&error), "inbound messages wait"),
        }
    }
    taken
}

async fn take_conversation(
    changes: &Changes,
    policies: &PolicyCache,
    conversation: &Conversation,
    messages: &[&Inbound],
) -> Result<Vec<Taken>, Error> {
    let mut attempt = 1;
    loop {
        let mut transaction = changes.pool().begin().await?;
        let taken = Taking {
            connection: &mut transaction,
            policies,
            conversation,
            actor: recorder(conversation),
        };
        match taken.take(messages).await {
            Ok(taken) => {
                transaction.commit().await?;
                changes.announce();
                return Ok(taken);
            }
            Err(error) => {
                // Waited for: what failed must not hold the ticket a moment longer.
                transaction.rollback().await?;
                if !error.is_transient() || attempt == MAX_ATTEMPTS {
                    return Err(error);
                }
                attempt += 1;
            }
        }
    }
}

/// Who tells of the messages of a conversation.
fn recorder(conversation: &Conversation) -> Actor {
    Actor {
        tenant_id: conversation.account.tenant_id,
        ..Actor::service("inbound")
    }
}

/// Who wrote.
struct Sender {
    /// The customer, locked.
    contact: Contact,
    /// The contact that has the channel identity: a part of the other one, if they were merged.
    identity_id: i64,
}

/// Messages of one conversation on their way into its ticket.
struct Taking<'a> {
    connection: &'a mut PgConnection,
    policies: &'a PolicyCache,
    conversation: &'a Conversation,
    actor: Actor,
}

impl Taking<'_> {
    async fn take(mut self, messages: &[&Inbound]) -> Result<Vec<Taken>, Error> {
        let Conversation {
            account, bot_id, ..
        } = *self.conversation;
        let AccountKey {
            tenant_id,
            channel_account_id,
        } = account;
        let bots = bots::written_to(self.connection, tenant_id, bot_id, channel_account_id).await?;
        if bots.is_empty() && bot_id.is_some() {
            return Ok(vec![Taken::NoBot; messages.len()]);
        }
        let ids: Vec<&str> = messages
            .iter()
            .map(|message| message.provider_message_id.as_str())
            .collect();
        let mut fresh = rows::note(self.connection, account, &ids).await?;
        let mut taken = Vec::with_capacity(messages.len());
        for message in messages {
            let id = &message.provider_message_id;
            if !fresh.remove(id) {
                let ticket_id = rows::ticket_of(self.connection, account, id).await?;
                taken.push(Taken::Duplicate(ticket_id));
                continue;
            }
            let ticket_id = self.record(message, &bots).await?;
            rows::settle(self.connection, account, id, ticket_id).await?;
            taken.push(ticket_id.map_or(Taken::Ignored, Taken::Recorded));
        }
        Ok(taken)
    }

    /// Records a message, and returns the ticket that it went to, if there is one for it.
    async fn record(
        &mut self,
        message: &Inbound,
        bots: &[InboundBot],
    ) -> Result<Option<i64>, Error> {
        let opens_tickets = bots.iter().any(|bot| bot.opens_tickets);
        let Some(sender) = self.sender(message, opens_tickets).await? else {
            return Ok(None);
        };
        let Some(ticket_id) = self.ticket(&sender, message, bots).await? else {
            return Ok(None);
        };
        let addressed = AddressedMessage {
            ticket_id,
            new: NewMessage {
                author: customer(&sender.contact),
                kind: MessageKind::Chat,
                text: message.text.clone(),
                attachment_urls: message.attachment_urls.clone(),
                channel_at: message.sent_at,
            },
        };
        let recorded =
            record_message(self.connection, self.policies, &self.actor, addressed).await?;
        Ok(Some(recorded.0.ticket_id))
    }

    /// The sender, locked so that two of his messages don't open a ticket each.
    async fn sender(
        &mut self,
        message: &Inbound,
        may_create: bool,
    ) -> Result<Option<Sender>, Error> {
        let tenant_id = self.actor.tenant_id;
        let Conversation {
            channel, address, ..
        } = self.conversation;
        for _ in 0..MAX_ATTEMPTS {
            let mut identity =
                contacts::id_by_identity(self.connection, tenant_id, *channel, address).await?;
            if identity.is_none() && may_create {
                let new = new_contact(self.conversation, &message.sender_name);
                contacts::insert(self.connection, tenant_id, &new).await?;
                // It may be another transaction's, which ended in between.
                identity =
                    contacts::id_by_identity(self.connection, tenant_id, *channel, address).await?;
            }
            let Some(identity_id) = identity else {
                return Ok(None);
            };
            if let Some(contact) =
                contacts::lock_current(self.connection, tenant_id, identity_id).await?
            {
                return Ok(Some(Sender {
                    contact,
                    identity_id,
                }));
            }
            // He was erased in between: who writes now is somebody new.
        }
        Err(Error::Changed)
    }

    /// The ticket that the message is meant for: the sender's, or a new one where the bot opens such.
    async fn ticket(
        &mut self,
        sender: &Sender,
        message: &Inbound,
        bots: &[InboundBot],
    ) -> Result<Option<i64>, Error> {
        let tenant_id = self.actor.tenant_id;
        let bot_ids: Vec<i64> = bots.iter().map(|bot| bot.bot_id).collect();
        let contact_id = sender.contact.contact_id;
        let last = tickets::of_contact(self.connection, tenant_id, contact_id, &bot_ids).await?;
        match (last, bots.iter().find(|bot| bot.opens_tickets)) {
            (Some(ticket_id), _) => {
                let change =
                    TicketChange::lock(self.connection, &self.actor, ticket_id, "").await?;
                let bot = bots.iter().find(|bot| bot.bot_id == change.facts.bot_id);
                let opens_tickets = bot.is_some_and(|bot| bot.opens_tickets);
                let is_for_it = WayIn::of(&change, message.sent_at) != WayIn::Continues;
                Ok((is_for_it || opens_tickets).then_some(ticket_id))
            }
            (None, Some(bot)) => {
                let new = NewTicket {
                    tenant_id,
                    bot_id: bot.bot_id,
                    queue_id: None,
                    contact_id: sender.identity_id,
                    agent_id: None,
                    previous_ticket_id: None,
                };
                let author = customer(&sender.contact);
                let change =
                    TicketChange::open(self.connection, self.policies, &new, author).await?;
                let ticket_id = change.facts.key.ticket_id;
                change.save(self.connection).await?;
                Ok(Some(ticket_id))
            }
            (None, None) => Ok(None),
        }
    }
}

fn customer(contact: &Contact) -> Author {
    Author {
        kind: AuthorKind::Customer.into(),
        id: contact.contact_id,
    }
}

fn new_contact(conversation: &Conversation, sender_name: &str) -> NewContact {
    let address = &conversation.address;
    let only_in = |channel: Channel| {
        if conversation.channel == channel {
            address.clone()
        } else {
            String::new()
        }
    };
    NewContact {
        name: contact_name(sender_name, address),
        email: only_in(Channel::Email),
        phone: only_in(Channel::Whatsapp),
        channel: conversation.channel,
        address: address.clone(),
    }
}

/// What a contact is called who calls himself so: people may call themselves anything, and are heard all the same.
fn contact_name(said: &str, address: &str) -> String {
    let cut = |text: &str| -> String {
        let kept = text.chars().filter(|char| !char.is_control());
        kept.take(MAX_NAME_CHARS).collect()
    };
    let name = cut(said.trim());
    if name.trim().is_empty() {
        cut(address)
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_people_call_themselves_becomes_a_name() {
        for (said, name) in [
            ("Ana", "Ana"),
            (" Ana\u{7} Luz\n", "Ana Luz"),
            ("", "+5511"),
            ("\n\t ", "+5511"),
            ("\u{1}\u{2}", "+5511"),
        ] {
            assert_eq!(contact_name(said, "+5511"), name, "{said:?}");
        }
        assert_eq!(contact_name(&"ñ".repeat(300), "").chars().count(), 200);
    }
}
