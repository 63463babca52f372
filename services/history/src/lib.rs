//! The history service: a read model of ticketing's events.
//!
//! It follows `FeedService.StreamEvents` and applies each event once ([`App::run`] starts the projection), and
//! shows closed tickets and their conversations to actors with `history:view`. Everything that it keeps can be
//! built anew from the feed.

mod app;
mod changes;
mod config;
mod erasures;
mod error;
mod grpc;
mod metrics;
mod model;
mod projection;
mod rebuild;
mod reports;
mod retention;
mod search_key;
mod search_query;
mod store;

pub use app::App;
pub use config::{Config, DatabaseConfig, FeedConfig, ReportConfig, RetentionConfig, SightConfig};
pub use error::AppError;
pub use search_key::{phone_digits, search_key};
