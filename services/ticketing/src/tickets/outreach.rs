//! An agent writes to a customer out of the history: it goes on in the customer's open ticket, or in a new one.

use plazo_domain::TicketState;
use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::notification::v1::{ActiveMessage, ActiveMessageKind};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{ActiveMessageRequested, MessageKind};
use plazo_service::{Actor, ActorKind, BotScope, Permissions};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::callers;
use crate::error::Error;
use crate::instants::to_proto;
use crate::store::clocks::TicketKey;
use crate::store::contacts;
use crate::store::messages::NewMessage;
use crate::store::settings::PolicyCache;
use crate::store::tickets::{self, NewTicket, TicketFacts};
use crate::store::{active_messages, parties};
use crate::tickets::assign::assign;
use crate::tickets::change::TicketChange;
use crate::tickets::record::agent_wrote;
use crate::tickets::view::TicketView;

/// The customer's tickets are looked for so often, when others open, close or merge them at the same moment.
const MAX_LOOKS: u32 = 5;

/// What an agent wants to send.
#[derive(Clone)]
pub struct OutreachOrder {
    /// The tenant.
    pub tenant_id: i64,
    /// The agent.
    pub agent_id: i64,
    /// The ticket that he chose: of the customer, and of the bot that sends the message.
    pub ticket_id: i64,
    /// The text.
    pub text: String,
    /// The address of an image; empty for none.
    pub image_url: String,
    /// What makes it one message, however often it is asked for.
    pub request_id: Uuid,
}

/// What was done.
#[derive(Debug)]
pub struct Outreach {
    /// The ticket that the message stands in.
    pub view: TicketView,
    /// Whether it is a new one.
    pub is_opened: bool,
    /// The key of the active message.
    pub idempotency_key: String,
}

/// Sends a message to the customer of a ticket. It stands in the customer's open ticket with the same bot, the last opened of
/// several, or in a new one that links to the chosen one.
///
/// One at a time has the turn for a contact, so two open one ticket. The contact is kept as it is, which keeps out what it
/// writes through a channel, merges and erasures; the lock of the chosen ticket keeps out who goes on in it otherwise. What is
/// open decides when the rows are locked.
pub async fn start(
    connection: &mut PgConnection,
    policies: &PolicyCache,
    order: &OutreachOrder,
) -> Result<Outreach, Error> {
    let agent = Actor {
        tenant_id: order.tenant_id,
        kind: ActorKind::Agent(order.agent_id),
        permissions: Permissions::NONE,
        bots: BotScope::All,
    };
    callers::require_known(connection, order.tenant_id, &agent.kind).await?;
    let author = Author {
        kind: AuthorKind::Agent.into(),
        id: order.agent_id,
    };
    let found = find_ticket(connection, &agent, order).await?;
    let (mut change, is_opened) = match found {
        Found::Open(mut change) => {
            // An agent who has the ticket needs not be assigned to it again.
            let is_his = change.facts.agent_id == Some(order.agent_id);
            if !is_his || change.facts.state != TicketState::Open {
                assign(&mut change, author, order.agent_id);
            }
            (*change, false)
        }
        Found::Closed(chosen) => {
            let new = NewTicket {
                tenant_id: order.tenant_id,
                bot_id: chosen.bot_id,
                queue_id: chosen.queue_id,
                contact_id: chosen.reached_contact_id.unwrap_or(chosen.contact_id),
                agent_id: Some(order.agent_id),
                previous_ticket_id: Some(chosen.key.ticket_id),
            };
            let change = TicketChange::open(connection, policies, &new, author).await?;
            (change, true)
        }
    };

    let message = NewMessage {
        author,
        kind: MessageKind::Chat,
        text: order.text.clone(),
        attachment_urls: [&order.image_url]
            .into_iter()
            .filter(|url| !url.is_empty())
            .cloned()
            .collect(),
        channel_at: None,
    };
    agent_wrote(connection, policies, &mut change, message).await?;
    let idempotency_key = ask_for(connection, &mut change, order).await?;
    let view = change.save(connection).await?;
    Ok(Outreach {
        view,
        is_opened,
        idempotency_key,
    })
}

