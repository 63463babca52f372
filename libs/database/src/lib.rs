//! What the services with a PostgreSQL database share: how they connect, which schema they accept, what repeated requests
//! are answered, and what callers learn of failures. The timer has none, and must not depend on this.

pub mod answers;
pub mod connect;
pub mod errors;
pub mod logins;
pub mod metrics;
pub mod schema;
pub mod tenant_pool;
#[cfg(feature = "testing")]
pub mod walls;

pub use answers::{AnswerError, first_answer, forget_answers, keep_answer};
pub use connect::pool_options;
pub use errors::{is_conflict, to_status};
pub use logins::Logins;
pub use metrics::{HousekeepingMetrics, WatchedPool, register_metrics};
pub use schema::SchemaError;
pub use tenant_pool::{TenantPool, TenantReader};
