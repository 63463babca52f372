//! Why a ticket was closed, and what became of the close.

use std::fmt::Write as _;

use jiff::Timestamp;
use plazo_domain::{Alert, Stage};
use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    CloseSource, Closure, CycleEnd, ExplainedClose, TicketClosed, TicketReopened, TicketState,
};

use super::fold::Fold;
use super::statements::passed_over;
use super::words;
use crate::instants::from_proto;

/// A close, with what became of it.
#[derive(Debug, Clone)]
pub(super) struct TracedClose {
    closure: Closure,
    cycle: i32,
    at: Timestamp,
    is_superseded: bool,
    text: String,
}

impl TracedClose {
    /// As it is answered.
    pub(super) fn explained(self) -> ExplainedClose {
        ExplainedClose {
            closure: Some(self.closure),
            cycle: self.cycle,
            superseded: self.is_superseded,
            text: self.text,
        }
    }
}

impl Fold<'_> {
    /// The ticket was closed.
    pub(super) fn closed(&mut self, at: Timestamp, by: &str, closed: &TicketClosed) {
        let closure = closed.closure.clone().unwrap_or_default();
        let own = self.find(closed.cycle);
        let text = match closure.source() {
            CloseSource::CustomerInactivity => self.why_closed(own, &closure),
            CloseSource::Customer => "closed by the customer, as the bot told".to_owned(),
            CloseSource::Workflow => format!("closed by a workflow of the bot ({by})"),
            CloseSource::Agent => format!("closed by {by}"),
            CloseSource::Api | CloseSource::Unspecified => {
                format!("closed by {by} through the API")
            }
        };
        let about: Vec<usize> = own.into_iter().collect();
        self.say(at, &about, &text);
        if closed.unassigned_agent_id != 0 {
            let agent = closed.unassigned_agent_id;
            let text = format!(
                "agent {agent} was unassigned, as the bot's settings say for this kind of close"
            );
            self.say(at, &[], &text);
        }
        for index in self.running.into_iter().chain(self.agents_side) {
            let end = if own == Some(index) {
                CycleEnd::ClosedByInactivity
            } else {
                CycleEnd::Closed
            };
            self.end(index, end, at, "the ticket was closed");
        }
        self.tags.clone_from(&closed.tags);
        self.cause = "the ticket was closed";
        self.alert = Alert::None;
        self.closes.push(TracedClose {
            closure,
            cycle: closed.cycle,
            at,
            is_superseded: false,
            text: format!("{}  {text}", words::instant(at)),
        });
    }

    /// Why a cycle closed its ticket.
    fn why_closed(&self, own: Option<usize>, closure: &Closure) -> String {
        let mut text = "closed by customer inactivity".to_owned();
        let found = own.and_then(|index| {
            let fired = self.cycles[index].fired(Stage::Close)?;
            Some((index, fired))
        });
        if let Some((index, fired)) = found {
            let traced = &self.cycles[index];
            let (silence, late) = (self.silence(index, fired), self.late(index, fired));
            let _ = write!(text, ": {silence} ({late})");
            if let Some(warning) = traced.fired(Stage::Warning) {
                let (went, before) = (
                    words::instant(warning.at),
                    words::between(warning.at, fired.at),
                );
                let _ = write!(text, "; the warning went out at {went}, {before} before");
                if let Some(accepted_at) = traced.accepted_at() {
                    let accepted = words::instant(accepted_at);
                    let _ = write!(text, ", and was accepted at {accepted}");
                }
            }
            let policy = self.policy_of(index);
            let moved = policy.and_then(|policy| {
                let configured = policy.auto_close.as_ref()?.after;
                let configured_at = traced.configured_at(policy, configured);
                let why = traced.why_moved(policy, fired.due_at)?;
                Some((configured_at, why))
            });
            if let Some((configured_at, why)) = moved {
                let (from, to) = (words::instant(configured_at), words::instant(fired.due_at));
                let _ = write!(text, "; the close moved from {from} to {to}: {why}");
            }
            text.push_str(&passed_over(&traced.passed_over_by(fired, policy)));
        }
        if !closure.exit_route.is_empty() {
            let route = &closure.exit_route;
            let _ = write!(
                text,
                "; the customer goes on to the bot's block \"{route}\""
            );
        }
        text
    }

    /// The ticket was opened again. `place` is that of the event.
    pub(super) fn reopened(
        &mut self,
        place: usize,
        at: Timestamp,
        by: &str,
        reopened: &TicketReopened,
    ) {
        self.tags.clone_from(&reopened.tags);
        let state = match reopened.state() {
            TicketState::Waiting => "it waits for an agent",
            TicketState::Open | TicketState::Closed | TicketState::Unspecified => "it is open",
        };
        if !reopened.supersedes_close {
            let text = match self.story.events[place].author.map(|author| author.kind()) {
                Some(AuthorKind::Customer) => {
                    format!("reopened: the customer wrote in the closed ticket; {state}")
                }
                _ => format!("reopened by {by}; {state}"),
            };
            self.say(at, &[], &text);
            return;
        }
        let written_at = self.written_at(place);
        let close = self.closes.last();
        let after = close.map(|close| words::between(close.at, at));
        let mut text = "the close was superseded: the customer had answered before it".to_owned();
        if let Some(written_at) = written_at {
            let _ = write!(text, " (channel time {})", words::instant(written_at));
        }
        if let Some(after) = after {
            let _ = write!(text, ", and the answer arrived {after} after it");
        }
        text.push_str("; the ticket is again as it was before the close");
        let about: Vec<usize> = close
            .and_then(|close| self.find(close.cycle))
            .into_iter()
            .collect();
        self.say(at, &about, &text);
        if let Some(close) = self.closes.last_mut() {
            close.is_superseded = true;
            let _ = write!(close.text, "\n{}  {text}", words::instant(at));
        }
    }

    /// When the customer's message that opened the ticket again was written, as the channel says.
    fn written_at(&self, place: usize) -> Option<Timestamp> {
        let after = self.story.events.get(place + 1..)?;
        let message = after.iter().find_map(|event| match &event.payload {
            Some(Payload::MessageRecorded(recorded)) => Some(recorded.message.as_ref()),
            _ => None,
        })??;
        message.channel_time.as_ref().and_then(from_proto)
    }
}
