//! Builds the projection anew from a snapshot of ticketing, next to the one that serves, when somebody wants it: a person,
//! or the projection whose position the feed does not take any more.
//!
//! The wish, the tables that are being built and how far they are lie in the database. So whichever replica gets the
//! builder's lock begins or goes on, and a crash costs the part that was being written.

use std::ops::ControlFlow;
use std::time::Duration;

use plazo_proto::ticketing::v1::{StreamSnapshotRequest, StreamSnapshotResponse, TicketSnapshot};
use plazo_service::TaskError;
use plazo_service::status::chain;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use crate::metrics::RebuildMetrics;
use crate::projection::{Ended, Source, ended_by, interrupted_by};
use crate::retention::Retention;
use crate::store::{Applied, ApplyError, BuilderLock, ProjectionStore, RebuildStore, events_of};

/// How often a wish is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the progress is logged.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Data that don't fit are as they are: a rebuild of them is not tried at once again.
const AFTER_WRONG_DATA: Duration = Duration::from_mins(1);
/// The feed is taken in until it is so close behind; then the tables change places.
const CLOSE_BEHIND: Duration = Duration::from_secs(2);

/// Builds when it is wanted.
pub(crate) struct Rebuild {
    pub(crate) store: RebuildStore,
    /// How to reach ticketing. Its store is that of the serving tables, and not used.
    pub(crate) source: Source,
    pub(crate) retention: Retention,
    pub(crate) metrics: RebuildMetrics,
}

impl Rebuild {
    /// Runs until `shutdown`. What fails is tried again.
    pub(crate) async fn run(&self, shutdown: CancellationToken) -> Result<(), TaskError> {
        let mut backoff = self.source.config.first_backoff();
        loop {
            let round = shutdown.run_until_cancelled(self.round()).await;
            self.metrics.is_running.set(0);
            let wait = match round {
                None => return Ok(()),
                Some(Ok(())) => {
                    backoff = self.source.config.first_backoff();
                    LOOK_EVERY
                }
                Some(Err(Ended::Stopped(reason))) => {
                    tracing::error!(
                        reason = chain(&reason),
                        "the projection can't be built anew; it is begun again later"
                    );
                    self.metrics.failures.inc();
                    AFTER_WRONG_DATA
                }
                // It goes on from where it came to.
                Some(Err(Ended::Renewal(wait))) => wait,
                Some(Err(error)) => {
                    tracing::warn!(reason = chain(&error), "the rebuild is tried again");
                    self.metrics.failures.inc();
                    backoff = (backoff * 2).min(self.source.config.max_backoff());
                    backoff
                }
            };
            if shutdown.run_until_cancelled(sleep(wait)).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Looks for a wish, and fulfils it if no other replica does.
    async fn round(&self) -> Result<(), Ended> {
        if !self.store.is_wanted().await.map_err(Ended::Database)? {
            return Ok(());
        }
        let Some(mut lock) = self.store.try_lock().await.map_err(Ended::Database)? else {
            return Ok(());
        };
        // Whoever had the lock before may have done it.
        if !self.store.is_wanted().await.map_err(Ended::Database)? {
            return Ok(());
        }
        self.metrics.is_running.set(1);
        let built = self.build(&mut lock).await;
        if let Err(Ended::PositionRefused { .. } | Ended::Stopped(_)) = &built {
            // What was built can't be brought up to date: the next round begins from nothing.
            self.store.discard().await.map_err(Ended::Database)?;
        }
        built
    }

    async fn build(&self, lock: &mut BuilderLock) -> Result<(), Ended> {
        let store = self.store.prepare().await.map_err(Ended::Database)?;
        let source = Source {
            store: store.clone(),
            // The serving projection's show how that one fares.
            metrics: crate::metrics::ProjectionMetrics::default(),
            ..self.source.clone()
        };
        self.take_snapshot(&source).await?;
        catch_up(&source).await?;
        // What is too old to be kept does not come back.
        let retained = self.retention.round_on(&store).await;
        retained.map_err(Ended::Database)?;
        self.store.settle().await.map_err(Ended::Database)?;
        catch_up(&source).await?;
        if !lock.is_held().await {
            return Err(Ended::Superseded);
        }
        self.store.swap().await.map_err(Ended::Database)?;
        tracing::info!("the projection was built anew and serves");
        self.metrics.done.inc();
        if let Err(error) = self.store.drop_replaced().await {
            // Somebody reads it still; maintenance drops it.
            tracing::info!(
                error = chain(&error),
                "the replaced tables are dropped later"
            );
        }
        Ok(())
    }

    /// Takes the snapshot in, from where an earlier builder came to.
    async fn take_snapshot(&self, source: &Source) -> Result<(), Ended> {
        let store = &source.store;
        let progress = store.snapshot_progress().await.map_err(Ended::Database)?;
        let after = match progress.after_ticket_id {
            None if !progress.position.is_empty() => return Ok(()),
            after => after.unwrap_or_default(),
        };
        let request = StreamSnapshotRequest {
            after_ticket_id: after,
        };
        let mut snapshots = source.snapshots.clone();
        let opened = timeout(source.open_timeout, snapshots.stream_snapshot(request)).await;
        let mut stream = match opened {
            Err(_) => return Err(Ended::Silent),
            Ok(Err(status)) => return Err(ended_by(status)),
            Ok(Ok(response)) => response.into_inner(),
        };
        let first = next_part(source, &mut stream).await?.ok_or(Ended::Closed)?;
        store
            .begin_snapshot(&first.position)
            .await
            .map_err(Ended::Database)?;
        let mut intake = Intake {
            store,
            after,
            open: None,
            taken: 0,
            estimated: first.estimated_ticket_count,
            told_at: Instant::now(),
        };
        tracing::info!(
            after_ticket_id = after,
            estimated_tickets = intake.estimated,
            "the projection is built anew"
        );
        self.metrics.tickets.set(0);
        intake.take(source, first).await?;
        while let Some(part) = next_part(source, &mut stream).await? {
            intake.take(source, part).await?;
            self.metrics.tickets.set(intake.taken);
        }
        if intake.open.is_some() {
            return Err(Ended::Closed);
        }
        store.end_snapshot().await.map_err(Ended::Database)
    }
}

/// A snapshot that is being taken in.
struct Intake<'a> {
    store: &'a ProjectionStore,
    after: i64,
    /// A ticket so large that its further events come in the next part.
    open: Option<TicketSnapshot>,
    taken: i64,
    estimated: i64,
    told_at: Instant,
}

impl Intake<'_> {
    async fn take(&mut self, source: &Source, part: StreamSnapshotResponse) -> Result<(), Ended> {
        let tickets = self.whole_tickets(part.tickets)?;
        let Some(last) = tickets.last().map(|ticket| ticket.ticket_id) else {
            return Ok(());
        };
        let count = i64::try_from(tickets.len()).unwrap_or(i64::MAX);
        source.learn_calendars(events_of(&tickets)).await?;
        match self.store.apply_snapshot_part(self.after, tickets).await {
            Ok(Applied::Done { .. }) => {}
            Ok(Applied::Superseded) => return Err(Ended::Superseded),
            Err(ApplyError::Refused(refusal)) => return Err(Ended::refused(refusal)),
            Err(ApplyError::Database(error)) => return Err(Ended::Database(error)),
        }
        self.after = last;
        self.taken += count;
        if self.told_at.elapsed() >= TELL_EVERY {
            self.told_at = Instant::now();
            tracing::info!(
                tickets = self.taken,
                estimated_tickets = self.estimated,
                "tickets of the snapshot are taken in"
            );
        }
        Ok(())
    }
}

