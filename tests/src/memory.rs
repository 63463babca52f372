//! How much memory the services take while a test runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::process::Service;

const PERIOD: Duration = Duration::from_millis(200);

/// Looks at the resident memory of the services again and again, until it is dropped.
#[derive(Debug)]
pub struct MemoryWatch {
    peaks: Arc<Mutex<BTreeMap<Service, u64>>>,
    looks: JoinSet<()>,
}

impl MemoryWatch {
    /// Watches the processes that run now.
    pub fn start(cluster: &Cluster) -> Self {
        let mut watch = Self {
            peaks: Arc::default(),
            looks: JoinSet::new(),
        };
        watch.follow(cluster);
        watch
    }

    /// Watches the processes that run now, in the place of those before; what was seen stays.
    pub fn follow(&mut self, cluster: &Cluster) {
        self.looks.abort_all();
        let (pids, peaks) = (cluster.pids(), Arc::clone(&self.peaks));
        self.looks.spawn(async move {
            loop {
                for (service, pid) in &pids {
                    // A process that has just been killed has none.
                    let bytes = resident_bytes(*pid).unwrap_or_default();
                    let mut peaks = peaks.lock().unwrap_or_else(PoisonError::into_inner);
                    let peak = peaks.entry(*service).or_default();
                    *peak = bytes.max(*peak);
                }
                tokio::time::sleep(PERIOD).await;
            }
        });
    }

    /// The most that each service took so far, in bytes.
    pub fn peaks(&self) -> BTreeMap<Service, u64> {
        let peaks = self.peaks.lock().unwrap_or_else(PoisonError::into_inner);
        peaks.clone()
    }
}

/// As Linux tells it; none elsewhere, and for a process that is gone.
pub(crate) fn resident_bytes(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_memory_of_a_process_is_read() {
        let own = i32::try_from(std::process::id()).expect("a process id fits");
        let bytes = resident_bytes(own).expect("this process has memory");
        assert!((1 << 20..1 << 34).contains(&bytes), "{bytes}");
        assert_eq!(resident_bytes(-1), None);
    }
}
