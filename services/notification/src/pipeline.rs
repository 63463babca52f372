//! Claiming what is due, making attempts, and writing what came of them, side by side.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use plazo_service::status;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;

/// Outcomes in one transaction.
const BATCH: usize = 256;

/// An attempt that has no answer after so long lets others have its place, so that endpoints which hang, however many
/// lanes they have, don't hold up the rest.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// So many times the places in flight are there for such attempts. When they are taken too, a slow attempt keeps its place.
const SLOW_PLACES: usize = 4;

/// What is claimed, attempted and settled. Each piece belongs to a lane, an account or a subscription, and each lane has its
/// turn and its own places in flight.
pub(crate) trait Work {
    /// What goes through, for the log.
    const WHAT: &'static str;
    /// A piece that was claimed under a lease.
    type Claimed;
    /// What came of an attempt.
    type Settlement: Clone;
    /// A place of the piece's lane, held until the outcome is written.
    type Slot;

    /// Claims at most `total` pieces, of lanes above `after_lane` alone.
    fn claim(
        &self,
        total: u32,
        after_lane: i64,
    ) -> impl Future<Output = Result<Vec<Self::Claimed>, sqlx::Error>> + Send;

    /// The piece's lane, and a place in it.
    fn enter(&self, claimed: &Self::Claimed) -> (i64, Self::Slot);

    /// Makes the attempt. The claim ended at `claimed_at`.
    fn attempt(
        &self,
        claimed: Self::Claimed,
        claimed_at: Instant,
        slot: &Self::Slot,
    ) -> impl Future<Output = Self::Settlement> + Send;

    /// Writes outcomes in one transaction.
    fn settle(
        &self,
        settlements: &[Self::Settlement],
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Outcomes are written, and their places given back: a lane that was full may have more.
    fn wake(&self);
}

/// How much goes through, and how often is looked unasked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rhythm {
    pub(crate) max_in_flight: u32,
    pub(crate) poll: Duration,
}

/// A claimed piece with its place among those in flight.
struct Job<W: Work> {
    claimed: W::Claimed,
    claimed_at: Instant,
    place: Place<W>,
}

/// Held from the claim until the outcome is written.
struct Place<W: Work> {
    _permit: OwnedSemaphorePermit,
    slot: W::Slot,
}

/// Works until shutdown; then what was claimed is still attempted and settled.
pub(crate) async fn run<W: Work>(
    work: &W,
    rhythm: Rhythm,
    waker: &Notify,
    shutdown: CancellationToken,
) {
    let capacity = rhythm.max_in_flight as usize;
    // Never full: each entry holds one of the permits.
    let (jobs_in, jobs) = mpsc::channel(capacity);
    let (outcomes_in, outcomes) = mpsc::channel(capacity * (1 + SLOW_PLACES));
    let slow = Arc::new(Semaphore::new(capacity * SLOW_PLACES));
    tokio::join!(
        claim_until(work, rhythm, waker, shutdown, jobs_in),
        attempt_all(work, &slow, jobs, outcomes_in),
        settle_all(work, outcomes),
    );
}

async fn claim_until<W: Work>(
    work: &W,
    rhythm: Rhythm,
    waker: &Notify,
    shutdown: CancellationToken,
    jobs: mpsc::Sender<Job<W>>,
) {
    let permits = Arc::new(Semaphore::new(rhythm.max_in_flight as usize));
    let mut backoff = Backoff::new(50, 2_000);
    let mut after_lane = -1;
    while !shutdown.is_cancelled() {
        // Waits until there is room for one at least.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        drop(permit);
        let free = permits.available_permits().max(1);
        let total = u32::try_from(free).unwrap_or(rhythm.max_in_flight);
        let wait = match work.claim(total, after_lane).await {
            Ok(claimed) => {
                backoff.reset();
                let is_full = claimed.len() >= free;
                let started_over = after_lane == -1;
                // The next claim goes on behind the last lane, so that those with high ids get their turn however
                // much the others have.
                let Some(last) = pass_on(work, claimed, &permits, &jobs).await else {
                    return;
                };
                after_lane = if is_full { last } else { -1 };
                if is_full || !started_over {
                    continue;
                }
                rhythm.poll
            }
            Err(error) => {
                tracing::warn!(
                    error = status::chain(&error),
                    "{} can't be claimed",
                    W::WHAT
                );
                backoff.next()
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = waker.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Hands what was claimed to those who make the attempts; the last lane of it, or none when nobody takes it.
async fn pass_on<W: Work>(
    work: &W,
    claimed: Vec<W::Claimed>,
    permits: &Arc<Semaphore>,
    jobs: &mpsc::Sender<Job<W>>,
) -> Option<i64> {
    // After the query, so that no attempt is dated later than it was.
    let claimed_at = Instant::now();
    let mut last = -1;
    for claimed in claimed {
        let permit = Arc::clone(permits).acquire_owned().await.ok()?;
        let (lane, slot) = work.enter(&claimed);
        last = last.max(lane);
        let place = Place {
            _permit: permit,
            slot,
        };
        let job = Job {
            claimed,
            claimed_at,
            place,
        };
        jobs.send(job).await.ok()?;
    }
    Some(last)
}

async fn attempt_all<W: Work>(
    work: &W,
    slow: &Arc<Semaphore>,
    mut jobs: mpsc::Receiver<Job<W>>,
    outcomes: mpsc::Sender<(W::Settlement, Place<W>)>,
) {
    let mut in_flight = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(outcome) = in_flight.next() => {
                if outcomes.send(outcome).await.is_err() {
                    return;
                }
            }
            job = jobs.recv() => match job {
                Some(job) => in_flight.push(attempt(work, slow, job)),
                None => break,
            }
        }
    }
    while let Some(outcome) = in_flight.next().await {
        if outcomes.send(outcome).await.is_err() {
            return;
        }
    }
}

async fn attempt<W: Work>(
    work: &W,
    slow: &Arc<Semaphore>,
    job: Job<W>,
) -> (W::Settlement, Place<W>) {
    let Job {
        claimed,
        claimed_at,
        place: Place {
            _permit: mut permit,
            slot,
        },
    } = job;
    let settlement = {
        let mut attempt = std::pin::pin!(work.attempt(claimed, claimed_at, &slot));
        if let Ok(settlement) = tokio::time::timeout(SLOW_AFTER, &mut attempt).await {
            settlement
        } else {
            // The lane's own place stays taken.
            if let Ok(place) = Arc::clone(slow).try_acquire_owned() {
                permit = place;
            }
            attempt.await
        }
    };
    let place = Place {
        _permit: permit,
        slot,
    };
    (settlement, place)
}

/// Writes outcomes until no more come. One that can't be written is kept and written later, perhaps after its lease.
async fn settle_all<W: Work>(work: &W, mut outcomes: mpsc::Receiver<(W::Settlement, Place<W>)>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut backoff = Backoff::new(20, 1_000);
    while outcomes.recv_many(&mut batch, BATCH).await > 0 {
        let settlements: Vec<_> = batch
            .iter()
            .map(|(settlement, _)| settlement.clone())
            .collect();
        while let Err(error) = work.settle(&settlements).await {
            tracing::warn!(
                error = status::chain(&error),
                "outcomes of {} can't be written yet",
                W::WHAT
            );
            tokio::time::sleep(backoff.next()).await;
        }
        backoff.reset();
        // Gives their places back.
        batch.clear();
        work.wake();
    }
}