impl Intake<'_> {
    /// The tickets of which nothing more will come; one that goes on is kept until it is whole.
    fn whole_tickets(
        &mut self,
        mut tickets: Vec<TicketSnapshot>,
    ) -> Result<Vec<TicketSnapshot>, Ended> {
        if let Some(mut open) = self.open.take() {
            match tickets.first_mut() {
                Some(next) if next.ticket_id == open.ticket_id => {
                    open.events.append(&mut next.events);
                    next.events = open.events;
                }
                // Half a ticket would be wrong for good.
                _ => return Err(Ended::Closed),
            }
        }
        self.open = tickets.pop_if(|last| last.goes_on);
        Ok(tickets)
    }
}

/// The next part of a snapshot; none at its end.
async fn next_part(
    source: &Source,
    stream: &mut Streaming<StreamSnapshotResponse>,
) -> Result<Option<StreamSnapshotResponse>, Ended> {
    match timeout(source.config.silence_limit(), stream.message()).await {
        Err(_) => Err(Ended::Silent),
        Ok(Err(status)) => Err(interrupted_by(status)),
        Ok(Ok(part)) => Ok(part),
    }
}

/// Applies the feed until the tables are nearly as new.
async fn catch_up(source: &Source) -> Result<(), Ended> {
    let mut follower = source.open().await?;
    loop {
        let heard_at = Instant::now();
        let mut current_at = heard_at.checked_sub(CLOSE_BEHIND * 2).unwrap_or(heard_at);
        let Some(batch) = follower.next_or_idle().await? else {
            return Ok(());
        };
        if let ControlFlow::Break(ended) = follower.take(batch, &mut current_at).await {
            return Err(ended);
        }
        if current_at.elapsed() < CLOSE_BEHIND {
            return Ok(());
        }
    }
}
