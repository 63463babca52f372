//! What only the events of a ticket tell, read from its whole story at once.
//!
//! History keeps a state for each ticket and changes it event by event. Here nothing is kept: each value is looked for in
//! the list of events or messages by a plain reading of its definition (see `plazo.history.v1.ReportService`).

use std::collections::BTreeMap;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::notification::v1::ActiveMessageKind;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{Contact, TicketState};
use prost_types::Timestamp;

use super::{Key, RowKey, Rows};

/// Numbers of `plazo.history.v1.ConversationEntryKind`.
const WARNING: i32 = 3;
const CLOSING_TEXT: i32 = 4;
const MICROS_IN_MILLI: i64 = 1_000;

/// An event of a ticket.
pub(super) struct Event {
    pub(super) ticket_seq: i64,
    pub(super) at_us: i64,
    pub(super) payload: Option<Payload>,
}

/// That somebody wrote.
pub(super) struct Message {
    pub(super) at_us: i64,
    pub(super) is_chat: bool,
    pub(super) author_kind: i32,
    pub(super) author_id: i64,
}

/// How a ticket stands after an event.
#[derive(Clone, Copy)]
struct Standing {
    at_us: i64,
    state: TicketState,
    agent_id: i64,
    is_held: bool,
}

/// Adds what events and messages tell to the rows of a ticket, whose row of `tickets` is there.
pub(super) fn add_rows(key: Key, events: &[Event], messages: &[Message], rows: &mut Rows) {
    let story = without_superseded_closes(events);
    let standings = standings(&story);
    let ticket = RowKey {
        table: "tickets",
        ticket: key,
        part: 0,
    };
    let later = later_responses(messages);
    let contact = last_contact(&story);
    let identity = contact.channel_identity.clone().unwrap_or_default();
    let row = rows.entry(ticket).or_default();
    let bot_id = row.get("bot_id").cloned().unwrap_or_default();
    let contact_id = row.get("contact_id").cloned().unwrap_or_default();
    let closed_at = row.get("closed_at").cloned().unwrap_or_default();
    let last_interaction_at = instant(last_interaction(events, &standings, messages));
    let closed_interaction_at = match closed_at.as_str() {
        "-" => closed_at.clone(),
        _ => last_interaction_at.clone(),
    };
    row.extend([
        ("first_queue_id", first_queue(&story).to_string()),
        ("agent_id", last_agent(&story).to_string()),
        ("reopen_count", reopen_count(&standings).to_string()),
        ("first_closed_at", instant(closes(&story).first().copied())),
        ("later_response_count", later.len().to_string()),
        ("later_response_ms", later.iter().sum::<i64>().to_string()),
        ("handling_ms", handling_ms(&standings).to_string()),
        ("last_interaction_at", last_interaction_at),
        ("contact_name", contact.name),
        ("contact_email", contact.email),
        ("contact_phone", contact.phone),
        ("contact_channel", identity.channel.to_string()),
        ("contact_address", identity.address),
    ]);
    for (agent_id, at_us) in dealings(&story, messages) {
        let dealing = RowKey {
            table: "dealings",
            ticket: key,
            part: agent_id,
        };
        let row = rows.entry(dealing).or_default();
        row.insert("contact_id", contact_id.clone());
        row.insert("bot_id", bot_id.clone());
        row.insert("last_dealt_at", at_us.to_string());
        row.insert("closed_at", closed_at.clone());
        row.insert("closed_interaction_at", closed_interaction_at.clone());
        row.insert("has_keys_of_contact", "true".to_owned());
    }
    add_firings(key, &story, &bot_id, rows);
    add_active_messages(key, &story, rows);
}

/// The events but for closes that a late reply superseded: they never were.
fn without_superseded_closes(events: &[Event]) -> Vec<&Event> {
    let mut story: Vec<&Event> = Vec::with_capacity(events.len());
    for event in events {
        if let Some(Payload::Reopened(reopened)) = &event.payload
            && reopened.supersedes_close
        {
            let close = |event: &&Event| matches!(event.payload, Some(Payload::Closed(_)));
            if let Some(index) = story.iter().rposition(close) {
                story.remove(index);
            }
        }
        story.push(event);
    }
    story
}

