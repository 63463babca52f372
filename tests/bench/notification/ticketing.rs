//! A ticketing that has no events, and takes every report.

use std::net::{Ipv4Addr, SocketAddr};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use plazo_proto::ticketing::v1::feed_service_server::{FeedService, FeedServiceServer};
use plazo_proto::ticketing::v1::message_state_service_server::{
    MessageStateService, MessageStateServiceServer,
};
use plazo_proto::ticketing::v1::{
    ReportMessageStatesRequest, ReportMessageStatesResponse, ReportOutcome, StreamEventsRequest,
    StreamEventsResponse,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Serves it, as one of these tasks.
pub(super) async fn serve(tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tasks.spawn(async move {
        Server::builder()
            .tcp_nodelay(true)
            .add_service(FeedServiceServer::new(TakesAll))
            .add_service(MessageStateServiceServer::new(TakesAll))
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .expect("ticketing's stand-in serves");
    });
    address
}

struct TakesAll;

#[tonic::async_trait]
impl FeedService for TakesAll {
    type StreamEventsStream = BoxStream<'static, Result<StreamEventsResponse, Status>>;

    async fn stream_events(
        &self,
        _: Request<StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        // Silent for good: a consumer opens it anew twice a minute, which costs nothing.
        Ok(Response::new(futures::stream::pending().boxed()))
    }
}

#[tonic::async_trait]
impl MessageStateService for TakesAll {
    async fn report_message_states(
        &self,
        request: Request<ReportMessageStatesRequest>,
    ) -> Result<Response<ReportMessageStatesResponse>, Status> {
        let count = request.get_ref().reports.len();
        Ok(Response::new(ReportMessageStatesResponse {
            outcomes: vec![ReportOutcome::Taken.into(); count],
        }))
    }
}
