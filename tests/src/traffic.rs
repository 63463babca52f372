//! Agents who write, customers who answer and agents who close, all at the same time, through gRPC.

use std::time::Duration;

use plazo_proto::common::v1::{AuthorKind, TimeUnit, TimeValue};
use plazo_proto::ticketing::v1::{CloseTicketRequest, HoldTicketRequest};
use rand::Rng;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::desk::Desk;
use crate::truth::us_of;

/// How long a call may be tried.
const CALL_BOUND: Duration = Duration::from_mins(3);
/// The wait before a call is repeated doubles from the first to the second: many callers who don't give way keep a busy
/// service busy with refusing them.
const BACKOFF_MS: (u64, u64) = (50, 1_600);

/// A message whose recording was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// The ticket that it went to.
    pub ticket_id: i64,
    /// Its id.
    pub message_id: i64,
    /// Its text, which no other message has.
    pub text: String,
}

/// What traffic got done.
#[derive(Debug, Default)]
pub struct Done {
    /// Each message that was acknowledged. All messages of the traffic were, in the end.
    pub messages: Vec<Acknowledged>,
    /// Each ticket whose opening was acknowledged.
    pub opened: Vec<i64>,
    /// The ticket of each close that was acknowledged.
    pub closed: Vec<i64>,
    /// The ticket of each hold that was acknowledged.
    pub held: Vec<i64>,
    /// Calls that failed and were repeated under the same request id.
    pub failures: Vec<Failure>,
}

/// A call that failed, and was repeated.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The code.
    pub code: Code,
    /// The reason in its details, if it has one.
    pub reason: Option<String>,
    /// Whether it says when to try again.
    pub has_retry_info: bool,
    /// When it was answered.
    pub at: Instant,
    /// How long the caller had waited for that.
    pub took: Duration,
}

impl Done {
    /// Adds what somebody else got done.
    pub fn add(&mut self, other: Self) {
        self.messages.extend(other.messages);
        self.opened.extend(other.opened);
        self.closed.extend(other.closed);
        self.held.extend(other.held);
        self.failures.extend(other.failures);
    }

    /// How many writes were acknowledged.
    pub fn count(&self) -> usize {
        self.messages.len() + self.opened.len() + self.closed.len() + self.held.len()
    }
}

/// Writers at work, each in a ticket of its own.
#[derive(Debug)]
pub struct Traffic {
    stop: CancellationToken,
    writers: JoinSet<Done>,
}

impl Traffic {
    /// Opens tickets, and lets agents and customers write in them until [`stop`](Self::stop).
    pub fn start(desk: &Desk, writers: usize) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for _ in 0..writers {
            tasks.spawn(write(desk.clone(), stop.clone()));
        }
        Self {
            stop,
            writers: tasks,
        }
    }

    /// Lets everybody finish what was begun, and returns what was done.
    pub async fn stop(self) -> Done {
        self.stop.cancel();
        let mut all = Done::default();
        for done in self.writers.join_all().await {
            all.add(done);
        }
        all
    }
}

/// One conversation after the other: mostly quick, with silences long enough for stages to fire.
async fn write(desk: Desk, stop: CancellationToken) -> Done {
    let mut done = Done::default();
    let mut ticket_id = open(&desk, &mut done).await;
    for number in 0.. {
        let (what, pause_ms) = {
            let mut random = rand::rng();
            let pause_ms = if random.random_ratio(1, 8) {
                random.random_range(1_000..5_000)
            } else {
                random.random_range(10..200)
            };
            (random.random_range(0..20), pause_ms)
        };
        let text = format!("{ticket_id}/{number}");
        match what {
            0 => {
                close(&desk, ticket_id, &mut done).await;
            }
            1 => {
                close(&desk, ticket_id, &mut done).await;
                ticket_id = open(&desk, &mut done).await;
            }
            2..=12 => record(&desk, ticket_id, AuthorKind::Agent, &text, &mut done).await,
            _ => record(&desk, ticket_id, AuthorKind::Customer, &text, &mut done).await,
        }
        let pause = tokio::time::sleep(Duration::from_millis(pause_ms));
        if stop.run_until_cancelled(pause).await.is_none() {
            break;
        }
    }
    done
}

/// Opens a ticket of the desk's customer, assigned to its agent.
pub async fn open(desk: &Desk, done: &mut Done) -> i64 {
    let request = desk.opening();
    let answer = repeat(done, || {
        let (mut tickets, request) = (desk.tickets.clone(), with_deadline(&request));
        async move { tickets.open_ticket(request).await }
    })
    .await
    .expect("a ticket is opened in the end");
    let ticket = answer.into_inner().ticket.expect("the ticket comes back");
    done.opened.push(ticket.ticket_id);
    ticket.ticket_id
}