/// The ticket that an outreach goes on from, locked.
enum Found {
    /// The customer's open one.
    Open(Box<TicketChange>),
    /// There is none; this is the chosen one.
    Closed(Box<TicketFacts>),
}

/// Keeps the contact of the chosen ticket, and locks this ticket and his open one if there is one.
async fn find_ticket(
    connection: &mut PgConnection,
    agent: &Actor,
    order: &OutreachOrder,
) -> Result<Found, Error> {
    let OutreachOrder {
        tenant_id,
        ticket_id,
        ..
    } = *order;
    let not_found = || Error::NotFound {
        kind: "ticket",
        id: ticket_id,
    };
    let key = TicketKey {
        tenant_id,
        ticket_id,
    };
    for _ in 0..MAX_LOOKS {
        let known = tickets::known(connection, &[key]).await?.pop();
        let facts = known.ok_or_else(not_found)?.facts;
        let (contact_id, bot_id) = (facts.contact_id, facts.bot_id);
        contacts::take_turn(connection, contact_id).await?;
        let kept = contacts::keep_current(connection, tenant_id, contact_id).await?;
        let open_id = tickets::open_with_bot(connection, tenant_id, contact_id, bot_id).await?;
        let wanted: Vec<i64> = [ticket_id].into_iter().chain(open_id).collect();
        let mut changes = TicketChange::lock_all(connection, agent, &wanted).await?;
        let chosen = changes.get(&ticket_id).ok_or_else(not_found)?;
        chosen.require_attended()?;
        if kept.is_none() {
            return Err(erased(contact_id));
        }
        if chosen.facts.contact_id != contact_id {
            // It was merged into another contact before it was locked.
            continue;
        }
        let chosen_facts = Box::new(chosen.facts.clone());
        let still_open = tickets::open_with_bot(connection, tenant_id, contact_id, bot_id).await?;
        match still_open {
            None => return Ok(Found::Closed(chosen_facts)),
            Some(open_id) => {
                if let Some(change) = changes.remove(&open_id) {
                    return Ok(Found::Open(Box::new(change)));
                }
            }
        }
    }
    Err(Error::Changed)
}

fn erased(contact_id: i64) -> Error {
    Error::Precondition {
        reason: "CONTACT_ERASED",
        subject: format!("contact/{contact_id}"),
        description: "the personal data of the ticket's customer were erased",
    }
}

/// Records that the message is to be sent, and returns its key.
async fn ask_for(
    connection: &mut PgConnection,
    change: &mut TicketChange,
    order: &OutreachOrder,
) -> Result<String, Error> {
    let key = change.facts.key;
    let idempotency_key = format!("ticket/{}/outreach/{}", key.ticket_id, order.request_id);
    // Its first answer was forgotten: whoever repeats it so late gets no second message.
    if active_messages::is_known(connection, key, &idempotency_key).await? {
        return Err(Error::RequestIdReused);
    }
    let recipient = parties::recipients(connection, &[key]).await?.pop();
    let recipient = recipient.ok_or(Error::OutOfRange("contact_id"))?;
    let account_id = change.settings.channel_account_id;
    let facts = &change.facts;
    let last_wrote_at = tickets::last_wrote_by(
        connection,
        key.tenant_id,
        account_id,
        facts.contact_id,
        facts.reached_contact_id.unwrap_or(facts.contact_id),
    )
    .await?;
    let message = ActiveMessage {
        tenant_id: key.tenant_id,
        idempotency_key: idempotency_key.clone(),
        kind: ActiveMessageKind::Outreach.into(),
        bot_id: change.facts.bot_id,
        ticket_id: key.ticket_id,
        contact_id: recipient.contact_id,
        recipient: Some(recipient.identity),
        channel_account_id: account_id,
        text: order.text.clone(),
        image_url: order.image_url.clone(),
        last_customer_message_time: last_wrote_at.map(to_proto),
        valid_until_time: None,
    };
    active_messages::insert(connection, &[(message.clone(), change.now())]).await?;
    let author = Author {
        kind: AuthorKind::Agent.into(),
        id: order.agent_id,
    };
    change.record(
        author,
        Payload::ActiveMessageRequested(ActiveMessageRequested {
            message: Some(message),
        }),
    );
    Ok(idempotency_key)
}
