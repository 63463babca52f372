//! Plays one conversation and follows what comes of it.

use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use plazo_proto::ticketing::v1::{
    GetTicketRequest, ListTicketEventsRequest, TicketFilter, TicketState, WatchTicketsRequest,
    WatchTicketsResponse,
};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Streaming;

use super::desk::{Desk, Stage, is_passing, policy};
use super::scenarios::{Act, Scenario, Step};
use super::seen::{Happening, Seen, alert};
use super::verdict::{FinalTicket, Rules, Verdict, judge, scaled_us};
use super::{DemoError, Happened, Observer, lock};

/// After the last instant that matters, nothing more may happen for so long.
const QUIET: Duration = Duration::from_secs(1);
/// Wait before a stream that broke is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);
/// Between the openings of two conversations.
const STAGGER: Duration = Duration::from_millis(50);
const PAGE_SIZE: i32 = 500;

/// How long a conversation takes, the quiet time at its end included.
pub(super) fn length(scenario: &Scenario, speed: u32) -> Duration {
    after(scenario.last_s(), scenario.speed(speed)) + QUIET
}

/// Seconds of an example as a time of the demo.
fn after(seconds: u32, speed: u32) -> Duration {
    Duration::from_micros(scaled_us(seconds, speed).unsigned_abs())
}

/// A conversation that was played.
#[derive(Debug, Clone)]
pub struct Played {
    /// Which one.
    pub scenario: Scenario,
    /// Its place in the demo, from 0.
    pub index: usize,
    /// The ticket's bot.
    pub bot_id: i64,
    /// The ticket.
    pub ticket_id: i64,
    /// The instant that its times count from: the commit of the first message, right after the opening.
    pub zero_at: Timestamp,
    /// The judgement.
    pub verdict: Verdict,
}

/// One conversation of a running demo.
pub(super) struct Conversation<'a, 'o> {
    pub(super) desk: &'a Desk,
    pub(super) scenario: Scenario,
    pub(super) index: usize,
    pub(super) stage: Stage,
    pub(super) rules: Rules,
    pub(super) observer: &'a Mutex<&'o mut dyn Observer>,
}

impl Conversation<'_, '_> {
    /// Opens the ticket, writes what is to be written at its time, and follows the ticket to the end.
    pub(super) async fn play(&self) -> Result<Played, DemoError> {
        let mut watch = Watch::open(self.desk, self.stage.bot_id).await?;
        // Not all in the same instant: nobody could read that.
        sleep(STAGGER * u32::try_from(self.index).unwrap_or_default()).await;
        let ticket_id = self.desk.open(&self.stage).await?.ticket_id;
        let (first, rest) = self.scenario.steps.split_at(1);
        for step in first {
            self.act(ticket_id, step).await?;
        }
        let began = Instant::now();
        let until = began + length(&self.scenario, self.rules.speed);
        let ((), events) = tokio::try_join!(
            self.act_all(ticket_id, rest, began),
            self.follow(&mut watch, ticket_id, until),
        )?;
        let end = self.final_ticket(ticket_id).await?;
        let verdict = judge(&self.scenario, self.rules, &events, end);
        let zero_at = zero_of(&events);
        Ok(Played {
            scenario: self.scenario,
            index: self.index,
            bot_id: self.stage.bot_id,
            ticket_id,
            zero_at,
            verdict,
        })
    }

    async fn act_all(
        &self,
        ticket_id: i64,
        steps: &[Step],
        began: Instant,
    ) -> Result<(), DemoError> {
        for step in steps {
            sleep_until(began + after(step.at_s, self.speed())).await;
            self.act(ticket_id, step).await?;
        }
        Ok(())
    }

    async fn act(&self, ticket_id: i64, step: &Step) -> Result<(), DemoError> {
        let doubled = || policy(&self.scenario, self.speed(), 2);
        match step.act {
            Act::DoubleSettings => self.desk.set_policy(&self.stage, doubled(), false).await,
            Act::ApplyDoubledSettings => self.desk.set_policy(&self.stage, doubled(), true).await,
            _ => self.desk.act(&self.stage, ticket_id, step).await,
        }
    }

    fn speed(&self) -> u32 {
        self.scenario.speed(self.rules.speed)
    }

