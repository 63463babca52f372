//! The same figures from ticketing's tables, by the definitions of `ReportService`; shares no code with history.

use std::collections::BTreeMap;
use std::fmt;

use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{Closure, TicketEvent, TicketState};
use plazo_tests::truth::us_of;
use prost::Message as _;
use sqlx::PgPool;

use super::play::{OpenHours, Play, TENANT};

const CHAT: i16 = 1;
const CUSTOMER: i16 = 1;
const AGENT: i16 = 2;

/// A closed ticket.
#[derive(Debug, Clone)]
pub(super) struct Closed {
    pub(super) ticket_id: i64,
    pub(super) bot_id: i64,
    pub(super) queue_id: i64,
    pub(super) agent_id: i64,
    pub(super) tags: Vec<String>,
    pub(super) open_us: i64,
    /// Those that stand; the first and the last are shown.
    pub(super) closes_us: Vec<i64>,
    pub(super) source: i32,
    pub(super) category: String,
    pub(super) summary: String,
    pub(super) reopen_count: i32,
    /// Of the customer and of agents.
    pub(super) messages: (i32, i32),
    pub(super) later_response_count: i32,
    pub(super) later_response_ms: Option<i64>,
    pub(super) times: [Option<i64>; 6],
    pub(super) business_times: Option<[Option<i64>; 6]>,
    pub(super) is_unlinked: bool,
}

impl Closed {
    pub(super) fn close_us(&self) -> i64 {
        *self.closes_us.last().expect("it was closed")
    }
}

/// As far as the list shows it.
impl PartialEq for Closed {
    fn eq(&self, other: &Self) -> bool {
        let shown = |closed: &Self| {
            (
                (
                    closed.ticket_id,
                    closed.bot_id,
                    closed.queue_id,
                    closed.agent_id,
                ),
                (
                    closed.open_us,
                    closed.closes_us.first().copied(),
                    closed.close_us(),
                ),
                (
                    closed.source,
                    closed.category.clone(),
                    closed.summary.clone(),
                    closed.tags.clone(),
                ),
                (
                    closed.reopen_count,
                    closed.messages,
                    closed.later_response_count,
                ),
                (closed.times, closed.business_times, closed.is_unlinked),
            )
        };
        shown(self) == shown(other)
    }
}

/// A stage that took effect.
#[derive(Debug)]
pub(super) struct Firing {
    pub(super) bot_id: i64,
    pub(super) stage: i32,
    pub(super) cycle_kind: i32,
    pub(super) late_ms: i64,
}

/// All that reports are made of.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) closed: Vec<Closed>,
    pub(super) firings: Vec<Firing>,
    superseded: usize,
}

/// An event: when, and what.
#[derive(Debug, Clone)]
struct Event {
    at_us: i64,
    payload: Payload,
}

/// A chat message: when, and of whom.
#[derive(Debug, Clone, Copy)]
struct Chat {
    at_us: i64,
    author_kind: i16,
}

#[derive(sqlx::FromRow)]
struct TicketRow {
    ticket_id: i64,
    bot_id: i64,
    queue_id: Option<i64>,
    state: i16,
    opened_us: i64,
    tags: Vec<String>,
    is_unlinked: bool,
}

impl Truth {
    pub(super) async fn read(pool: &PgPool, play: &Play) -> Self {
        let tickets: Vec<TicketRow> = sqlx::query_as(
            "SELECT ticket_id, bot_id, queue_id, state, tags, is_unlinked,
                 (extract(epoch FROM opened_at) * 1000000)::bigint AS opened_us
             FROM tickets WHERE tenant_id = $1",
        )
        .bind(TENANT)
        .fetch_all(pool)
        .await
        .expect("tickets can be read");
        let (events, chats) = (read_events(pool).await, read_chats(pool).await);
        let mut truth = Self::default();
        for ticket in tickets {
            let events = events.get(&ticket.ticket_id).expect("a ticket has events");
            let chats = chats.get(&ticket.ticket_id).map_or(&[][..], Vec::as_slice);
            truth.add_firings(ticket.bot_id, events);
            let standing = without_superseded(events);
            truth.superseded += (events.len() - standing.len()) / 2;
            if i32::from(ticket.state) == i32::from(TicketState::Closed) {
                let hours = play.open_hours(ticket.bot_id);
                truth.closed.push(closed(ticket, &standing, chats, hours));
            }
        }
        truth
    }

    fn add_firings(&mut self, bot_id: i64, events: &[Event]) {
        for event in events {
            if let Payload::StageFired(fired) = &event.payload {
                let late_us = event.at_us - us_of(fired.could_act_time.as_ref());
                self.firings.push(Firing {
                    bot_id,
                    stage: fired.stage,
                    cycle_kind: fired.kind,
                    late_ms: late_us / 1_000,
                });
            }
        }
    }

