//! What happens in a ticket, from its opening to its last close, as the events that ticketing would write.

use plazo_proto::common::v1::{Author, AuthorKind};
use plazo_proto::ticketing::v1::{CloseSource, MessageKind, Stage, TicketState};

use super::contact::ContactData;
use super::random::{Kind, Random};
use super::words::{CATEGORIES, EXIT_ROUTE, Language, SILENT_CATEGORY, SILENT_TAG, TAGS};
use super::world::{Place, SECOND_US, World, queue_of, whole_ms};

const MINUTE_US: i64 = 60 * SECOND_US;
const SYSTEM: Author = author(AuthorKind::System, 0);

/// A ticket and all that happens in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// Where it stands.
    pub place: Place,
    /// Its customer.
    pub contact_id: i64,
    /// The customer's data.
    pub contact: ContactData,
    /// What happens; the place in the list, from 1, is the event's number in the ticket.
    pub events: Vec<Event>,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, in microseconds since 1970; whole milliseconds.
    pub at_us: i64,
    /// Who does it.
    pub author: Author,
    /// What it is.
    pub step: Step,
}

/// What happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The ticket is opened, for an agent or for nobody (0).
    Opened {
        /// The agent.
        agent_id: i64,
    },
    /// An agent is assigned.
    Assigned {
        /// The agent.
        agent_id: i64,
        /// The one before; 0 for none.
        previous_agent_id: i64,
    },
    /// Somebody writes.
    Written {
        /// What sort of message.
        kind: MessageKind,
        /// What is written.
        text: &'static str,
    },
    /// A stage takes effect; of a cycle that waits for the customer, or, when no agent wrote, of one in which he waits.
    Fired {
        /// The stage.
        stage: Stage,
        /// How late it is.
        late_ms: i64,
        /// Whether no agent has written.
        is_unanswered: bool,
    },
    /// The alert goes.
    Cleared,
    /// An active message is to be sent: the warning, or the text after the close.
    Requested {
        /// Whether it is the warning.
        is_warning: bool,
        /// Its text.
        text: &'static str,
    },
    /// It is put on hold.
    Held,
    /// The hold ends.
    Resumed,
    /// It goes to a queue, without an agent.
    Transferred {
        /// The queue.
        queue_id: i64,
        /// The queue before.
        previous_queue_id: i64,
        /// The agent who loses it; 0 for none.
        previous_agent_id: i64,
    },
    /// Tags are put on it.
    Tagged {
        /// All of them, sorted.
        tags: Vec<&'static str>,
    },
    /// It is closed.
    Closed(Closing),
    /// It is opened again by its customer, for the agent that it had, or for nobody (0).
    Reopened {
        /// The agent.
        agent_id: i64,
        /// The state after it.
        state: TicketState,
        /// The tags, as they were.
        tags: Vec<&'static str>,
    },
    /// It is hidden from the lists.
    Unlinked,
}

/// How it is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// What it is put down to.
    pub source: CloseSource,
    /// Category and summary, if a note is left.
    pub note: Option<(&'static str, &'static str)>,
    /// Where the customer goes in the bot; empty but after a close by inactivity.
    pub exit_route: &'static str,
    /// The tags after it, sorted.
    pub tags: Vec<&'static str>,
}

impl World {
    /// The ticket with this number, counted from 0.
    pub fn story(&self, number: u64) -> Story {
        let place = self.place(number);
        let person = self.person(place.contact);
        let mut teller = Teller {
            world: self,
            random: Random::of(self.options().seed, Kind::Story, number),
            place,
            contact_id: self.contact_id(place.contact),
            words: person.language,
            at_us: place.opened_us,
            queue_id: place.queue_id,
            agent_id: 0,
            tags: Vec::new(),
            events: Vec::with_capacity(16),
        };
        teller.tell();
        let mut events = teller.events;
        end_by(&mut events, self.options().until_us);
        Story {
            place,
            contact_id: self.contact_id(place.contact),
            contact: person.data,
            events,
        }
    }
}

/// Lets everything go faster where the ticket would not end in time.
fn end_by(events: &mut [Event], until_us: i64) {
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return;
    };
    let (opened_us, length_us) = (first.at_us, last.at_us - first.at_us);
    let most_us = until_us - opened_us;
    if length_us <= most_us {
        return;
    }
    for event in events {
        let scaled =
            i128::from(event.at_us - opened_us) * i128::from(most_us) / i128::from(length_us);
        let scaled = i64::try_from(scaled).expect("less than it was");
        event.at_us = whole_ms(opened_us + scaled);
    }
}

const fn author(kind: AuthorKind, id: i64) -> Author {
    Author {
        kind: kind as i32,
        id,
    }
}

struct Teller<'a> {
    world: &'a World,
    random: Random,
    place: Place,
    contact_id: i64,
    words: &'static Language,
    at_us: i64,
    queue_id: i64,
    agent_id: i64,
    tags: Vec<&'static str>,
    events: Vec<Event>,
}

