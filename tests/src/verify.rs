//! `plazo verify history` on a cluster of a test.

use std::time::Duration;

use tokio::process::Command;

use crate::cluster::Cluster;
use crate::process::{Service, program};

/// What the command found.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Whether it ended with exit code 0.
    pub is_equal: bool,
    /// What it printed.
    pub told: String,
}

/// Compares history with ticketing; history may be behind for so long.
pub async fn verify_history(cluster: &Cluster, patience: Duration) -> Verified {
    let output = Command::new(program("plazo"))
        .args(["verify", "history"])
        .args(["--patience-s", &patience.as_secs().to_string()])
        .args([
            "--ticketing-database-url",
            &cluster.database_url(Service::Ticketing),
        ])
        .args([
            "--history-database-url",
            &cluster.database_url(Service::History),
        ])
        .kill_on_drop(true)
        .output()
        .await
        .expect("the command starts");
    let told = [output.stdout, output.stderr].concat();
    Verified {
        is_equal: output.status.success(),
        told: String::from_utf8_lossy(&told).into_owned(),
    }
}
