//! What reports know of a ticket: the same that the projection makes of its events.

use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::ticketing::v1::{MessageKind, TicketState};

use super::business::open_ms;
use super::story::{Closing, Event, Step, Story};
use super::world::World;

/// A ticket after its last event. Instants are microseconds since 1970, lengths milliseconds; ids of 0 mean none.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The queue it was last in.
    pub queue_id: i64,
    /// The agent it was last assigned to.
    pub agent_id: i64,
    /// The tags.
    pub tags: Vec<&'static str>,
    /// Chat messages of the customer.
    pub customer_message_count: i32,
    /// Chat messages of agents.
    pub agent_message_count: i32,
    /// How often it was opened again.
    pub reopen_count: i32,
    /// The last close: when, by whom and how.
    pub closed: Option<(i64, Author, Closing)>,
    /// Whether it is hidden.
    pub is_unlinked: bool,
    /// When an agent was assigned first.
    pub first_assigned_us: Option<i64>,
    /// When an agent wrote first.
    pub first_agent_message_us: Option<i64>,
    /// When it was closed first.
    pub first_closed_us: Option<i64>,
    /// Answers after the first.
    pub later_response_count: i32,
    /// For how long customers waited for them.
    pub later_response: Length,
    /// For how long agents had it in their hands.
    pub handling: Length,
    /// The customer's first message that no agent has answered.
    pub customer_waits_since_us: Option<i64>,
    /// Whom it was assigned to at its close; 0 for nobody.
    pub assigned_agent_id: i64,
    /// Since when that agent had it in his hands, until the close.
    pub handled_since_us: Option<i64>,
    /// The last time that somebody wrote, or that it was opened, closed or opened again.
    pub last_interaction_us: i64,
    /// Who dealt with it, and when last.
    pub dealings: Vec<(i64, i64)>,
    state: TicketState,
    is_held: bool,
}

/// A length of time, by the clock and by the calendar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Length {
    /// Milliseconds.
    pub plain_ms: i64,
    /// Milliseconds of business time.
    pub business_ms: i64,
}

/// From one instant to another.
pub(super) fn length(from_us: i64, until_us: i64) -> Length {
    let (start, end) = (from_us / 1_000, until_us / 1_000);
    Length {
        plain_ms: end - start,
        business_ms: open_ms(start, end),
    }
}

impl Length {
    fn add(&mut self, other: Self) {
        self.plain_ms += other.plain_ms;
        self.business_ms += other.business_ms;
    }
}

impl Facts {
    /// What the events of a ticket amount to.
    pub fn of(story: &Story) -> Self {
        let mut facts = Self {
            queue_id: story.place.queue_id,
            agent_id: 0,
            tags: Vec::new(),
            customer_message_count: 0,
            agent_message_count: 0,
            reopen_count: 0,
            closed: None,
            is_unlinked: false,
            first_assigned_us: None,
            first_agent_message_us: None,
            first_closed_us: None,
            later_response_count: 0,
            later_response: Length::default(),
            handling: Length::default(),
            customer_waits_since_us: None,
            assigned_agent_id: 0,
            handled_since_us: None,
            last_interaction_us: story.place.opened_us,
            dealings: Vec::new(),
            state: TicketState::Waiting,
            is_held: false,
        };
        for event in &story.events {
            facts.take(event);
        }
        facts
    }

    /// The version of the calendar that its business times count by.
    pub(super) fn calendar_version(story: &Story) -> i64 {
        World::calendar_version(story.place.bot_id)
    }

    fn take(&mut self, event: &Event) {
        let at_us = event.at_us;
        match &event.step {
            Step::Opened { agent_id } | Step::Assigned { agent_id, .. } => {
                self.assign(*agent_id, at_us);
            }
            Step::Written { kind, .. } => self.write(*kind, event),
            Step::Held => self.is_held = true,
            Step::Resumed => self.is_held = false,
            Step::Transferred { queue_id, .. } => {
                self.deal(self.assigned_agent_id, at_us);
                self.queue_id = *queue_id;
                self.agent_id = 0;
                self.assigned_agent_id = 0;
                self.state = TicketState::Waiting;
            }
            Step::Tagged { tags } => self.tags.clone_from(tags),
            Step::Closed(closing) => self.close(closing, event),
            Step::Reopened {
                agent_id,
                state,
                tags,
            } => {
                self.closed = None;
                self.reopen_count += 1;
                self.state = *state;
                self.tags.clone_from(tags);
                self.last_interaction_us = at_us;
                self.handled_since_us = None;
                self.assigned_agent_id = 0;
                // Without one, the agent it was last assigned to stays known.
                if *agent_id != 0 {
                    self.assign(*agent_id, at_us);
                }
            }
            Step::Unlinked => self.is_unlinked = true,
            Step::Fired { .. } | Step::Cleared | Step::Requested { .. } => {}
        }
        // A close ends a span without forgetting when it began.
        if self.closed.is_none() {
            self.handle(at_us);
        }
    }

    fn assign(&mut self, agent_id: i64, at_us: i64) {
        if agent_id == 0 {
            return;
        }
        if self.assigned_agent_id != agent_id {
            self.deal(self.assigned_agent_id, at_us);
        }
        self.agent_id = agent_id;
        self.assigned_agent_id = agent_id;
        self.state = TicketState::Open;
        self.first_assigned_us.get_or_insert(at_us);
        self.deal(agent_id, at_us);
    }

    fn write(&mut self, kind: MessageKind, event: &Event) {
        let at_us = event.at_us;
        let by = event.author.kind();
        if by == AuthorKind::Agent {
            self.deal(event.author.id, at_us);
        }
        if kind != MessageKind::Chat {
            return;
        }
        self.last_interaction_us = at_us;
        if by == AuthorKind::Customer {
            self.customer_message_count += 1;
            self.customer_waits_since_us.get_or_insert(at_us);
        } else if by == AuthorKind::Agent {
            self.agent_message_count += 1;
            let waited_since = self.customer_waits_since_us.take();
            if self.first_agent_message_us.is_none() {
                self.first_agent_message_us = Some(at_us);
            } else if let Some(since_us) = waited_since {
                self.later_response_count += 1;
                self.later_response.add(length(since_us, at_us));
            }
        }
    }

    fn close(&mut self, closing: &Closing, event: &Event) {
        self.state = TicketState::Closed;
        self.is_held = false;
        self.closed = Some((event.at_us, event.author, closing.clone()));
        self.first_closed_us.get_or_insert(event.at_us);
        self.tags.clone_from(&closing.tags);
        self.last_interaction_us = event.at_us;
        self.deal(self.assigned_agent_id, event.at_us);
        if let Some(since_us) = self.handled_since_us {
            self.handling.add(length(since_us, event.at_us));
        }
    }

    fn deal(&mut self, agent_id: i64, at_us: i64) {
        if agent_id == 0 {
            return;
        }
        match self
            .dealings
            .iter_mut()
            .find(|(agent, _)| *agent == agent_id)
        {
            Some((_, last_us)) => *last_us = (*last_us).max(at_us),
            None => self.dealings.push((agent_id, at_us)),
        }
    }

    /// Begins or ends a span in which an agent has it in his hands.
    fn handle(&mut self, at_us: i64) {
        let is_handled =
            self.state == TicketState::Open && self.assigned_agent_id != 0 && !self.is_held;
        match (self.handled_since_us, is_handled) {
            (None, true) => self.handled_since_us = Some(at_us),
            (Some(since_us), false) => {
                self.handling.add(length(since_us, at_us));
                self.handled_since_us = None;
            }
            _ => {}
        }
    }
}
