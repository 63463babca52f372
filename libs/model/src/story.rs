//! The settings of a desk, and what happens to a ticket.

use crate::week::OpenMinutes;

/// Instants and lengths of stories: instants count from the ticket's opening.
pub type Ticks = i64;

/// The length of a tick in milliseconds.
pub const TICK_MS: i64 = 500;
/// How many ticks make a second.
pub const TICKS_IN_SECOND: Ticks = 1_000 / TICK_MS;

/// One of a few tags.
pub type Tag = u8;

/// What the stages of a cycle about a silent customer count from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The agent's last message.
    Last,
    /// The agent's first unanswered message.
    First,
}

/// The automatic close, and the warning before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// When to close.
    pub after_s: i64,
    /// When to warn, if at all; shorter than `after_s`.
    pub warn_after_s: Option<i64>,
    /// `close_needs_delivery`, with its maximum wait. Needs the warning.
    pub max_delivery_wait_s: Option<i64>,
    /// `only_after_first_agent_message`.
    pub only_after_first_agent_message: bool,
    /// `close_while_customer_waits`.
    pub while_customer_waits: bool,
    /// A ticket that carries one of these is never closed or warned.
    pub exclude_tags: Vec<Tag>,
}

/// An inactivity policy. All lengths are in whole seconds, above zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What the stages count from.
    pub anchor: Anchor,
    /// The first and the second alert, the first shorter, the second at most as long as the close.
    pub alerts: Option<(i64, i64)>,
    /// The automatic close.
    pub close: Option<Close>,
    /// The first and second alert of the agent's side.
    pub agent_alerts: Option<(i64, i64)>,
    /// Whether stages are counted in business time, by [`Settings::week`].
    pub in_business_time: bool,
}

/// For how long the automation pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// So many seconds.
    ForSeconds(i64),
    /// Until the ticket is completed.
    UntilCompleted,
}

/// The settings with which a story begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The bot's policy. It has version 1.
    pub bot: Policy,
    /// The policies of the queues, none for a queue without its own. Those that are there have versions
    /// from 2, in this order.
    pub queues: Vec<Option<Policy>>,
    /// The bot's `automation_pause`.
    pub automation_pause: Pause,
    /// The bot's `max_hold`, in seconds.
    pub max_hold_s: i64,
    /// The bot's `late_reply_grace`.
    pub late_reply_grace_s: i64,
    /// When business time is open.
    pub week: Vec<OpenMinutes>,
    /// Whether an agent is named at the opening.
    pub opens_with_agent: bool,
}

/// Whose policy is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The bot's.
    Bot,
    /// That of the queue with this index.
    Queue(usize),
}

/// What people, channels and other programs do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An agent writes to the customer.
    Agent,
    /// A message of the customer arrives. With a channel timestamp that lies so many ticks before the
    /// arrival; below zero: in the future.
    Customer {
        /// None where the channel tells no time.
        written_ago: Option<Ticks>,
    },
    /// The system or the bot writes.
    System,
    /// An agent leaves a note or a comment.
    Note,
    /// The ticket is put on hold, or its hold gets another end.
    Hold {
        /// After how long, from now, it ends by itself.
        max_s: i64,
    },
    /// The hold is ended.
    Resume,
    /// The ticket is transferred to the queue with this index.
    Transfer(usize),
    /// The ticket is assigned to the agent.
    Assign,
    /// The action block "set open".
    SetOpen,
    /// An agent completes the ticket.
    Close,
    /// The reopen button.
    Reopen,
    /// The ticket is unlinked.
    Unlink,
    /// A tag is added that the ticket does not carry.
    TagAdded(Tag),
    /// A tag is removed that the ticket carries.
    TagRemoved(Tag),
    /// Settings are saved. Each policy that is saved gets the next version.
    Settings {
        /// Whose.
        scope: Scope,
        /// None only for a queue: it goes by the bot's policy again.
        policy: Option<Policy>,
        /// `apply_to_open_tickets`.
        applies: bool,
    },
    /// The automation is paused, or its pause extended.
    PauseAutomation(Pause),
    /// The automation is resumed early.
    ResumeAutomation,
    /// The agent goes away or comes back.
    Away(bool),
}

/// What notification reports about one warning. All in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// From the acceptance to its report; at least 1.
    pub delay: Ticks,
    /// How far ahead of the truth the reported instant of the acceptance is.
    pub ahead: Ticks,
    /// The report of the acceptance comes again so long after the first, with an instant as much later.
    pub repeated_after: Option<Ticks>,
    /// From the acceptance to delivery or failure, if that is ever known.
    pub settled_after: Option<Ticks>,
    /// From that to its report; at least 1.
    pub settled_delay: Ticks,
}

impl Report {
    /// The acceptance is reported at once, a delivery never.
    pub const PROMPT: Self = Self {
        delay: 1,
        ahead: 0,
        repeated_after: None,
        settled_after: None,
        settled_delay: 1,
    };
}

/// From and until, the end not included.
pub(crate) type Outage = (Ticks, Ticks);

/// What happens to one ticket, which is opened at tick 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// How it begins.
    pub settings: Settings,
    /// What happens, in the order of ticks. What the rules do not allow when its turn comes, or do not
    /// decide, is left out of the [`Script`](crate::Script).
    pub events: Vec<(Ticks, Event)>,
    /// When nobody looks at what is due, from and until.
    pub nobody_looks: Vec<(Ticks, Ticks)>,
    /// When notification accepts nothing, from and until.
    pub notification_down: Vec<(Ticks, Ticks)>,
    /// For the first, second, … warning, over and over. Not empty.
    pub reports: Vec<Report>,
    /// How long to go on after the last event.
    pub ticks_after: Ticks,
}

impl Story {
    /// The first tick after the story.
    pub fn end(&self) -> Ticks {
        let last = self.events.iter().map(|(tick, _)| *tick).max();
        last.unwrap_or(0) + self.ticks_after
    }
}

pub(crate) fn is_down(outages: &[Outage], tick: Ticks) -> bool {
    outages
        .iter()
        .any(|(from, until)| *from <= tick && tick < *until)
}
