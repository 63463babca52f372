//! `plazo load handler`: a handler that answers FIRED to everything at once, and counts.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plazo_proto::timer::v1 as proto;
use plazo_proto::timer::v1::HandleOutcome;
use plazo_service::ServerError;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::caller::Entrance;
use super::handler::{self, Owner};
use super::lateness::{LatenessUs, new_histogram, record, summary_json};

/// How the handler behaves.
#[derive(Debug, Clone)]
pub struct AnsweringOptions {
    /// Where it listens. Port 0 takes a free one, which the first line tells.
    pub listen: SocketAddr,
    /// How long each answer takes.
    pub delay: Duration,
    /// How often it prints a line; zero for never.
    pub every: Duration,
    /// Whether the generation of each ticket is the instant at which it is due, in Unix milliseconds. Then lateness is
    /// measured.
    pub generation_is_due: bool,
}

/// Why the handler ended with an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnsweringError {
    /// It can't listen, or can't serve.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Signals can't be received, or its own address can't be read.
    #[error("the system refuses signals or sockets")]
    System(#[from] std::io::Error),
}

/// What was asked so far.
#[derive(Debug)]
struct Counts {
    calls: u64,
    tickets: u64,
    first_us: i64,
    last_us: i64,
    lateness: Option<LatenessUs>,
    early: u64,
}

#[derive(Debug)]
struct AnswerAll {
    counts: Mutex<Counts>,
}

/// Serves until SIGINT or SIGTERM, and then prints the last line. SIGUSR1 prints a line and begins to count anew.
///
/// The first line is `{"type":"listening","address":…}`. The others are
/// `{"type":"handled","calls":…,"tickets":…,"first_us":…,"last_us":…,"lateness_ms":…,"early":…}` with the instants of the
/// first and the last call in Unix microseconds, null before a call.
pub async fn run(options: &AnsweringOptions) -> Result<(), AnsweringError> {
    let listeners = handler::bind(options.listen).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut anew = signal(SignalKind::user_defined1())?;
    let owner = Arc::new(AnswerAll {
        counts: Mutex::new(Counts::new(options.generation_is_due)),
    });
    let address = listeners.grpc_address()?.to_string();
    say(&json!({ "type": "listening", "address": address }));

    let shutdown = CancellationToken::new();
    let serving = handler::serve(
        listeners,
        Arc::clone(&owner),
        options.delay,
        Entrance::default(),
        shutdown.clone(),
    );
    tokio::pin!(serving);
    let mut ticks = (!options.every.is_zero()).then(|| tokio::time::interval(options.every));
    loop {
        let tick = async {
            match &mut ticks {
                Some(ticks) => ticks.tick().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            served = &mut serving => return Ok(served?),
            _ = tick => say(&owner.lock().to_json()),
            _ = anew.recv() => {
                let fresh = Counts::new(options.generation_is_due);
                let counted = std::mem::replace(&mut *owner.lock(), fresh);
                say(&counted.to_json());
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    shutdown.cancel();
    serving.await?;
    say(&owner.lock().to_json());
    Ok(())
}

impl AnswerAll {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owner for AnswerAll {
    fn handle(
        &self,
        tickets: &[proto::TicketGeneration],
        now_us: i64,
    ) -> Vec<proto::HandledTicket> {
        self.lock().count(tickets, now_us);
        let fired = proto::HandledTicket {
            outcome: HandleOutcome::Fired.into(),
            ..proto::HandledTicket::default()
        };
        vec![fired; tickets.len()]
    }

    fn pending(&self, _: u64, _: usize) -> (Vec<proto::PendingTicket>, Option<u64>) {
        (Vec::new(), None)
    }
}

impl Counts {
    fn new(measures_lateness: bool) -> Self {
        Self {
            calls: 0,
            tickets: 0,
            first_us: 0,
            last_us: 0,
            lateness: measures_lateness.then(new_histogram),
            early: 0,
        }
    }

    fn count(&mut self, tickets: &[proto::TicketGeneration], now_us: i64) {
        if self.calls == 0 {
            self.first_us = now_us;
        }
        self.calls += 1;
        self.tickets += tickets.len() as u64;
        self.last_us = now_us;
        if let Some(lateness) = &mut self.lateness {
            for ticket in tickets {
                let late_us = now_us.saturating_sub(ticket.generation.saturating_mul(1_000));
                self.early += u64::from(late_us < 0);
                record(lateness, late_us);
            }
        }
    }

    fn to_json(&self) -> Value {
        let instant = |us: i64| (self.calls > 0).then_some(us);
        json!({
            "type": "handled",
            "calls": self.calls,
            "tickets": self.tickets,
            "first_us": instant(self.first_us),
            "last_us": instant(self.last_us),
            "lateness_ms": self.lateness.as_ref().map(summary_json),
            "early": self.lateness.as_ref().map(|_| self.early),
        })
    }
}

/// Prints a line at once. Whoever reads may have gone; that is no reason to stop serving.
pub(super) fn say(line: &Value) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
