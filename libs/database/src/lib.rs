//! What the services with a PostgreSQL database share: how they connect, which schema they accept, and what callers
//! learn of its failures. The timer has none, and must not depend on this.

pub mod bounded;
pub mod connect;
pub mod errors;
pub mod schema;

pub use bounded::BoundedPool;
pub use connect::{connect_options, pool_options};
pub use errors::{is_conflict, to_status};
pub use schema::{SchemaError, prepare_schema};
