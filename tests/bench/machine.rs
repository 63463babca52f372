//! The machine, and what processes take of it.

use std::fs;

/// How many cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The memory of the machine, in bytes.
pub(crate) fn memory_bytes() -> u64 {
    let kilobytes = |text: String| {
        let total = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        total.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let meminfo = fs::read_to_string("/proc/meminfo").ok();
    meminfo
        .and_then(kilobytes)
        .expect("the system tells its memory")
        << 10
}

/// Time that processes have taken of the cores, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuSeconds {
    /// The service.
    pub(crate) service: f64,
    /// The database server with all its processes.
    pub(crate) database: f64,
    /// This program: the callers.
    pub(crate) callers: f64,
}

impl CpuSeconds {
    /// As of now.
    pub(crate) fn read(service_pid: u32, database_pid: u32) -> Self {
        let callers = std::process::id();
        Self {
            service: of_process(service_pid),
            database: of_process(database_pid) + of_children(database_pid),
            callers: of_process(callers),
        }
    }

    /// What was taken since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            service: self.service - before.service,
            database: self.database - before.database,
            callers: self.callers - before.callers,
        }
    }
}

/// Seconds in one of the kernel's ticks.
const TICK_S: f64 = 0.01;

/// Fields of `/proc/PID/stat` after the name in brackets: parent, and the ticks of the process and of its ended
/// children.
fn stat(pid: u32) -> Option<(u32, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |place: usize| fields.get(place)?.parse::<f64>().ok();
    // The last two are of children that have ended.
    let all = ticks(11)? + ticks(12)? + ticks(13)? + ticks(14)?;
    Some((fields.get(1)?.parse().ok()?, all))
}

/// Time that a process has taken of the cores, in seconds, in steps of 10 ms.
pub(crate) fn cpu_seconds_of(pid: u32) -> f64 {
    of_process(pid)
}

/// Time that the threads of a process that are alive have taken of the cores, in seconds, to the microsecond: for
/// processes that do next to nothing. As Linux tells it; 0 elsewhere.
pub(crate) fn fine_cpu_seconds_of(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter();
    threads
        .flatten()
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<f64>().ok())
        .map(|nanos| nanos / 1e9)
        .sum()
}

fn of_process(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |(_, ticks)| ticks * TICK_S)
}

fn of_children(of: u32) -> f64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .filter(|(parent, _)| *parent == of)
        .map(|(_, ticks)| ticks * TICK_S)
        .sum()
}

/// The resident memory of a process, in bytes; 0 when it is gone.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let pages = |text: String| text.split(' ').nth(1)?.parse::<u64>().ok();
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok();
    statm.and_then(pages).map_or(0, |pages| pages * PAGE_BYTES)
}

/// Bytes in a page of memory.
const PAGE_BYTES: u64 = 4_096;
