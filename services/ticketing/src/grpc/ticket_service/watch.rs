//! The live view of tickets: a snapshot or what changed since a position, then changes.

mod position;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_stream::try_stream;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use plazo_database::TenantReader;
use plazo_proto::ticketing::v1::watch_tickets_response::Update;
use plazo_proto::ticketing::v1::{
    SnapshotBegin, SnapshotEnd, SnapshotReason, Ticket, WatchTicketsResponse,
};
use plazo_service::status;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::error::Error;
use crate::feed::hub::inbox::{Ending, Told};
use crate::feed::hub::{Hub, Reached, Seat, Subscription};
use crate::feed::{self, Position};
use crate::store::tickets::{self, TicketQuery};
use position::{View, read_position};

/// Tickets that are read at once.
const PAGE: usize = 500;
/// A caller that is further behind gets a snapshot: so many events are looked through to find what changed.
const MAX_EVENTS_BEHIND: i64 = 20_000;
/// Where to go on is told so often when nothing happens.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
const RETRY_AFTER: Duration = Duration::from_secs(1);

type Responses = BoxStream<'static, Result<WatchTicketsResponse, Status>>;

/// Where a stream begins.
#[derive(Debug, Clone, Copy)]
enum Start {
    Snapshot(SnapshotReason),
    After(Position),
}

/// Starts a watcher.
pub(super) async fn open(
    hub: &Hub,
    query: TicketQuery,
    position: &str,
) -> Result<Responses, Status> {
    let seat = hub.seat().ok_or_else(|| refuse(Ending::Full))?;
    let reached = hub.reached().await.ok_or_else(|| {
        status::unavailable("DATABASE_UNAVAILABLE", "the database is away", RETRY_AFTER)
    })?;
    let view = View::of(&query);
    let start = read_position(position, &reached.feed, view)?;
    let watcher = Watcher {
        hub: hub.clone(),
        _seat: seat,
        query,
        view,
        start,
        last_sent: Instant::now(),
        last_position: None,
    };
    Ok(watcher.stream())
}

/// One watcher.
struct Watcher {
    hub: Hub,
    _seat: Seat,
    query: TicketQuery,
    view: View,
    start: Start,
    last_sent: Instant,
    /// The last one that was sent.
    last_position: Option<Position>,
}

/// What there is to read before changes follow.
struct Reading {
    /// Tickets to be read and told, the last opened first.
    ticket_ids: Vec<i64>,
    /// The caller may have these and must remove them.
    gone: Vec<i64>,
    /// Why it is a snapshot; none when it goes on from a position.
    snapshot: Option<SnapshotReason>,
    /// Where to go on when all was told.
    reached: Reached,
}

impl Watcher {
    fn stream(mut self) -> Responses {
        try_stream! {
            let (subscription, reading) = self.begin().await?;
            if let Some(reason) = reading.snapshot {
                let begin = SnapshotBegin { reason: reason.into() };
                yield update(Update::SnapshotBegin(begin));
            }
            for ticket_id in reading.gone {
                yield update(Update::LeftTicketId(ticket_id));
            }
            let mut ticket_count = 0;
            for page in reading.ticket_ids.chunks(PAGE) {
                for ticket in self.page(&subscription, page).await? {
                    ticket_count += 1;
                    yield update(Update::Ticket(Arc::unwrap_or_clone(ticket)));
                }
            }
            let mut whole = WatchTicketsResponse {
                update: None,
                position: self.position(&reading.reached),
            };
            if reading.snapshot.is_some() {
                whole.update = Some(Update::SnapshotEnd(SnapshotEnd { ticket_count }));
            }
            yield whole;
            loop {
                // Read before the inbox is emptied: what comes up to there is in it, or was sent.
                let reached = self.reached().await?;
                let changes = subscription.inbox().take().map_err(refuse)?;
                self.hub.metrics().watch_updates.inc_by(changes.len() as u64);
                let count = changes.len();
                for (number, told) in (1..).zip(changes) {
                    let mut response = update(match told {
                        Told::Ticket(ticket) => Update::Ticket(Ticket::clone(&ticket)),
                        Told::Left(ticket_id) => Update::LeftTicketId(ticket_id),
                    });
                    if number == count {
                        response.position = self.position(&reached);
                    }
                    yield response;
                }
                let is_silent = self.last_sent.elapsed() >= SIGN_OF_LIFE;
                if count == 0 && (is_silent || self.last_position < Some(reached.position)) {
                    yield WatchTicketsResponse {
                        update: None,
                        position: self.position(&reached),
                    };
                }
                let until = self.last_sent + SIGN_OF_LIFE;
                // Woken or not: both lead to another look.
                let _ = timeout_at(until, subscription.inbox().woken()).await;
            }
        }
        .boxed()
    }

    /// For a watcher that has its turn to read.
    async fn connection(&self) -> Result<TenantReader, Error> {
        let reader = self.hub.requests().read_in_turn(self.query.tenant_id);
        reader.await.map_err(Error::from)
    }

    async fn reached(&self) -> Result<Reached, Status> {
        let reached = self.hub.reached().await;
        reached.ok_or_else(|| refuse(Ending::FeedReplaced))
    }

    /// The text of a position that is about to be sent.
    fn position(&mut self, reached: &Reached) -> String {
        // It never falls, though another replica may have been ahead of this one.
        let position = self
            .last_position
            .map_or(reached.position, |last| last.max(reached.position));
        self.last_sent = Instant::now();
        self.last_position = Some(position);
        self.view.write(&reached.feed, position)
    }

