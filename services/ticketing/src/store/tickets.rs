//! What is known of a ticket besides its clock.

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as SqlTimestamp, ToSqlx as _};
use plazo_domain::{Clock, CloseSource, ClosingNote, TicketState, TimeUnit, TimeValue};
use plazo_proto::common::v1::Author;
use sqlx::PgConnection;

use crate::error::Error;
use crate::store::clocks::{ClockColumns, TicketKey, clock_from_columns, columns_of};
use crate::store::events::author_code;

/// Stands between the tags of a ticket on their way to the database.
const TAG_SEPARATOR: &str = "\u{1f}";

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
    /// The policy in force for new cycles.
    pub policy_version: Option<i64>,
    /// Where a customer goes whose ticket is closed by inactivity.
    pub exit_route: String,
    /// The channel account that sends active messages; 0 for none.
    pub channel_account_id: i64,
    /// How long a customer's message still opens a closed ticket.
    pub reopen_window: TimeValue,
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
    /// The customer.
    pub contact_id: i64,
    /// The agent to assign at once.
    pub agent_id: Option<i64>,
    /// The ticket that it continues.
    pub previous_ticket_id: Option<i64>,
}

/// Inserts a ticket as of now.
pub async fn insert(connection: &mut PgConnection, new: &NewTicket) -> Result<TicketFacts, Error> {
    let state = TicketState::when_opened(new.agent_id.is_some());
    let row = sqlx::query!(
        "INSERT INTO tickets
            (tenant_id, bot_id, queue_id, contact_id, agent_id, state, previous_ticket_id, opened_at,
             first_assigned_at)
         SELECT $1, $2, $3, $4, $5, $6, $7, opened_at,
             CASE WHEN $5::bigint IS NULL THEN NULL ELSE opened_at END
         FROM clock_timestamp() AS opened_at
         RETURNING ticket_id, opened_at",
        new.tenant_id,
        new.bot_id,
        new.queue_id,
        new.contact_id,
        new.agent_id,
        state.code(),
        new.previous_ticket_id
    )
    .fetch_one(connection)
    .await?;
    let opened_at = row.opened_at.to_jiff();
    Ok(TicketFacts {
        key: TicketKey {
            tenant_id: new.tenant_id,
            ticket_id: row.ticket_id,
        },
        bot_id: new.bot_id,
        queue_id: new.queue_id,
        contact_id: new.contact_id,
        agent_id: new.agent_id,
        state,
        previous_ticket_id: new.previous_ticket_id,
        tags: Vec::new(),
        opened_at,
        first_assigned_at: new.agent_id.map(|_| opened_at),
        first_agent_message_at: None,
        closure: None,
    })
}

struct FactsRow {
    tenant_id: i64,
    ticket_id: i64,
    bot_id: i64,
    queue_id: Option<i64>,
    contact_id: i64,
    agent_id: Option<i64>,
    state: i16,
    previous_ticket_id: Option<i64>,
    tags: Vec<String>,
    opened_at: SqlTimestamp,
    first_assigned_at: Option<SqlTimestamp>,
    first_agent_message_at: Option<SqlTimestamp>,
    closed_at: Option<SqlTimestamp>,
    close_source: Option<i16>,
    close_author_kind: Option<i16>,
    close_author_id: Option<i64>,
    close_category: Option<String>,
    close_summary: Option<String>,
    close_exit_route: Option<String>,
    bot_policy_version: Option<i64>,
    bot_exit_route: String,
    bot_channel_account_id: i64,
    reopen_window_value: i32,
    reopen_window_unit: i16,
    ticket_seq: i64,
    generation: i64,
    next_due_at: Option<SqlTimestamp>,
    last_cycle: i32,
    anchor_at: Option<SqlTimestamp>,
    policy_version: Option<i64>,
    stages_done: i16,
    warning_accepted_at: Option<SqlTimestamp>,
    alert: i16,
    last_customer_message_at: Option<SqlTimestamp>,
    now: SqlTimestamp,
}

