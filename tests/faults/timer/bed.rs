//! Timers under load, a fault in the middle of it, and the judgement over the whole run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use plazo_tests::cluster::LEASE;
use plazo_tests::owner::{Owner, OwnerAccount, OwnerCounts, STAGES_MAX, TicketIndex};
use plazo_tests::report::FaultReport;
use plazo_tests::timers::{TimerSetup, Timers};
use rand::Rng as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bed::{Size, rounded, to_float};

const NONE: i64 = i64::MAX;
const DAY_MS: i64 = 86_400_000;
/// Tenants of the load; their ids begin with one.
const TENANTS: usize = 16;
/// One ticket in so many of those that fall due has all stages, so many milliseconds apart.
const STAGED_SHARE: usize = 10;
const STAGE_MS: i64 = 1_500;
/// Conversations that go on all the time.
const TALKING: usize = 2_000;
const LEAD_MIN: Duration = Duration::from_secs(2);
const ARM_BOUND: Duration = Duration::from_mins(5);
/// No timer needs as much as this under any of these loads.
const MEMORY_MAX_MIB: f64 = 512.0;
/// What is later than this has waited for the recovery.
const LATE_US: i64 = 1_000_000;
/// After a lease has ended, its entries are looked at again within this.
pub(crate) const AFTER_LEASE: Duration = Duration::from_secs(1);

/// How much load there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Tickets that are armed and not due within the run.
    pub(crate) armed: usize,
    /// Tickets that fall due in a second.
    pub(crate) due_per_s: usize,
    /// For how long they do.
    pub(crate) seconds: usize,
    /// Replies and messages of agents in a second.
    pub(crate) talk_per_s: usize,
}

impl Load {
    pub(crate) fn of(size: Size) -> Self {
        if size.is_full {
            return Self {
                armed: size.armed,
                due_per_s: size.due_per_s,
                seconds: 20,
                talk_per_s: 400,
            };
        }
        Self {
            armed: 4_000,
            due_per_s: 500,
            seconds: 5,
            talk_per_s: 100,
        }
    }

    /// The same for as long as a fault and what comes before and after it take.
    pub(crate) fn lasting(self, fault: Duration) -> Self {
        let seconds = usize::try_from(fault.as_secs()).expect("a short time") + 4;
        Self {
            seconds: self.seconds.max(seconds),
            ..self
        }
    }
}

/// When a fault was over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    us: i64,
}

/// Timers under load.
pub(crate) struct Run {
    /// The timers.
    pub(crate) timers: Timers,
    /// The owner of the tickets.
    pub(crate) owner: Owner,
    load: Load,
    armed: usize,
    /// From the first instant to the last one, in the owner's milliseconds.
    window_ms: (i64, i64),
    talk: JoinSet<()>,
    writes: Arc<AtomicUsize>,
    memory_mib: f64,
    started_at: Instant,
}

/// A run that was judged.
pub(crate) struct Judged {
    /// What came of it; conditions of the fault are added before it is concluded.
    pub(crate) report: FaultReport,
    /// Every stage that took effect.
    pub(crate) account: OwnerAccount,
    /// What the owner was asked.
    pub(crate) counts: OwnerCounts,
    /// The timers, which still run.
    pub(crate) timers: Timers,
}

impl Run {
    /// Starts timers and their load, and waits until the first tickets are due.
    pub(crate) async fn start(load: Load, setup: TimerSetup) -> Self {
        let timers = Timers::start(setup).await;
        Self::on(load, timers).await
    }

