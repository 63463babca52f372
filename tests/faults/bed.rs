//! A cluster under load, a fault in the middle of it, and the judgement over the whole run.

use std::time::Duration;

use plazo_tests::cluster::{Cluster, LEASE, Setup};
use plazo_tests::desk::{Desk, Stages};
use plazo_tests::ledger::{Account, Ledger, ViolationKind};
use plazo_tests::load::{Seed, put_tickets, start_clocks};
use plazo_tests::memory::MemoryWatch;
use plazo_tests::process::Service;
use plazo_tests::report::FaultReport;
use plazo_tests::traffic::{Done, Traffic};
use plazo_tests::truth::{Databases, now_us};
use tokio::time::Instant;

const TENANT: i64 = 7;
const SECOND_US: i64 = 1_000_000;
/// A day, in seconds: never within a run.
const FAR_S: i32 = 86_400;
/// One ticket in so many of those that fall due is warned and closed, too.
const STAGED_SHARE: usize = 10;
/// Stages of such a ticket.
const STAGES_EACH: usize = 4;
/// Tickets that show what the machine bears, and the share of it that a load may take: the rest is for the traffic, for
/// what reads the events, and for catching up.
const PROBE: usize = 4_000;
const LOAD_SHARE: f64 = 0.5;
/// Arming the load may take so long before the first deadline.
const LEAD_MAX: Duration = Duration::from_mins(1);
/// No service needs as much as this under any of these loads.
const MEMORY_MAX_MIB: f64 = 512.0;
/// What is later than this has waited for the recovery.
const LATE_US: i64 = SECOND_US;
/// Violations that a report shows.
const SHOWN: usize = 5;

/// How much load there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Tickets that are armed and not due within the run.
    pub(crate) armed: usize,
    /// Stages that fall due in a second.
    pub(crate) due_per_s: usize,
    /// For how long they do.
    pub(crate) seconds: usize,
    /// Conversations at the same time.
    pub(crate) writers: usize,
    /// How long the fault lasts.
    pub(crate) fault: Duration,
    /// For working through what has gathered, on a small and busy machine. A deadline of the load that is never acted upon
    /// is lost however long this is.
    pub(crate) slack: Duration,
    /// Rounds of the race.
    pub(crate) rounds: usize,
    /// Active messages that are handed over in a second, where there are some besides those of the tickets.
    pub(crate) messages_per_s: usize,
    /// Whether it is the load that faults are to be survived under.
    pub(crate) is_full: bool,
}

impl Size {
    /// A few thousand tickets: shows that the faults still act and are survived.
    pub(crate) const QUICK: Self = Self {
        armed: 1_000,
        due_per_s: 200,
        seconds: 12,
        writers: 16,
        fault: Duration::from_secs(4),
        slack: Duration::from_secs(30),
        rounds: 800,
        messages_per_s: 80,
        is_full: false,
    };
    /// The load of the list of faults.
    pub(crate) const FULL: Self = Self {
        armed: 100_000,
        due_per_s: 2_300,
        seconds: 30,
        writers: 32,
        fault: Duration::from_secs(8),
        slack: Duration::from_mins(2),
        rounds: 2_000,
        messages_per_s: 200,
        is_full: true,
    };
}

impl Size {
    /// The same, with no more due stages and rounds than a machine bears that handles so many tickets in a second.
    fn borne_by(self, handled_per_s: f64) -> Self {
        let share = (handled_per_s * LOAD_SHARE / to_float(self.due_per_s)).min(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a small number"
        )]
        let part = |number: usize| (to_float(number) * share).ceil() as usize;
        Self {
            due_per_s: part(self.due_per_s),
            rounds: part(self.rounds),
            ..self
        }
    }
}

/// When a fault was over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    at: Instant,
    us: i64,
}

/// Stages by their first one, in seconds after the anchor.
type Shape = fn(i32) -> Stages;

/// A cluster under load.
pub(crate) struct Bed {
    /// The cluster.
    pub(crate) cluster: Cluster,
    /// Its databases.
    pub(crate) databases: Databases,
    /// Tickets of the race and their desk, if there is one.
    pub(crate) race: Option<(Desk, Vec<Seed>)>,
    desks: Vec<Desk>,
    seeded: usize,
    slack: Duration,
    armed: usize,
    traffic: Traffic,
    memory: MemoryWatch,
    /// From the first deadline to the last one.
    window_us: (i64, i64),
    started_at: Instant,
}

