//! A feed that sends what a test has written.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt as _, stream};
use plazo_proto::ticketing::v1::feed_service_server::{FeedService, FeedServiceServer};
use plazo_proto::ticketing::v1::{StreamEventsRequest, StreamEventsResponse, TicketEvent};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// What the feed does besides sending each batch after the position once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manners {
    /// The stream breaks after so many batches.
    pub(crate) break_after: Option<usize>,
    /// Each batch is sent twice.
    pub(crate) repeat: bool,
    /// The stream is refused.
    pub(crate) refusal: Option<Status>,
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
        });
        let service = FeedServiceServer::new(ScriptedFeed(Arc::clone(&script)));
        let mut server = JoinSet::new();
        server.spawn(async move {
            tonic::transport::Server::builder()
                .add_routes(others.add_service(service))
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
                let broken = stream::iter([Err(Status::unavailable("the feed restarts"))]);
                sent.take(count).chain(broken).boxed()
            }
        }))
    }
}