impl Teller<'_> {
    fn tell(&mut self) {
        self.open();
        if self.random.chance(30) {
            return self.close_unanswered();
        }
        self.be_taken(5.0, 7_200.0);
        self.tag(300);
        self.answer();
        self.talk();
        self.be_interrupted();
        let is_silent = self.random.chance(410);
        if is_silent {
            self.fall_silent();
        } else {
            self.be_done();
        }
        if self.random.chance(if is_silent { 30 } else { 60 }) {
            self.come_back();
        }
        if self.random.chance(5) {
            self.pass(5.0, 600.0);
            self.agent_does(Step::Unlinked);
        }
    }

    fn open(&mut self) {
        let bot = author(AuthorKind::Bot, self.place.bot_id);
        if self.random.chance(120) {
            self.agent_id = self.some_agent();
        }
        let agent_id = self.agent_id;
        self.happens(bot, Step::Opened { agent_id });
        self.pass(1.0, 45.0);
        let text = self.random.pick(self.words.questions);
        self.customer_writes(text);
    }

    /// Somebody takes the ticket, unless it has an agent.
    fn be_taken(&mut self, from_s: f64, to_s: f64) {
        if self.agent_id == 0 {
            self.pass(from_s, to_s);
            let agent_id = self.some_agent();
            self.be_given_to(agent_id);
        }
    }

    fn be_given_to(&mut self, agent_id: i64) {
        let previous_agent_id = std::mem::replace(&mut self.agent_id, agent_id);
        self.agent_does(Step::Assigned {
            agent_id,
            previous_agent_id,
        });
    }

    fn answer(&mut self) {
        self.pass(5.0, 900.0);
        let text = self.random.pick(self.words.answers);
        self.agent_writes(MessageKind::Chat, text);
    }

    /// Questions and answers, in few tickets many.
    fn talk(&mut self) {
        for _ in 0..4 {
            if !self.random.chance(280) {
                break;
            }
            if self.random.chance(250) {
                self.pass(900.0, 3_600.0);
                self.fire(Stage::FirstAlert, false);
                self.pass(5.0, 600.0);
                self.happens(author(AuthorKind::Customer, self.contact_id), Step::Cleared);
            } else {
                self.pass(5.0, 900.0);
            }
            let text = self.random.pick(self.words.replies);
            self.customer_writes(text);
            self.answer();
        }
    }

    /// Notes, holds, colleagues and other queues.
    fn be_interrupted(&mut self) {
        match self.random.below(1_000) {
            0..30 => {
                self.pass(5.0, 300.0);
                let text = self.random.pick(self.words.notes);
                self.agent_writes(MessageKind::Note, text);
            }
            30..70 => {
                self.pass(5.0, 300.0);
                let text = self.random.pick(self.words.comments);
                self.agent_writes(MessageKind::Comment, text);
            }
            70..125 => {
                self.pass(5.0, 300.0);
                self.agent_does(Step::Held);
                self.pass(300.0, 28_800.0);
                self.agent_does(Step::Resumed);
                self.answer();
            }
            125..155 => {
                self.pass(10.0, 900.0);
                let agent_id = self.some_agent();
                self.be_given_to(agent_id);
                self.answer();
            }
            155..220 => {
                self.pass(10.0, 900.0);
                self.be_transferred();
                self.be_taken(20.0, 14_400.0);
                self.answer();
            }
            _ => {}
        }
    }

    fn be_transferred(&mut self) {
        let queue_id = queue_of(self.place.bot_id, &mut self.random);
        let previous_queue_id = std::mem::replace(&mut self.queue_id, queue_id);
        let step = Step::Transferred {
            queue_id,
            previous_queue_id,
            previous_agent_id: self.agent_id,
        };
        self.agent_does(step);
        self.agent_id = 0;
    }

    /// The customer says nothing more: the stages of the bot's policy take effect, one after the other.
    fn fall_silent(&mut self) {
        let anchor_us = self.at_us;
        let unit_us = 15 * MINUTE_US * (1 + self.place.bot_id % 4);
        if self.place.bot_id % 3 != 0 {
            self.at_us = anchor_us + unit_us;
            self.fire(Stage::FirstAlert, false);
            self.at_us = anchor_us + 2 * unit_us;
            self.fire(Stage::SecondAlert, false);
        }
        if self.place.bot_id % 3 != 1 {
            self.at_us = anchor_us + 3 * unit_us;
            self.warn(false);
        }
        self.at_us = anchor_us + 4 * unit_us;
        self.close_by_inactivity(false);
    }

    /// Nobody takes the ticket, and the customer gives up.
    fn close_unanswered(&mut self) {
        self.at_us += 8 * 60 * MINUTE_US;
        self.warn(true);
        self.at_us += 30 * MINUTE_US;
        self.close_by_inactivity(true);
    }

    fn warn(&mut self, is_unanswered: bool) {
        self.fire(Stage::Warning, is_unanswered);
        let text = self.words.warning;
        self.happens(
            SYSTEM,
            Step::Requested {
                is_warning: true,
                text,
            },
        );
    }

    fn close_by_inactivity(&mut self, is_unanswered: bool) {
        self.fire(Stage::Close, is_unanswered);
        self.add_tag(SILENT_TAG);
        let closing = Closing {
            source: CloseSource::CustomerInactivity,
            note: Some((SILENT_CATEGORY, self.words.silent_summary)),
            exit_route: EXIT_ROUTE,
            tags: self.tags.clone(),
        };
        self.happens(SYSTEM, Step::Closed(closing));
        if self.place.bot_id % 2 == 0 {
            let text = self.words.closing_text;
            self.happens(
                SYSTEM,
                Step::Requested {
                    is_warning: false,
                    text,
                },
            );
        }
    }

    /// Somebody or something closes it after all is said.
    fn be_done(&mut self) {
        if self.random.chance(400) {
            self.pass(5.0, 600.0);
            let text = self.random.pick(self.words.thanks);
            self.customer_writes(text);
        }
        self.pass(5.0, 1_800.0);
        let agent = author(AuthorKind::Agent, self.agent_id);
        let (source, by) = match self.random.below(100) {
            0..82 => (CloseSource::Agent, agent),
            82..88 => (
                CloseSource::Customer,
                author(AuthorKind::Customer, self.contact_id),
            ),
            88..95 => (
                CloseSource::Workflow,
                author(AuthorKind::Bot, self.place.bot_id),
            ),
            _ => (CloseSource::Api, author(AuthorKind::Service, 0)),
        };
        let is_noted = source == CloseSource::Agent && self.random.chance(850);
        let note = is_noted.then(|| {
            let category = self.random.pick_skewed(&CATEGORIES, 1.5);
            (category, self.random.pick(self.words.summaries))
        });
        let closing = Closing {
            source,
            note,
            exit_route: "",
            tags: self.tags.clone(),
        };
        self.happens(by, Step::Closed(closing));
    }

    /// The customer writes again within a day, and it begins once more.
    fn come_back(&mut self) {
        self.pass(60.0, 72_000.0);
        if self.random.chance(250) {
            // His agent is away.
            self.agent_id = 0;
        }
        let state = if self.agent_id == 0 {
            TicketState::Waiting
        } else {
            TicketState::Open
        };
        let customer = author(AuthorKind::Customer, self.contact_id);
        let step = Step::Reopened {
            agent_id: self.agent_id,
            state,
            tags: self.tags.clone(),
        };
        self.happens(customer, step);
        let text = self.random.pick(self.words.replies);
        self.customer_writes(text);
        self.be_taken(30.0, 7_200.0);
        self.answer();
        self.be_done();
    }

    fn tag(&mut self, per_mille: u64) {
        if !self.random.chance(per_mille) {
            return;
        }
        for _ in 0..=self.random.below(2) {
            let tag = self.random.pick_skewed(&TAGS, 1.4);
            self.add_tag(tag);
        }
        let tags = self.tags.clone();
        self.agent_does(Step::Tagged { tags });
    }

    fn add_tag(&mut self, tag: &'static str) {
        if let Err(place) = self.tags.binary_search(&tag) {
            self.tags.insert(place, tag);
        }
    }

    /// A stage takes effect a little after it was due; seldom much later, as after a short outage.
    fn fire(&mut self, stage: Stage, is_unanswered: bool) {
        let late_ms = match self.random.below(10_000) {
            0..9_900 => self.random.length_ms(0.002, 0.12),
            9_900..9_995 => self.random.length_ms(0.12, 3.0),
            _ => self.random.length_ms(3.0, 90.0),
        };
        self.at_us += late_ms * 1_000;
        let step = Step::Fired {
            stage,
            late_ms,
            is_unanswered,
        };
        self.happens(SYSTEM, step);
    }

    fn customer_writes(&mut self, text: &'static str) {
        let kind = MessageKind::Chat;
        let customer = author(AuthorKind::Customer, self.contact_id);
        self.happens(customer, Step::Written { kind, text });
    }

    fn agent_writes(&mut self, kind: MessageKind, text: &'static str) {
        self.agent_does(Step::Written { kind, text });
    }

    fn agent_does(&mut self, step: Step) {
        let agent = author(AuthorKind::Agent, self.agent_id);
        self.happens(agent, step);
    }

    fn happens(&mut self, author: Author, step: Step) {
        self.events.push(Event {
            at_us: self.at_us,
            author,
            step,
        });
    }

    fn pass(&mut self, from_s: f64, to_s: f64) {
        self.at_us += self.random.length_ms(from_s, to_s) * 1_000;
    }

    fn some_agent(&mut self) -> i64 {
        self.world.some_agent(self.place.bot_id, &mut self.random)
    }
}
