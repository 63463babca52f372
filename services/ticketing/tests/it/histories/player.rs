//! One story on its way: what happens is told to the service, and what follows is compared with the model.

mod events;

use plazo_model::{Input, Moment, Script, TICK_MS, Ticks, story_of_seed};
use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::notification::v1::ActiveMessageState;
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    GetTicketRequest, MessageKind, MessageStateReport, OpenTicketRequest, RecordMessageRequest,
    ReportMessageStatesRequest, ReportOutcome, Ticket,
};
use prost_types::Timestamp;
use tonic::Status;

use super::story_desk::StoryDesk;
use super::words::Words;
use crate::support::{Fixture, TENANT};

/// When the timer will ask about a ticket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reminder {
    pub(super) generation: i64,
    /// In milliseconds since 1970; none for an entry that was never due.
    pub(super) due_ms: Option<i64>,
}

/// One event as it is stored.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) seq: i64,
    pub(super) at_ms: i64,
    pub(super) payload: Payload,
}

/// A story that is being played.
pub(super) struct Player {
    pub(super) seed: u64,
    pub(super) script: Script,
    pub(super) desk: StoryDesk,
    pub(super) origin_ms: i64,
    /// 0 before the opening.
    pub(super) ticket_id: i64,
    pub(super) reminder: Option<Reminder>,
    /// All events so far.
    pub(super) events: Vec<Told>,
    /// How many of them were compared.
    compared: usize,
    /// Number of the last event after each input of this tick.
    bounds: Vec<i64>,
    /// What went wrong first. A story that failed is played no further.
    pub(super) failure: Option<String>,
}

fn proto_instant(at_ms: i64) -> Timestamp {
    Timestamp {
        seconds: at_ms.div_euclid(1_000),
        nanos: i32::try_from(at_ms.rem_euclid(1_000) * 1_000_000).expect("below a second"),
    }
}

impl Player {
    /// The story of a seed, with its desk.
    pub(super) async fn new(fixture: &Fixture, seed: u64, origin_ms: i64, contact_id: i64) -> Self {
        let script = Script::new(story_of_seed(seed));
        let name = format!("Story {seed} of {origin_ms}");
        let desk = StoryDesk::new(fixture, &name, &script.story.settings, contact_id).await;
        Self {
            seed,
            script,
            desk,
            origin_ms,
            ticket_id: 0,
            reminder: None,
            events: Vec::new(),
            compared: 0,
            bounds: Vec::new(),
            failure: None,
        }
    }

    /// The moment of a tick, while the story lasts and has not failed.
    pub(super) fn moment(&self, tick: Ticks) -> Option<&Moment> {
        if self.failure.is_some() {
            return None;
        }
        self.script.moments.get(usize::try_from(tick).ok()?)
    }

    /// Whether the timer would ask now.
    pub(super) fn is_due(&self, tick: Ticks) -> bool {
        let now_ms = self.origin_ms + tick * TICK_MS;
        let due_ms = self.reminder.and_then(|reminder| reminder.due_ms);
        self.moment(tick).is_some_and(|moment| moment.is_looked_at)
            && due_ms.is_some_and(|due_ms| due_ms <= now_ms)
    }

    /// How many inputs were told in this tick.
    pub(super) fn bounds(&self) -> usize {
        self.bounds.len()
    }

