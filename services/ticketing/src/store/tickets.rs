//! What is known of a ticket besides its clock.

mod list;
mod of_contact;
mod rows;
mod save;

use jiff::Timestamp;
use plazo_domain::{
    Automation, AutomationPause, Clock, CloseSource, ClosingNote, TicketState, TimeValue,
};
use plazo_proto::common::v1::Author;
use sqlx::PgConnection;

use self::rows::FactsRow;
use crate::error::Error;
use crate::store::clocks::{TicketKey, columns_of};

pub use list::{TicketQuery, known_ids, list};
pub use of_contact::{count_of_contact, give_to_contact, ids_of_contact, open_ids_of_contact};
pub use save::save;

/// A row of `tickets`.
#[derive(Debug, Clone, PartialEq)]
pub struct TicketFacts {
    /// Which ticket.
    pub key: TicketKey,
    /// Its bot.
    pub bot_id: i64,
    /// Its queue.
    pub queue_id: Option<i64>,
    /// The customer.
    pub contact_id: i64,
    /// The agent it is assigned to.
    pub agent_id: Option<i64>,
    /// Where it stands.
    pub state: TicketState,
    /// The ticket that it continues.
    pub previous_ticket_id: Option<i64>,
    /// Sorted, each once.
    pub tags: Vec<String>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When an agent was first assigned.
    pub first_assigned_at: Option<Timestamp>,
    /// When an agent first wrote.
    pub first_agent_message_at: Option<Timestamp>,
    /// How it was closed; none while it is open.
    pub closure: Option<Closure>,
    /// Closed and hidden from the lists.
    pub is_unlinked: bool,
    /// How it was before its last close, as long as it is closed.
    pub before_close: Option<BeforeClose>,
    /// The hold, if there is one. When it ends is the clock's.
    pub hold: Option<HoldFacts>,
    /// The merged contact by whose channel identity the customer is reached; none when it is `contact_id`'s.
    pub reached_contact_id: Option<i64>,
    /// The customer's personal data are erased: nobody changes the ticket any more.
    pub is_erased: bool,
}

/// How a ticket was before it was closed.
#[derive(Debug, Clone, PartialEq)]
pub struct BeforeClose {
    /// Where it stood.
    pub state: TicketState,
    /// The agent it was assigned to.
    pub agent_id: Option<i64>,
    /// The tags that the close added.
    pub added_tags: Vec<String>,
    /// The pause of the automation that the close ended; [`Automation::Running`] when there was none.
    pub ended_pause: Automation,
}

/// Why and since when a ticket is on hold.
#[derive(Debug, Clone, PartialEq)]
pub struct HoldFacts {
    /// Why.
    pub reason: String,
    /// When it began, however often it was changed since.
    pub started_at: Timestamp,
    /// Who put it on hold, or changed the hold last.
    pub author: Author,
}

/// How a ticket was closed.
#[derive(Debug, Clone, PartialEq)]
pub struct Closure {
    /// When.
    pub closed_at: Timestamp,
    /// What closed it.
    pub source: CloseSource,
    /// Who.
    pub author: Author,
    /// The note that was left.
    pub note: Option<ClosingNote>,
    /// For a close by inactivity: where the customer goes.
    pub exit_route: String,
}

/// What a ticket's bot says at this moment.
#[derive(Debug, Clone)]
pub struct BotSettings {
    /// The policy in force for new cycles: that of the ticket's queue, else the bot's.
    pub policy_version: Option<i64>,
    /// Where a customer goes whose ticket is closed by inactivity.
    pub exit_route: String,
    /// The channel account that sends active messages; 0 for none.
    pub channel_account_id: i64,
    /// How long a customer's message still opens a closed ticket.
    pub reopen_window: TimeValue,
    /// For how long the automation pauses when people take over.
    pub automation_pause: AutomationPause,
    /// The longest hold.
    pub max_hold: TimeValue,
    /// How long after a close by inactivity an earlier reply supersedes it.
    pub late_reply_grace: TimeValue,
    /// The sources of a close that remove the agent.
    pub unassign_on_close: Vec<CloseSource>,
}

/// A ticket as it was read.
#[derive(Debug, Clone)]
pub struct KnownTicket {
    /// What is known of it.
    pub facts: TicketFacts,
    /// What its bot says.
    pub settings: BotSettings,
    /// Its clock as committed.
    pub clock: ClockView,
    /// Not false unless an agent calls who is none of the ticket's bot.
    pub is_attended: bool,
}

/// A ticket's clock as committed, read without a lock.
#[derive(Debug, Clone)]
pub struct ClockView {
    /// Number of its last event.
    pub ticket_seq: i64,
    /// Cycle, alert, generation and next due instant.
    pub clock: Clock,
    /// When the customer last wrote.
    pub last_customer_message_at: Option<Timestamp>,
    /// The database's time when it was read.
    pub now: Timestamp,
}

/// A new ticket.
#[derive(Debug, Clone)]
pub struct NewTicket {
    /// The tenant.
    pub tenant_id: i64,
    /// The bot.
    pub bot_id: i64,
    /// The queue.
    pub queue_id: Option<i64>,
    /// The customer, by the contact whose channel identity reaches him: it may be part of another contact.
    pub contact_id: i64,
    /// The agent to assign at once.
    pub agent_id: Option<i64>,
    /// The ticket that it continues.
    pub previous_ticket_id: Option<i64>,
}

/// A ticket that was inserted.
#[derive(Debug)]
pub struct InsertedTicket {
    /// What is known of it.
    pub facts: TicketFacts,
    /// The version of the calendar that its bot has at this moment.
    pub calendar_version: Option<i64>,
}