/// How the ticket stood after each event, from the last event that says something about each part of it.
fn standings(story: &[&Event]) -> Vec<Standing> {
    let mut standings: Vec<Standing> = Vec::with_capacity(story.len());
    for event in story {
        let mut now = standings.last().copied().unwrap_or(Standing {
            at_us: event.at_us,
            state: TicketState::Waiting,
            agent_id: 0,
            is_held: false,
        });
        now.at_us = event.at_us;
        match &event.payload {
            Some(Payload::Opened(opened)) => {
                now.agent_id = opened.agent_id;
                if opened.agent_id != 0 {
                    now.state = TicketState::Open;
                }
            }
            Some(Payload::Assigned(assigned)) => {
                now.agent_id = assigned.agent_id;
                now.state = TicketState::Open;
            }
            Some(Payload::MessageRecorded(recorded)) => {
                now.state = match recorded.state() {
                    state @ (TicketState::Waiting | TicketState::Open) => state,
                    _ => now.state,
                };
            }
            Some(Payload::Closed(closed)) => {
                let closed_at = closed.closure.as_ref().and_then(|it| it.close_time);
                now.at_us = closed_at.map_or(event.at_us, us);
                now.state = TicketState::Closed;
                now.is_held = false;
                if closed.unassigned_agent_id != 0 {
                    now.agent_id = 0;
                }
            }
            Some(Payload::Reopened(reopened)) => {
                now.state = reopened.state();
                now.agent_id = reopened.agent_id;
            }
            Some(Payload::Transferred(_)) => {
                now.state = TicketState::Waiting;
                now.agent_id = 0;
            }
            Some(Payload::SetOpen(_)) => now.state = TicketState::Open,
            Some(Payload::Held(_)) => now.is_held = true,
            Some(Payload::HoldEnded(_)) => now.is_held = false,
            _ => {}
        }
        standings.push(now);
    }
    standings
}

/// The lengths of the spans in which somebody had it, open and not on hold, together.
fn handling_ms(standings: &[Standing]) -> i64 {
    let is_handled =
        |it: &Standing| it.state == TicketState::Open && it.agent_id != 0 && !it.is_held;
    let mut spans = Vec::new();
    for group in standings.chunk_by(|one, next| is_handled(one) == is_handled(next)) {
        spans.extend(group.first().map(|first| (is_handled(first), first.at_us)));
    }
    let ended = spans.windows(2).filter(|pair| pair[0].0);
    ended.map(|pair| millis(pair[0].1, pair[1].1)).sum()
}

/// How often it was open after it had been closed.
fn reopen_count(standings: &[Standing]) -> usize {
    let is_closed = |it: &Standing| it.state == TicketState::Closed;
    let pairs = standings.windows(2);
    pairs
        .filter(|pair| is_closed(&pair[0]) && !is_closed(&pair[1]))
        .count()
}

fn closes(story: &[&Event]) -> Vec<i64> {
    let closes = story.iter().filter_map(|event| match &event.payload {
        Some(Payload::Closed(closed)) => closed.closure.as_ref()?.close_time.map(us),
        _ => None,
    });
    closes.collect()
}

/// For each agent's chat message but the first: the time since the first of the customer's messages between it and the
/// agent's message before.
fn later_responses(messages: &[Message]) -> Vec<i64> {
    let chat: Vec<&Message> = messages.iter().filter(|message| message.is_chat).collect();
    let by = |kind: AuthorKind| move |it: &&&Message| it.author_kind == i32::from(kind);
    let answers: Vec<usize> = (0..chat.len())
        .filter(|index| by(AuthorKind::Agent)(&&chat[*index]))
        .collect();
    let pairs = answers.windows(2).filter_map(|pair| {
        let between = &chat[pair[0]..pair[1]];
        let asked = between.iter().find(by(AuthorKind::Customer))?;
        Some(millis(asked.at_us, chat[pair[1]].at_us))
    });
    pairs.collect()
}

/// The last opening, chat message, close or reopening.
fn last_interaction(events: &[Event], standings: &[Standing], messages: &[Message]) -> Option<i64> {
    let told = events.iter().filter_map(|event| match &event.payload {
        Some(Payload::Opened(_) | Payload::Reopened(_)) => Some(event.at_us),
        Some(Payload::Closed(closed)) => closed.closure.as_ref()?.close_time.map(us),
        _ => None,
    });
    let is_closed = |it: &Standing| it.state == TicketState::Closed;
    let opened = standings.windows(2);
    let opened = opened.filter(|pair| is_closed(&pair[0]) && !is_closed(&pair[1]));
    let chat = messages.iter().filter(|message| message.is_chat);
    told.chain(opened.map(|pair| pair[1].at_us))
        .chain(chat.map(|message| message.at_us))
        .max()
}

fn first_queue(story: &[&Event]) -> i64 {
    let opened = story.iter().find_map(|event| match &event.payload {
        Some(Payload::Opened(opened)) => Some(opened.queue_id),
        _ => None,
    });
    opened.unwrap_or_default()
}

/// Whom it was last assigned to, also when a close or a reopening took him away; nobody after a transfer or when a
/// superseded close gave it back to nobody.
fn last_agent(story: &[&Event]) -> i64 {
    let last = story.iter().rev().find_map(|event| match &event.payload {
        Some(Payload::Opened(opened)) => Some(opened.agent_id),
        Some(Payload::Assigned(assigned)) => Some(assigned.agent_id),
        Some(Payload::Transferred(_)) => Some(0),
        Some(Payload::Closed(closed)) => {
            Some(closed.unassigned_agent_id).filter(|agent_id| *agent_id != 0)
        }
        Some(Payload::Reopened(reopened)) => {
            Some(reopened.agent_id).filter(|agent_id| *agent_id != 0 || reopened.supersedes_close)
        }
        _ => None,
    });
    last.unwrap_or_default()
}