impl FactsRow {
    fn closure(&self) -> Result<Option<Closure>, Error> {
        let Some(closed_at) = self.closed_at else {
            return Ok(None);
        };
        let source = self
            .close_source
            .and_then(CloseSource::from_code)
            .ok_or(Error::OutOfRange("close_source"))?;
        let author = Author {
            kind: self.close_author_kind.unwrap_or_default().into(),
            id: self.close_author_id.unwrap_or_default(),
        };
        let note = match (&self.close_category, &self.close_summary) {
            (Some(category), Some(summary)) => Some(ClosingNote {
                category: category.clone(),
                summary: summary.clone(),
            }),
            _ => None,
        };
        Ok(Some(Closure {
            closed_at: closed_at.to_jiff(),
            source,
            author,
            note,
            exit_route: self.close_exit_route.clone().unwrap_or_default(),
        }))
    }

    fn settings(&self) -> Result<BotSettings, Error> {
        let reopen_window = TimeUnit::from_code(self.reopen_window_unit)
            .and_then(|unit| TimeValue::new(self.reopen_window_value, unit).ok())
            .ok_or(Error::OutOfRange("reopen_window"))?;
        Ok(BotSettings {
            policy_version: self.bot_policy_version,
            exit_route: self.bot_exit_route.clone(),
            channel_account_id: self.bot_channel_account_id,
            reopen_window,
        })
    }

    fn clock(&self) -> Result<ClockView, Error> {
        let clock = clock_from_columns(ClockColumns {
            generation: self.generation,
            next_due_at: self.next_due_at,
            last_cycle: self.last_cycle,
            anchor_at: self.anchor_at,
            policy_version: self.policy_version,
            stages_done: self.stages_done,
            warning_accepted_at: self.warning_accepted_at,
            alert: self.alert,
        })?;
        Ok(ClockView {
            ticket_seq: self.ticket_seq,
            clock,
            last_customer_message_at: self.last_customer_message_at.map(SqlTimestamp::to_jiff),
            now: self.now.to_jiff(),
        })
    }

    fn into_known(self) -> Result<KnownTicket, Error> {
        let closure = self.closure()?;
        let settings = self.settings()?;
        let clock = self.clock()?;
        let facts = TicketFacts {
            key: TicketKey {
                tenant_id: self.tenant_id,
                ticket_id: self.ticket_id,
            },
            bot_id: self.bot_id,
            queue_id: self.queue_id,
            contact_id: self.contact_id,
            agent_id: self.agent_id,
            state: TicketState::from_code(self.state).ok_or(Error::OutOfRange("state"))?,
            previous_ticket_id: self.previous_ticket_id,
            tags: self.tags,
            opened_at: self.opened_at.to_jiff(),
            first_assigned_at: self.first_assigned_at.map(SqlTimestamp::to_jiff),
            first_agent_message_at: self.first_agent_message_at.map(SqlTimestamp::to_jiff),
            closure,
        };
        Ok(KnownTicket {
            facts,
            settings,
            clock,
        })
    }
}

