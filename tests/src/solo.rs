//! One service alone, as a process: for measuring it.

use std::time::Duration;

use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::metrics::MetricsText;
use crate::ports::PortBlock;
use crate::process::{Service, ServiceProcess};

/// How long a service may take to start, its migrations included.
const START_BOUND: Duration = Duration::from_mins(1);

/// A service that serves on the loopback. When it is dropped, it is killed.
#[derive(Debug)]
pub struct Solo {
    process: ServiceProcess,
    service: Service,
    ports: PortBlock,
    folder: TempDir,
}

impl Solo {
    /// Starts the service and waits until it serves. Configuration as in `("DATABASE__URL", url)`.
    pub async fn start(service: Service, configuration: &[(&str, String)]) -> Self {
        let ports = PortBlock::claim();
        let folder = TempDir::new().expect("a folder for the log");
        let prefix = format!("PLAZO_{}__", service.name().to_uppercase());
        let addresses = [
            ("SERVER__LISTEN", ports.address(0).to_string()),
            ("SERVER__METRICS_LISTEN", ports.address(1).to_string()),
            (
                "TELEMETRY__LOG_FILTER",
                "info,plazo_request=warn".to_owned(),
            ),
        ];
        let environment: Vec<_> = addresses
            .iter()
            .chain(configuration)
            .map(|(key, value)| (format!("{prefix}{key}"), value.clone()))
            .collect();
        let log = folder.path().join("service.log");
        let process = ServiceProcess::spawn(service, &environment, None, &log);
        let mut solo = Self {
            process,
            service,
            ports,
            folder,
        };
        solo.wait_until_serving().await;
        solo
    }

    async fn wait_until_serving(&mut self) {
        let what = format!("{} serves", self.service.name());
        let mut health = HealthClient::new(self.channel());
        let log = self.folder.path().join("service.log");
        let process = &mut self.process;
        crate::eventually(&what, START_BOUND, async || {
            if let Some(status) = process.try_ended() {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("the service ended at its start: {status}\n{said}");
            }
            let answer = health.check(HealthCheckRequest::default()).await;
            answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
        })
        .await;
    }

    /// A new connection to the service, made at the first call.
    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(self.endpoint())
            .expect("an address")
            .tcp_nodelay(true)
            .connect_lazy()
    }

    /// Where it serves gRPC, as in `http://127.0.0.1:10001`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.ports.address(0))
    }

    /// Its metrics as they are now.
    pub async fn metrics(&self) -> MetricsText {
        MetricsText::read(self.ports.address(1)).await
    }

    /// Kills it with SIGKILL.
    pub async fn kill(self) {
        self.process.kill().await;
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        u32::try_from(self.process.pid()).expect("ids of processes are above zero")
    }

    /// Ends it with SIGTERM, and sees that it ends in order within ten seconds.
    pub async fn stop(self) {
        let status = self.process.terminate().await;
        assert!(
            status.success(),
            "{} ended with {status}",
            self.service.name()
        );
    }
}