    fn words(&self) -> Words<'_> {
        Words {
            origin_ms: self.origin_ms,
            versions: &self.desk.versions,
        }
    }

    pub(super) fn fail(&mut self, tick: Ticks, what: &str) {
        self.failure
            .get_or_insert_with(|| format!("at tick {tick}: {what}"));
    }

    /// Tells the service what happens in a tick.
    pub(super) async fn tell_inputs(&mut self, tick: Ticks) {
        let Some(moment) = self.moment(tick) else {
            return;
        };
        let inputs: Vec<Input> = moment
            .inputs
            .iter()
            .map(|(input, _)| input.clone())
            .collect();
        self.bounds.clear();
        for input in inputs {
            match self.tell(&input, tick).await {
                Ok(seq) => self.bounds.push(seq),
                Err(status) => {
                    let reason = plazo_service::status::reason_of(&status);
                    let text = format!(
                        "{input:?} was refused: {:?} {reason:?} {}",
                        status.code(),
                        status.message()
                    );
                    return self.fail(tick, &text);
                }
            }
        }
    }

    /// Compares what followed in a tick with the model, and the ticket as it is now.
    pub(super) fn compare(&mut self, tick: Ticks, ticket: &Ticket) {
        if let Err(difference) = self.find_difference(tick, ticket) {
            self.fail(tick, &difference);
        }
        self.compared = self.events.len();
    }

    fn find_difference(&self, tick: Ticks, ticket: &Ticket) -> Result<(), String> {
        let Some(moment) = self.moment(tick) else {
            return Ok(());
        };
        let now_ms = self.origin_ms + tick * TICK_MS;
        let new = &self.events[self.compared..];
        for (event, seq) in self.events.iter().zip(1..).skip(self.compared) {
            if event.seq != seq || event.at_ms != now_ms {
                return Err(format!("{event:?} is no event number {seq} of {now_ms} ms"));
            }
        }
        let words = self.words();
        let mut from = new.first().map_or(i64::MAX, |event| event.seq - 1);
        for ((input, expected), &until) in moment.inputs.iter().zip(&self.bounds) {
            let payloads = stretch(new, from, until);
            from = from.max(until);
            let found = words.effects(&payloads)?;
            if found != *expected {
                return Err(format!(
                    "{input:?}\n  expected {expected:?}\n  found    {found:?}"
                ));
            }
        }
        let found = words.effects(&stretch(new, from, i64::MAX))?;
        if found != moment.effects {
            let expected = &moment.effects;
            return Err(format!(
                "the look\n  expected {expected:?}\n  found    {found:?}"
            ));
        }
        let (found, expected) = (words.view(ticket)?, &moment.view);
        if found != *expected {
            return Err(format!(
                "what shows\n  expected {expected:?}\n  found    {found:?}"
            ));
        }
        Ok(())
    }

    /// The ticket as it is now.
    pub(super) async fn ticket(&self) -> Result<Ticket, Status> {
        let request = GetTicketRequest {
            ticket_id: self.ticket_id,
        };
        let answer = self.desk.people.tickets.clone().get_ticket(request).await?;
        Ok(answer.into_inner().ticket.expect("the ticket"))
    }

    /// Tells the service one thing, and returns the number of the ticket's last event after it.
    async fn tell(&mut self, input: &Input, tick: Ticks) -> Result<i64, Status> {
        let ticket = match input {
            Input::Opened => {
                let ticket = self.open().await?;
                self.ticket_id = ticket.ticket_id;
                ticket
            }
            Input::Event(event) => self.tell_event(event, tick).await?,
            Input::Accepted { cycle, at } => {
                self.report(*cycle, ActiveMessageState::Accepted, *at)
                    .await?
            }
            Input::Settled { cycle, at } => {
                let is_delivered = cycle % 2 == 0;
                let state = if is_delivered {
                    ActiveMessageState::Delivered
                } else {
                    ActiveMessageState::Failed
                };
                self.report(*cycle, state, *at).await?
            }
        };
        Ok(ticket.etag.parse().expect("a number"))
    }

    async fn open(&mut self) -> Result<Ticket, Status> {
        let is_named = self.script.story.settings.opens_with_agent;
        let request = OpenTicketRequest {
            bot_id: self.desk.bot_id,
            contact_id: self.desk.contact_id,
            agent_id: if is_named { self.desk.agent_id } else { 0 },
            ..Default::default()
        };
        let answer = self.desk.people.tickets.open_ticket(request).await?;
        Ok(answer.into_inner().ticket.expect("the ticket"))
    }

    async fn report(
        &mut self,
        cycle: i32,
        state: ActiveMessageState,
        at: Ticks,
    ) -> Result<Ticket, Status> {
        let ticket_id = self.ticket_id;
        let report = MessageStateReport {
            tenant_id: TENANT,
            ticket_id,
            idempotency_key: format!("ticket/{ticket_id}/cycle/{cycle}/warning"),
            state: state.into(),
            state_time: Some(proto_instant(self.origin_ms + at * TICK_MS)),
            failure_reason: String::new(),
        };
        let request = ReportMessageStatesRequest {
            reports: vec![report],
        };
        let answer = self
            .desk
            .service
            .states
            .report_message_states(request)
            .await?;
        let outcome = answer.into_inner().outcomes().next();
        match outcome {
            Some(ReportOutcome::Taken | ReportOutcome::Known) => self.ticket().await,
            other => Err(Status::unknown(format!("the report is {other:?}"))),
        }
    }

    async fn record(
        &mut self,
        kind: AuthorKind,
        message: MessageKind,
        channel_time: Option<Timestamp>,
    ) -> Result<Ticket, Status> {
        let (clients, id) = match kind {
            AuthorKind::Agent => (&mut self.desk.agent, self.desk.agent_id),
            _ => (&mut self.desk.people, 0),
        };
        let request = RecordMessageRequest {
            ticket_id: self.ticket_id,
            author: Some(Author {
                kind: kind.into(),
                id,
            }),
            kind: message.into(),
            text: "Hola".to_owned(),
            channel_time,
            ..Default::default()
        };
        let answer = clients.tickets.record_message(request).await?;
        Ok(answer.into_inner().ticket.expect("the ticket"))
    }
}

/// What happened in the events after number `from` up to number `until`.
fn stretch(events: &[Told], from: i64, until: i64) -> Vec<Payload> {
    let within = events
        .iter()
        .filter(|event| from < event.seq && event.seq <= until);
    within.map(|event| event.payload.clone()).collect()
}
