//! The rows of history's tables. The only place here that knows their columns.

use plazo_history::{phone_digits, search_key};
use plazo_proto::common::v1::AuthorKind;
use plazo_proto::history::v1::ConversationEntryKind;
use plazo_proto::ticketing::v1::{CycleKind, MessageKind, TicketState};
use sqlx::PgConnection;

use super::contact::ContactData;
use super::copy::Rows;
use super::fold::{Facts, length};
use super::story::{Event, Step, Story};
use super::world::Place;

const TICKETS: &str = "tenant_id, ticket_id, bot_id, queue_id, agent_id, state, opened_at, previous_ticket_id, tags,
    customer_message_count, agent_message_count, reopen_count, contact_id, contact_name, contact_email,
    contact_phone, contact_channel, contact_address, closed_at, close_source, close_author_kind, close_author_id,
    close_exit_route, close_category, close_summary, is_unlinked, first_assigned_at, first_agent_message_at,
    first_closed_at, later_response_count, later_response_ms, handling_ms, calendar_version, business_wait_ms,
    business_first_response_ms, business_later_response_ms, business_first_resolution_ms,
    business_full_resolution_ms, business_handling_ms, assigned_agent_id, customer_waits_since, handled_since, last_interaction_at, ticket_seq,
    first_queue_id, opened_by_kind, opened_by_id";
const ENTRIES: &str =
    "tenant_id, ticket_id, ticket_seq, kind, message_id, author_kind, author_id, text,
    attachment_urls, recorded_at, channel_at";
const FIRINGS: &str =
    "tenant_id, ticket_id, ticket_seq, bot_id, queue_id, stage, cycle_kind, fired_at, late_ms";
const DEALINGS: &str =
    "tenant_id, agent_id, contact_id, ticket_id, bot_id, last_dealt_at, closed_at,
    closed_interaction_at, contact_name_key, contact_other_keys";
const CONTACTS: &str =
    "tenant_id, contact_id, name, email, phone, channel, address, last_interaction_at, told_at,
    told_ticket_id, name_key, email_key, phone_digits";

/// Events of a ticket have at most this many messages: their ids lie so far apart.
const MESSAGE_IDS: i64 = 64;

/// Rows of some tickets.
#[derive(Debug)]
pub(super) struct TicketRows {
    tenant_id: i64,
    tickets: Rows,
    entries: Rows,
    firings: Rows,
    dealings: Rows,
}

/// How many rows there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Tickets.
    pub tickets: u64,
    /// Entries of their conversations.
    pub entries: u64,
    /// Stages that took effect.
    pub firings: u64,
    /// Agents who dealt with a ticket.
    pub dealings: u64,
    /// Contacts.
    pub contacts: u64,
}

impl TicketRows {
    pub(super) fn new(tenant_id: i64) -> Self {
        Self {
            tenant_id,
            tickets: Rows::new(),
            entries: Rows::new(),
            firings: Rows::new(),
            dealings: Rows::new(),
        }
    }

    pub(super) fn counts(&self) -> RowCounts {
        RowCounts {
            tickets: self.tickets.count(),
            entries: self.entries.count(),
            firings: self.firings.count(),
            dealings: self.dealings.count(),
            contacts: 0,
        }
    }

    /// Adds a ticket with all that belongs to it.
    pub(super) fn add(&mut self, story: &Story, facts: &Facts) {
        self.add_ticket(story, facts);
        let mut queue_id = story.place.queue_id;
        for (ticket_seq, event) in (1..).zip(&story.events) {
            match &event.step {
                Step::Transferred { queue_id: next, .. } => queue_id = *next,
                Step::Written { .. } | Step::Requested { .. } => {
                    self.add_entry(story, ticket_seq, event);
                }
                Step::Fired { .. } => self.add_firing(story, ticket_seq, queue_id, event),
                _ => {}
            }
        }
        let closed_us = facts.closed.as_ref().map(|(at_us, ..)| *at_us);
        let contact = &story.contact;
        let name_key = search_key(&contact.name);
        let (email_key, digits) = (search_key(&contact.email), phone_digits(&contact.phone));
        let other_keys = format!(" {email_key} {digits}");
        for (agent_id, last_dealt_us) in &facts.dealings {
            self.dealings
                .row(10)
                .i64(self.tenant_id)
                .i64(*agent_id)
                .i64(story.contact_id)
                .i64(story.place.ticket_id)
                .i64(story.place.bot_id)
                .instant(*last_dealt_us)
                .instant_or_null(closed_us)
                .instant_or_null(closed_us.map(|_| facts.last_interaction_us))
                .text(&name_key)
                .text(&other_keys);
        }
    }

