//! A feed that is silent until it is told what to send.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use plazo_proto::ticketing::v1::feed_service_server::{FeedService, FeedServiceServer};
use plazo_proto::ticketing::v1::{StreamEventsRequest, StreamEventsResponse};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::history::events::Events;

/// A sign of life comes so often.
const SILENCE: Duration = Duration::from_millis(200);
/// Events of a batch, as ticketing sends at most.
const BATCH: usize = 1_000;

/// A running feed.
pub(super) struct Feed {
    pub(super) address: SocketAddr,
    script: Arc<Script>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Script {
    /// What is to be sent by the stream that is open, once.
    events: Mutex<Option<Events>>,
    is_released: watch::Sender<bool>,
}

impl Feed {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let script = Arc::new(Script::default());
        let service = FeedServiceServer::new(Scripted(Arc::clone(&script)));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .expect("the feed serves");
        });
        Self {
            address,
            script,
            _tasks: tasks,
        }
    }

    /// Sends these from now on, to whoever reads.
    pub(super) fn send(&self, events: Events) {
        *self.script.events.lock().expect("nobody panicked with it") = Some(events);
        self.script.is_released.send_replace(true);
    }
}

struct Scripted(Arc<Script>);

/// What a stream has left to send.
struct Left {
    script: Arc<Script>,
    released: watch::Receiver<bool>,
    events: Option<Events>,
    batches: usize,
    position: String,
}

impl Left {
    /// The next batch; an empty one when there is nothing.
    async fn next(&mut self) -> StreamEventsResponse {
        if self.events.is_none() {
            // Either it is released or it is time for a sign of life.
            let _ = tokio::time::timeout(SILENCE, self.released.wait_for(|is| *is)).await;
            self.events = self
                .script
                .events
                .lock()
                .expect("nobody panicked with it")
                .take();
        }
        let batch: Vec<_> = self
            .events
            .iter_mut()
            .flat_map(|events| events.take(BATCH))
            .collect();
        if batch.is_empty() {
            tokio::time::sleep(SILENCE).await;
            return StreamEventsResponse::default();
        }
        self.batches += 1;
        StreamEventsResponse {
            events: batch,
            position: format!("{}+{}", self.position, self.batches),
        }
    }
}

#[tonic::async_trait]
impl FeedService for Scripted {
    type StreamEventsStream =
        Pin<Box<dyn Stream<Item = Result<StreamEventsResponse, Status>> + Send>>;

    async fn stream_events(
        &self,
        request: Request<StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let left = Left {
            script: Arc::clone(&self.0),
            released: self.0.is_released.subscribe(),
            events: None,
            batches: 0,
            position: request.into_inner().position,
        };
        let batches = stream::unfold(left, |mut left| async move {
            let batch = left.next().await;
            Some((Ok(batch), left))
        });
        Ok(Response::new(batches.boxed()))
    }
}