    /// Registers the watcher, and finds out what it has to read.
    async fn begin(&self) -> Result<(Subscription, Reading), Status> {
        let _turn = self.hub.turn_to_read().await;
        let reason = match self.start {
            Start::Snapshot(reason) => reason,
            Start::After(position) => match self.resume(position).await? {
                Ok(resumed) => return Ok(resumed),
                Err(reason) => reason,
            },
        };
        let subscription = self.hub.subscribe(self.query.clone(), false);
        let subscription = subscription.map_err(refuse)?;
        // From before the read, so that the read has all that comes up to there.
        let reached = self.reached().await?;
        let ticket_ids = self.matching(&subscription).await?;
        self.hub.metrics().watch_snapshots.inc();
        let reading = Reading {
            ticket_ids,
            gone: Vec::new(),
            snapshot: Some(reason),
            reached,
        };
        Ok((subscription, reading))
    }

    /// What to read to go on from a position, or why that can't be.
    async fn resume(
        &self,
        position: Position,
    ) -> Result<Result<(Subscription, Reading), SnapshotReason>, Status> {
        if position > feed::end(self.hub.pool()).await? {
            return Ok(Err(SnapshotReason::OtherFeed));
        }
        let subscription = self.hub.subscribe(self.query.clone(), true);
        let subscription = subscription.map_err(refuse)?;
        let reached = self.reached().await?;
        subscription.begin_read();
        let matching = self.matching(&subscription).await?;
        // After the list: what left the list before it was read is among the changes, and what leaves later is held by then.
        let since = {
            // Among the events of all tenants, which is their order: those of one could only be found by reading all. So
            // what they are about is looked for in the tenant's own tickets before it is told.
            let mut connection = self.hub.pool().acquire().await.map_err(Error::from)?;
            let limit = MAX_EVENTS_BEHIND + 1;
            feed::changed_since(&mut connection, position, &self.query, limit).await?
        };
        if since.event_count > MAX_EVENTS_BEHIND {
            return Ok(Err(SnapshotReason::TooFarBehind));
        }
        // After the events were read: had they been dropped before, this says so.
        if position < feed::beginning(self.hub.pool()).await? {
            return Ok(Err(SnapshotReason::PositionExpired));
        }
        let changed = self.own(&since.changed).await?;
        let gone = subscription.take_resumed(&matching, &changed);
        let gone = gone.map_err(refuse)?;
        let touched: HashSet<i64> = changed.into_iter().collect();
        let is_touched = |ticket_id: &i64| touched.contains(ticket_id);
        self.hub.metrics().watch_resumes.inc();
        let reading = Reading {
            ticket_ids: matching.into_iter().filter(is_touched).collect(),
            gone,
            snapshot: None,
            reached: Reached {
                // Another replica may have been ahead of this one.
                position: reached.position.max(position),
                ..reached
            },
        };
        Ok(Ok((subscription, reading)))
    }

    /// The ids of all tickets that match now, the last opened first.
    async fn matching(&self, subscription: &Subscription) -> Result<Vec<i64>, Status> {
        let most = self.hub.tickets_each();
        let limit = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
        let mut connection = self.connection().await?;
        let ids = tickets::list(&mut connection, &self.query, i64::MAX, limit).await?;
        if ids.len() > most {
            subscription.end_as_too_large();
            return Err(refuse(Ending::TooLarge));
        }
        Ok(ids)
    }

    /// Of these tickets those of the tenant.
    async fn own(&self, ticket_ids: &[i64]) -> Result<Vec<i64>, Error> {
        if ticket_ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.connection().await?;
        tickets::known_ids(&mut connection, self.query.tenant_id, ticket_ids).await
    }

    /// Of these tickets those that match, as they now are.
    async fn page(
        &self,
        subscription: &Subscription,
        ticket_ids: &[i64],
    ) -> Result<Vec<Arc<Ticket>>, Status> {
        let _turn = self.hub.turn_to_read().await;
        subscription.begin_read();
        let read = self.hub.read(self.query.tenant_id, ticket_ids).await?;
        subscription.take_read(read).map_err(refuse)
    }
}

fn update(update: Update) -> WatchTicketsResponse {
    WatchTicketsResponse {
        update: Some(update),
        position: String::new(),
    }
}

fn refuse(ending: Ending) -> Status {
    match ending {
        Ending::TooSlow => status::resource_exhausted(
            "WATCHER_TOO_SLOW",
            "the watcher read too slowly: call again with the last position",
            RETRY_AFTER,
        ),
        Ending::Full => status::resource_exhausted(
            "TOO_MANY_WATCHERS",
            "this replica has as many watchers as it takes",
            RETRY_AFTER,
        ),
        Ending::TooLarge => status::failed_precondition(
            "WATCH_TOO_LARGE",
            "filter",
            "more tickets match than one watcher may hold: narrow the filter",
        ),
        Ending::ShuttingDown => status::unavailable(
            "SHUTTING_DOWN",
            "this replica stops: call again with the last position",
            RETRY_AFTER,
        ),
        Ending::FeedReplaced => status::unavailable(
            "FEED_REPLACED",
            "the database was replaced by another one: call again",
            RETRY_AFTER,
        ),
    }
}
