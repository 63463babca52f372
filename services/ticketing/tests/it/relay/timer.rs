//! A timer that notes what it is asked, and answers as it is told.

use std::sync::{Arc, Mutex, MutexGuard};

use plazo_proto::timer::v1::timer_service_server::{TimerService, TimerServiceServer};
use plazo_proto::timer::v1::{
    ArmOutcome, ArmTicketsRequest, ArmTicketsResponse, GetTicketEntriesRequest,
    GetTicketEntriesResponse, GetTimerStatsRequest, GetTimerStatsResponse, ListDueEntriesRequest,
    ListDueEntriesResponse, ListQuarantinedEntriesRequest, ListQuarantinedEntriesResponse,
    PendingTicket, ReleaseQuarantinedEntriesRequest, ReleaseQuarantinedEntriesResponse,
    RepairTicketsRequest, RepairTicketsResponse, StreamArmsRequest, StreamArmsResponse, TicketArm,
};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// How it answers when it is asked to arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Takes,
    /// It can't arm tickets up to this id.
    TakesAbove(i64),
    Unavailable,
    /// Until it is told something else.
    Hangs,
}

#[derive(Debug, Default)]
struct Notes {
    arms: Vec<TicketArm>,
    repaired: Vec<PendingTicket>,
    calls: usize,
    hanging: usize,
}

/// The timer. It ends with this value.
pub(super) struct ScriptedTimer {
    address: std::net::SocketAddr,
    notes: Arc<Mutex<Notes>>,
    mood: watch::Sender<Mood>,
    _shutdown: DropGuard,
}

#[derive(Debug, Clone)]
struct Service {
    notes: Arc<Mutex<Notes>>,
    mood: watch::Receiver<Mood>,
}

fn lock(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    notes.lock().expect("nobody panics while it is held")
}

/// Counts a call that hangs, also when its caller gives up.
struct Hanging(Arc<Mutex<Notes>>);

impl Hanging {
    fn count(notes: &Arc<Mutex<Notes>>) -> Self {
        lock(notes).hanging += 1;
        Self(Arc::clone(notes))
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        lock(&self.0).hanging -= 1;
    }
}

impl ScriptedTimer {
    pub(super) fn start() -> Self {
        let notes = Arc::new(Mutex::new(Notes::default()));
        let (mood, moods) = watch::channel(Mood::Takes);
        let service = Service {
            notes: Arc::clone(&notes),
            mood: moods,
        };
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = incoming.local_addr().expect("bound");
        let shutdown = CancellationToken::new();
        let ended = shutdown.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with the timer, through its token"
        )]
        tokio::spawn(async move {
            let serving = Server::builder()
                .add_service(TimerServiceServer::new(service))
                .serve_with_incoming(incoming);
            ended.run_until_cancelled(serving).await
        });
        Self {
            address,
            notes,
            mood,
            _shutdown: shutdown.drop_guard(),
        }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// What it was asked to arm since the last time.
    pub(super) fn take_arms(&self) -> Vec<TicketArm> {
        std::mem::take(&mut lock(&self.notes).arms)
    }

    /// What it was asked to repair so far.
    pub(super) fn repaired(&self) -> Vec<PendingTicket> {
        lock(&self.notes).repaired.clone()
    }

    /// How many calls to arm came in so far.
    pub(super) fn calls(&self) -> usize {
        lock(&self.notes).calls
    }

    /// How many calls hang now.
    pub(super) fn hanging(&self) -> usize {
        lock(&self.notes).hanging
    }
}

#[tonic::async_trait]
impl TimerService for Service {
    async fn arm_tickets(
        &self,
        request: Request<ArmTicketsRequest>,
    ) -> Result<Response<ArmTicketsResponse>, Status> {
        let arms = request.into_inner().arms;
        {
            let mut notes = lock(&self.notes);
            notes.calls += 1;
            notes.arms.extend(arms.iter().copied());
        }
        let mut mood = self.mood.clone();
        if *mood.borrow_and_update() == Mood::Hangs {
            let _hanging = Hanging::count(&self.notes);
            let changed = mood.wait_for(|mood| *mood != Mood::Hangs).await;
            changed.map_err(|_| Status::unavailable("ended"))?;
        }
        let mood = *mood.borrow();
        match mood {
            Mood::Takes => Ok(Response::new(ArmTicketsResponse::default())),
            Mood::TakesAbove(highest) => {
                let outcome = |arm: &TicketArm| {
                    if arm.ticket.is_some_and(|ticket| ticket.ticket_id > highest) {
                        ArmOutcome::Armed.into()
                    } else {
                        ArmOutcome::Unavailable.into()
                    }
                };
                Ok(Response::new(ArmTicketsResponse {
                    outcomes: arms.iter().map(outcome).collect(),
                    ..Default::default()
                }))
            }
            Mood::Unavailable | Mood::Hangs => Err(Status::unavailable("as told")),
        }
    }

    type StreamArmsStream = futures::stream::Empty<Result<StreamArmsResponse, Status>>;

    async fn stream_arms(
        &self,
        _: Request<tonic::Streaming<StreamArmsRequest>>,
    ) -> Result<Response<Self::StreamArmsStream>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn repair_tickets(
        &self,
        request: Request<RepairTicketsRequest>,
    ) -> Result<Response<RepairTicketsResponse>, Status> {
        lock(&self.notes)
            .repaired
            .extend(request.into_inner().tickets);
        Ok(Response::new(RepairTicketsResponse::default()))
    }

    async fn get_ticket_entries(
        &self,
        _: Request<GetTicketEntriesRequest>,
    ) -> Result<Response<GetTicketEntriesResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn list_due_entries(
        &self,
        _: Request<ListDueEntriesRequest>,
    ) -> Result<Response<ListDueEntriesResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn list_quarantined_entries(
        &self,
        _: Request<ListQuarantinedEntriesRequest>,
    ) -> Result<Response<ListQuarantinedEntriesResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn release_quarantined_entries(
        &self,
        _: Request<ReleaseQuarantinedEntriesRequest>,
    ) -> Result<Response<ReleaseQuarantinedEntriesResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn get_timer_stats(
        &self,
        _: Request<GetTimerStatsRequest>,
    ) -> Result<Response<GetTimerStatsResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }
}
