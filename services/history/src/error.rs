//! Why the service could not start or go on.

use plazo_database::SchemaError;
use plazo_service::{ConfigError, ServerError, TaskFailed};

/// Why the service could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database can't be used: it is away, its migrations fail, or its schema is another one.
    #[error("the database can't be used")]
    Schema(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server could not be started, or ended.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A background task ended.
    #[error(transparent)]
    Task(#[from] TaskFailed),
}

impl From<SchemaError> for AppError {
    fn from(error: SchemaError) -> Self {
        Self::Schema(Box::new(error))
    }
}