    /// The play had what the report is about.
    pub(super) fn assert_is_of_use(&self) {
        let has = |what: &str, holds: &dyn Fn(&Closed) -> bool| {
            assert!(
                self.closed.iter().any(holds),
                "no conversation {what}: {self}"
            );
        };
        has("was opened again", &|closed| closed.reopen_count > 0);
        has("had later responses", &|closed| {
            closed.later_response_count > 1
        });
        has("was never assigned", &|closed| closed.times[0].is_none());
        has("was closed by inactivity", &|closed| closed.source == 3);
        has("was closed by an agent", &|closed| closed.source == 1);
        has("was closed out of hours in part", &|closed| {
            closed
                .business_times
                .is_some_and(|times| times[4] < closed.times[4] && times[4] > Some(0))
        });
        has("had no calendar", &|closed| closed.business_times.is_none());
        assert!(!self.firings.is_empty());
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sources: BTreeMap<i32, usize> = BTreeMap::new();
        for closed in &self.closed {
            *sources.entry(closed.source).or_default() += 1;
        }
        let reopened = self
            .closed
            .iter()
            .filter(|closed| closed.reopen_count > 0)
            .count();
        write!(
            formatter,
            "{} closed conversations, {reopened} opened again, by source {sources:?}; {} superseded closes, {} firings",
            self.closed.len(),
            self.superseded,
            self.firings.len(),
        )
    }
}

async fn read_events(pool: &PgPool) -> BTreeMap<i64, Vec<Event>> {
    let rows: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT ticket_id, (extract(epoch FROM recorded_at) * 1000000)::bigint, payload
         FROM ticket_events WHERE tenant_id = $1 ORDER BY ticket_id, ticket_seq",
    )
    .bind(TENANT)
    .fetch_all(pool)
    .await
    .expect("events can be read");
    let mut events: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
    for (ticket_id, at_us, payload) in rows {
        let event = TicketEvent::decode(payload.as_slice()).expect("it is an event");
        let payload = event.payload.expect("it says what happened");
        events
            .entry(ticket_id)
            .or_default()
            .push(Event { at_us, payload });
    }
    events
}

async fn read_chats(pool: &PgPool) -> BTreeMap<i64, Vec<Chat>> {
    let rows: Vec<(i64, i64, i16)> = sqlx::query_as(
        "SELECT ticket_id, (extract(epoch FROM recorded_at) * 1000000)::bigint, author_kind
         FROM messages WHERE tenant_id = $1 AND kind = $2 ORDER BY ticket_id, ticket_seq",
    )
    .bind(TENANT)
    .bind(CHAT)
    .fetch_all(pool)
    .await
    .expect("messages can be read");
    let mut chats: BTreeMap<i64, Vec<Chat>> = BTreeMap::new();
    for (ticket_id, at_us, author_kind) in rows {
        chats
            .entry(ticket_id)
            .or_default()
            .push(Chat { at_us, author_kind });
    }
    chats
}

/// The events without the closes that were superseded and what superseded them.
fn without_superseded(events: &[Event]) -> Vec<Event> {
    let mut standing: Vec<Event> = Vec::new();
    for event in events {
        match &event.payload {
            Payload::Reopened(reopened) if reopened.supersedes_close => {
                let is_close = |known: &Event| matches!(known.payload, Payload::Closed(_));
                let close = standing.iter().rposition(is_close);
                standing.remove(close.expect("something was superseded"));
            }
            _ => standing.push(event.clone()),
        }
    }
    standing
}

/// Who has it and how it is, after each event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Standing {
    is_open: bool,
    agent_id: i64,
    is_held: bool,
}

impl Standing {
    fn after(mut self, payload: &Payload) -> Self {
        let mut set = |state: TicketState| {
            self.is_open = state == TicketState::Open;
        };
        match payload {
            Payload::Opened(opened) => {
                set(if opened.agent_id == 0 {
                    TicketState::Waiting
                } else {
                    TicketState::Open
                });
                self.agent_id = opened.agent_id;
            }
            Payload::Assigned(assigned) => {
                set(TicketState::Open);
                self.agent_id = assigned.agent_id;
            }
            Payload::MessageRecorded(recorded) => set(recorded.state()),
            Payload::Closed(closed) => {
                set(TicketState::Closed);
                self.is_held = false;
                if closed.unassigned_agent_id != 0 {
                    self.agent_id = 0;
                }
            }
            Payload::Reopened(reopened) => {
                set(reopened.state());
                self.agent_id = reopened.agent_id;
            }
            Payload::Transferred(_) => {
                set(TicketState::Waiting);
                self.agent_id = 0;
                self.is_held = false;
            }
            Payload::SetOpen(_) => set(TicketState::Open),
            Payload::Held(_) => self.is_held = true,
            Payload::HoldEnded(_) => self.is_held = false,
            _ => {}
        }
        self
    }

    fn is_handled(self) -> bool {
        self.is_open && self.agent_id != 0 && !self.is_held
    }
}

