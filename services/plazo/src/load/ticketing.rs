//! A load of real tickets: agents write, and ticketing's events tell when the first alerts took effect.

mod desk;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plazo_proto::timer::v1::TicketArm;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::LoadError;
use super::caller::Caller;
use super::generator::{self, Pace};
use super::handler::now_us;
use super::ledger::{Beginning, Ledger, SharedLedger};
use super::options::{LoadOptions, Target};
use super::private;
use super::progress::{Progress, grouped};
use super::report::{Measured, Report};
use super::run::{begin, interval_ms, wait_until_handled};
use super::schedule::{Change, Schedule, Step};
use super::timeline::Timeline;
use super::timer::Timer;
use desk::{Desks, Writer};
use watch::Tickets;

/// So long after the last firing the events may take.
const EVENTS_MARGIN: Duration = Duration::from_secs(2);

/// Puts the load on a cluster.
pub(super) async fn run(
    options: &LoadOptions,
    caller: &Arc<Caller>,
    progress: &mut Progress,
    stop: &CancellationToken,
) -> Result<Report, LoadError> {
    let mut private = None;
    let endpoint = if let Target::Ticketing { endpoint } = &options.target {
        endpoint.clone()
    } else {
        progress.say("starting PostgreSQL, Redis and the four services");
        let started = private::start_cluster().await?;
        progress.say(&started.to_string());
        private.insert(started).endpoint("ticketing")
    };
    let facts = match &private {
        Some(private) => {
            let (_, mut facts) = Timer::connect(caller, &private.endpoint("timer")).await?;
            facts.settings = private::timer_settings();
            Some(facts)
        }
        None => None,
    };
    let cluster = Cluster {
        caller,
        endpoint: &endpoint,
    };
    let report = put_on(options, &cluster, progress, stop, |measured| Measured {
        facts,
        is_private: private.is_some(),
        ..measured
    })
    .await;
    if let Some(private) = private {
        private.stop().await;
    }
    report
}

/// Where ticketing is, and how it is called.
#[derive(Debug, Clone, Copy)]
struct Cluster<'a> {
    caller: &'a Arc<Caller>,
    endpoint: &'a str,
}

async fn put_on(
    options: &LoadOptions,
    cluster: &Cluster<'_>,
    progress: &mut Progress,
    stop: &CancellationToken,
    complete: impl FnOnce(Measured) -> Measured,
) -> Result<Report, LoadError> {
    let schedule = Schedule::new(options);
    let ledger = Arc::new(SharedLedger::new(Ledger::new(Beginning {
        tenants: schedule.tenants.clone(),
        first_ticket_id: 1,
        first_tenant_id: 1,
        interval_ms: interval_ms(schedule.last_due_ms),
    })));
    progress.say(&format!("making {} desks", grouped(options.tenants.into())));
    let desks = Desks::set_up(cluster, options).await?;
    let tickets = Arc::new(Tickets::default());
    let caught_up = Notify::new();
    let mut timeline = Timeline::new(ledger.lock().series.interval_ms());

    let working = async {
        let opened = async {
            caught_up.notified().await;
            progress.say(&format!(
                "opening {} tickets",
                grouped(options.tickets.into())
            ));
            desks.open_all(&schedule, &tickets, &ledger).await
        };
        let Some(opened) = stop.run_until_cancelled(opened).await else {
            return Ok((generator::Kept::default(), 0, Vec::new(), 0));
        };
        opened?;
        progress.say(&format!(
            "writing in {} tickets, {}",
            grouped(options.tickets.into()),
            options.shape.name()
        ));
        let (start, start_us) = begin(&ledger);
        let load = Load {
            options,
            schedule: &schedule,
            ledger: &ledger,
            desks: &desks,
            tickets: &tickets,
            stop,
        };
        tokio::select! {
            (kept, retries, notes) = load.write_and_wait(start) => Ok((kept, retries, notes, start_us)),
            () = progress.follow(&ledger, &mut timeline) => unreachable!("it follows for ever"),
        }
    };
    let (kept, retries, notes, start_us) = tokio::select! {
        worked = working => worked,
        error = watch::watch(cluster, &tickets, &ledger, &caught_up) => Err(error),
    }?;
    progress.end_line();

    let is_cut_short = stop.is_cancelled();
    let missed = {
        let mut ledger = ledger.lock();
        let now_ms = ledger.now_ms();
        ledger.series.advance(u32::MAX);
        timeline.absorb(ledger.series.take_finished());
        let grace_ms = u32::try_from(options.grace.as_millis()).unwrap_or(u32::MAX);
        let before_ms = if is_cut_short {
            now_ms.saturating_sub(grace_ms)
        } else {
            u32::MAX
        };
        ledger.missed(before_ms, 0)
    };
    let measured = complete(Measured {
        start_us,
        is_cut_short,
        kept,
        retries,
        missed,
        facts: None,
        clock: None,
        classes: Vec::new(),
        notes,
        is_private: false,
    });
    let report = Report::new(options, &mut ledger.lock(), timeline, measured);
    Ok(report)
}

