//! The notification service: takes active messages, sends them, and tells ticketing what became of them.
//!
//! README.md says what it does, how it is configured, and what a webhook looks like. [`App`] is the whole
//! service; `main.rs` runs it alone, and `plazo up` together with the others.

mod accepting;
mod account;
mod app;
mod backoff;
mod callbacks;
pub mod config;
mod credentials;
mod erasing;
mod error;
mod fault;
mod feed;
#[doc(hidden)]
pub mod fuzzing;
mod grpc;
mod housekeeping;
mod inbound;
mod message;
mod metrics;
mod outbox;
mod pipeline;
mod reporting;
mod sending;
mod store;
mod subscriptions;

pub use app::{App, AppError};
pub use config::Config;
pub use sending::WebhookClientError;
