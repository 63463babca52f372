//! What a service shows at `/metrics`.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The metrics of one process at one moment.
#[derive(Debug, Clone)]
pub struct MetricsText(String);

impl MetricsText {
    /// Asks the service.
    pub(crate) async fn read(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address)
            .await
            .expect("/metrics can be reached");
        let request = "GET /metrics HTTP/1.0\r\n\r\n";
        stream
            .write_all(request.as_bytes())
            .await
            .expect("/metrics takes a request");
        let mut text = String::new();
        stream
            .read_to_string(&mut text)
            .await
            .expect("/metrics answers in text");
        assert!(text.starts_with("HTTP/1.0 200"), "{text}");
        Self(text)
    }

    /// The sum of a metric over all its labels that contain `label`, for instance `cause="sweep"`; 0 when there is
    /// none yet.
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        self.0
            .lines()
            .filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                let (labels, value) = rest.rsplit_once(' ')?;
                let is_this = labels.is_empty() || labels.starts_with('{');
                (is_this && labels.contains(label)).then(|| value.parse::<f64>().ok())?
            })
            .sum()
    }
}
