//! 25: poison tickets, one that errs and one that kills the timer that asks about it, and an owner that is down. The
//! poison goes into quarantine, is visible and can be released; the rest flows; nobody is quarantined for an outage.

use std::time::Duration;

use plazo_proto::timer::v1 as proto;
use plazo_tests::owner::TicketIndex;
use plazo_tests::report::FaultReport;
use plazo_tests::timers::TimerSetup;

use super::bed::{Load, Run, add, once};
use crate::bed::{Size, to_float};

/// Failed attempts that lead to quarantine.
const ATTEMPTS: u32 = 5;
const BOUND: Duration = Duration::from_mins(3);

pub(crate) async fn run(size: Size) -> FaultReport {
    let setup = TimerSetup {
        replicas: 1,
        ..TimerSetup::default()
    }
    .set("TIMER__FAILED_ATTEMPTS_MAX", ATTEMPTS)
    .set("TIMER__FAILURE_BACKOFF_MS", 100)
    .set("TIMER__FAILURE_BACKOFF_MAX_MS", 500);
    let mut run = Run::start(Load::of(size).lasting(2 * size.fault), setup).await;
    // As long as several times all attempts take.
    run.owner.trouble(|trouble| trouble.is_down = true);
    tokio::time::sleep(size.fault).await;
    run.owner.trouble(|trouble| trouble.is_down = false);
    let refused = run.owner.counts().refused;
    let by_outage = quarantined(&run).await.len();

    let poison = add(&run.owner, 2).collect::<Vec<_>>();
    let deaths = poison_them(&mut run, &poison, size.is_full).await;
    let shown = quarantined(&run).await;
    let is_shown = shown
        .iter()
        .all(|entry| !entry.quarantine_reason.is_empty());
    run.owner.trouble(|trouble| {
        trouble.erring.clear();
        trouble.killing.clear();
    });
    let released = release(&run, &shown).await;
    let ended = run.fault_is_over();
    // The poison itself waits as long as its cure takes, and what dies with it a lease each time.
    let mut judged = run.finish(size.fault + BOUND, size.slack, ended).await;
    let report = &mut judged.report;
    report.saw("refused_calls", to_float(refused));
    report.saw("deaths", to_float(deaths));
    report.saw("quarantined", to_float(shown.len()));
    report.saw("released", to_float(released));
    report.require(refused > 0, || "no call met the outage".to_owned());
    report.require(by_outage == 0, || {
        format!("{by_outage} went into quarantine for the outage")
    });
    let expected = if size.is_full { 2 } else { 1 };
    report.require(shown.len() == expected && is_shown, || {
        format!("in quarantine is {shown:?}")
    });
    report.require(released == to_count(expected), || {
        format!("{released} were released")
    });
    judged.conclude().await
}

/// Makes the tickets due, one that errs and one that kills, until they are in quarantine. Returns how often the timer
/// died. The second one takes a lease for each attempt, and is left out when time is short.
async fn poison_them(run: &mut Run, poison: &[TicketIndex], with_deaths: bool) -> usize {
    let id = |index: TicketIndex| i64::try_from(index).expect("few tickets") + 1;
    let (erring, killing) = (poison[0], poison[1]);
    run.owner.trouble(|trouble| {
        trouble.erring.insert(id(erring));
        trouble.killing.insert(id(killing));
    });
    let due_ms = run.owner.now_ms();
    run.owner.write([(erring, once(due_ms))]);
    let mut deaths = 0;
    let mut expected = 1;
    if with_deaths {
        run.owner.write([(killing, once(due_ms))]);
        expected = 2;
    }
    let owner = run.owner.clone();
    let until = tokio::time::Instant::now() + BOUND;
    while quarantined(run).await.len() < expected {
        assert!(
            tokio::time::Instant::now() < until,
            "the poison is not in quarantine"
        );
        let wait = Duration::from_millis(200);
        if tokio::time::timeout(wait, owner.wants_death())
            .await
            .is_ok()
        {
            deaths += 1;
            run.timers.kill(0).await;
            run.timers.start_timer(0).await;
        }
    }
    deaths
}

async fn quarantined(run: &Run) -> Vec<proto::TimerEntry> {
    let request = proto::ListQuarantinedEntriesRequest::default();
    let answer = run.timers.client(0).list_quarantined_entries(request).await;
    answer
        .map(|answer| answer.into_inner().entries)
        .unwrap_or_default()
}

async fn release(run: &Run, shown: &[proto::TimerEntry]) -> i64 {
    let tickets = shown.iter().filter_map(|entry| entry.ticket);
    let request = proto::ReleaseQuarantinedEntriesRequest {
        tickets: tickets.collect(),
    };
    let answer = run
        .timers
        .client(0)
        .release_quarantined_entries(request)
        .await;
    answer.expect("releasing works").into_inner().released_count
}

fn to_count(number: usize) -> i64 {
    i64::try_from(number).expect("a small number")
}
