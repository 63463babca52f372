//! Reading the stream again for one subscription, a step at a time.

use std::time::Duration;

use plazo_proto::ticketing::v1::StreamEventsResponse;
use plazo_proto::ticketing::v1::feed_service_client::FeedServiceClient;
use plazo_service::{ServiceChannel, status};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use super::{EventMetrics, EventWakers, fan_out};
use crate::backoff::Backoff;
use crate::feed::stream::{EventStream, StreamError};
use crate::message::from_proto_time;
use crate::store::deliveries::NewDelivery;
use crate::store::replays::{Replay, kind, state};
use crate::store::subscriptions::{Subscription, paused};
use crate::store::{deliveries, event_feed, replays, subscriptions};

/// Batches in one step, so that replays take turns.
const BATCHES: u32 = 20;

/// How long a replica may have a replay. It is lost only when the replica dies.
const LEASE: Duration = Duration::from_secs(20);

/// A batch is there at once, since it is of the past.
const SILENCE: Duration = Duration::from_secs(10);

/// Carries replays on.
#[derive(Debug, Clone)]
pub(crate) struct Replays {
    pub(crate) pool: PgPool,
    pub(crate) client: FeedServiceClient<ServiceChannel>,
    pub(crate) poll: Duration,
    /// See [`super::LiveFeed`]. A replay goes on when half of it waits at most.
    pub(crate) max_waiting: u32,
    pub(crate) wakers: EventWakers,
    pub(crate) metrics: EventMetrics,
}

/// What follows after a batch.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// The batch is done.
    Batch,
    /// Enough for now: there is no room, it was stopped, or somebody else carries it on.
    Rest,
    /// It is over.
    Ended,
}

