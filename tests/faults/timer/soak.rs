//! Faults of the timer in random order, as long as one likes: `make soak SEED=… MINUTES=…`.

use std::time::Duration;

use plazo_tests::report::FaultReport;
use plazo_tests::timers::TimerSetup;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::bed::{Load, Run};
use super::{frozen_redis, frozen_replica, lost_replies, out_of_memory, scripts, wiped_redis};
use crate::bed::{Size, to_float};

/// The longest of the faults that the soak injects.
const LONGEST: Duration = Duration::from_millis(LONGEST_MS);
const LONGEST_MS: u64 = 6_000;

/// Injects faults of this seed for so many minutes.
pub(crate) async fn soak(seed: u64, minutes: u64, size: Size) -> FaultReport {
    let mut random = StdRng::seed_from_u64(seed);
    let setup = TimerSetup {
        has_proxies: true,
        append_only: true,
        ..TimerSetup::default()
    };
    let load = Load::of(size).lasting(Duration::from_mins(minutes));
    let mut run = Run::start(load, setup).await;
    let mut injected = 0_usize;
    while run.goes_on_for(2 * LONGEST) {
        let length = Duration::from_millis(random.random_range(500..LONGEST_MS));
        let kind = random.random_range(0..9);
        println!("{kind} for {length:?}");
        inject(&mut run, kind, length).await;
        injected += 1;
        let calm = Duration::from_millis(random.random_range(0..4_000));
        tokio::time::sleep(calm).await;
    }
    let ended = run.fault_is_over();
    // Several may come in a row before anything is caught up.
    let mut judged = run.finish(4 * LONGEST, size.slack, ended).await;
    judged.report.number = 0;
    judged.report.name = format!("soak, seed {seed}");
    judged.report.saw("injected", to_float(injected));
    judged.conclude().await
}

async fn inject(run: &mut Run, kind: u32, length: Duration) {
    match kind {
        0 => lost_replies::inject(run, length).await,
        1 => frozen_replica::inject(run, length).await,
        2 => wiped_redis::inject(run).await,
        3 => {
            frozen_redis::inject(run, length).await;
        }
        4 => {
            out_of_memory::inject(run, length).await;
        }
        5 => {
            scripts::inject(run, length).await;
        }
        6 => {
            run.timers.redis().kill().await.expect("it is killed");
            run.timers.redis().restart().await.expect("it starts again");
        }
        7 => {
            run.timers.kill(0).await;
            tokio::time::sleep(length).await;
            run.timers.start_timer(0).await;
        }
        _ => {
            run.timers.terminate(1).await;
            run.timers.start_timer(1).await;
        }
    }
}