    /// The same on timers that run already.
    pub(crate) async fn on(load: Load, timers: Timers) -> Self {
        let started_at = Instant::now();
        let owner = timers.owner.clone();
        let far = add(&owner, load.armed);
        let far_ms = owner.now_ms() + DAY_MS;
        owner.write(far.map(|index| (index, [far_ms, NONE, NONE])));
        let arming = Instant::now();
        wait_until_armed(&owner).await;

        let count = load.due_per_s * load.seconds;
        let share = u32::try_from(count * 3 / load.armed + 1).expect("a small number");
        let ahead = arming.elapsed() * share + LEAD_MIN;
        let due = add(&owner, count);
        let lead_ms = i64::try_from(ahead.as_millis()).expect("a short time");
        let first_ms = owner.now_ms() + lead_ms;
        let per_s = i64::try_from(load.due_per_s).expect("a small number");
        owner.write(due.enumerate().map(|(place, index)| {
            let at = first_ms + i64::try_from(place).expect("a small number") * 1_000 / per_s;
            let stages = if place % STAGED_SHARE == 0 {
                [at, at + STAGE_MS, at + 2 * STAGE_MS]
            } else {
                [at, NONE, NONE]
            };
            (index, stages)
        }));
        wait_until_armed(&owner).await;
        let seconds_ms = i64::try_from(load.seconds).expect("a short time") * 1_000;
        let mut run = Self {
            armed: owner.armed_count(),
            timers,
            load,
            window_ms: (first_ms, first_ms + seconds_ms),
            talk: JoinSet::new(),
            writes: Arc::default(),
            memory_mib: 0.0,
            started_at,
            owner,
        };
        run.start_talk();
        run.until(0.0).await;
        run
    }

    fn start_talk(&mut self) {
        let pool = add(&self.owner, TALKING);
        let (owner, writes) = (self.owner.clone(), Arc::clone(&self.writes));
        let each = self.load.talk_per_s / 20;
        self.talk.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            loop {
                ticks.tick().await;
                for _ in 0..each {
                    let index = rand::rng().random_range(pool.clone());
                    if rand::rng().random_bool(0.4) {
                        owner.reply(index);
                    } else {
                        let due_ms = owner.now_ms() + rand::rng().random_range(300..2_000);
                        owner.write([(index, [due_ms, due_ms + STAGE_MS, NONE])]);
                    }
                    writes.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }

    /// Waits until this share of the load has fallen due.
    pub(crate) async fn until(&self, share: f64) {
        let (from_ms, to_ms) = self.window_ms;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "seconds"
        )]
        let at_ms = from_ms + ((to_ms - from_ms) as f64 * share) as i64;
        let wait_ms = u64::try_from(at_ms - self.owner.now_ms()).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }

    /// Whether there is still load to come for so long.
    pub(crate) fn goes_on_for(&self, time: Duration) -> bool {
        let ms = i64::try_from(time.as_millis()).expect("a short time");
        self.owner.now_ms() + ms < self.window_ms.1
    }

    /// The fault is over, at this moment.
    pub(crate) fn fault_is_over(&mut self) -> Ended {
        self.note_memory();
        Ended {
            us: self.owner.now_us(),
        }
    }

    fn note_memory(&mut self) {
        let most = self.timers.memory().into_values().max().unwrap_or_default();
        let mib = to_float(most) / f64::from(1 << 20);
        self.memory_mib = self.memory_mib.max(mib);
    }

    /// Waits for the end of the load, and judges the whole run. `outage` is how long entries may have waited for the end
    /// of the fault.
    pub(crate) async fn finish(
        mut self,
        outage: Duration,
        slack: Duration,
        ended: Ended,
    ) -> Judged {
        self.until(1.0).await;
        self.talk.shutdown().await;
        let settled = self.settle(outage + 2 * LEASE + slack).await;
        self.note_memory();
        let account = self.owner.judge();
        let counts = self.owner.counts();

        let mut report = FaultReport {
            armed: self.armed,
            due_per_s: self.due_per_s(&account),
            acknowledged: self.writes.load(Ordering::Relaxed),
            lost: account.lost,
            twice: account.twice,
            early: account.early,
            wrong: account.wrong,
            problems: account.problems.clone(),
            fired: account.acted.len(),
            lateness_p50_ms: rounded(account.lateness_ms(0.5, |_| true)),
            lateness_p99_ms: rounded(account.lateness_ms(0.99, |_| true)),
            lateness_max_ms: rounded(account.lateness_ms(1.0, |_| true)),
            repeated: counts.arm_failures.values().sum(),
            repeated_by: counts.arm_failures.clone(),
            ..FaultReport::default()
        };
        let lateness_max = outage + LEASE + AFTER_LEASE + slack;
        let late_us = i64::try_from(lateness_max.as_micros()).expect("a short time");
        let late = account
            .acted
            .iter()
            .filter(|acted| acted.at_us - acted.due_us > late_us);
        report.late = late.count();
        add_recovery(&mut report, &account, ended);
        if let Err(problem) = settled {
            report.problems.push(problem);
        }
        report.require(counts.swept == 0, || {
            format!("the sweep found {} lost entries", counts.swept)
        });
        report.require(self.memory_mib < MEMORY_MAX_MIB, || {
            format!("a timer took {} MiB", self.memory_mib)
        });
        let timer = "timer".to_owned();
        report.memory_mib.insert(timer, rounded(self.memory_mib));
        report.took_s = rounded(self.started_at.elapsed().as_secs_f64());
        Judged {
            report,
            account,
            counts,
            timers: self.timers,
        }
    }

