//! The rules of the inactivity cycle and of business time, seen from outside the crate.

mod calendars;
mod examples;
mod generations;
mod invariants;
mod model;
mod plans;
mod policies;
mod rules;
mod seen;
mod support;
mod tables;
