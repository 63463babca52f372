//! Waiting for a service to be healthy.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::error::ClusterError;
use super::options::Service;

const PAUSE: Duration = Duration::from_millis(20);
const ANSWER_BOUND: Duration = Duration::from_secs(2);

/// Asks until the service as a whole is SERVING.
pub(super) async fn wait(
    service: Service,
    address: SocketAddr,
    bound: Duration,
) -> Result<(), ClusterError> {
    let not_healthy = || ClusterError::NotHealthy { service, bound };
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| not_healthy())?;
    let mut client = HealthClient::new(endpoint.connect_timeout(ANSWER_BOUND).connect_lazy());
    let asking = async {
        while !is_serving(&mut client).await {
            sleep(PAUSE).await;
        }
    };
    timeout(bound, asking).await.map_err(|_| not_healthy())
}

async fn is_serving(client: &mut HealthClient<Channel>) -> bool {
    let check = client.check(HealthCheckRequest::default());
    let Ok(Ok(answer)) = timeout(ANSWER_BOUND, check).await else {
        return false;
    };
    answer.into_inner().status() == ServingStatus::Serving
}