/// A run that was judged.
pub(crate) struct Judged {
    /// What came of it; conditions of the fault are added before it is concluded.
    pub(crate) report: FaultReport,
    /// Every stage that took effect.
    pub(crate) account: Account,
    /// Every call that was acknowledged, and those that failed.
    pub(crate) done: Done,
    /// The cluster, which still runs.
    pub(crate) cluster: Cluster,
}

impl Bed {
    /// Starts a cluster and its load, and waits until the first tickets are due.
    pub(crate) async fn start(size: Size, setup: Setup) -> Self {
        Self::start_with_race(Size { rounds: 0, ..size }, setup).await
    }

    /// The same with tickets for a race, whose first cycles have the stages of the load, and further ones short stages.
    pub(crate) async fn start_with_race(size: Size, setup: Setup) -> Self {
        let started_at = Instant::now();
        let cluster = Cluster::start_with(setup).await;
        let databases = Databases::open(&cluster).await;
        let far = Desk::set_up(&cluster, TENANT, alerts_at(FAR_S)).await;
        let talk = Desk::set_up(&cluster, TENANT, short_stages()).await;
        let probe = Desk::set_up(&cluster, TENANT, alerts_at(1)).await;
        let size = size.borne_by(handled_per_s(&databases, &probe).await);
        let rounds = size.rounds;
        let staged = size.due_per_s * size.seconds / STAGED_SHARE / STAGES_EACH;
        let counts = [
            size.due_per_s * size.seconds - staged * STAGES_EACH,
            staged,
            rounds,
        ];
        let shapes: [Shape; 3] = [alerts_at, all_stages_at, all_stages_at];

        let within_ms = i64::try_from(size.seconds * 1_000).expect("a short time");
        let pool = &databases.ticketing;
        let far_seeds = put_tickets(pool, &far, size.armed, within_ms).await;
        let mut loads = Vec::new();
        for (count, shape) in counts.into_iter().zip(shapes) {
            let desk = Desk::set_up(&cluster, TENANT, shape(FAR_S)).await;
            let seeds = put_tickets(pool, &desk, count, within_ms).await;
            loads.push((desk, seeds, shape));
        }
        databases.wait_for_consumers(Duration::from_mins(5)).await;

        let arming = Instant::now();
        arm(&databases, &far, &far_seeds).await;
        let due = counts.iter().sum::<usize>();
        let share = u32::try_from(due * 2 / size.armed + 1).expect("a small number");
        let lead = (arming.elapsed() * share + Duration::from_secs(2)).min(LEAD_MAX);
        let window_us = start_load(&databases, &mut loads, lead).await;
        let armed = armed(&databases).await;

        let (race_desk, race_seeds, _) = loads.pop().expect("there are three loads");
        let mut desks: Vec<Desk> = loads.into_iter().map(|(desk, ..)| desk).collect();
        let race = (rounds > 0).then(|| (race_desk.clone(), race_seeds));
        let traffic = Traffic::start(&talk, size.writers);
        desks.extend([far, talk, probe, race_desk]);
        let bed = Self {
            memory: MemoryWatch::start(&cluster),
            cluster,
            databases,
            race,
            desks,
            seeded: size.armed + due + PROBE,
            slack: size.slack,
            armed,
            traffic,
            window_us,
            started_at,
        };
        bed.until(0.0).await;
        bed
    }

