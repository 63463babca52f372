//! Servers that the tests of one binary share.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::OnceCell;

use crate::error::Result;
use crate::postgres::{PostgresOptions, PostgresServer};
use crate::redis::{RedisOptions, RedisServer};

/// One PostgreSQL and one Redis server for all tests of a binary. They are fast and not durable: a test that kills,
/// stops or pauses a server starts one of its own.
#[derive(Debug)]
pub struct TestServers {
    postgres: PostgresServer,
    redis: RedisServer,
    /// Numbers what tests ask for.
    next: AtomicU32,
}

impl TestServers {
    /// The binary's servers, started by whoever asks first. They end with the test process, however it ends.
    ///
    /// # Panics
    ///
    /// When a server can't be started: no test can go on without it, and the message says what to do.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<TestServers> = OnceCell::const_new();
        SHARED
            .get_or_init(async || match Self::start().await {
                Ok(servers) => servers,
                Err(error) => panic!(
                    "can't start the servers for the tests: {}",
                    with_sources(&error)
                ),
            })
            .await
    }

    /// Starts servers that end when this value is dropped.
    pub async fn start() -> Result<Self> {
        let postgres = PostgresOptions::temporary().durable(false);
        let redis = RedisOptions::temporary().append_only(false);
        let (postgres, redis) =
            tokio::try_join!(PostgresServer::start(postgres), RedisServer::start(redis))?;
        Ok(Self {
            postgres,
            redis,
            next: AtomicU32::new(1),
        })
    }

    /// Makes an empty database that no other test uses, and returns its URL. Its name begins with the prefix, which
    /// follows the rules of [`PostgresServer::create_database`] and has at most 50 bytes.
    pub async fn fresh_database(&self, prefix: &str) -> Result<String> {
        let name = format!("{prefix}_{}", self.number());
        self.postgres.create_database(&name).await?;
        Ok(self.postgres.database_url(&name))
    }

    /// A short word of letters and digits that no other test uses: a namespace of keys in Redis.
    pub fn fresh_namespace(&self) -> String {
        format!("test{}", self.number())
    }

    /// The URL of the Redis server.
    pub fn redis_url(&self) -> String {
        self.redis.url()
    }

    /// The PostgreSQL server.
    pub fn postgres(&self) -> &PostgresServer {
        &self.postgres
    }

    /// The Redis server.
    pub fn redis(&self) -> &RedisServer {
        &self.redis
    }

    fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// The error with its sources, in one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
