//! A small desk: one bot, one agent, one contact, and what they do to tickets.

use std::collections::HashSet;
use std::time::Duration;

use plazo_proto::common::v1::{Author, AuthorKind, TimeUnit, TimeValue};
use plazo_proto::ticketing::v1::ticket_event::Payload;
use plazo_proto::ticketing::v1::{
    Agent, Alert, AlertSettings, AutoCloseSettings, ClosingNote, CreateAgentRequest,
    CreateQueueRequest, GetTicketRequest, InactivityPolicy, ListTicketEventsRequest, MessageKind,
    OpenTicketRequest, Queue, RecordMessageRequest, RecordMessageResponse, SetExitRouteRequest,
    SetInactivityPolicyRequest, StreamEventsResponse, Ticket, TicketEvent, WarningSettings,
};
use plazo_proto::timer::v1::{
    HandleDueTicketsRequest, HandleDueTicketsResponse, HandleOutcome, HandledTicket,
    TicketGeneration,
};
use tonic::Status;

use crate::support::{Clients, Fixture, TENANT, time_value};

/// How long a condition may take to become true on a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// A running service with one bot, one agent of this bot and one contact.
pub(crate) struct Desk {
    pub(crate) fixture: Fixture,
    /// An administrator.
    pub(crate) people: Clients,
    /// The agent.
    pub(crate) agent: Clients,
    /// Another service, across tenants.
    pub(crate) service: Clients,
    pub(crate) bot_id: i64,
    pub(crate) agent_id: i64,
    pub(crate) contact_id: i64,
}

impl Desk {
    /// On a fresh service.
    pub(crate) async fn start() -> Self {
        Self::on(Fixture::start().await).await
    }

    /// On a running service.
    pub(crate) async fn on(fixture: Fixture) -> Self {
        let mut people = fixture.administrator();
        let bot_id = people.create_bot("Vendas").await.bot_id;
        // Leaves the generations of tickets to the inactivity cycle.
        pause_until_completed(&fixture, bot_id).await;
        let agent_id = create_agent(&people, "Rita", &[bot_id]).await.agent_id;
        let contact_id = people.create_contact("Ana", "ana").await.contact_id;
        let agent = fixture.as_actor(
            &format!("agent/{agent_id}"),
            "tickets:attend",
            &bot_id.to_string(),
        );
        Self {
            people,
            agent,
            service: fixture.service(),
            bot_id,
            agent_id,
            contact_id,
            fixture,
        }
    }

    /// On a fresh service whose bot has the policy [`everything`].
    pub(crate) async fn with_policy() -> Self {
        let desk = Self::start().await;
        desk.set_policy(everything()).await;
        desk
    }

    /// Puts a policy in force, with an exit route.
    pub(crate) async fn set_policy(&self, policy: InactivityPolicy) {
        let mut settings = self.people.settings.clone();
        let route = SetExitRouteRequest {
            bot_id: self.bot_id,
            exit_route: "goodbye".to_owned(),
            ..Default::default()
        };
        settings.set_exit_route(route).await.expect("a route");
        let request = SetInactivityPolicyRequest {
            bot_id: self.bot_id,
            policy: Some(policy),
            ..Default::default()
        };
        settings
            .set_inactivity_policy(request)
            .await
            .expect("a policy");
    }

    /// A queue of the bot.
    pub(crate) async fn queue(&self, name: &str) -> i64 {
        let queue = Queue {
            bot_id: self.bot_id,
            name: name.to_owned(),
            ..Queue::default()
        };
        let request = CreateQueueRequest {
            queue: Some(queue),
            request_id: String::new(),
        };
        let answer = self.people.settings.clone().create_queue(request).await;
        let queue = answer.expect("a queue").into_inner().queue;
        queue.expect("the queue").queue_id
    }

    /// What opens a ticket for the contact.
    pub(crate) fn opening(&self) -> OpenTicketRequest {
        OpenTicketRequest {
            bot_id: self.bot_id,
            contact_id: self.contact_id,
            ..Default::default()
        }
    }

    /// Opens a waiting ticket.
    pub(crate) async fn open(&self) -> Ticket {
        self.open_as(self.opening()).await
    }

    /// Opens a ticket.
    pub(crate) async fn open_as(&self, request: OpenTicketRequest) -> Ticket {
        let answer = self.people.tickets.clone().open_ticket(request).await;
        let ticket = answer.expect("a ticket").into_inner().ticket;
        ticket.expect("the ticket")
    }