    /// Waits until this share of the load has fallen due.
    pub(crate) async fn until(&self, share: f64) {
        let (from_us, to_us) = self.window_us;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "seconds"
        )]
        let wait_us = from_us + ((to_us - from_us) as f64 * share) as i64
            - now_us(&self.databases.ticketing).await;
        let wait = Duration::from_micros(u64::try_from(wait_us).unwrap_or(0));
        tokio::time::sleep(wait).await;
    }

    /// The most memory that a service has taken so far, in MiB.
    pub(crate) fn memory_mib(&self, service: Service) -> f64 {
        let peaks = self.memory.peaks();
        to_float(peaks.get(&service).copied().unwrap_or_default()) / f64::from(1 << 20)
    }

    /// The fault is over, at this moment.
    pub(crate) async fn fault_is_over(&mut self) -> Ended {
        let at = Instant::now();
        self.memory.follow(&self.cluster);
        Ended {
            at,
            us: now_us(&self.databases.ticketing).await,
        }
    }

    /// Waits for the end of the load, and judges the whole run. `outage` is how long stages may have waited for the end
    /// of the fault; `others` got something done besides the traffic.
    pub(crate) async fn finish(self, outage: Duration, ended: Ended, others: Done) -> Judged {
        self.until(1.0).await;
        let mut done = self.traffic.stop().await;
        done.add(others);
        let desks: Vec<&Desk> = self.desks.iter().collect();
        let lateness_max = outage + LEASE + self.slack;
        let mut account = Ledger::settle_and_judge(&self.databases, &desks, lateness_max).await;
        account.judge_acknowledged(&done, self.seeded);

        let mut report = FaultReport {
            armed: self.armed,
            due_per_s: due_per_s(&account, self.window_us),
            ..FaultReport::default()
        };
        add_verdict(&mut report, &account);
        add_recovery(&mut report, &account, &done, ended);
        for (service, bytes) in self.memory.peaks() {
            let mib = rounded(to_float(bytes) / f64::from(1 << 20));
            report.require(mib < MEMORY_MAX_MIB, || {
                format!("{} took {mib} MiB", service.name())
            });
            report.memory_mib.insert(service.name().to_owned(), mib);
        }
        let metrics = self.cluster.metrics(Service::Timer).await;
        let repaired = metrics.sum("plazo_timer_repaired_total", "cause=\"sweep\"");
        report.require(repaired < 0.5, || {
            format!("the sweep found {repaired} lost deadlines")
        });
        report.took_s = rounded(self.started_at.elapsed().as_secs_f64());
        Judged {
            report,
            account,
            done,
            cluster: self.cluster,
        }
    }
}

/// Stages that fell due in each second of the load.
fn due_per_s(account: &Account, (from_us, to_us): (i64, i64)) -> f64 {
    let within = |due_us: i64| (from_us..to_us).contains(&due_us);
    let count = account.fired.iter().filter(|fired| within(fired.due_us));
    rounded(to_float(count.count()) * to_float(SECOND_US) / to_float(to_us - from_us))
}

impl Judged {
    /// How many failed calls had this code.
    pub(crate) fn failures(&self, code: tonic::Code) -> usize {
        let is_it = |failure: &&plazo_tests::traffic::Failure| failure.code == code;
        self.done.failures.iter().filter(is_it).count()
    }

    /// Ends the cluster in order, and decides.
    pub(crate) async fn conclude(self) -> FaultReport {
        self.cluster.stop().await;
        self.report.concluded()
    }
}

/// A number of a report: no digits that mean nothing.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// Numbers below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts, times and sizes of a test"
)]
pub(crate) fn to_float(number: impl TryInto<i64>) -> f64 {
    number.try_into().unwrap_or(i64::MAX) as f64
}

fn add_verdict(report: &mut FaultReport, account: &Account) {
    report.lost = account.violation_count(ViolationKind::Lost);
    report.twice = account.violation_count(ViolationKind::Twice);
    report.early = account.violation_count(ViolationKind::Early);
    report.late = account.violation_count(ViolationKind::Late);
    report.wrong = account.violation_count(ViolationKind::Wrong);
    let violations = account.violations().iter().take(SHOWN);
    report
        .problems
        .extend(violations.map(|violation| violation.text.clone()));
    report.fired = account.fired.len();
    report.lateness_p50_ms = account.lateness_ms(0.5);
    report.lateness_p99_ms = account.lateness_ms(0.99);
    report.lateness_max_ms = account.lateness_ms(1.0);
}

/// From the end of the fault until no call failed and the first deadline was acted upon, and until none was late.
fn add_recovery(report: &mut FaultReport, account: &Account, done: &Done, ended: Ended) {
    report.acknowledged = done.count();
    report.repeated = done.failures.len();
    for failure in &done.failures {
        let reason = failure.reason.as_deref().unwrap_or_default();
        let kind = format!("{:?} {reason}", failure.code);
        *report.repeated_by.entry(kind).or_default() += 1;
    }
    let calls = done
        .failures
        .iter()
        .map(|failure| failure.at.saturating_duration_since(ended.at))
        .max()
        .unwrap_or_default();
    let after = |us: i64| to_float(us - ended.us) / to_float(SECOND_US);
    let fired = account.fired.iter();
    let first = fired
        .clone()
        .map(|fired| fired.at_us)
        .filter(|at_us| *at_us >= ended.us)
        .min();
    let last_late = fired
        .filter(|fired| fired.lateness_us() > LATE_US)
        .map(|fired| fired.at_us)
        .max();
    let acts = first.map_or(0.0, after);
    report.recovered_s = rounded(calls.as_secs_f64().max(acts));
    report.caught_up_s = rounded(last_late.map_or(0.0, after).max(0.0));
}

