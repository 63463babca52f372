//! Rows of settings: bots, their policies, calendars, queues and agents.
//!
//! `permitted` is what an actor's bots are in SQL: none means every bot of the tenant.

pub mod agents;
pub mod applications;
pub mod bots;
pub mod calendars;
pub mod policies;
mod policy_cache;
pub mod previews;
pub mod queues;

pub use policy_cache::{PolicyCache, PolicyKey};
