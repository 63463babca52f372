//! The timer: reminds the owner of tickets of their deadlines.
//!
//! It keeps (ticket, generation) pairs with their due instants in Redis, claims what is due, asks the owner what
//! follows, hands the resulting messages to notification, and arms the next instant. The owner's database decides; what
//! is kept here only reminds, so that it can be rebuilt from the owner at any time.
//!
//! ```no_run
//! # async fn example(config: plazo_timer::Config) -> Result<(), plazo_timer::TimerError> {
//! use plazo_service::Listeners;
//! use tokio_util::sync::CancellationToken;
//!
//! let listeners = Listeners::bind(&config.server).await?;
//! let app = plazo_timer::App::build(config, listeners).await?;
//! app.run(CancellationToken::new()).await
//! # }
//! ```

mod app;
mod arming;
mod breaker;
mod checks;
mod claiming;
mod clock;
mod config;
mod core;
mod dispatch;
mod entry;
mod error;
mod fault;
mod grpc;
mod guard;
mod keys;
mod metrics;
mod ownership;
mod rebuild;
mod shard;
mod store;

pub use app::App;
pub use checks::CheckError;
pub use config::{Config, FaultConfig, GuardConfig, RedisConfig, TimerConfig};
pub use error::TimerError;