/// How many tickets this machine arms and handles in a second, with all services at work.
async fn handled_per_s(databases: &Databases, probe: &Desk) -> f64 {
    let pool = &databases.ticketing;
    let seeds = put_tickets(pool, probe, PROBE, 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let started = Instant::now();
    start_clocks(pool, probe, &seeds).await;
    let events = i64::try_from(3 * PROBE).expect("a small number");
    plazo_tests::eventually("all have fired", Duration::from_mins(2), async || {
        Ledger::count_events(pool, TENANT).await >= events
    })
    .await;
    databases.wait_for_consumers(Duration::from_mins(2)).await;
    to_float(PROBE) / started.elapsed().as_secs_f64()
}

/// Starts the clocks so that the first tickets are due after `lead`, and returns when the first deadline is, and the
/// last one.
async fn start_load(
    databases: &Databases,
    loads: &mut [(Desk, Vec<Seed>, Shape)],
    lead: Duration,
) -> (i64, i64) {
    let pool = &databases.ticketing;
    let due_us = now_us(pool).await + i64::try_from(lead.as_micros()).expect("a short time");
    let mut window_us = (i64::MAX, i64::MIN);
    for (desk, seeds, shape) in loads.iter_mut().filter(|(_, seeds, _)| !seeds.is_empty()) {
        let (first_us, last_us) = (seeds[0].anchor_us, seeds[seeds.len() - 1].anchor_us);
        // Rounded up: not before the lead has passed.
        let first_alert_s = (due_us - first_us + SECOND_US - 1) / SECOND_US;
        let first_alert_s = i32::try_from(first_alert_s).expect("a short time");
        let put_under = desk.policy_version;
        desk.set_stages(shape(first_alert_s)).await;
        desk.started_under.insert(put_under, desk.policy_version);
        start_clocks(pool, desk, seeds).await;
        let lapse_us = i64::from(first_alert_s) * SECOND_US;
        window_us.0 = window_us.0.min(first_us + lapse_us);
        window_us.1 = window_us.1.max(last_us + lapse_us);
    }
    // Cycles that a race starts anew end soon.
    if let Some((desk, ..)) = loads.last_mut() {
        desk.first_stages = Some(desk.stages);
        desk.set_stages(short_stages()).await;
    }
    wait_until_armed(databases).await;
    window_us
}

/// Starts the clocks, and waits until the timer holds all of them.
async fn arm(databases: &Databases, desk: &Desk, seeds: &[Seed]) {
    start_clocks(&databases.ticketing, desk, seeds).await;
    wait_until_armed(databases).await;
}

async fn wait_until_armed(databases: &Databases) {
    plazo_tests::eventually("all are armed", Duration::from_mins(2), async || {
        databases.unarmed().await == 0
    })
    .await;
}

/// Tickets that the timer holds.
async fn armed(databases: &Databases) -> usize {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM ticket_clocks WHERE next_due_at IS NOT NULL AND armed_generation = generation",
    )
    .fetch_one(&databases.ticketing)
    .await
    .expect("clocks can be counted");
    usize::try_from(count).expect("not negative")
}

/// One alert, and the other days later.
fn alerts_at(first_alert_s: i32) -> Stages {
    Stages {
        first_alert_s,
        second_alert_s: 2 * FAR_S,
        warning_and_close_s: None,
    }
}

/// All stages within four seconds.
fn all_stages_at(first_alert_s: i32) -> Stages {
    Stages {
        first_alert_s,
        second_alert_s: first_alert_s + 3,
        warning_and_close_s: Some((first_alert_s + 2, first_alert_s + 4)),
    }
}

fn short_stages() -> Stages {
    Stages {
        first_alert_s: 1,
        second_alert_s: 2,
        warning_and_close_s: Some((3, 4)),
    }
}
