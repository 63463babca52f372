//! The scripts on a real Redis against a model of the observed-remove set: arms, claims and acks late, doubled and
//! reordered, leases that end, quarantine, repairs, and a Redis that is wiped or goes back. After each step all of it is
//! compared, and the invariant of the store is checked.
//!
//! A failure prints the shortest sequence of steps that was found, and the seed for `PROPTEST_RNG_SEED`.

mod model;
mod state;
mod steps;
mod world;

use std::cell::Cell;
use std::collections::BTreeMap;

use plazo_local::{RedisOptions, RedisServer};
use plazo_service::config::ConfigSources;
use proptest::test_runner::{Config as ProptestConfig, TestRunner};

use super::Store;
use crate::metrics::TimerMetrics;
use steps::sequences;
use world::{Size, World};

/// Single tickets, with small batches.
const SMALL: Size = Size {
    groups: 5,
    each: 1,
    limits: &[1, 2, 3, 8, 64],
};

/// Many tickets, so that each script needs several commands for its members.
const LARGE: Size = Size {
    groups: 4,
    each: 300,
    limits: &[150, 450, 1_000],
};

async fn open(redis: &RedisServer) -> Store {
    let settings = [
        ("REDIS__URL", redis.url()),
        // Machines that do other work too may stand still for a while.
        ("REDIS__RESPONSE_TIMEOUT_MS", "60000".to_owned()),
        ("TIMER__SHARDS", "2".to_owned()),
        ("TIMER__LANES", "1".to_owned()),
    ];
    let settings = settings.map(|(key, value)| (format!("PLAZO_TIMER__{key}"), value));
    let sources = ConfigSources {
        file: None,
        environment: BTreeMap::from(settings),
    };
    let config = plazo_service::config::load(&sources).expect("the settings are valid");
    let mut metrics = plazo_service::Metrics::new("timer");
    let metrics = TimerMetrics::register(metrics.service_registry());
    Store::open(&config, metrics).await.expect("redis is there")
}

/// Runs so many sequences, each of which ends well.
fn check_sequences(size: Size, sequences_count: u32, longest: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let options = RedisOptions::temporary().append_only(false);
    let redis = runtime
        .block_on(RedisServer::start(options))
        .expect("redis starts");
    let store = runtime.block_on(open(&redis));
    let fired = Cell::new(0);
    let given_up = Cell::new(0);
    let config = ProptestConfig {
        cases: sequences_count,
        failure_persistence: None,
        max_shrink_time: 30_000,
        max_shrink_iters: 100_000,
        ..ProptestConfig::default()
    };
    let outcome =
        TestRunner::new(config).run(&(1_u32..=3, sequences(longest)), |(attempts_max, steps)| {
            runtime.block_on(async {
                let mut world = World::new(&store, size, attempts_max).await;
                for step in steps {
                    world.step(step).await;
                }
                world.drain().await;
                fired.set(fired.get() + world.fired);
                given_up.set(given_up.get() + world.given_up);
            });
            Ok(())
        });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let least = usize::try_from(sequences_count).expect("it is small");
    assert!(fired.get() > least, "only {} fired", fired.get());
    let count = given_up.get();
    assert!(count >= least / 50, "only {count} given up");
}

#[test]
fn entries_of_few_tickets_are_neither_lost_nor_late() {
    check_sequences(SMALL, 450, 80);
}

#[test]
fn entries_of_many_tickets_are_neither_lost_nor_late() {
    check_sequences(LARGE, 16, 50);
}