    /// Waits until nothing is due, nothing waits to be armed, and no lease is out.
    async fn settle(&self, bound: Duration) -> Result<(), String> {
        let until = Instant::now() + bound;
        loop {
            let soon = self.owner.pending_count(DAY_MS / 2);
            let stats = self.timers.stats().await;
            let shards = stats.map(|stats| stats.shards).unwrap_or_default();
            let busy: i64 = shards
                .iter()
                .map(|shard| shard.due_count + shard.lease_count)
                .sum();
            let dirty = self.owner.dirty_count();
            if soon == 0 && dirty == 0 && busy == 0 && !shards.is_empty() {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(format!(
                    "after {bound:?} {soon} are pending, {dirty} unarmed, {busy} due or leased in Redis"
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn due_per_s(&self, account: &OwnerAccount) -> f64 {
        let (from_ms, to_ms) = self.window_ms;
        let within = |due_us: i64| (from_ms * 1_000..to_ms * 1_000).contains(&due_us);
        let count = account.acted.iter().filter(|acted| within(acted.due_us));
        rounded(to_float(count.count()) * 1_000.0 / to_float(to_ms - from_ms))
    }
}

impl Judged {
    /// The sum of a metric over the timers that run.
    pub(crate) async fn sum(&self, name: &str, label: &str) -> f64 {
        self.timers.sum(name, label).await
    }

    /// Notes a metric as an effect of the fault, which must have been seen.
    pub(crate) async fn must_have_seen(&mut self, what: &str, name: &str, label: &str) {
        let value = self.sum(name, label).await;
        self.report.saw(what, value);
        self.report
            .require(value > 0.5, || format!("the fault had no effect: {what}"));
    }

    /// Nothing may be in quarantine.
    pub(crate) async fn conclude(mut self) -> FaultReport {
        let quarantined = self.quarantined().await;
        self.report.require(quarantined == 0, || {
            format!("{quarantined} are in quarantine")
        });
        self.report.concluded()
    }

    /// How many are in quarantine.
    pub(crate) async fn quarantined(&self) -> i64 {
        let stats = self.timers.stats().await.expect("a timer answers");
        let shards = stats.shards.iter();
        shards.map(|shard| shard.quarantined_count).sum()
    }
}

/// Adds tickets, spread over the tenants.
pub(crate) fn add(owner: &Owner, count: usize) -> std::ops::Range<TicketIndex> {
    let each = count.div_ceil(TENANTS);
    let mut first = None;
    for tenant in 1..=TENANTS {
        let tenant_id = i64::try_from(tenant).expect("a small number");
        first.get_or_insert(owner.add(tenant_id, each));
    }
    let first = first.expect("there are tenants");
    first..first + count
}

/// Stages with one instant.
pub(crate) fn once(due_ms: i64) -> [i64; STAGES_MAX] {
    [due_ms, NONE, NONE]
}

pub(crate) async fn wait_until_armed(owner: &Owner) {
    plazo_tests::eventually("all are armed", ARM_BOUND, async || {
        owner.unarmed_count() == 0
    })
    .await;
}

/// From the end of the fault until a deadline was acted upon, and until none was late.
fn add_recovery(report: &mut FaultReport, account: &OwnerAccount, ended: Ended) {
    let after = |us: i64| to_float(us - ended.us) / 1_000_000.0;
    let acted = account.acted.iter();
    let first = acted
        .clone()
        .map(|acted| acted.at_us)
        .find(|at_us| *at_us >= ended.us);
    let last_late = acted
        .filter(|acted| acted.at_us - acted.due_us > LATE_US)
        .map(|acted| acted.at_us)
        .max();
    report.recovered_s = rounded(first.map_or(0.0, after));
    report.caught_up_s = rounded(last_late.map_or(0.0, after).max(0.0));
}
