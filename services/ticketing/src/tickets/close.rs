//! People, bots and back ends close tickets, and open them again. When to close by inactivity is `firing`'s matter.

use plazo_domain::{
    Automation, CloseSource, ClosingNote, Ended, TicketState, check_note, tags_added_by_close,
};
use plazo_proto::common::v1::Author;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    CloseSource as ProtoSource, ClosingNote as ProtoNote, HoldEnd, TicketClosed, TicketReopened,
    TicketUnlinked,
};
use plazo_service::{Actor, ActorKind};
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::settings::bots::{self, NoteRules};
use crate::store::tickets::{BeforeClose, Closure};
use crate::tickets::author_of;
use crate::tickets::change::TicketChange;
use crate::tickets::view::{TicketView, closure_to_proto};

/// How somebody wants to close tickets, checked as far as it can be without them.
#[derive(Debug, Clone)]
pub struct CloseOrder {
    source: CloseSource,
    author: Author,
    note: Option<ClosingNote>,
    is_by_agent: bool,
}

impl CloseOrder {
    /// INVALID when the actor may not say so, or the note is ill-formed.
    pub fn new(actor: &Actor, source: i32, note: Option<&ProtoNote>) -> Result<Self, Error> {
        let note = note.map(|note| ClosingNote {
            category: note.category.clone(),
            summary: note.summary.clone(),
        });
        let violations = note.as_ref().map(|note| check_note("note", note));
        match violations {
            Some(violations) if !violations.is_empty() => Err(Error::Invalid(violations)),
            _ => Ok(Self {
                source: close_source(actor, source)?,
                author: author_of(actor),
                note,
                is_by_agent: matches!(actor.kind, ActorKind::Agent(_)),
            }),
        }
    }