/// The agent or the customer writes, until it is acknowledged. No other message may have this text.
pub async fn record(desk: &Desk, ticket_id: i64, author: AuthorKind, text: &str, done: &mut Done) {
    let request = desk.message(ticket_id, author, text);
    let answer = repeat(done, || {
        let (mut tickets, request) = (desk.tickets.clone(), with_deadline(&request));
        async move { tickets.record_message(request).await }
    })
    .await
    .expect("a message is recorded in the end");
    let message = answer.into_inner().message.expect("the message comes back");
    done.messages.push(Acknowledged {
        ticket_id: message.ticket_id,
        message_id: message.message_id,
        text: request.text,
    });
}

/// Somebody closes a ticket, until it is answered. Returns whether he did it, and not inactivity before him.
pub async fn close(desk: &Desk, ticket_id: i64, done: &mut Done) -> bool {
    let request = CloseTicketRequest {
        ticket_id,
        request_id: uuid::Uuid::new_v4().to_string(),
        ..CloseTicketRequest::default()
    };
    let answer = repeat(done, || {
        let (mut tickets, request) = (desk.tickets.clone(), with_deadline(&request));
        async move { tickets.close_ticket(request).await }
    })
    .await;
    if let Err(status) = answer {
        // Inactivity may have closed it before.
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        return false;
    }
    done.closed.push(ticket_id);
    true
}

/// Somebody puts a ticket on hold for so many seconds, until it is answered. Returns when the hold ends by itself, in
/// microseconds since 1970; none for a ticket that was closed before.
pub async fn hold(desk: &Desk, ticket_id: i64, seconds: i32, done: &mut Done) -> Option<i64> {
    let request = HoldTicketRequest {
        ticket_id,
        reason: "the customer asked to wait".to_owned(),
        max_length: Some(TimeValue {
            value: seconds,
            unit: TimeUnit::Second.into(),
        }),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..HoldTicketRequest::default()
    };
    let answer = repeat(done, || {
        let (mut tickets, request) = (desk.tickets.clone(), with_deadline(&request));
        async move { tickets.hold_ticket(request).await }
    })
    .await;
    match answer {
        Ok(answer) => {
            done.held.push(ticket_id);
            let ticket = answer.into_inner().ticket.expect("the ticket comes back");
            let hold = ticket.hold.expect("it is on hold");
            Some(us_of(hold.end_time.as_ref()))
        }
        Err(status) => {
            // Somebody or the clock may have closed it before.
            assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
            None
        }
    }
}

fn with_deadline<T: Clone>(request: &T) -> Request<T> {
    let mut request = Request::new(request.clone());
    request.set_timeout(Duration::from_secs(5));
    request
}

/// Repeats a call until it is answered by a yes or by a no that stands.
async fn repeat<T, F: Future<Output = Result<T, Status>>>(
    done: &mut Done,
    mut call: impl FnMut() -> F,
) -> Result<T, Status> {
    let until = Instant::now() + CALL_BOUND;
    let (mut backoff_ms, longest_ms) = BACKOFF_MS;
    loop {
        let called_at = Instant::now();
        let answer = call().await;
        match &answer {
            Err(status) if may_be_repeated(status.code()) && Instant::now() < until => {
                let details = status.get_error_details();
                done.failures.push(Failure {
                    code: code_of(status),
                    reason: details.error_info().map(|info| info.reason.clone()),
                    has_retry_info: details.retry_info().is_some(),
                    at: Instant::now(),
                    took: called_at.elapsed(),
                });
                let wait_ms = rand::rng().random_range(backoff_ms / 2..=backoff_ms);
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                backoff_ms = (backoff_ms * 2).min(longest_ms);
            }
            _ => return answer,
        }
    }
}

/// The code that a caller sees. A call that was waiting for its turn on a connection when the server closed that in order
/// was never sent; tonic's client then makes up CANCELLED, where clients of other languages send it again by themselves, or
/// say UNAVAILABLE.
fn code_of(status: &Status) -> Code {
    let was_made_here = std::error::Error::source(status).is_some();
    match status.code() {
        Code::Cancelled if was_made_here => Code::Unavailable,
        code => code,
    }
}

/// A server that is killed in the middle of a call ends it in various ways; the request id makes all of them safe to
/// repeat.
fn may_be_repeated(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::Unknown
            | Code::Internal
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
    )
}