    /// Puts all rows into their tables.
    pub(super) async fn write(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.tickets.write(connection, "tickets", TICKETS).await?;
        let entries = self.entries;
        entries
            .write(connection, "conversation_entries", ENTRIES)
            .await?;
        let firings = self.firings;
        firings.write(connection, "stage_firings", FIRINGS).await?;
        self.dealings.write(connection, "dealings", DEALINGS).await
    }

    fn add_ticket(&mut self, story: &Story, facts: &Facts) {
        let (place, contact) = (&story.place, &story.contact);
        let row = self.tickets.row(47);
        row.i64(self.tenant_id)
            .i64(place.ticket_id)
            .i64(place.bot_id)
            .i64(facts.queue_id)
            .i64(facts.agent_id)
            .i32(TicketState::Closed.into())
            .instant(place.opened_us)
            .i64(place.previous_ticket_id)
            .texts(&facts.tags)
            .i32(facts.customer_message_count)
            .i32(facts.agent_message_count)
            .i32(facts.reopen_count)
            .i64(story.contact_id)
            .text(&contact.name)
            .text(&contact.email)
            .text(&contact.phone)
            .i32(contact.channel.into())
            .text(&contact.address);
        add_closure(row, facts);
        add_times(row, story, facts);
        let last_seq = i64::try_from(story.events.len()).expect("a few");
        let opened_by = story.events.first().map(|event| event.author);
        let opened_by = opened_by.unwrap_or_default();
        row.i64(facts.assigned_agent_id)
            .instant_or_null(facts.customer_waits_since_us)
            .instant_or_null(facts.handled_since_us)
            .instant(facts.last_interaction_us)
            .i64(last_seq)
            .i64(place.queue_id)
            .i32(opened_by.kind)
            .i64(opened_by.id);
    }

    fn add_entry(&mut self, story: &Story, ticket_seq: i64, event: &Event) {
        let (kind, message_id, text) = match &event.step {
            Step::Written { kind, text } => {
                let kind = match kind {
                    MessageKind::Note => ConversationEntryKind::Note,
                    MessageKind::Comment => ConversationEntryKind::Comment,
                    MessageKind::Chat | MessageKind::Unspecified => ConversationEntryKind::Chat,
                };
                (kind, message_id(story, ticket_seq), text)
            }
            Step::Requested {
                is_warning: true,
                text,
            } => (ConversationEntryKind::Warning, 0, text),
            Step::Requested { text, .. } => (ConversationEntryKind::ClosingText, 0, text),
            _ => return,
        };
        self.entries
            .row(11)
            .i64(self.tenant_id)
            .i64(story.place.ticket_id)
            .i64(ticket_seq)
            .i32(kind.into())
            .i64(message_id)
            .i32(event.author.kind)
            .i64(event.author.id)
            .text(text)
            .texts(&[])
            .instant(event.at_us)
            .instant_or_null(channel_us(event));
    }

    fn add_firing(&mut self, story: &Story, ticket_seq: i64, queue_id: i64, event: &Event) {
        let Step::Fired {
            stage,
            late_ms,
            is_unanswered,
        } = event.step
        else {
            return;
        };
        self.firings
            .row(9)
            .i64(self.tenant_id)
            .i64(story.place.ticket_id)
            .i64(ticket_seq)
            .i64(story.place.bot_id)
            .i64(queue_id)
            .i32(stage.into())
            .i32(cycle_kind(is_unanswered).into())
            .instant(event.at_us)
            .i64(late_ms);
    }
}