    /// Shows each event as soon as the ticket is told to have changed, and returns all of them in the end.
    async fn follow(
        &self,
        watch: &mut Watch,
        ticket_id: i64,
        until: Instant,
    ) -> Result<Vec<Seen>, DemoError> {
        let mut shown = 0;
        loop {
            let is_over = Instant::now() >= until;
            let events = self.events(ticket_id).await?;
            let zero_at = zero_of(&events);
            for seen in events.iter().skip(shown) {
                lock(self.observer).happened(&Happened {
                    scenario: &self.scenario,
                    index: self.index,
                    ticket_id,
                    zero_at,
                    seen,
                });
            }
            shown = shown.max(events.len());
            if is_over {
                return Ok(events);
            }
            tokio::select! {
                changed = watch.changed() => changed?,
                () = sleep_until(until) => {}
            }
        }
    }

    async fn events(&self, ticket_id: i64) -> Result<Vec<Seen>, DemoError> {
        let mut events = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListTicketEventsRequest {
                ticket_id,
                page_size: PAGE_SIZE,
                page_token,
            };
            let answer = self.desk.tickets.clone().list_ticket_events(request).await;
            let page = answer
                .map_err(|s| DemoError::call("ListTicketEvents", s))?
                .into_inner();
            events.extend(page.events.iter().map(Seen::from_event));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(events);
            }
        }
    }

    async fn final_ticket(&self, ticket_id: i64) -> Result<FinalTicket, DemoError> {
        let answer = self
            .desk
            .tickets
            .clone()
            .get_ticket(GetTicketRequest { ticket_id })
            .await;
        let answer = answer
            .map_err(|s| DemoError::call("GetTicket", s))?
            .into_inner();
        let ticket = answer.ticket.unwrap_or_default();
        // Whatever is open waits for its automation to resume.
        let automation_time = ticket
            .automation
            .and_then(|automation| automation.resume_time);
        Ok(FinalTicket {
            is_closed: ticket.state == i32::from(TicketState::Closed),
            alert: alert(ticket.alert),
            is_pending: ticket.next_due_time != automation_time,
        })
    }
}

/// The commit of the first message, which the ticket's times count from.
fn zero_of(events: &[Seen]) -> Timestamp {
    let first = events
        .iter()
        .find(|seen| matches!(seen.happening, Happening::Wrote { .. }));
    first
        .or(events.first())
        .map(|seen| seen.at)
        .unwrap_or_default()
}

/// Says when a ticket of a bot has changed.
struct Watch {
    desk: Desk,
    bot_id: i64,
    stream: Option<Streaming<WatchTicketsResponse>>,
}

impl Watch {
    async fn open(desk: &Desk, bot_id: i64) -> Result<Self, DemoError> {
        let mut watch = Self {
            desk: desk.clone(),
            bot_id,
            stream: None,
        };
        watch.reopen().await?;
        Ok(watch)
    }

    async fn reopen(&mut self) -> Result<(), DemoError> {
        let any_state = [TicketState::Waiting, TicketState::Open, TicketState::Closed];
        let filter = TicketFilter {
            states: any_state.into_iter().map(i32::from).collect(),
            bot_id: self.bot_id,
            ..TicketFilter::default()
        };
        let request = WatchTicketsRequest {
            filter: Some(filter),
            position: String::new(),
        };
        let answer = self.desk.watching.clone().watch_tickets(request).await;
        match answer {
            Ok(answer) => self.stream = Some(answer.into_inner()),
            Err(status) if is_passing(&status) => self.stream = None,
            Err(status) => return Err(DemoError::call("WatchTickets", status)),
        }
        Ok(())
    }

    /// Waits for a change. Says so, too, when one may have been missed because the stream broke.
    async fn changed(&mut self) -> Result<(), DemoError> {
        loop {
            let Some(stream) = &mut self.stream else {
                sleep(REOPEN_PAUSE).await;
                self.reopen().await?;
                continue;
            };
            match stream.message().await {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => self.stream = None,
                Err(status) if is_passing(&status) => self.stream = None,
                Err(status) => return Err(DemoError::call("WatchTickets", status)),
            }
        }
    }
}