/// Inserts a ticket as of now, for a contact that is `new.contact_id` or has it as a part.
pub async fn insert(
    connection: &mut PgConnection,
    new: &NewTicket,
    contact_id: i64,
) -> Result<InsertedTicket, Error> {
    let state = TicketState::when_opened(new.agent_id.is_some());
    let reached_contact_id = (new.contact_id != contact_id).then_some(new.contact_id);
    let row = sqlx::query!(
        r#"INSERT INTO tickets
            (tenant_id, bot_id, queue_id, contact_id, agent_id, state, previous_ticket_id, opened_at,
             first_assigned_at, reached_contact_id)
         SELECT $1, $2, $3, $4, $5, $6, $7, opened_at,
             CASE WHEN $5::bigint IS NULL THEN NULL ELSE opened_at END, $8
         FROM clock_timestamp() AS opened_at
         RETURNING ticket_id, opened_at, (
             SELECT calendars.calendar_version
             FROM bots
             JOIN calendars ON calendars.tenant_id = bots.tenant_id AND calendars.calendar_id = bots.calendar_id
             WHERE bots.tenant_id = $1 AND bots.bot_id = $2
         ) AS "calendar_version?""#,
        new.tenant_id,
        new.bot_id,
        new.queue_id,
        contact_id,
        new.agent_id,
        state.code(),
        new.previous_ticket_id,
        reached_contact_id
    )
    .fetch_one(connection)
    .await?;
    let opened_at = row.opened_at.to_jiff();
    let facts = TicketFacts {
        key: TicketKey {
            tenant_id: new.tenant_id,
            ticket_id: row.ticket_id,
        },
        bot_id: new.bot_id,
        queue_id: new.queue_id,
        contact_id,
        agent_id: new.agent_id,
        state,
        previous_ticket_id: new.previous_ticket_id,
        tags: Vec::new(),
        opened_at,
        first_assigned_at: new.agent_id.map(|_| opened_at),
        first_agent_message_at: None,
        closure: None,
        is_unlinked: false,
        before_close: None,
        hold: None,
        reached_contact_id,
        is_erased: false,
    };
    Ok(InsertedTicket {
        facts,
        calendar_version: row.calendar_version,
    })
}

/// What is known of tickets, each as of one moment, in no order; those that don't exist are missing.
pub async fn known(
    connection: &mut PgConnection,
    keys: &[TicketKey],
) -> Result<Vec<KnownTicket>, Error> {
    known_to(connection, keys, None).await
}

/// The same for an agent who calls, if it is one.
pub async fn known_to(
    connection: &mut PgConnection,
    keys: &[TicketKey],
    caller_agent_id: Option<i64>,
) -> Result<Vec<KnownTicket>, Error> {
    let (tenant_ids, ticket_ids) = columns_of(keys);
    let rows = sqlx::query_file_as!(
        FactsRow,
        "queries/ticket_facts.sql",
        &tenant_ids,
        &ticket_ids,
        caller_agent_id
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(FactsRow::into_known).collect()
}

/// The open ticket of a contact with one of some bots, the last opened if there are several; else the last closed one.
pub async fn of_contact(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
    bot_ids: &[i64],
) -> Result<Option<i64>, Error> {
    let ticket_id = sqlx::query_scalar!(
        "SELECT ticket_id FROM tickets WHERE tenant_id = $1 AND contact_id = $2 AND bot_id = ANY ($3)
         ORDER BY is_open DESC, ticket_id DESC LIMIT 1",
        tenant_id,
        contact_id,
        bot_ids
    )
    .fetch_optional(connection)
    .await?;
    Ok(ticket_id)
}

/// The open ticket of a contact with a bot, the last opened if there are several.
pub async fn open_with_bot(
    connection: &mut PgConnection,
    tenant_id: i64,
    contact_id: i64,
    bot_id: i64,
) -> Result<Option<i64>, Error> {
    let ticket_id = sqlx::query_scalar!(
        "SELECT ticket_id FROM tickets
         WHERE tenant_id = $1 AND contact_id = $2 AND is_open AND bot_id = $3
         ORDER BY ticket_id DESC LIMIT 1",
        tenant_id,
        contact_id,
        bot_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(ticket_id)
}

/// When a customer last wrote by a channel account and a contact's channel identity, in whichever ticket.
pub async fn last_wrote_by(
    connection: &mut PgConnection,
    tenant_id: i64,
    channel_account_id: i64,
    contact_id: i64,
    reached_contact_id: i64,
) -> Result<Option<Timestamp>, Error> {
    let last = sqlx::query_scalar!(
        "SELECT max(clocks.last_customer_message_at)
         FROM tickets
         JOIN bots ON bots.tenant_id = tickets.tenant_id AND bots.bot_id = tickets.bot_id
         JOIN ticket_clocks AS clocks
             ON clocks.tenant_id = tickets.tenant_id AND clocks.ticket_id = tickets.ticket_id
         WHERE tickets.tenant_id = $1 AND bots.channel_account_id = $2 AND tickets.contact_id = $3
             AND coalesce(tickets.reached_contact_id, tickets.contact_id) = $4",
        tenant_id,
        channel_account_id,
        contact_id,
        reached_contact_id
    )
    .fetch_one(connection)
    .await?;
    Ok(last.map(jiff_sqlx::Timestamp::to_jiff))
}

/// The last ticket that continues this one.
pub async fn continuation(
    connection: &mut PgConnection,
    key: TicketKey,
) -> Result<Option<i64>, Error> {
    let ticket_id = sqlx::query_scalar!(
        "SELECT ticket_id FROM tickets WHERE tenant_id = $1 AND previous_ticket_id = $2
         ORDER BY ticket_id DESC LIMIT 1",
        key.tenant_id,
        key.ticket_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(ticket_id)
}