    /// Opens tickets in which the agent has written.
    pub(crate) async fn answered(&self, count: usize) -> Vec<Ticket> {
        let mut tickets = Vec::with_capacity(count);
        for _ in 0..count {
            let ticket = self.open().await;
            tickets.push(self.writes(ticket.ticket_id, AuthorKind::Agent).await);
        }
        tickets
    }

    /// A message of somebody, as an administrator records it.
    pub(crate) fn message(&self, ticket_id: i64, kind: AuthorKind) -> RecordMessageRequest {
        let id = if kind == AuthorKind::Agent {
            self.agent_id
        } else {
            0
        };
        RecordMessageRequest {
            ticket_id,
            author: Some(Author {
                kind: kind.into(),
                id,
            }),
            text: "Hola".to_owned(),
            ..Default::default()
        }
    }

    /// Records a message as an administrator.
    pub(crate) async fn record(
        &self,
        request: RecordMessageRequest,
    ) -> Result<RecordMessageResponse, Status> {
        let answer = self.people.tickets.clone().record_message(request).await;
        answer.map(tonic::Response::into_inner)
    }

    /// Records a message, and returns the ticket after it.
    pub(crate) async fn writes(&self, ticket_id: i64, kind: AuthorKind) -> Ticket {
        let answer = self.record(self.message(ticket_id, kind)).await;
        let ticket = answer.expect("the message is recorded").ticket;
        ticket.expect("the ticket")
    }

    /// A ticket as it is now.
    pub(crate) async fn ticket(&self, ticket_id: i64) -> Ticket {
        let request = GetTicketRequest { ticket_id };
        let answer = self.people.tickets.clone().get_ticket(request).await;
        let ticket = answer.expect("it exists").into_inner().ticket;
        ticket.expect("the ticket")
    }

    /// All events of a ticket.
    pub(crate) async fn events(&self, ticket_id: i64) -> Vec<TicketEvent> {
        let request = ListTicketEventsRequest {
            ticket_id,
            page_size: 500,
            ..Default::default()
        };
        let answer = self
            .people
            .tickets
            .clone()
            .list_ticket_events(request)
            .await;
        let events = answer.expect("it exists").into_inner().events;
        for (event, seq) in events.iter().zip(1..) {
            assert_eq!(event.ticket_seq, seq, "gaps in {events:?}");
            assert_eq!((event.tenant_id, event.bot_id), (TENANT, self.bot_id));
            assert!(event.event_time.is_some() && event.ticket_id == ticket_id);
        }
        events
    }

    /// All events of a ticket in words, without those of the automation.
    pub(crate) async fn story(&self, ticket_id: i64) -> Vec<String> {
        let mut story = self.whole_story(ticket_id).await;
        story.retain(|event| !event.starts_with("automation"));
        story
    }

    /// All events of a ticket in words.
    pub(crate) async fn whole_story(&self, ticket_id: i64) -> Vec<String> {
        let events = self.events(ticket_id).await;
        events.iter().map(tell).collect()
    }

    /// Makes tickets older: their cycles began so many minutes earlier.
    pub(crate) async fn age(&self, ticket_ids: &[i64], minutes: f64) {
        sqlx::query(
            "UPDATE ticket_clocks
             SET anchor_at = anchor_at - ago,
                 cycle_due_at = cycle_due_at - ago,
                 warning_accepted_at = warning_accepted_at - ago,
                 warning_settled_at = warning_settled_at - ago,
                 agent_anchor_at = agent_anchor_at - ago,
                 agent_due_at = agent_due_at - ago,
                 changed_at = changed_at - ago,
                 agent_changed_at = agent_changed_at - ago,
                 turn_since_at = turn_since_at - ago,
                 turn_last_at = turn_last_at - ago,
                 hold_until = hold_until - ago,
                 automation_until = automation_until - ago,
                 next_due_at = next_due_at - ago
             FROM make_interval(secs => $2 * 60) AS ago
             WHERE ticket_id = ANY ($1)",
        )
        .bind(ticket_ids)
        .bind(minutes)
        .execute(&self.fixture.pool)
        .await
        .expect("aged");
        sqlx::query(
            "UPDATE active_message_states SET requested_at = requested_at - make_interval(secs => $2 * 60)
             WHERE ticket_id = ANY ($1)",
        )
        .bind(ticket_ids)
        .bind(minutes)
        .execute(&self.fixture.pool)
        .await
        .expect("aged");
    }