#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl Replays {
    /// Carries replays on until shutdown.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(50, 2_000);
        while !shutdown.is_cancelled() {
            let wait = match replays::claim_step(&self.pool, LEASE, self.half()).await {
                Ok(Some(replay)) => {
                    backoff.reset();
                    // Committed batch by batch: one that is left halfway is taken up again.
                    let carried_on = shutdown.run_until_cancelled(self.carry_on(replay.clone()));
                    if carried_on.await.is_none() {
                        // Another replica, or this one when it is back, need not wait for the end of the lease.
                        let _ = replays::release(&self.pool, &replay, Duration::ZERO).await;
                        return;
                    }
                    continue;
                }
                Ok(None) => self.poll,
                Err(error) => {
                    tracing::warn!(error = status::chain(&error), "replays can't be claimed");
                    backoff.next()
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.wakers.replays.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn half(&self) -> i64 {
        i64::from(self.max_waiting / 2)
    }

    /// How many events may wait for a subscription while it is replayed: what somebody asked for leaves half of the room
    /// to what happens now.
    fn max_waiting(&self, replay: &Replay) -> i64 {
        match replay.kind {
            kind::ASKED_FOR => self.half().max(1),
            _ => i64::from(self.max_waiting),
        }
    }

    async fn carry_on(&self, mut replay: Replay) {
        let outcome = self.step(&mut replay).await;
        let ended = match outcome {
            Ok(Next::Ended) => return,
            Ok(Next::Batch) => replays::release(&self.pool, &replay, Duration::ZERO).await,
            Ok(Next::Rest) => replays::release(&self.pool, &replay, self.poll).await,
            Err(ReplayError::Stream(error @ StreamError::Position(_))) => {
                tracing::warn!(
                    error = status::chain(&error),
                    subscription_id = replay.subscription_id,
                    "a replay can't go on: its events are gone"
                );
                self.give_up(&replay).await
            }
            Err(ReplayError::Stream(StreamError::Renewal(wait))) => {
                replays::release(&self.pool, &replay, wait).await
            }
            Err(error) => {
                tracing::warn!(
                    error = status::chain(&error),
                    subscription_id = replay.subscription_id,
                    "a replay goes on later"
                );
                replays::release(&self.pool, &replay, Duration::from_secs(2)).await
            }
        };
        if let Err(error) = ended {
            // Its lease ends by itself.
            tracing::warn!(
                error = status::chain(&error),
                "a replay can't be given back"
            );
        }
    }

    async fn step(&self, replay: &mut Replay) -> Result<Next, ReplayError> {
        let mut stream = None;
        for _ in 0..BATCHES {
            if let Some(next) = self.end_if_level(replay).await? {
                return Ok(next);
            }
            let stream = match &mut stream {
                Some(stream) => stream,
                none => {
                    none.insert(EventStream::open(&self.client, &replay.position, SILENCE).await?)
                }
            };
            let batch = stream.next().await?;
            match self.apply(replay, &batch).await? {
                Next::Batch => {}
                next => return Ok(next),
            }
        }
        Ok(Next::Batch)
    }

    /// Ends a replay that has come to its end before anything more is read: nothing more may come for long.
    async fn end_if_level(&self, replay: &Replay) -> Result<Option<Next>, sqlx::Error> {
        let live = event_feed::place(&self.pool).await?;
        if reached(replay) < replay.until_events.unwrap_or(live.events) {
            return Ok(None);
        }
        let mut transaction = self.pool.begin().await?;
        let live = event_feed::lock_place(&mut transaction).await?;
        let subscription = lock_subscription(&mut transaction, replay).await?;
        if subscription.is_none() || !replays::is_current(&mut transaction, replay).await? {
            return Ok(Some(Next::Rest));
        }
        if reached(replay) < replay.until_events.unwrap_or(live.events) {
            return Ok(None);
        }
        end(&mut transaction, replay).await?;
        transaction.commit().await?;
        Ok(Some(Next::Ended))
    }

    /// Queues what a batch behind the replay's position has for it, as far as there is room.
    async fn apply(
        &self,
        replay: &mut Replay,
        batch: &StreamEventsResponse,
    ) -> Result<Next, sqlx::Error> {
        let size = i64::try_from(batch.events.len()).unwrap_or(i64::MAX);
        let mut transaction = self.pool.begin().await?;
        let target = target(&mut transaction, replay, size).await?;
        let Some(subscription) = lock_subscription(&mut transaction, replay).await? else {
            return Ok(Next::Rest);
        };
        if !subscription.paused_reason.is_empty()
            || !replays::is_current(&mut transaction, replay).await?
        {
            return Ok(Next::Rest);
        }
        let room = self.max_waiting(replay) - subscription.waiting;
        let (wanted, reached_now) = take(replay, &subscription, batch, target, room);
        let is_whole = reached_now >= replay.events + size;
        let again_if_before = (replay.kind == kind::ASKED_FOR).then_some(replay.created_at);
        let mut queued = 0;
        if !wanted.is_empty() {
            queued = deliveries::enqueue(&mut transaction, &wanted, again_if_before).await?;
        }
        // The caller's copy changes only with the commit.
        let mut after = replay.clone();
        after.first_event = reached_now;
        if is_whole {
            after.position.clone_from(&batch.position);
            after.events = replay.events + size;
        }
        replays::advance(&mut transaction, &after, queued).await?;
        let has_ended = reached_now >= target;
        if has_ended {
            end(&mut transaction, &after).await?;
        }
        transaction.commit().await?;
        *replay = after;
        if queued > 0 {
            self.wakers.sender.notify_one();
            self.metrics.count_queued("replay", queued);
        }
        Ok(match (has_ended, is_whole) {
            (true, _) => Next::Ended,
            (false, true) => Next::Batch,
            (false, false) => Next::Rest,
        })
    }

    /// Ticketing no longer has the events.
    async fn give_up(&self, replay: &Replay) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let Some(subscription) = lock_subscription(&mut transaction, replay).await? else {
            return Ok(());
        };
        let (tenant_id, subscription_id) = (subscription.tenant_id, subscription.subscription_id);
        replays::end(
            &mut transaction,
            replay,
            state::FAILED,
            paused::POSITION_EXPIRED,
        )
        .await?;
        if replay.kind == kind::CATCH_UP {
            subscriptions::set_behind(&mut transaction, tenant_id, subscription_id, false).await?;
            let reason = paused::POSITION_EXPIRED;
            subscriptions::pause(&mut transaction, tenant_id, subscription_id, reason).await?;
        }
        transaction.commit().await
    }
}

/// The index at which the replay ends, if a batch of `size` is the next. Near the live feed this one is stopped for the
/// length of the transaction, so that a subscription that catches up goes over to it exactly there.
async fn target(
    transaction: &mut PgConnection,
    replay: &Replay,
    size: i64,
) -> Result<i64, sqlx::Error> {
    if let Some(until) = replay.until_events {
        return Ok(until);
    }
    let live = event_feed::place(&mut *transaction).await?;
    if live.events > replay.events + size {
        return Ok(live.events);
    }
    Ok(event_feed::lock_place(transaction).await?.events)
}

/// The index of the next event.
fn reached(replay: &Replay) -> i64 {
    replay.events.max(replay.first_event)
}

/// The deliveries that a batch makes, and the index of the first event that was not looked at.
fn take(
    replay: &Replay,
    subscription: &Subscription,
    batch: &StreamEventsResponse,
    target: i64,
    room: i64,
) -> (Vec<NewDelivery>, i64) {
    let first_at = replay.first_event_at.map(jiff_sqlx::Timestamp::to_jiff);
    let mut wanted = Vec::new();
    let mut next = reached(replay);
    for (index, event) in (replay.events..).zip(&batch.events) {
        if index < next {
            continue;
        }
        let used = i64::try_from(wanted.len()).unwrap_or(i64::MAX);
        if index >= target || used >= room {
            break;
        }
        next = index + 1;
        let event_at = event.event_time.as_ref().and_then(from_proto_time);
        if first_at.is_none_or(|first_at| event_at.is_some_and(|at| at >= first_at)) {
            wanted.extend(fan_out::delivery(subscription, event, index));
        }
    }
    (wanted, next)
}

async fn lock_subscription(
    transaction: &mut PgConnection,
    replay: &Replay,
) -> Result<Option<Subscription>, sqlx::Error> {
    subscriptions::lock(transaction, replay.tenant_id, replay.subscription_id).await
}

/// Ends a replay well; from here on the live feed serves a subscription that has caught up.
async fn end(transaction: &mut PgConnection, replay: &Replay) -> Result<(), sqlx::Error> {
    replays::end(transaction, replay, state::DONE, "").await?;
    if replay.kind == kind::CATCH_UP {
        let (tenant_id, subscription_id) = (replay.tenant_id, replay.subscription_id);
        subscriptions::set_behind(transaction, tenant_id, subscription_id, false).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use plazo_proto::ticketing::v1::ticket_event::Payload;
    use plazo_proto::ticketing::v1::{TicketEvent, TicketSetOpen};

    use super::*;

    fn replay(events: i64, first_event: i64) -> Replay {
        Replay {
            tenant_id: 1,
            subscription_id: 2,
            replay_id: 3,
            kind: kind::CATCH_UP,
            position: String::new(),
            events,
            first_event,
            first_event_at: None,
            until_events: None,
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn taken(replay: &Replay, target: i64, room: i64) -> (Vec<i64>, i64) {
        let event = TicketEvent {
            tenant_id: 1,
            payload: Some(Payload::SetOpen(TicketSetOpen {})),
            ..TicketEvent::default()
        };
        let batch = StreamEventsResponse {
            events: vec![event; 5],
            position: "after".to_owned(),
        };
        let subscription = Subscription {
            tenant_id: 1,
            subscription_id: 2,
            name: String::new(),
            webhook_url: String::new(),
            event_types: Vec::new(),
            bot_ids: Vec::new(),
            include_customer_data: false,
            paused_reason: String::new(),
            is_behind: true,
            waiting: 0,
            consecutive_failures: 0,
            previous_secret_until: None,
            version: 1,
            created_at: Timestamp::UNIX_EPOCH,
        };
        let (wanted, next) = take(replay, &subscription, &batch, target, room);
        (wanted.iter().map(|one| one.feed_index).collect(), next)
    }

    #[test]
    fn a_batch_is_taken_from_the_first_event_to_the_end_as_far_as_there_is_room() {
        assert_eq!(
            taken(&replay(10, 0), 99, 99),
            (vec![10, 11, 12, 13, 14], 15)
        );
        assert_eq!(taken(&replay(10, 12), 99, 99), (vec![12, 13, 14], 15));
        assert_eq!(taken(&replay(10, 12), 14, 99), (vec![12, 13], 14));
        assert_eq!(taken(&replay(10, 0), 99, 2), (vec![10, 11], 12));
        assert_eq!(taken(&replay(10, 0), 99, 0), (vec![], 10));
        assert_eq!(taken(&replay(10, 20), 99, 99), (vec![], 20));
    }
}
