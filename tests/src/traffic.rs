//! Agents who write, customers who answer and agents who close, all at the same time, through gRPC.

use std::time::Duration;

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::{CloseTicketRequest, RecordMessageRequest};
use rand::Rng;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};

use crate::desk::Desk;

/// How long a call may be tried.
const CALL_BOUND: Duration = Duration::from_mins(1);

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
    /// Calls that failed and were repeated under the same request id.
    pub repeated: usize,
}

/// Writers at work, each in a ticket of its own.
#[derive(Debug)]
pub struct Traffic {
    stop: CancellationToken,
    writers: JoinSet<Done>,
}

impl Traffic {
    /// Opens tickets, and lets agents and customers write in them until [`stop`](Self::stop).
    pub async fn start(desk: &Desk, writers: usize) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for _ in 0..writers {
            let ticket_id = desk.open_ticket().await.ticket_id;
            tasks.spawn(write(desk.clone(), ticket_id, stop.clone()));
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
            all.messages.extend(done.messages);
            all.repeated += done.repeated;
        }
        all
    }
}

/// One conversation: mostly quick, with silences long enough for stages to fire.
async fn write(desk: Desk, ticket_id: i64, stop: CancellationToken) -> Done {
    let mut done = Done::default();
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
            0 => close(&desk, ticket_id, &mut done).await,
            1..=12 => {
                let request = desk.message(ticket_id, AuthorKind::Agent, &text);
                record(&desk, request, &mut done).await;
            }
            _ => {
                let request = desk.message(ticket_id, AuthorKind::Customer, &text);
                record(&desk, request, &mut done).await;
            }
        }
        let pause = tokio::time::sleep(Duration::from_millis(pause_ms));
        if stop.run_until_cancelled(pause).await.is_none() {
            break;
        }
    }
    done
}

async fn record(desk: &Desk, request: RecordMessageRequest, done: &mut Done) {
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

async fn close(desk: &Desk, ticket_id: i64, done: &mut Done) {
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
    loop {
        let answer = call().await;
        match &answer {
            Err(status) if may_be_repeated(status.code()) && Instant::now() < until => {
                done.repeated += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            _ => return answer,
        }
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