/// A step of the schedule that is being done.
struct Written<Call> {
    /// What it arms, if it arms anything.
    arm: Option<TicketArm>,
    /// Its messages, to be recorded one after the other.
    calls: Vec<Call>,
}

struct Load<'a> {
    options: &'a LoadOptions,
    schedule: &'a Schedule,
    ledger: &'a Arc<SharedLedger>,
    desks: &'a Desks,
    tickets: &'a Arc<Tickets>,
    stop: &'a CancellationToken,
}

impl Load<'_> {
    /// Each step is a message or two. The clock of its ticket starts when ticketing commits the agent's.
    async fn write_and_wait(
        &self,
        start: tokio::time::Instant,
    ) -> (generator::Kept, u64, Vec<String>) {
        let last_due = Duration::from_millis(self.schedule.last_due_ms.into());
        let give_up_at = start + last_due + self.options.grace;
        let retries = Arc::new(AtomicU64::new(0));
        let failures = Arc::new(std::sync::Mutex::new(Vec::new()));
        let pace = Pace {
            batch: 1,
            in_flight: self.options.in_flight,
        };
        let act = |steps: Vec<Step>, permit| {
            let written = steps.first().and_then(|step| self.write(*step, give_up_at));
            let ledger = Arc::clone(self.ledger);
            let (retries, failures) = (Arc::clone(&retries), Arc::clone(&failures));
            async move {
                if let Some(Written { arm, calls }) = written {
                    let outcome = async {
                        for call in calls {
                            retries.fetch_add(call.await?, Ordering::Relaxed);
                        }
                        Ok(())
                    };
                    match outcome.await {
                        Ok(()) => {
                            if let Some(arm) = arm {
                                ledger.lock().confirm(&arm);
                            }
                        }
                        Err(status) => {
                            super::run::note_failure(&failures, "RecordMessage", &status);
                        }
                    }
                }
                drop(permit);
            }
        };
        let kept = generator::drive(self.schedule, start, pace, self.stop, act).await;
        let last_due_ms = self.schedule.last_due_ms;
        let grace = self.options.grace + EVENTS_MARGIN;
        wait_until_handled(self.ledger, last_due_ms, grace, self.stop).await;
        let notes = std::mem::take(
            &mut *failures
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        (kept, retries.load(Ordering::Relaxed), notes)
    }

    /// The messages of a step, one after the other, and what they arm; none when the ticket has nothing due any more.
    fn write(
        &self,
        step: Step,
        give_up_at: tokio::time::Instant,
    ) -> Option<Written<impl Future<Output = Result<u64, Status>> + use<>>> {
        let index = step.ticket();
        let ticket_id = self.tickets.id_of(index)?;
        let tenant = *self.schedule.tenants.get(index as usize)?;
        let writers: &[Writer] = match step.change() {
            Change::Arm | Change::Postpone => &[Writer::Agent],
            Change::Answer => &[Writer::Customer],
            Change::Rearm => &[Writer::Customer, Writer::Agent],
        };
        let arm = {
            let mut ledger = self.ledger.lock();
            if !ledger.takes(step) {
                return None;
            }
            if writers.contains(&Writer::Agent) {
                self.tickets.begin_cycle(index);
            }
            ledger.apply(step, now_us())
        };
        let write = |writer: &Writer| {
            let ledger = Arc::clone(self.ledger);
            self.desks
                .write(tenant, ticket_id, *writer, give_up_at, ledger)
        };
        Some(Written {
            arm,
            calls: writers.iter().map(write).collect(),
        })
    }
}
