//! The rules of a service desk as pure functions: no I/O, no reading of clocks, no async.
//!
//! - [`TimeValue`]: a length of time as somebody set it.
//! - [`InactivityPolicy`]: what happens when a customer falls silent, and which settings are refused.
//! - [`plan`]: the stages of a cycle with their instants.
//! - [`Clock`] and [`advance`]: what a message, a close or the passing of time does to a ticket's
//!   deadlines.
//! - [`Template`]: the texts with placeholders that customers receive.
//! - [`TicketState`] and [`CloseSource`]: where a ticket stands.
//!
//! Callers pass in every instant. The numeric codes of the enums are stable: they are stored in
//! databases, and are the numbers of the same values in `proto/`.

mod clock;
mod code;
mod cycle;
mod instant;
mod plan;
mod policy;
mod template;
mod ticket;
mod time_value;
mod violation;

pub use clock::advance::{Advance, FiredStage, Outcome, advance};
pub use clock::{Clock, ClockState};
pub use cycle::{Alert, Cycle, Stage, StageSet};
pub use plan::{CloseAt, ON_TIME_TOLERANCE_MS, Plan, PlannedStage, plan};
pub use policy::{Alerts, Anchor, AutoClose, InactivityPolicy, Warning};
pub use template::{Placeholder, Template, TemplateError, TemplateValues, write_time_left};
pub use ticket::{AgentPresence, CloseSource, TicketState, may_reopen};
pub use time_value::{MAX_DAYS, TimeUnit, TimeValue, TimeValueError};
pub use violation::{
    ClosingNote, MAX_CATEGORY_CHARS, MAX_SUMMARY_CHARS, MAX_TAG_CHARS, MAX_TAGS, MAX_TEXT_CHARS,
    MAX_URL_CHARS, Violation, check_note, check_tags,
};
