//! What the services with a PostgreSQL database share: how they connect, which schema they accept, and what callers
//! learn of its failures. The timer has none, and must not depend on this.

pub mod connect;
pub mod errors;
pub mod logins;
pub mod metrics;
pub mod schema;
pub mod tenant_pool;
#[cfg(feature = "testing")]
pub mod walls;

pub use connect::pool_options;
pub use errors::{is_conflict, to_status};
pub use logins::Logins;
pub use metrics::{HousekeepingMetrics, WatchedPool, register_metrics};
pub use schema::SchemaError;
pub use tenant_pool::{TenantPool, TenantReader};
