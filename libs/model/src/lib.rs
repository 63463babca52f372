//! A naive model of the rules of a service desk, to test the real code against.
//!
//! It ticks through time, works in whole ticks, and asks anew at each tick what the rules say. It shares no
//! code with the rest of the workspace, so that a mistake would have to be made twice to stay unseen.
//!
//! - [`Story`]: the settings of a desk and what happens to one ticket, by tick. [`any_story`] makes them up, [`story_of_seed`] without a
//!   test runner.
//! - [`Script`]: a story with what must follow, tick by tick: [`Moment`]s, with the reports of notification
//!   worked in.
//! - [`play`]: feeds a script to a [`Side`], code under test, and compares what strangers can see. Whoever
//!   plays many scripts in step reads the moments himself.

mod model;
mod script;
mod story;
mod strategies;
mod view;
mod week;

pub use script::{Input, Mismatch, Moment, Script, Side, play};
pub use story::{
    Anchor, Close, Event, Pause, Policy, Report, Scope, Settings, Story, TICK_MS, TICKS_IN_SECOND,
    Tag, Ticks,
};
pub use strategies::{any_policy, any_report, any_story, story_of_seed};
pub use view::{Alert, Automation, Closer, Cycle, Effect, Kind, Stage, State, View};
pub use week::{OpenMinutes, START_MINUTE_OF_WEEK, START_MS};
