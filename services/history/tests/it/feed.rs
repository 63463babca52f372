//! A feed that sends what a test has written.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::{Stream, StreamExt as _, stream};
use plazo_proto::ticketing::v1::erasure_service_server::{ErasureService, ErasureServiceServer};
use plazo_proto::ticketing::v1::feed_service_server::{FeedService, FeedServiceServer};
use plazo_proto::ticketing::v1::snapshot_service_server::{SnapshotService, SnapshotServiceServer};
use plazo_proto::ticketing::v1::{
    Calendar, EraseContactRequest, EraseContactResponse, GetCalendarVersionRequest,
    GetCalendarVersionResponse, GetErasureRequest, GetErasureResponse, ListErasuresRequest,
    ListErasuresResponse, ReportErasureRequest, ReportErasureResponse, StreamEventsRequest,
    StreamEventsResponse, StreamSnapshotRequest, StreamSnapshotResponse, TicketEvent,
    TicketSnapshot,
};
use plazo_service::status::with_reason;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

/// What the feed does besides sending each batch after the position once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manners {
    /// The stream breaks after so many batches; and a snapshot after so many parts, if the next is given.
    pub(crate) break_after: Option<usize>,
    /// With this; absent: as a feed that restarts.
    pub(crate) broken_by: Option<Status>,
    /// Each batch is sent twice.
    pub(crate) repeat: bool,
    /// The stream is refused.
    pub(crate) refusal: Option<Status>,
    /// Streams from these positions are refused for good.
    pub(crate) expired_positions: Vec<String>,
}

/// What the snapshot service has and does.
#[derive(Debug, Default)]
pub(crate) struct SnapshotScript {
    pub(crate) position: String,
    pub(crate) tickets: Vec<TicketSnapshot>,
    /// Tickets in a part.
    pub(crate) part: usize,
    /// By (tenant, version).
    pub(crate) calendars: HashMap<(i64, i64), Calendar>,
    /// The tickets after which snapshots were asked for.
    pub(crate) asked_after: Vec<i64>,
}

/// What ticketing was told of erasures, and whether it takes it.
#[derive(Debug, Default)]
pub(crate) struct ErasureScript {
    pub(crate) refuses: bool,
    pub(crate) calls: usize,
    pub(crate) reports: Vec<ReportErasureRequest>,
}

/// A running feed.
pub(crate) struct Feed {
    pub(crate) address: SocketAddr,
    script: Arc<Script>,
    _server: JoinSet<()>,
}

struct Script {
    batches: watch::Sender<Vec<StreamEventsResponse>>,
    manners: Mutex<Manners>,
    asked_positions: Mutex<Vec<String>>,
    snapshot: Mutex<SnapshotScript>,
    /// Parts of snapshots that may be sent.
    parts_allowed: watch::Sender<usize>,
    erasures: Mutex<ErasureScript>,
}

impl Feed {
    pub(crate) async fn start() -> Self {
        Self::start_with(Routes::default()).await
    }

    /// Beside other services of ticketing at the same address.
    pub(crate) async fn start_with(others: Routes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let script = Arc::new(Script {
            batches: watch::Sender::default(),
            manners: Mutex::default(),
            asked_positions: Mutex::default(),
            snapshot: Mutex::default(),
            parts_allowed: watch::Sender::new(usize::MAX),
            erasures: Mutex::default(),
        });
        let feed = FeedServiceServer::new(ScriptedFeed(Arc::clone(&script)));
        let snapshots = SnapshotServiceServer::new(ScriptedFeed(Arc::clone(&script)));
        let erasures = ErasureServiceServer::new(ScriptedFeed(Arc::clone(&script)));
        let mut server = JoinSet::new();
        server.spawn(async move {
            tonic::transport::Server::builder()
                .add_routes(
                    others
                        .add_service(feed)
                        .add_service(snapshots)
                        .add_service(erasures),
                )
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .expect("the feed serves");
        });
        Self {
            address,
            script,
            _server: server,
        }
    }

    /// Adds a batch; its position is its number, from 1.
    pub(crate) fn send(&self, events: Vec<TicketEvent>) {
        self.script.batches.send_modify(|batches| {
            let position = (batches.len() + 1).to_string();
            batches.push(StreamEventsResponse { events, position });
        });
    }

    pub(crate) fn behave(&self, manners: Manners) {
        *self.script.manners.lock().expect("no test panicked") = manners;
    }

    /// What the snapshot service has.
    pub(crate) fn snapshot(&self) -> MutexGuard<'_, SnapshotScript> {
        self.script.snapshot.lock().expect("no test panicked")
    }

    /// Lets snapshots send so many parts with tickets, all of them together, and no more.
    pub(crate) fn allow_parts(&self, parts: usize) {
        self.script.parts_allowed.send_replace(parts);
    }

    pub(crate) fn erasures(&self) -> MutexGuard<'_, ErasureScript> {
        self.script.erasures.lock().expect("no test panicked")
    }

    /// The positions from which streams were opened.
    pub(crate) fn asked_positions(&self) -> Vec<String> {
        self.script
            .asked_positions
            .lock()
            .expect("no test panicked")
            .clone()
    }
}

struct ScriptedFeed(Arc<Script>);

#[tonic::async_trait]
impl FeedService for ScriptedFeed {
    type StreamEventsStream =
        Pin<Box<dyn Stream<Item = Result<StreamEventsResponse, Status>> + Send>>;

