//! `plazo load`: how late a timer is, how much it bears, and whether it loses, doubles or hurries anything.

pub mod answering;
pub mod caller;
mod error;
mod generator;
mod handler;
mod lateness;
mod ledger;
pub mod options;
mod picture;
pub mod private;
pub mod progress;
pub mod report;
mod run;
mod schedule;
mod series;
mod ticketing;
mod timeline;
mod timer;

pub use error::LoadError;
pub use run::run;