fn closed(ticket: TicketRow, events: &[Event], chats: &[Chat], hours: Option<OpenHours>) -> Closed {
    let closures: Vec<&Closure> = events
        .iter()
        .filter_map(|event| match &event.payload {
            Payload::Closed(closed) => closed.closure.as_ref(),
            _ => None,
        })
        .collect();
    let closes_us: Vec<i64> = closures
        .iter()
        .map(|closure| us_of(closure.close_time.as_ref()))
        .collect();
    let last = closures.last().expect("it is closed");
    let note = last.note.clone().unwrap_or_default();
    let count = |kind: i16| {
        let of_kind = chats.iter().filter(|chat| chat.author_kind == kind).count();
        i32::try_from(of_kind).expect("a small number")
    };
    let opened_us = ticket.opened_us;
    let assigned_us = events.iter().find_map(|event| match &event.payload {
        Payload::Opened(opened) => (opened.agent_id != 0).then_some(event.at_us),
        Payload::Assigned(_) => Some(event.at_us),
        _ => None,
    });
    let answered_us = chats
        .iter()
        .find(|chat| chat.author_kind == AGENT)
        .map(|chat| chat.at_us);
    let responses = later_responses(chats);
    let handled = handled_spans(events);
    let times = |length: &dyn Fn(i64, i64) -> i64| {
        let sum = |spans: &[(i64, i64)]| {
            spans
                .iter()
                .map(|(from, until)| length(*from, *until))
                .sum::<i64>()
        };
        let responses_count = i64::try_from(responses.len()).expect("a small number");
        [
            assigned_us.map(|at| length(opened_us, at)),
            answered_us.map(|at| length(opened_us, at)),
            (responses_count > 0).then(|| sum(&responses) / responses_count.max(1)),
            closes_us.first().map(|at| length(opened_us, *at)),
            closes_us.last().map(|at| length(opened_us, *at)),
            Some(sum(&handled)),
        ]
    };
    let plain_ms = |from: i64, until: i64| (until - from) / 1_000;
    Closed {
        ticket_id: ticket.ticket_id,
        bot_id: ticket.bot_id,
        queue_id: ticket.queue_id.unwrap_or_default(),
        agent_id: last_agent(events),
        tags: ticket.tags,
        open_us: opened_us,
        source: last.source,
        category: note.category,
        summary: note.summary,
        reopen_count: i32::try_from(closes_us.len() - 1).expect("a small number"),
        messages: (count(CUSTOMER), count(AGENT)),
        later_response_count: i32::try_from(responses.len()).expect("a small number"),
        later_response_ms: Some(
            responses
                .iter()
                .map(|(from, until)| plain_ms(*from, *until))
                .sum(),
        ),
        times: times(&plain_ms),
        business_times: hours.map(|hours| times(&|from, until| hours.between_ms(from, until))),
        is_unlinked: ticket.is_unlinked,
        closes_us,
    }
}

/// The agent it was last assigned to; nobody after a transfer until the next assignment.
fn last_agent(events: &[Event]) -> i64 {
    let named = events.iter().rev().find_map(|event| match &event.payload {
        Payload::Opened(opened) => Some(opened.agent_id),
        Payload::Assigned(assigned) => Some(assigned.agent_id),
        Payload::Transferred(_) => Some(0),
        Payload::Reopened(reopened) => Some(reopened.agent_id).filter(|agent_id| *agent_id != 0),
        _ => None,
    });
    named.unwrap_or_default()
}

/// From the customer's first message since the agent's answer before, to the next answer: of all answers but the first.
fn later_responses(chats: &[Chat]) -> Vec<(i64, i64)> {
    let of_people: Vec<_> = chats
        .iter()
        .filter(|chat| chat.author_kind == CUSTOMER || chat.author_kind == AGENT)
        .collect();
    let answers: Vec<usize> = (0..of_people.len())
        .filter(|index| of_people[*index].author_kind == AGENT)
        .collect();
    let between = answers.windows(2).filter(|pair| pair[1] > pair[0] + 1);
    between
        .map(|pair| (of_people[pair[0] + 1].at_us, of_people[pair[1]].at_us))
        .collect()
}

/// The spans in which it was open with an agent and not on hold.
fn handled_spans(events: &[Event]) -> Vec<(i64, i64)> {
    let mut spans = Vec::new();
    let mut standing = Standing::default();
    let mut since_us = None;
    for event in events {
        standing = standing.after(&event.payload);
        let at_us = match &event.payload {
            Payload::Closed(closed) => us_of(
                closed
                    .closure
                    .as_ref()
                    .and_then(|closure| closure.close_time.as_ref()),
            ),
            _ => event.at_us,
        };
        match since_us {
            None if standing.is_handled() => since_us = Some(at_us),
            Some(since) if !standing.is_handled() => {
                spans.push((since, at_us));
                since_us = None;
            }
            _ => {}
        }
    }
    assert_eq!(since_us, None, "nobody handles a closed ticket");
    spans
}
