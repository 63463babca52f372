//! A queue of bounded length before the connection pool. A full pool doesn't empty faster because more calls wait for it,
//! and those who wait cost memory: beyond the bound a call learns at once that the database is busy.

use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres, Transaction};
use tokio::sync::{Semaphore, SemaphorePermit};

/// A pool for whose connections at most so many calls wait.
#[derive(Debug, Clone)]
pub struct BoundedPool {
    pool: PgPool,
    places: Arc<Semaphore>,
}

impl BoundedPool {
    /// At most `max_waiting` calls wait for a connection of the pool.
    pub fn new(pool: PgPool, max_waiting: usize) -> Self {
        let places = Arc::new(Semaphore::new(max_waiting.min(Semaphore::MAX_PERMITS)));
        Self { pool, places }
    }

    /// The pool itself, for tasks in the background: they are few, and wait their turn.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection. [`sqlx::Error::PoolTimedOut`] at once when too many wait already, or when the pool's time for a wait
    /// is over.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let _place = self.place()?;
        self.pool.acquire().await
    }

    /// A transaction; errors as for [`Self::acquire`].
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        let _place = self.place()?;
        self.pool.begin().await
    }

    /// A place in the queue, until it is dropped.
    fn place(&self) -> Result<SemaphorePermit<'_>, sqlx::Error> {
        self.places
            .try_acquire()
            .map_err(|_| sqlx::Error::PoolTimedOut)
    }
}
