//! Puts a load on a timer whose handler is the load itself, and on whole clusters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plazo_service::ServerError;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use super::generator::{self, Pace};
use super::handler::{self, now_us};
use super::ledger::{Beginning, Ledger, SharedLedger};
use super::options::{LoadOptions, Shape, Target};
use super::private::{self, Private};
use super::progress::Progress;
use super::report::{Measured, Report};
use super::schedule::{LARGE_TENANT, Schedule};
use super::timeline::Timeline;
use super::timer::{ClockAhead, Timer, TimerFacts};
use super::{LoadError, ticketing};

/// Between the last preparation and the first step.
const START_PAUSE: Duration = Duration::from_millis(200);
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Taking back what a load that was cut short has armed may take so long.
const TAKE_BACK_BOUND: Duration = Duration::from_secs(5);
/// So many lost tickets are named.
const NAMES_MAX: usize = 10;
const FIRST_TENANT_ID: i64 = 1;

/// Puts the load on and returns what came of it. SIGINT and SIGTERM cut it short.
pub async fn run(options: &LoadOptions, progress: &mut Progress) -> Result<Report, LoadError> {
    options.validate()?;
    let caller = Arc::new(Caller::load(options)?);
    let stop = CancellationToken::new();
    let working = async {
        if options.target.is_ticketing() {
            ticketing::run(options, &caller, progress, &stop).await
        } else {
            run_own_handler(options, &caller, progress, &stop).await
        }
    };
    tokio::select! {
        report = working => report,
        () = caller.keep() => unreachable!("it keeps them for ever"),
        error = cancel_on_signal(&stop) => Err(LoadError::Signals(error)),
    }
}

/// Returns only if signals can't be received.
async fn cancel_on_signal(stop: &CancellationToken) -> std::io::Error {
    let (mut terminate, mut interrupt) = match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => return error,
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
    std::future::pending().await
}

async fn run_own_handler(
    options: &LoadOptions,
    caller: &Caller,
    progress: &mut Progress,
    stop: &CancellationToken,
) -> Result<Report, LoadError> {
    let schedule = Schedule::new(options);
    let ledger = Arc::new(SharedLedger::new(Ledger::new(Beginning {
        tenants: schedule.tenants.clone(),
        first_ticket_id: first_ticket_id(),
        first_tenant_id: FIRST_TENANT_ID,
        interval_ms: interval_ms(schedule.last_due_ms),
    })));
    let listen = match &options.target {
        Target::Timer { serve_handler, .. } => *serve_handler,
        _ => std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
    };
    let listeners = handler::bind(listen).await?;
    let address = listeners.grpc_address().map_err(LoadError::Signals)?;
    let served = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(handler::serve(
        listeners,
        Arc::clone(&ledger),
        options.delay,
        caller.entrance()?,
        served.clone(),
    ));

    let mut private = None;
    let endpoint = if let Target::Timer { endpoint, .. } = &options.target {
        endpoint.clone()
    } else {
        progress.say("starting a Redis server and a timer");
        let started = private::start_timer(&format!("http://{address}")).await?;
        progress.say(&started.to_string());
        private.insert(started).endpoint("timer")
    };
    let (timer, mut facts) = Timer::connect(caller, &endpoint).await?;
    facts.settings = private.as_ref().and_then(|_| private::timer_settings());
    let load = OwnHandlerLoad {
        options,
        schedule: &schedule,
        ledger: &ledger,
        timer: &timer,
        stop,
    };
    let report = tokio::select! {
        report = load.put_on(facts, progress, private.as_mut()) => report,
        Some(ended) = tasks.join_next() => Err(handler_ended(ended)),
    };
    served.cancel();
    while tasks.join_next().await.is_some() {}
    if let Some(private) = private {
        private.stop().await;
    }
    report
}

/// The handler serves until it is told to end: it could not, and the load would wait for nothing.
fn handler_ended(ended: Result<Result<(), ServerError>, JoinError>) -> LoadError {
    match ended {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) | Err(_) => LoadError::HandlerEnded,
    }
}

/// What a load with its own handler works with.
struct OwnHandlerLoad<'a> {
    options: &'a LoadOptions,
    schedule: &'a Schedule,
    ledger: &'a Arc<SharedLedger>,
    timer: &'a Timer,
    stop: &'a CancellationToken,
}