    /// Has tickets of the tenant looked at, as the timer does: again while they are being changed, as by the relay's
    /// short look at them.
    pub(crate) async fn handle(
        &self,
        tickets: &[(i64, i64)],
    ) -> Result<HandleDueTicketsResponse, Status> {
        let mut answer = self.handle_once(tickets).await?;
        loop {
            let busy: Vec<usize> = (0..tickets.len())
                .filter(|&place| answer.results[place].outcome() == HandleOutcome::Busy)
                .collect();
            if busy.is_empty() {
                return Ok(answer);
            }
            let asked: Vec<_> = busy.iter().map(|&place| tickets[place]).collect();
            let again = self.handle_once(&asked).await?;
            answer.handler_time = again.handler_time;
            for (place, result) in busy.into_iter().zip(again.results) {
                answer.results[place] = result;
            }
        }
    }

    /// Has tickets of the tenant looked at once.
    pub(crate) async fn handle_once(
        &self,
        tickets: &[(i64, i64)],
    ) -> Result<HandleDueTicketsResponse, Status> {
        let tickets = tickets
            .iter()
            .map(|&(ticket_id, generation)| TicketGeneration {
                tenant_id: TENANT,
                ticket_id,
                generation,
            })
            .collect();
        let request = HandleDueTicketsRequest { tickets };
        let answer = self
            .service
            .handler
            .clone()
            .handle_due_tickets(request)
            .await;
        answer.map(tonic::Response::into_inner)
    }

    /// The outcomes of a look at tickets.
    pub(crate) async fn outcomes(&self, tickets: &[(i64, i64)]) -> Vec<HandleOutcome> {
        let answer = self.handle(tickets).await.expect("handled");
        let results = answer.results.iter();
        results.map(HandledTicket::outcome).collect()
    }
}

/// Lets the automation of a bot's tickets pause without a deadline.
async fn pause_until_completed(fixture: &Fixture, bot_id: i64) {
    sqlx::query(
        "UPDATE bots SET automation_pause_value = NULL, automation_pause_unit = NULL WHERE bot_id = $1",
    )
    .bind(bot_id)
    .execute(&fixture.pool)
    .await
    .expect("updated");
}

/// An agent of these bots.
pub(crate) async fn create_agent(clients: &Clients, name: &str, bot_ids: &[i64]) -> Agent {
    let agent = Agent {
        name: name.to_owned(),
        bot_ids: bot_ids.to_vec(),
        ..Agent::default()
    };
    let request = CreateAgentRequest {
        agent: Some(agent),
        request_id: String::new(),
    };
    let answer = clients.settings.clone().create_agent(request).await;
    answer
        .expect("an agent")
        .into_inner()
        .agent
        .expect("the agent")
}

/// Alerts after 10 and 20 minutes, the warning after 25, the close after 30: a slow machine makes no stage due.
pub(crate) fn everything() -> InactivityPolicy {
    InactivityPolicy {
        alerts: Some(AlertSettings {
            first_alert: minutes(10),
            second_alert: minutes(20),
        }),
        auto_close: Some(AutoCloseSettings {
            close_after: minutes(30),
            tags: vec!["silent".to_owned(), "auto".to_owned()],
            note: Some(ClosingNote {
                category: "inactivity".to_owned(),
                summary: "no answer".to_owned(),
            }),
            closing_text: "Bye, {{contact_name}}".to_owned(),
            ..AutoCloseSettings::default()
        }),
        warning: Some(WarningSettings {
            warn_after: minutes(25),
            text: "{{contact_name}}, {{time_left}} left".to_owned(),
            image_url: "https://example.com/clock.png".to_owned(),
        }),
        ..InactivityPolicy::default()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "messages have it so")]
fn minutes(value: i32) -> Option<TimeValue> {
    Some(time_value(value, TimeUnit::Minute))
}

/// Alerts and close without a warning.
pub(crate) fn unwarned() -> InactivityPolicy {
    InactivityPolicy {
        warning: None,
        ..everything()
    }
}

