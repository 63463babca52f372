//! Private PostgreSQL and Redis servers, for `plazo up` and for tests.
//!
//! A server listens on a Unix socket in a folder of its own and belongs to the process that started it. It ends with
//! that process, however that ends: the owner holds a pipe to a small supervising shell, which stops the server as
//! soon as the pipe closes. When the owner is root, the servers run as the account `postgres` or `nobody`, since
//! PostgreSQL refuses root.
//!
//! The folder of a server holds `data`, `socket`, `server.log`, `server.pid` and `owner.lock`. The lock keeps a
//! second owner out; a server left behind by an owner that is gone is ended by the next one.
//!
//! ```no_run
//! # async fn example() -> plazo_local::Result<()> {
//! use plazo_local::{PostgresOptions, PostgresServer};
//!
//! let mut postgres = PostgresServer::start(PostgresOptions::persistent("/var/lib/plazo/postgres")).await?;
//! postgres.create_database("ticketing").await?;
//! println!("{}", postgres.database_url("ticketing"));
//! postgres.stop().await?;
//! # Ok(())
//! # }
//! ```

mod account;
mod binaries;
mod error;
mod folder;
mod postgres;
mod process;
mod redis;
mod redis_groups;
mod server;
mod test_servers;
mod url;

pub use error::{LocalError, Result};
pub use folder::{DataFolder, SOCKET_PATH_BYTES_MAX};
pub use postgres::{POSTGRES_USER, PostgresOptions, PostgresServer};
pub use redis::{RedisOptions, RedisServer};
pub use redis_groups::{RedisCluster, RedisClusterOptions, RedisSentinels, RedisSentinelsOptions};
pub use test_servers::TestServers;

use std::path::PathBuf;

/// Where a person's data go when no folder was named: `/var/lib/plazo` for root, whose home the servers' account
/// could not enter, else `plazo` in the user's data folder. None when there is no home.
pub fn default_data_folder() -> Option<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Some("/var/lib/plazo".into());
    }
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let data =
        absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")))?;
    Some(data.join("plazo"))
}
