//! The ticketing service: owns the truth about tickets, and decides every rule of the desk.
//!
//! A request comes in through [`grpc`], which checks it and calls a use case ([`tickets`], [`settings`],
//! [`contacts`]) inside a transaction ([`changes`]); use cases decide with the pure rules of `plazo_domain` and write
//! through [`store`]. Deadlines go to the timer by the [`relay`], with the [`sweep`] as a net under it; the timer comes
//! back through [`firing`]; notification through [`reports`], and
//! with what customers wrote through [`inbound`]. Personal data go by [`erasing`]. Other services read what happened from
//! the [`feed`], and begin with a [`snapshot`].

pub mod app;
pub mod applying;
pub mod callers;
pub mod changes;
pub mod config;
pub mod contacts;
pub mod erasing;
pub mod error;
pub mod feed;
pub mod firing;
mod fitting;
pub mod grpc;
pub mod inbound;
mod instants;
pub mod keeping;
mod maintenance;
pub mod metrics;
pub mod policy_proto;
pub mod relay;
pub mod reports;
pub mod settings;
pub mod snapshot;
pub mod store;
pub mod sweep;
pub mod tickets;
mod turns;
pub mod validate;

pub use app::App;
pub use config::Config;
