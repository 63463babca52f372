//! 24: clocks are off. The owner's is ten seconds ahead of Redis', then ten seconds behind; and one timer's own is ten
//! minutes off all the while.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plazo_tests::report::FaultReport;
use plazo_tests::timers::{TimerSetup, Timers};
use prost_types::Timestamp;

use super::bed::{Judged, Load, Run};
use crate::bed::{Size, rounded, to_float};

const SKEW: Duration = Duration::from_secs(10);
/// Far more than a wait for skewed clocks needs: in a busy loop each ticket would be looked at thousands of times.
const LOOKS_EACH_MAX: f64 = 4.0;
/// What the metric may differ from the truth by.
const SEEN_WITHIN_S: f64 = 0.5;

/// How far the shim moves the clock, in seconds.
const OFF_S: f64 = 600.0;

/// Moves the wall clock of a process by ten minutes; its monotonic clock goes on as it did.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) {
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    }
    int outcome = real(id, time);
    if (id == CLOCK_REALTIME) {
        time->tv_sec += 600;
    }
    return outcome;
}
"#;

pub(crate) async fn run(size: Size) -> FaultReport {
    let folder = tempfile::tempdir().expect("a folder");
    let shim = build_shim(folder.path());
    let ahead = skewed(size, 10_000, &shim).await;
    let behind = skewed(size, -10_000, &shim).await;
    // One report for both.
    let mut report = ahead.conclude().await;
    let other = behind.conclude().await;
    report.lost += other.lost;
    report.twice += other.twice;
    report.early += other.early;
    report.late += other.late;
    report.wrong += other.wrong;
    report.fired += other.fired;
    report.took_s = rounded(report.took_s + other.took_s);
    report.lateness_max_ms = report.lateness_max_ms.max(other.lateness_max_ms);
    report.effect.extend(other.effect);
    report.problems.extend(other.problems);
    report.concluded()
}

/// A whole run with the owner's clock so much ahead.
async fn skewed(size: Size, skew_ms: i64, shim: &Path) -> Judged {
    let mut timers = Timers::start_skewed(TimerSetup::default(), skew_ms).await;
    timers.terminate(1).await;
    timers
        .start_timer_with(1, &[("LD_PRELOAD", &shim.to_string_lossy())])
        .await;
    let mut run = Run::on(Load::of(size).lasting(SKEW + SKEW / 2), timers).await;
    let ended = run.fault_is_over();
    run.until(0.9).await;
    let seen_s = run.timers.sum("plazo_timer_clock_skew_seconds", "").await / 2.0;
    let off_s = wall_clock_off_s(&run.timers.said(1), run.owner.now_us() - skew_ms * 1_000);
    let mut judged = run.finish(SKEW, size.slack, ended).await;
    judged.report.saw("replica_off_s", off_s);
    judged.report.require((off_s - OFF_S).abs() < 60.0, || {
        format!("the clock of a timer is {off_s} s off")
    });
    let expected_s = to_float(skew_ms) / 1_000.0;
    let name = if skew_ms > 0 { "ahead" } else { "behind" };
    judged
        .report
        .saw(&format!("skew_seen_{name}_s"), rounded(seen_s));
    judged
        .report
        .require((seen_s - expected_s).abs() < SEEN_WITHIN_S, || {
            format!("the timers say that the owner is {seen_s} s ahead, and it is {expected_s} s")
        });
    let looks_each = to_float(judged.counts.looks) / to_float(judged.report.fired.max(1));
    judged
        .report
        .saw(&format!("looks_each_{name}"), rounded(looks_each));
    judged.report.require(looks_each <= LOOKS_EACH_MAX, || {
        format!("each ticket was looked at {looks_each} times")
    });
    let p99_ms = judged.report.lateness_p99_ms;
    judged.report.saw(&format!("p99_{name}_ms"), p99_ms);
    let bound_ms = to_float(SKEW.as_millis()) + 1_000.0;
    judged.report.require(p99_ms <= bound_ms, || {
        format!("the 99th percentile is {p99_ms} ms late")
    });
    judged
}

/// How far the clock of a timer is ahead, by the time of what it said last.
fn wall_clock_off_s(said: &str, now_us: i64) -> f64 {
    let time = said.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once("\"timestamp\":\"")?;
        rest.split('"').next()?.parse::<Timestamp>().ok()
    });
    time.map_or(0.0, |time| to_float(time.seconds - now_us / 1_000_000))
}

/// Builds the shim with the C compiler that Rust links with.
fn build_shim(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    std::fs::write(&source, SHIM).expect("a file can be written");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .status()
        .expect("there is a C compiler");
    assert!(status.success(), "the shim can't be built");
    library
}