/// When each agent last wrote, was assigned, or ceased to be.
fn dealings(story: &[&Event], messages: &[Message]) -> BTreeMap<i64, i64> {
    let mut dealt = Vec::new();
    let wrote = messages
        .iter()
        .filter(|message| message.author_kind == i32::from(AuthorKind::Agent));
    dealt.extend(wrote.map(|message| (message.author_id, message.at_us)));
    let mut holder = 0;
    for event in story {
        let at_us = event.at_us;
        match &event.payload {
            Some(Payload::Opened(opened)) => {
                holder = opened.agent_id;
                dealt.push((holder, at_us));
            }
            Some(Payload::Assigned(assigned)) => {
                dealt.extend([(holder, at_us), (assigned.agent_id, at_us)]);
                holder = assigned.agent_id;
            }
            Some(Payload::Reopened(reopened)) => {
                holder = reopened.agent_id;
                dealt.push((holder, at_us));
            }
            Some(Payload::Transferred(_)) => {
                dealt.push((holder, at_us));
                holder = 0;
            }
            Some(Payload::Closed(closed)) => {
                let closed_at = closed.closure.as_ref().and_then(|it| it.close_time);
                let closed_us = closed_at.map_or(at_us, us);
                dealt.extend([(holder, closed_us), (closed.unassigned_agent_id, closed_us)]);
                if closed.unassigned_agent_id != 0 {
                    holder = 0;
                }
            }
            _ => {}
        }
    }
    let mut last = BTreeMap::new();
    for (agent_id, at_us) in dealt.into_iter().filter(|(agent_id, _)| *agent_id != 0) {
        let known = last.entry(agent_id).or_insert(at_us);
        *known = at_us.max(*known);
    }
    last
}

fn last_contact(story: &[&Event]) -> Contact {
    let told = story.iter().rev().find_map(|event| match &event.payload {
        Some(Payload::Opened(opened)) => opened.contact.clone(),
        Some(Payload::Reopened(reopened)) => reopened.contact.clone(),
        Some(Payload::ContactChanged(changed)) => changed.contact.clone(),
        _ => None,
    });
    told.unwrap_or_default()
}

fn add_firings(key: Key, story: &[&Event], bot_id: &str, rows: &mut Rows) {
    let mut queue_id = 0;
    for event in story {
        match &event.payload {
            Some(Payload::Opened(opened)) => queue_id = opened.queue_id,
            Some(Payload::Transferred(transferred)) => queue_id = transferred.queue_id,
            Some(Payload::StageFired(fired)) => {
                let could_act = fired.could_act_time.or(fired.due_time);
                let late_ms = millis(could_act.map_or(event.at_us, us), event.at_us);
                let firing = RowKey {
                    table: "stage_firings",
                    ticket: key,
                    part: event.ticket_seq,
                };
                let values = [
                    ("bot_id", bot_id.to_owned()),
                    ("queue_id", queue_id.to_string()),
                    ("stage", fired.stage.to_string()),
                    ("cycle_kind", fired.kind.to_string()),
                    ("fired_at", event.at_us.to_string()),
                    ("late_ms", late_ms.to_string()),
                ];
                rows.insert(firing, values.into());
            }
            _ => {}
        }
    }
}

/// Warnings and closing texts stand in the conversation.
fn add_active_messages(key: Key, story: &[&Event], rows: &mut Rows) {
    for event in story {
        let Some(Payload::ActiveMessageRequested(requested)) = &event.payload else {
            continue;
        };
        let Some(message) = &requested.message else {
            continue;
        };
        let kind = match message.kind() {
            ActiveMessageKind::Warning => WARNING,
            ActiveMessageKind::ClosingText => CLOSING_TEXT,
            _ => continue,
        };
        let entry = RowKey {
            table: "conversation_entries",
            ticket: key,
            part: event.ticket_seq,
        };
        let values = [
            ("kind", kind.to_string()),
            ("message_id", "0".to_owned()),
            ("author_kind", i32::from(AuthorKind::System).to_string()),
            ("author_id", "0".to_owned()),
            ("text", message.text.clone()),
            ("attachment_urls", message.image_url.clone()),
            ("recorded_at", event.at_us.to_string()),
            ("channel_at", "-".to_owned()),
        ];
        rows.insert(entry, values.into());
    }
}

fn instant(at_us: Option<i64>) -> String {
    at_us.map_or_else(|| "-".to_owned(), |at_us| at_us.to_string())
}

/// Microseconds since 1970.
fn us(at: Timestamp) -> i64 {
    at.seconds * 1_000_000 + i64::from(at.nanos) / 1_000
}

/// Whole milliseconds from one instant to another, in microseconds; never below zero.
fn millis(from_us: i64, until_us: i64) -> i64 {
    (until_us - from_us).max(0) / MICROS_IN_MILLI
}
