//! Why the timer can't start, or ended.

use plazo_service::config::ConfigError;
use plazo_service::server::ServerError;
use plazo_service::supervisor::TaskFailed;

use crate::checks::CheckError;

/// Why the timer can't start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum TimerError {
    /// A value of the configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Redis can't be reached.
    #[error("redis can't be reached: see redis.url")]
    Redis(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Redis would lose data, or holds entries of another layout.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// gRPC or metrics can't be served.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A background task ended.
    #[error(transparent)]
    Task(#[from] TaskFailed),
}