/// An event in a few words.
pub(crate) fn tell(event: &TicketEvent) -> String {
    match event.payload.as_ref().expect("a known payload") {
        Payload::Opened(_) => "opened".to_owned(),
        Payload::Assigned(_) => "assigned".to_owned(),
        Payload::MessageRecorded(recorded) => {
            let message = recorded.message.as_ref().expect("a message");
            let verb = match message.kind() {
                MessageKind::Note => "noted",
                MessageKind::Comment => "commented",
                _ => "wrote",
            };
            format!("{:?} {verb}", message.author.expect("an author").kind())
        }
        Payload::StageFired(fired) => format!("fired {:?}", fired.stage()),
        Payload::AlertCleared(cleared) => match cleared.previous_agent_alert() {
            Alert::Unspecified => format!("cleared {:?}", cleared.previous_alert()),
            alert => format!(
                "cleared {:?} and agent's {alert:?}",
                cleared.previous_alert()
            ),
        },
        Payload::Closed(closed) => {
            let source = closed.closure.as_ref().expect("a closure").source();
            format!("closed by {source:?}")
        }
        Payload::Reopened(reopened) if reopened.supersedes_close => {
            format!("close superseded, {:?}", reopened.state())
        }
        Payload::Reopened(reopened) => format!("reopened {:?}", reopened.state()),
        Payload::ActiveMessageRequested(requested) => {
            let message = requested.message.as_ref().expect("a message");
            format!("asked for {:?}", message.kind())
        }
        Payload::ActiveMessageReported(reported) => format!("reported {:?}", reported.state()),
        Payload::Held(_) => "held".to_owned(),
        Payload::HoldEnded(ended) => format!("hold ended: {:?}", ended.cause()),
        Payload::Transferred(_) => "transferred".to_owned(),
        Payload::Unlinked(_) => "unlinked".to_owned(),
        Payload::SetOpen(_) => "set open".to_owned(),
        Payload::TagsChanged(changed) => {
            format!("tags +{:?} -{:?}", changed.added, changed.removed)
        }
        Payload::AutomationPaused(_) => "automation paused".to_owned(),
        Payload::AutomationResumed(resumed) => {
            format!("automation resumed: {:?}", resumed.cause())
        }
        Payload::PolicyApplied(_) => "policy applied".to_owned(),
        Payload::ContactChanged(_) => "contact changed".to_owned(),
        Payload::PersonalDataErased(_) => "personal data erased".to_owned(),
    }
}

/// Ids and generations, as the timer names tickets.
pub(crate) fn named(tickets: &[Ticket]) -> Vec<(i64, i64)> {
    tickets
        .iter()
        .map(|ticket| (ticket.ticket_id, ticket.generation))
        .collect()
}

/// The ids of tickets.
pub(crate) fn ids(tickets: &[Ticket]) -> Vec<i64> {
    tickets.iter().map(|ticket| ticket.ticket_id).collect()
}

/// What a reader of the feed has seen: each event once, those of a ticket without gaps and in order.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) events: Vec<TicketEvent>,
    pub(crate) position: String,
    last: std::collections::HashMap<i64, i64>,
    seen: HashSet<i64>,
}

impl Ledger {
    /// Takes a batch.
    pub(crate) fn take(&mut self, batch: StreamEventsResponse) {
        assert!(batch.events.len() <= 1_000, "too many at once");
        for event in batch.events {
            let last = self.last.entry(event.ticket_id).or_default();
            assert_eq!(
                event.ticket_seq,
                *last + 1,
                "ticket {} after {last}",
                event.ticket_id
            );
            *last = event.ticket_seq;
            assert!(self.seen.insert(event.event_id), "twice: {event:?}");
            self.events.push(event);
        }
        self.position = batch.position;
    }
}

/// Waits until `condition` yields something, at most [`BOUND`].
pub(crate) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + BOUND;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "never came true: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Desk {
    /// Open tickets whose cycles began `minutes` ago, written into the database without events. Their generation is 2.
    pub(crate) async fn bulk(&self, count: i64, minutes: f64) -> Vec<i64> {
        sqlx::query_scalar(
            "WITH opened AS (
                 INSERT INTO tickets (tenant_id, bot_id, contact_id, state, opened_at)
                 SELECT $1, $2, $3, 2, clock_timestamp() - make_interval(secs => $5 * 60) FROM generate_series(1, $4)
                 RETURNING ticket_id
             )
             INSERT INTO ticket_clocks
                 (tenant_id, ticket_id, bot_id, ticket_seq, generation, armed_generation, next_due_at, cycle_due_at,
                  last_cycle, cycle, cycle_kind, anchor_at, policy_version, agent_has_written)
             SELECT $1, ticket_id, $2, 0, 2, 2, due_at, due_at, 1, 1, 1,
                 clock_timestamp() - make_interval(secs => $5 * 60),
                 (SELECT policy_version FROM bots WHERE tenant_id = $1 AND bot_id = $2), true
             FROM opened, date_trunc('milliseconds', clock_timestamp()) AS due_at
             RETURNING ticket_id",
        )
        .bind(TENANT)
        .bind(self.bot_id)
        .bind(self.contact_id)
        .bind(count)
        .bind(minutes)
        .fetch_all(&self.fixture.pool)
        .await
        .expect("inserted")
    }
}