impl OwnHandlerLoad<'_> {
    async fn put_on(
        &self,
        facts: TimerFacts,
        progress: &mut Progress,
        private: Option<&mut Private>,
    ) -> Result<Report, LoadError> {
        let is_private = private.is_some();
        let stats_failed = |status| LoadError::call("GetTimerStats", status);
        let clock_before = self.timer.clock_ahead().await.map_err(stats_failed)?;
        let classes = self.classify(&facts).await?;
        let mut timeline = Timeline::new(self.ledger.lock().series.interval_ms());
        progress.say(&format!(
            "arming {} tickets, {}",
            super::progress::grouped(self.options.tickets.into()),
            self.options.shape.name()
        ));
        let (start, start_us) = begin(self.ledger);
        let last_due = Duration::from_millis(self.schedule.last_due_ms.into());
        let give_up_at = start + last_due + self.options.grace;
        let (kept, retries, refusals) = tokio::select! {
            kept = self.generate_and_wait(start, give_up_at) => kept,
            () = progress.follow(self.ledger, &mut timeline) => unreachable!("it follows for ever"),
        };
        progress.end_line();

        let is_cut_short = self.stop.is_cancelled();
        let missed = {
            let mut ledger = self.ledger.lock();
            let now_ms = ledger.now_ms();
            ledger.series.advance(u32::MAX);
            timeline.absorb(ledger.series.take_finished());
            let before_ms = if is_cut_short {
                now_ms.saturating_sub(millis_of(self.options.grace))
            } else {
                u32::MAX
            };
            ledger.missed(before_ms, NAMES_MAX)
        };
        let mut notes = refusals;
        for lost in &missed.names {
            let known = self.timer.whereabouts(&lost.name).await;
            notes.push(format!(
                "lost: ticket {} of tenant {}, due {:.3} s after the beginning, {known}",
                lost.name.ticket_id,
                lost.name.tenant_id,
                f64::from(lost.due_ms) / 1_000.0
            ));
        }
        if let Some(status) = private.and_then(Private::ended) {
            notes.push(format!("the private timer ended by itself: {status}"));
        }
        let clock_after = self.timer.clock_ahead().await.ok();
        if !is_private && (is_cut_short || missed.lost > 0) {
            let until = Instant::now() + TAKE_BACK_BOUND;
            let left = self.timer.take_back(self.ledger, until).await;
            if left > 0 {
                notes.push(format!(
                    "{left} entries are left in the timer, which finds no handler for them"
                ));
            }
        }
        let measured = Measured {
            start_us,
            is_cut_short,
            kept,
            retries,
            missed,
            facts: Some(facts),
            clock: Some(widest(clock_before, clock_after)),
            classes,
            notes,
            is_private,
        };
        Ok(Report::new(
            self.options,
            &mut self.ledger.lock(),
            timeline,
            measured,
        ))
    }

    async fn generate_and_wait(
        &self,
        start: Instant,
        give_up_at: Instant,
    ) -> (generator::Kept, u64, Vec<String>) {
        let pace = Pace {
            batch: self.options.batch,
            in_flight: self.options.in_flight,
        };
        let retries = Arc::new(AtomicU64::new(0));
        let refusals = Arc::new(std::sync::Mutex::new(Vec::new()));
        let act = |steps: Vec<_>, permit| {
            // Here, and not in the task: the ledger must see steps in their order.
            let arms: Vec<_> = {
                let mut ledger = self.ledger.lock();
                let now = now_us();
                let applied = steps.into_iter();
                applied.filter_map(|step| ledger.apply(step, now)).collect()
            };
            let (ledger, timer) = (Arc::clone(self.ledger), self.timer.clone());
            let (retries, refusals) = (Arc::clone(&retries), Arc::clone(&refusals));
            async move {
                if !arms.is_empty() {
                    match timer.arm(&arms, give_up_at, &ledger).await {
                        Ok(again) => {
                            retries.fetch_add(again, Ordering::Relaxed);
                            let mut ledger = ledger.lock();
                            for arm in &arms {
                                ledger.confirm(arm);
                            }
                        }
                        Err(status) => note_failure(&refusals, "ArmTickets", &status),
                    }
                }
                drop(permit);
            }
        };
        let kept = generator::drive(self.schedule, start, pace, self.stop, act).await;
        let last_due_ms = self.schedule.last_due_ms;
        wait_until_handled(self.ledger, last_due_ms, self.options.grace, self.stop).await;
        let refusals = std::mem::take(
            &mut *refusals
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        (kept, retries.load(Ordering::Relaxed), refusals)
    }

    /// Tells the tenants of a skewed load apart. Returns the names of the classes.
    async fn classify(&self, facts: &TimerFacts) -> Result<Vec<&'static str>, LoadError> {
        if self.options.shape != Shape::Skewed {
            return Ok(Vec::new());
        }
        let tenants = self.options.tenants;
        let probe = self.ledger.lock().probe_ticket_id();
        let lanes = self
            .timer
            .lanes_of(facts, FIRST_TENANT_ID, tenants, probe)
            .await;
        let lanes = lanes.map_err(|status| LoadError::call("ArmTickets", status))?;
        let large = lanes.get(usize::from(LARGE_TENANT)).copied();
        let class_of = |(tenant, lane): (u16, &i32)| match tenant {
            LARGE_TENANT => 0,
            _ if Some(*lane) == large => 1,
            _ => 2,
        };
        let classes = (0..).zip(&lanes).map(class_of).collect();
        let names = vec![
            "the large tenant",
            "others in its lane",
            "tenants in other lanes",
        ];
        self.ledger.lock().classify(classes, names.len());
        Ok(names)
    }
}