/// The id of the message that an event of a ticket records.
pub fn message_id(story: &Story, ticket_seq: i64) -> i64 {
    story.place.ticket_id * MESSAGE_IDS + ticket_seq
}

/// What the channel says about when a message was written: whole seconds, of customers' messages alone.
pub fn channel_us(event: &Event) -> Option<i64> {
    let is_customers = event.author.kind() == AuthorKind::Customer;
    is_customers.then(|| event.at_us.div_euclid(1_000_000) * 1_000_000)
}

/// The kind of cycle that a stage belongs to.
pub fn cycle_kind(is_unanswered: bool) -> CycleKind {
    if is_unanswered {
        CycleKind::CustomerWaits
    } else {
        CycleKind::CustomerSilent
    }
}

fn add_closure(row: &mut Rows, facts: &Facts) {
    let closed = facts.closed.as_ref();
    let closing = closed.map(|(_, _, closing)| closing);
    let note = closing.and_then(|closing| closing.note);
    row.instant_or_null(closed.map(|(at_us, ..)| *at_us))
        .i32_or_null(closing.map(|closing| closing.source.into()))
        .i32_or_null(closed.map(|(_, author, _)| author.kind))
        .i64_or_null(closed.map(|(_, author, _)| author.id))
        .text_or_null(closing.map(|closing| closing.exit_route))
        .text_or_null(note.map(|(category, _)| category))
        .text_or_null(note.map(|(_, summary)| summary))
        .bool(facts.is_unlinked);
}

fn add_times(row: &mut Rows, story: &Story, facts: &Facts) {
    let calendar_version = Facts::calendar_version(story);
    let has_calendar = calendar_version != 0;
    let since_opening = |at_us: Option<i64>| {
        let at_us = at_us.filter(|_| has_calendar)?;
        Some(length(story.place.opened_us, at_us).business_ms)
    };
    let in_business = |ms: i64| has_calendar.then_some(ms);
    row.instant_or_null(facts.first_assigned_us)
        .instant_or_null(facts.first_agent_message_us)
        .instant_or_null(facts.first_closed_us)
        .i32(facts.later_response_count)
        .i64(facts.later_response.plain_ms)
        .i64(facts.handling.plain_ms)
        .i64(calendar_version)
        .i64_or_null(since_opening(facts.first_assigned_us))
        .i64_or_null(since_opening(facts.first_agent_message_us))
        .i64_or_null(in_business(facts.later_response.business_ms))
        .i64_or_null(since_opening(facts.first_closed_us))
        .i64_or_null(since_opening(
            facts.closed.as_ref().map(|(at_us, ..)| *at_us),
        ))
        .i64_or_null(in_business(facts.handling.business_ms));
}

/// Rows of some contacts.
#[derive(Debug)]
pub(super) struct ContactRows {
    tenant_id: i64,
    contacts: Rows,
}

impl ContactRows {
    pub(super) fn new(tenant_id: i64) -> Self {
        Self {
            tenant_id,
            contacts: Rows::new(),
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.contacts.count()
    }

    /// Adds a contact, of whom this ticket told last.
    pub(super) fn add(
        &mut self,
        contact_id: i64,
        data: &ContactData,
        last_interaction_us: i64,
        told: &Place,
    ) {
        self.contacts
            .row(13)
            .i64(self.tenant_id)
            .i64(contact_id)
            .text(&data.name)
            .text(&data.email)
            .text(&data.phone)
            .i32(data.channel.into())
            .text(&data.address)
            .instant(last_interaction_us)
            .instant(told.opened_us)
            .i64(told.ticket_id)
            .text(&search_key(&data.name))
            .text(&search_key(&data.email))
            .text(&phone_digits(&data.phone));
    }

    pub(super) async fn write(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.contacts.write(connection, "contacts", CONTACTS).await
    }
}