    /// INVALID when the bot wants another note from this actor.
    fn check(&self, rules: &NoteRules) -> Result<(), Error> {
        let is_empty =
            |note: &ClosingNote| note.category.trim().is_empty() && note.summary.trim().is_empty();
        match &self.note {
            None if rules.is_required && self.is_by_agent => Err(Error::invalid(
                "note",
                "must be set: the bot wants a note when an agent closes",
            )),
            Some(note) if rules.is_required && self.is_by_agent && is_empty(note) => {
                Err(Error::invalid("note", "must have a category or a summary"))
            }
            Some(_) if rules.categories.is_empty() => Ok(()),
            // Where a note is needed, so is its category.
            Some(note) if note.category.is_empty() && rules.is_required && self.is_by_agent => {
                Err(Error::invalid(
                    "note.category",
                    "must be set, to one of the bot's note_categories: the bot wants a note when an agent closes",
                ))
            }
            Some(note)
                if !note.category.is_empty() && !rules.categories.contains(&note.category) =>
            {
                Err(Error::invalid(
                    "note.category",
                    "must be empty or one of the bot's note_categories",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Closes a ticket.
pub async fn close_ticket(
    connection: &mut PgConnection,
    actor: &Actor,
    ticket_id: i64,
    etag: &str,
    order: &CloseOrder,
) -> Result<TicketView, Error> {
    let mut change = TicketChange::lock(&mut *connection, actor, ticket_id, etag).await?;
    let rules = bots::note_rules(&mut *connection, actor.tenant_id, &[change.facts.bot_id]).await?;
    change.close_as_ordered(order, &rules)?;
    change.save(connection).await
}

/// Closes a ticket if it is open, and hides it from the lists.
pub async fn unlink_ticket(
    connection: &mut PgConnection,
    actor: &Actor,
    ticket_id: i64,
    etag: &str,
    order: &CloseOrder,
) -> Result<TicketView, Error> {
    let mut change = TicketChange::lock(&mut *connection, actor, ticket_id, etag).await?;
    if change.facts.is_unlinked {
        return Err(Error::Precondition {
            reason: "TICKET_UNLINKED",
            subject: format!("ticket/{ticket_id}"),
            description: "the ticket is unlinked already",
        });
    }
    if change.facts.state.is_open() {
        let bot_id = change.facts.bot_id;
        let rules = bots::note_rules(&mut *connection, actor.tenant_id, &[bot_id]).await?;
        change.close_as_ordered(order, &rules)?;
    }
    change.facts.is_unlinked = true;
    change.record(order.author, Payload::Unlinked(TicketUnlinked {}));
    change.save(connection).await
}

/// The reopen button: the ticket is open, whether or not somebody is assigned.
pub async fn reopen_ticket(
    connection: &mut PgConnection,
    actor: &Actor,
    ticket_id: i64,
    etag: &str,
) -> Result<TicketView, Error> {
    let mut change = TicketChange::lock(&mut *connection, actor, ticket_id, etag).await?;
    if change.facts.state.is_open() {
        return Err(Error::Precondition {
            reason: "TICKET_NOT_CLOSED",
            subject: format!("ticket/{ticket_id}"),
            description: "the ticket is not closed",
        });
    }
    let author = author_of(actor);
    change.reopen(author, TicketState::Open);
    change.pause_automation(author);
    change.save(connection).await
}

impl TicketChange {
    /// Closes an open ticket as somebody ordered. On an error nothing was changed.
    pub fn close_as_ordered(
        &mut self,
        order: &CloseOrder,
        rules: &[NoteRules],
    ) -> Result<(), Error> {
        self.require_open()?;
        if let Some(rules) = rules.iter().find(|rules| rules.bot_id == self.facts.bot_id) {
            order.check(rules)?;
        }
        let closure = Closure {
            closed_at: self.now(),
            source: order.source,
            author: order.author,
            note: order.note.clone(),
            exit_route: String::new(),
        };
        let ended = self.clock().closed();
        self.close(closure, 0, &[], ended);
        Ok(())
    }

    /// Refuses a ticket that is closed.
    pub fn require_open(&self) -> Result<(), Error> {
        if self.facts.state.is_open() {
            return Ok(());
        }
        Err(Error::Precondition {
            reason: "TICKET_CLOSED",
            subject: format!("ticket/{}", self.facts.key.ticket_id),
            description: "the ticket is closed",
        })
    }

    /// Closes the ticket, whose clock has ended, and records it. `cycle` is the one whose close this is, 0 for none.
    pub fn close(&mut self, closure: Closure, cycle: i32, tags: &[String], ended: Ended) {
        let author = closure.author;
        let facts = &mut self.facts;
        let added_tags = tags_added_by_close(&facts.tags, tags);
        facts.before_close = Some(BeforeClose {
            state: facts.state,
            agent_id: facts.agent_id,
            added_tags: added_tags.clone(),
            ended_pause: ended.pause,
        });
        facts.tags.extend(added_tags);
        facts.tags.sort_unstable();
        facts.tags.dedup();
        facts.state = TicketState::Closed;
        let is_unassigned = self.settings.unassign_on_close.contains(&closure.source);
        let unassigned = if is_unassigned {
            facts.agent_id.take()
        } else {
            None
        };
        let payload = TicketClosed {
            closure: Some(closure_to_proto(&closure)),
            cycle,
            tags: facts.tags.clone(),
            unassigned_agent_id: unassigned.unwrap_or_default(),
        };
        facts.closure = Some(closure);
        self.record(author, Payload::Closed(payload));
        self.record_ended(author, HoldEnd::Closed, ended);
    }

    /// Opens a closed ticket again and records it. Whoever waits has no agent.
    pub fn reopen(&mut self, author: Author, state: TicketState) {
        self.facts.state = state;
        self.facts.closure = None;
        self.facts.before_close = None;
        self.facts.is_unlinked = false;
        if state == TicketState::Waiting {
            self.facts.agent_id = None;
        }
        self.record_reopened(author, false);
    }

    /// The customer had answered before the close by inactivity: the ticket is again as it was, and the automation pauses
    /// again, no shorter than it would have without the close.
    pub fn supersede_close(&mut self, author: Author) {
        self.facts.closure = None;
        self.facts.state = TicketState::Open;
        let mut ended_pause = Automation::Running;
        if let Some(before) = self.facts.before_close.take() {
            self.facts.state = before.state;
            self.facts.agent_id = before.agent_id;
            ended_pause = before.ended_pause;
            self.facts
                .tags
                .retain(|tag| !before.added_tags.contains(tag));
        }
        self.record_reopened(author, true);
        let (now, pause) = (self.now(), self.settings.automation_pause);
        if self.clock().restore_pause(ended_pause, now, pause).is_any() {
            self.record_paused(author);
        }
    }

    fn record_reopened(&mut self, author: Author, supersedes_close: bool) {
        let payload = TicketReopened {
            state: self.facts.state.code().into(),
            agent_id: self.facts.agent_id.unwrap_or_default(),
            supersedes_close,
            tags: self.facts.tags.clone(),
            ..TicketReopened::default()
        };
        self.record(author, Payload::Reopened(payload));
    }
}

/// What a close is put down to: what the caller says, as far as he may, else what follows from who he is.
fn close_source(actor: &Actor, asked: i32) -> Result<CloseSource, Error> {
    let Ok(asked) = ProtoSource::try_from(asked) else {
        return Err(Error::invalid("source", "must be a known source"));
    };
    match (&actor.kind, asked) {
        (ActorKind::Agent(_), ProtoSource::Unspecified | ProtoSource::Agent) => {
            Ok(CloseSource::Agent)
        }
        (ActorKind::Agent(_), _) => Err(Error::invalid("source", "must be AGENT for an agent")),
        (ActorKind::Bot(_), ProtoSource::Unspecified) | (_, ProtoSource::Workflow) => {
            Ok(CloseSource::Workflow)
        }
        (_, ProtoSource::Unspecified | ProtoSource::Api) => Ok(CloseSource::Api),
        (_, ProtoSource::Customer) => Ok(CloseSource::Customer),
        (_, ProtoSource::Agent | ProtoSource::CustomerInactivity) => Err(Error::invalid(
            "source",
            "must be CUSTOMER, WORKFLOW or API for this actor",
        )),
    }
}