/// Some are enough to see what is wrong.
pub(super) fn note_failure(
    refusals: &std::sync::Mutex<Vec<String>>,
    call: &str,
    status: &tonic::Status,
) {
    let mut refusals = refusals
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let text = format!("{call} failed: {}: {}", status.code(), status.message());
    if refusals.len() < 3 && !refusals.contains(&text) {
        refusals.push(text);
    }
}

/// Sets the beginning, soon.
pub(super) fn begin(ledger: &SharedLedger) -> (Instant, i64) {
    let (now, now_us) = (Instant::now(), now_us());
    let pause_us = i64::try_from(START_PAUSE.as_micros()).unwrap_or(0);
    // A whole millisecond, as due instants are.
    let start_us = (now_us + pause_us) / 1_000 * 1_000;
    ledger.lock().begin(start_us);
    let pause = Duration::from_micros(u64::try_from(start_us - now_us).unwrap_or(0));
    (now + pause, start_us)
}

/// Until all is handled; or until the last due instant is further back than the grace, and nothing was handled for as
/// long: a backlog that still drains is not lost.
pub(super) async fn wait_until_handled(
    ledger: &SharedLedger,
    last_due_ms: u32,
    grace: Duration,
    stop: &CancellationToken,
) {
    let waiting = async {
        loop {
            {
                let ledger = ledger.lock();
                let last_us = ledger.handled_us.map_or(0, |(_, last)| last);
                let last_handled = u32::try_from(last_us / 1_000).unwrap_or(u32::MAX);
                let idle_since_ms = last_due_ms.max(last_handled);
                let is_over = ledger.now_ms() > idle_since_ms.saturating_add(millis_of(grace));
                if ledger.counts.pending == 0 || is_over {
                    return;
                }
            }
            sleep(LOOK_PAUSE).await;
        }
    };
    stop.run_until_cancelled(waiting).await;
}

fn widest(before: ClockAhead, after: Option<ClockAhead>) -> ClockAhead {
    let after = after.unwrap_or(before);
    ClockAhead {
        least_us: before.least_us.min(after.least_us),
        most_us: before.most_us.max(after.most_us),
    }
}

fn millis_of(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// Short loads are shown in finer intervals.
pub(super) const fn interval_ms(length_ms: u32) -> u32 {
    match length_ms {
        0..=10_000 => 100,
        10_001..=60_000 => 500,
        _ => 1_000,
    }
}

/// Other than in any load of the last weeks, whose entries may still be there.
fn first_ticket_id() -> i64 {
    ((now_us() / 1_000) & 0x7fff_ffff).max(1) << 32
}
