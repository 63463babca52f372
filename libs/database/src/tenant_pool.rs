//! The pool of the request path. Its role sees the rows of one tenant alone, that of the transaction, and there is no way to
//! a connection without one: a statement that leaves out the tenant finds nothing of others, and changes nothing of theirs.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction};
use tokio::sync::{Semaphore, SemaphorePermit};

/// A pool for requests, for whose connections at most so many calls wait. A full pool doesn't empty faster because more
/// calls wait for it, and those who wait cost memory: beyond the bound a call learns at once that the database is busy.
#[derive(Debug, Clone)]
pub struct TenantPool {
    pool: PgPool,
    places: Arc<Semaphore>,
}

impl TenantPool {
    /// Connects with options of [`Logins::request_options`](crate::Logins::request_options); at most `max_waiting` calls
    /// wait for a connection.
    pub async fn connect(
        pool: PgPoolOptions,
        options: PgConnectOptions,
        max_waiting: usize,
    ) -> Result<Self, sqlx::Error> {
        Ok(Self::of(pool.connect_with(options).await?, max_waiting))
    }

    /// The same without a connection yet: the first call makes it.
    pub fn connect_lazy(
        pool: PgPoolOptions,
        options: PgConnectOptions,
        max_waiting: usize,
    ) -> Self {
        Self::of(pool.connect_lazy_with(options), max_waiting)
    }

    /// For its size alone: a connection of it has no tenant.
    pub(crate) fn watched(&self) -> &PgPool {
        &self.pool
    }

    fn of(pool: PgPool, max_waiting: usize) -> Self {
        let places = Arc::new(Semaphore::new(max_waiting.min(Semaphore::MAX_PERMITS)));
        Self { pool, places }
    }

    /// A transaction that sees and changes rows of this tenant alone; no tenant has the number 0. It begins and is told the
    /// tenant in one message to the server and back. [`sqlx::Error::PoolTimedOut`] at once when too many wait already, or
    /// when the pool's time for a wait is over.
    pub async fn begin(
        &self,
        tenant_id: i64,
    ) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        let _place = self.place()?;
        self.start("BEGIN", tenant_id).await
    }

    /// The same for reads; errors as for [`Self::begin`].
    pub async fn read(&self, tenant_id: i64) -> Result<TenantReader, sqlx::Error> {
        let _place = self.place()?;
        self.read_in_turn(tenant_id).await
    }

    /// The same for those who are few and have waited for their turn elsewhere: they don't count among the calls that wait.
    pub async fn read_in_turn(&self, tenant_id: i64) -> Result<TenantReader, sqlx::Error> {
        let transaction = self.start("BEGIN READ ONLY", tenant_id).await?;
        Ok(TenantReader(transaction))
    }

    /// Closes the connections, those in use when they are given back.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn start(
        &self,
        begin: &'static str,
        tenant_id: i64,
    ) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        let begin = format!("{begin}; SET LOCAL plazo.tenant_id = '{tenant_id}'");
        // A fixed text and a number.
        self.pool.begin_with(AssertSqlSafe(begin)).await
    }

    /// A place in the queue, until it is dropped.
    fn place(&self) -> Result<SemaphorePermit<'_>, sqlx::Error> {
        self.places
            .try_acquire()
            .map_err(|_| sqlx::Error::PoolTimedOut)
    }
}

/// A connection for reads of one tenant; a statement that changes something fails. The end of the transaction is sent with
/// the connection's return to the pool, which nobody waits for.
#[derive(Debug)]
pub struct TenantReader(Transaction<'static, Postgres>);

impl Deref for TenantReader {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for TenantReader {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}