/// What is known of tickets, each as of one moment, in no order; those that don't exist are missing.
pub async fn known(
    connection: &mut PgConnection,
    keys: &[TicketKey],
) -> Result<Vec<KnownTicket>, Error> {
    let (tenant_ids, ticket_ids) = columns_of(keys);
    let rows = sqlx::query_file_as!(
        FactsRow,
        "queries/ticket_facts.sql",
        &tenant_ids,
        &ticket_ids
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(FactsRow::into_known).collect()
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

/// Writes tickets as they now are. Their rows in `ticket_clocks` are locked.
pub async fn save(connection: &mut PgConnection, tickets: &[&TicketFacts]) -> Result<(), Error> {
    if tickets.is_empty() {
        return Ok(());
    }
    let keys: Vec<TicketKey> = tickets.iter().map(|ticket| ticket.key).collect();
    let (tenant_ids, ticket_ids) = columns_of(&keys);
    let agents: Vec<Option<i64>> = tickets.iter().map(|ticket| ticket.agent_id).collect();
    let states: Vec<i16> = tickets.iter().map(|ticket| ticket.state.code()).collect();
    let assigned: Vec<_> = tickets
        .iter()
        .map(|ticket| ticket.first_assigned_at.map(jiff_sqlx::ToSqlx::to_sqlx))
        .collect();
    let answered: Vec<_> = tickets
        .iter()
        .map(|ticket| {
            ticket
                .first_agent_message_at
                .map(jiff_sqlx::ToSqlx::to_sqlx)
        })
        .collect();
    let tags: Vec<String> = tickets
        .iter()
        .map(|ticket| ticket.tags.join(TAG_SEPARATOR))
        .collect();
    let closed: Vec<_> = closure_column(tickets, |closure| closure.closed_at.to_sqlx());
    let sources: Vec<_> = closure_column(tickets, |closure| closure.source.code());
    let author_kinds: Vec<_> = closure_column(tickets, |closure| author_code(&closure.author));
    let author_ids: Vec<_> = closure_column(tickets, |closure| closure.author.id);
    let categories: Vec<_> = note_column(tickets, |note| note.category.clone());
    let summaries: Vec<_> = note_column(tickets, |note| note.summary.clone());
    let routes: Vec<_> = closure_column(tickets, |closure| closure.exit_route.clone());
    sqlx::query_file!(
        "queries/save_facts.sql",
        &tenant_ids,
        &ticket_ids,
        &agents as &[Option<i64>],
        &states,
        &assigned as &[Option<SqlTimestamp>],
        &answered as &[Option<SqlTimestamp>],
        &tags,
        &closed as &[Option<SqlTimestamp>],
        &sources as &[Option<i16>],
        &author_kinds as &[Option<i16>],
        &author_ids as &[Option<i64>],
        &categories as &[Option<String>],
        &summaries as &[Option<String>],
        &routes as &[Option<String>]
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn closure_column<T>(tickets: &[&TicketFacts], column: impl Fn(&Closure) -> T) -> Vec<Option<T>> {
    tickets
        .iter()
        .map(|ticket| ticket.closure.as_ref().map(&column))
        .collect()
}

fn note_column(
    tickets: &[&TicketFacts],
    column: impl Fn(&ClosingNote) -> String,
) -> Vec<Option<String>> {
    tickets
        .iter()
        .map(|ticket| ticket.closure.as_ref()?.note.as_ref().map(&column))
        .collect()
}

/// Which tickets to list.
#[derive(Debug, Clone)]
pub struct TicketQuery {
    /// The tenant.
    pub tenant_id: i64,
    /// Only these states.
    pub states: Vec<TicketState>,
    /// Only this bot.
    pub bot_id: Option<i64>,
    /// Only this queue.
    pub queue_id: Option<i64>,
    /// Only this agent.
    pub agent_id: Option<i64>,
    /// The bots that the actor may see; none for all.
    pub permitted_bots: Option<Vec<i64>>,
}

impl TicketQuery {
    /// Whether a ticket is one of those that the query asks for.
    pub fn matches(&self, ticket: &TicketFacts) -> bool {
        ticket.key.tenant_id == self.tenant_id
            && self.states.contains(&ticket.state)
            && self.bot_id.is_none_or(|bot_id| ticket.bot_id == bot_id)
            && self
                .queue_id
                .is_none_or(|queue_id| ticket.queue_id == Some(queue_id))
            && self
                .agent_id
                .is_none_or(|agent_id| ticket.agent_id == Some(agent_id))
            && self
                .permitted_bots
                .as_ref()
                .is_none_or(|bots| bots.contains(&ticket.bot_id))
    }

    /// By what to list: the narrowest condition that has an index.
    fn index(&self) -> (&'static str, i64) {
        match (self.agent_id, self.queue_id, self.bot_id) {
            (Some(agent_id), _, _) => ("agent", agent_id),
            (None, Some(queue_id), _) => ("queue", queue_id),
            (None, None, Some(bot_id)) => ("bot", bot_id),
            (None, None, None) => ("tenant", 0),
        }
    }
}

/// Ids of tickets below `before_id`, the highest first.
pub async fn list(
    connection: &mut PgConnection,
    query: &TicketQuery,
    before_id: i64,
    limit: i64,
) -> Result<Vec<i64>, Error> {
    let states: Vec<i16> = query.states.iter().map(|state| state.code()).collect();
    let (index, index_id) = query.index();
    let mut ids = Vec::new();
    for is_open in [true, false] {
        if !query.states.iter().any(|state| state.is_open() == is_open) {
            continue;
        }
        let page = sqlx::query_file_scalar!(
            "queries/list_ticket_ids.sql",
            query.tenant_id,
            is_open,
            before_id,
            index,
            index_id,
            &states,
            query.permitted_bots.as_deref() as Option<&[i64]>,
            query.bot_id,
            query.queue_id,
            limit
        )
        .fetch_all(&mut *connection)
        .await?;
        ids.extend(page);
    }
    ids.sort_unstable_by(|one, other| other.cmp(one));
    ids.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(ids)
}
