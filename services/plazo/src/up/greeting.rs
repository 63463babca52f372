//! What a person needs to know once the cluster is up.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use plazo_local::DataFolder;

use crate::cluster::{Cluster, ClusterOptions, Service};
use crate::demo::TENANT_ID;
use crate::style::{Palette, Style};

const METHOD: &str = "plazo.ticketing.v1.SettingsService/ListBots";

/// Addresses, data and a first call.
pub(super) struct Greeting {
    palette: Palette,
    services: Vec<(Service, SocketAddr, SocketAddr)>,
    data: Option<PathBuf>,
}

impl Greeting {
    pub(super) fn new(cluster: &Cluster, options: &ClusterOptions) -> Self {
        let is_private = options.database_url.is_none() || options.redis_url.is_none();
        let data = match &options.data {
            DataFolder::Persistent(folder) if is_private => Some(absolute(folder)),
            _ => None,
        };
        let services = Service::ALL.map(|service| {
            (
                service,
                cluster.address(service),
                cluster.metrics_address(service),
            )
        });
        Self {
            palette: Palette::of_stdout(),
            services: services.into(),
            data,
        }
    }
}

/// The headers that say who calls, on two lines of a shell.
fn headers() -> String {
    format!(
        "-H 'plazo-tenant: {TENANT_ID}' -H 'plazo-actor: administrator/1' \\\n    \
         -H 'plazo-permissions: helpdesk:view'"
    )
}

impl fmt::Display for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dim = |text: &str| self.palette.paint(Style::Dim, text);
        writeln!(f)?;
        writeln!(f, "{}", self.palette.paint(Style::Bold, "Plazo is up."))?;
        writeln!(f)?;
        for (service, grpc, metrics) in &self.services {
            let metrics = dim(&format!("metrics http://{metrics}/metrics"));
            writeln!(f, "  {service:<13} {:<16} {metrics}", grpc.to_string())?;
        }
        if let Some(data) = &self.data {
            writeln!(
                f,
                "  {:<13} {} {}",
                "data",
                data.display(),
                dim("(kept when Plazo ends)")
            )?;
        }
        let Some((_, ticketing, _)) = self.services.first() else {
            return Ok(());
        };
        writeln!(f)?;
        let headers = headers();
        writeln!(f, "A first call:")?;
        writeln!(
            f,
            "  grpcurl -plaintext {headers} \\\n    {ticketing} {METHOD}"
        )?;
        writeln!(f, "or")?;
        writeln!(
            f,
            "  buf curl --protocol grpc --http2-prior-knowledge \\\n    {headers} \\"
        )?;
        writeln!(f, "    http://{ticketing}/{METHOD}")?;
        writeln!(f)?;
        write!(f, "Ctrl-C ends everything.")
    }
}

fn absolute(folder: &Path) -> PathBuf {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}
