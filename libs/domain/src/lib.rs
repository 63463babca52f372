//! The rules of a service desk as pure functions: no I/O, no reading of clocks, no async.
//!
//! - [`TimeValue`]: a length of time as somebody set it.
//! - [`InactivityPolicy`]: what happens when a customer falls silent, and which settings are refused.
//! - [`plan`]: the stages of a cycle with their instants.
//! - [`Clock`] and [`advance`]: what a message, a hold, a close, settings or the passing of time do to a
//!   ticket's deadlines.
//! - [`Calendar`]: business time.
//! - [`hold_until`], [`may_carry`]: how long a hold may last, and how many tags a ticket may carry.
//! - [`Automation`]: the pause of the bot while people are in charge.
//! - [`Template`]: the texts with placeholders that customers receive.
//! - [`TicketState`] and [`CloseSource`]: where a ticket stands.
//!
//! Callers pass in every instant. The numeric codes of the enums are stable: they are stored in
//! databases, and are the numbers of the same values in `proto/`.

mod automation;
mod calendar;
mod clock;
mod code;
mod cycle;
mod hold;
mod instant;
mod plan;
mod policy;
mod tags;
mod template;
mod ticket;
mod time_value;
mod turn;
mod violation;

pub use automation::{Automation, AutomationPause, PauseChange};
pub use calendar::spec::{
    CalendarSpec, DateException, MAX_DAY_INTERVALS, MAX_EXCEPTION_NAME_CHARS, MAX_EXCEPTIONS,
    MINUTES_IN_DAY, OpenInterval, WeeklyInterval,
};
pub use calendar::{Calendar, MAX_CALENDAR_YEARS};
pub use clock::advance::{Advance, Effect, FiredStage, Outcome, Policies, advance};
pub use clock::changes::{Change, Ended, EndedHold, Removed, StartedCycle};
pub use clock::settings::Applied;
pub use clock::warning::WarningReport;
pub use clock::{Clock, ClockState, InForce};
pub use cycle::{Alert, Cycle, CycleKind, Stage, StageSet};
pub use hold::{HoldTooLong, RunningHold, hold_until};
pub use plan::{ON_TIME_TOLERANCE_MS, Plan, PlannedStage, plan};
pub use policy::{Alerts, Anchor, AutoClose, InactivityPolicy, Warning};
pub use tags::{MAX_TAGS_WITH_CLOSE, may_carry, tags_added_by_close};
pub use template::{Placeholder, Template, TemplateError, TemplateValues, write_time_left};
pub use ticket::{AgentPresence, CloseSource, TicketState, may_reopen, supersedes_close};
pub use time_value::{MAX_DAYS, TimeUnit, TimeValue, TimeValueError};
pub use turn::Turn;
pub use violation::{
    ClosingNote, MAX_CATEGORY_CHARS, MAX_SUMMARY_CHARS, MAX_TAG_CHARS, MAX_TAGS, MAX_TEXT_CHARS,
    MAX_URL_CHARS, Violation, check_https_url, check_note, check_tags,
};
