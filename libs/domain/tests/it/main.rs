//! The rules of the inactivity cycle, seen from outside the crate.

mod examples;
mod invariants;
mod model;
mod plans;
mod policies;
mod support;
