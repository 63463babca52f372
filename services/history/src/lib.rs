//! The history service: a read model of ticketing's events.
//!
//! It follows `FeedService.StreamEvents` and applies each event once ([`App::run`] starts the projection), and
//! shows closed tickets and their conversations to actors with `history:view`. Everything that it keeps can be
//! built anew from the feed.

mod app;
mod config;
mod error;
mod grpc;
mod metrics;
mod model;
mod projection;
mod search_key;
mod store;

pub use app::App;
pub use config::{Config, DatabaseConfig, FeedConfig};
pub use error::AppError;
pub use search_key::{phone_digits, search_key};