    async fn stream_events(
        &self,
        request: Request<StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let actor = request
            .metadata()
            .get("plazo-actor")
            .map(|actor| actor.as_bytes().to_vec());
        assert_eq!(
            actor.as_deref(),
            Some(b"service/history".as_slice()),
            "services say who they are"
        );
        let position = request.into_inner().position;
        let manners = self.0.manners.lock().expect("no test panicked").clone();
        let mut asked = self.0.asked_positions.lock().expect("no test panicked");
        asked.push(position.clone());
        drop(asked);
        if let Some(refusal) = manners.refusal {
            return Err(refusal);
        }
        if manners.expired_positions.contains(&position) {
            let code = Code::FailedPrecondition;
            return Err(with_reason(code, "POSITION_EXPIRED", "it is too old"));
        }
        let first: usize = if position.is_empty() {
            0
        } else {
            position.parse().expect("ours")
        };
        let batches = stream::unfold(
            (first, self.0.batches.subscribe()),
            |(next, mut batches)| async move {
                let wanted = batches
                    .wait_for(|batches| batches.len() > next)
                    .await
                    .ok()?;
                let batch = wanted[next].clone();
                drop(wanted);
                Some((batch, (next + 1, batches)))
            },
        );
        let copies = if manners.repeat { 2 } else { 1 };
        let sent = batches.flat_map(move |batch| stream::iter(vec![Ok(batch); copies]));
        Ok(Response::new(match manners.break_after {
            None => sent.boxed(),
            Some(count) => {
                let restarts = || Status::unavailable("the feed restarts");
                let broken = stream::iter([Err(manners.broken_by.unwrap_or_else(restarts))]);
                sent.take(count).chain(broken).boxed()
            }
        }))
    }
}

#[tonic::async_trait]
impl SnapshotService for ScriptedFeed {
    type StreamSnapshotStream =
        Pin<Box<dyn Stream<Item = Result<StreamSnapshotResponse, Status>> + Send>>;

    async fn stream_snapshot(
        &self,
        request: Request<StreamSnapshotRequest>,
    ) -> Result<Response<Self::StreamSnapshotStream>, Status> {
        let after = request.into_inner().after_ticket_id;
        let mut script = self.0.snapshot.lock().expect("no test panicked");
        script.asked_after.push(after);
        let wanted = script.tickets.iter().filter(|it| it.ticket_id > after);
        let wanted: Vec<_> = wanted.cloned().collect();
        let first = StreamSnapshotResponse {
            position: script.position.clone(),
            estimated_ticket_count: 1_000,
            tickets: Vec::new(),
        };
        let parts: Vec<_> = wanted
            .chunks(script.part.max(1))
            .map(|tickets| StreamSnapshotResponse {
                tickets: tickets.to_vec(),
                ..StreamSnapshotResponse::default()
            })
            .collect();
        drop(script);
        let allowed = self.0.parts_allowed.subscribe();
        let sender = self.0.parts_allowed.clone();
        let manners = self.0.manners.lock().expect("no test panicked").clone();
        let breaking = manners.break_after.zip(manners.broken_by);
        let breaking = breaking.filter(|(count, _)| parts.len() > *count);
        let (count, broken) = breaking.unzip();
        let (count, broken) = (count.unwrap_or(usize::MAX), broken.map(Err));
        let parts = stream::iter(parts).take(count).then(move |part| {
            let (mut allowed, sender) = (allowed.clone(), sender.clone());
            async move {
                let turn = allowed.wait_for(|allowed| *allowed > 0).await;
                drop(turn.expect("the feed lives"));
                sender.send_modify(|allowed| *allowed -= 1);
                Ok(part)
            }
        });
        Ok(Response::new(
            stream::iter([Ok(first)])
                .chain(parts)
                .chain(stream::iter(broken))
                .boxed(),
        ))
    }

    async fn get_calendar_version(
        &self,
        request: Request<GetCalendarVersionRequest>,
    ) -> Result<Response<GetCalendarVersionResponse>, Status> {
        let request = request.into_inner();
        let key = (request.tenant_id, request.calendar_version);
        let script = self.0.snapshot.lock().expect("no test panicked");
        let calendar = script.calendars.get(&key).cloned();
        let calendar = Some(calendar.ok_or_else(|| Status::not_found("no such version"))?);
        Ok(Response::new(GetCalendarVersionResponse { calendar }))
    }
}

#[tonic::async_trait]
impl ErasureService for ScriptedFeed {
    async fn erase_contact(
        &self,
        _: Request<EraseContactRequest>,
    ) -> Result<Response<EraseContactResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_erasure(
        &self,
        _: Request<GetErasureRequest>,
    ) -> Result<Response<GetErasureResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_erasures(
        &self,
        _: Request<ListErasuresRequest>,
    ) -> Result<Response<ListErasuresResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn report_erasure(
        &self,
        request: Request<ReportErasureRequest>,
    ) -> Result<Response<ReportErasureResponse>, Status> {
        let mut script = self.0.erasures.lock().expect("no test panicked");
        script.calls += 1;
        if script.refuses {
            return Err(Status::unavailable("not now"));
        }
        script.reports.push(request.into_inner());
        Ok(Response::new(ReportErasureResponse { complete: false }))
    }
}
