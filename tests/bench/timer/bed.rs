//! A private Redis with an append-only file, a handler that does nothing, and timers: each a process of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plazo_local::{RedisOptions, RedisServer};
use plazo_proto::timer::v1::timer_service_client::TimerServiceClient;
use plazo_proto::timer::v1::{
    ArmOutcome, ArmTicketsRequest, GetTimerStatsRequest, GetTimerStatsResponse, StreamArmsRequest,
    StreamArmsResponse, TicketArm, TicketGeneration,
};
use plazo_tests::desk::{SignedChannel, sign_as_timer};
use plazo_tests::process::Service;
use plazo_tests::resp::Resp;
use plazo_tests::solo::Solo;

use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use crate::machine::{cpu_seconds_of, fine_cpu_seconds_of};
use crate::measure::{Caller, Done, until_done};
use crate::timer::HANDLER_ARGUMENT;
use crate::timer::handler::{now_us, tenant_of, timestamp_us};
use crate::timer::recorder::{Recorder, Seen};

/// Tickets in a call of the timer, and calls at the same time.
pub(super) const BATCH: usize = 256;
pub(super) const IN_FLIGHT: usize = 8;
/// What is armed comes within this, on a busy machine too.
pub(super) const BOUND: Duration = Duration::from_mins(2);
/// Tickets a second that can surely be armed, before it is known how many can.
const ARMS_PER_S_AT_FIRST: f64 = 30_000.0;
/// So many tell how many can be armed in a second.
const ENOUGH_TO_TELL: usize = 1_000;

pub(super) type Client = TimerServiceClient<SignedChannel>;

/// Redis, the handler, and one timer.
pub(super) struct Bed {
    pub(super) redis: RedisServer,
    /// The other nodes of its cluster.
    more_redis: Vec<RedisServer>,
    pub(super) handler: Recorder,
    pub(super) timer: Timer,
    pub(super) arms_per_s: f64,
    /// Time that all had taken of the cores when the tickets that were fired last had been armed, in seconds.
    pub(super) cpu_before_due: [f64; 4],
    next_ticket: i64,
}

/// A timer, and a connection to it.
pub(super) struct Timer {
    pub(super) solo: Solo,
    pub(super) client: Client,
}

/// A ticket to arm: its generation is the instant at which it is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    pub(super) id: i64,
    pub(super) due_ms: i64,
}

impl Bed {
    /// Starts all of them.
    pub(super) async fn start(more: &[(&str, String)]) -> Self {
        let redis = RedisServer::start(RedisOptions::temporary())
            .await
            .expect("Redis starts");
        let url = redis.url();
        Self::on(vec![redis], &url, more).await
    }

    /// The same on these servers.
    pub(super) async fn on(
        mut redis: Vec<RedisServer>,
        url: &str,
        more: &[(&str, String)],
    ) -> Self {
        let handler = start_handler().await;
        let timer = Timer::start(url, &handler.greeting, more).await;
        Self {
            redis: redis.remove(0),
            more_redis: redis,
            handler,
            timer,
            arms_per_s: ARMS_PER_S_AT_FIRST,
            cpu_before_due: [0.0; 4],
            next_ticket: 1,
        }
    }

    /// Tickets that were never there before, due as the function says of their number.
    #[expect(clippy::cast_possible_wrap, reason = "a small number")]
    pub(super) fn tickets(&mut self, count: usize, due_ms: impl Fn(usize) -> i64) -> Vec<Ticket> {
        let first = self.next_ticket;
        self.next_ticket += count as i64;
        (0..count)
            .map(|number| Ticket {
                id: first + number as i64,
                due_ms: due_ms(number),
            })
            .collect()
    }

    /// An instant by which so many tickets are armed, in milliseconds since 1970.
    pub(super) fn instant_after_arming(&self, count: usize) -> i64 {
        now_ms() + lead_ms(count, self.arms_per_s)
    }

    /// Arms tickets, in batches.
    pub(super) async fn arm(&mut self, tickets: &[Ticket]) -> Done {
        let arms = tickets.iter().map(|ticket| ticket.arm(0)).collect();
        let done = arm(&self.timer.client, arms).await;
        if tickets.len() >= ENOUGH_TO_TELL {
            self.arms_per_s = done.per_s();
        }
        done
    }

    /// Removes tickets that wait, as arms without an instant.
    pub(super) async fn remove(&mut self, arms: Vec<TicketArm>) {
        for batch in arms.chunks(BATCH) {
            let request = ArmTicketsRequest {
                arms: batch.to_vec(),
            };
            let answer = self.timer.client.arm_tickets(request).await;
            let removed = answer
                .expect("tickets are removed")
                .into_inner()
                .removed_count;
            assert_eq!(removed.unsigned_abs(), batch.len() as u64, "all were there");
        }
    }

    /// Arms so many tickets that are due as the function says of their number and of an instant that lies behind the
    /// arming, waits until all have been handled, and returns that instant, how arming went, and what the handler saw.
    pub(super) async fn fire(
        &mut self,
        count: usize,
        due_after_ms: impl Fn(usize) -> i64,
    ) -> (i64, Done, Vec<Seen>) {
        loop {
            let first_ms = self.instant_after_arming(count);
            let tickets = self.tickets(count, |number| first_ms + due_after_ms(number));
            let armed = self.arm(&tickets).await;
            let is_in_time = now_ms() + 100 < first_ms;
            sleep_until_ms(first_ms - 50).await;
            self.cpu_before_due = self.fine_cpu_seconds();
            let seen = self.handler.seen(count, BOUND).await;
            // Armed too slowly, it was something else that was measured.
            if is_in_time {
                return (first_ms, armed, seen);
            }
        }
    }

    /// Time that timer, handler and Redis have taken of the cores, in seconds.
    pub(super) fn cpu_seconds(&self) -> [f64; 3] {
        [self.timer.solo.pid(), self.handler.pid(), self.redis_pid()].map(cpu_seconds_of)
    }

    /// The same to the microsecond, with this program's time, which makes the calls: for short measurements.
    pub(super) fn fine_cpu_seconds(&self) -> [f64; 4] {
        [
            self.timer.solo.pid(),
            self.handler.pid(),
            self.redis_pid(),
            std::process::id(),
        ]
        .map(fine_cpu_seconds_of)
    }

    pub(super) fn redis_pid(&self) -> u32 {
        let pid = self.redis.pid().expect("Redis runs");
        u32::try_from(pid).expect("ids of processes are above zero")
    }

    /// A bare connection.
    pub(super) fn resp(&self) -> Resp {
        Resp::connect(&self.redis.socket_path())
    }

    /// Ends all of them.
    pub(super) async fn stop(mut self) {
        self.timer.solo.stop().await;
        for redis in std::iter::once(&mut self.redis).chain(&mut self.more_redis) {
            redis.stop().await.expect("Redis ends");
        }
    }
}

/// Starts this program as a handler.
pub(super) async fn start_handler() -> Recorder {
    let program = std::env::current_exe().expect("this program has a path");
    let folder = std::env::current_dir().expect("there is a folder");
    Recorder::start(&program, &[HANDLER_ARGUMENT], &folder)
        .await
        .expect("the handler starts")
}

impl Timer {
    /// Starts a timer on this Redis, for this handler, and waits until no shard is being rebuilt.
    pub(super) async fn start(redis_url: &str, handler: &str, more: &[(&str, String)]) -> Self {
        let mut configuration = vec![
            ("REDIS__URL", redis_url.to_owned()),
            ("HANDLER__ENDPOINT", handler.to_owned()),
            // Nobody: no stage here calls for an active message.
            ("NOTIFICATION__ENDPOINT", "http://127.0.0.1:9".to_owned()),
        ];
        configuration.extend(more.iter().cloned());
        let solo = Solo::start(Service::Timer, &configuration).await;
        let client = TimerServiceClient::new(sign_as_timer(solo.channel()));
        let timer = Self { solo, client };
        timer.rebuilt(0).await;
        timer
    }

    /// Waits until no shard is being rebuilt and at least so many entries are there.
    pub(super) async fn rebuilt(&self, entries: i64) {
        plazo_tests::eventually("all shards are complete", BOUND, async || {
            self.stats().await.is_some_and(|stats| {
                let waiting: i64 = stats.shards.iter().map(|shard| shard.waiting_count).sum();
                let is_complete = stats.shards.iter().all(|shard| !shard.rebuilding);
                is_complete && waiting >= entries
            })
        })
        .await;
    }

    /// What it counts; none while it can't.
    pub(super) async fn stats(&self) -> Option<GetTimerStatsResponse> {
        let answer = self
            .client
            .clone()
            .get_timer_stats(GetTimerStatsRequest {})
            .await;
        answer.ok().map(tonic::Response::into_inner)
    }
}

impl Ticket {
    /// Arms it, and removes the generation that is so many milliseconds older, unless that is 0.
    pub(super) fn arm(self, superseded_ms: i64) -> TicketArm {
        TicketArm {
            ticket: Some(TicketGeneration {
                tenant_id: tenant_of(self.id),
                ticket_id: self.id,
                generation: self.due_ms,
            }),
            due_time: Some(timestamp_us(self.due_ms * 1_000)),
            first_superseded_generation: if superseded_ms > 0 {
                self.due_ms - superseded_ms
            } else {
                0
            },
        }
    }

    /// The generation that is so many milliseconds older.
    pub(super) fn older(self, superseded_ms: i64) -> Self {
        Self {
            due_ms: self.due_ms - superseded_ms,
            ..self
        }
    }

    /// Its member of a sorted set, as the timer makes them.
    pub(super) fn member(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&tenant_of(self.id).to_be_bytes());
        bytes[8..16].copy_from_slice(&self.id.to_be_bytes());
        bytes[16..].copy_from_slice(&self.due_ms.to_be_bytes());
        bytes
    }
}

/// Arms all, in batches by several callers.
pub(super) async fn arm(client: &Client, arms: Vec<TicketArm>) -> Done {
    arm_by(client, arms, BATCH, IN_FLIGHT).await
}

/// Arms all, so many in a call by so many callers.
pub(super) async fn arm_by(
    client: &Client,
    arms: Vec<TicketArm>,
    batch: usize,
    callers: usize,
) -> Done {
    let count = arms.len() as u64;
    let share = arms.len().div_ceil(callers).max(1);
    let callers = arms.chunks(share).map(|share| Arming {
        client: client.clone(),
        // From the end, like all who pop.
        batches: share.chunks(batch).rev().map(<[_]>::to_vec).collect(),
    });
    let (done, _) = until_done(callers.collect()).await;
    assert_eq!(done.count, count, "all were armed");
    done
}

struct Arming {
    client: Client,
    batches: Vec<Vec<TicketArm>>,
}

impl Caller for Arming {
    async fn step(&mut self) -> u64 {
        let Some(arms) = self.batches.pop() else {
            return 0;
        };
        let count = arms.len() as u64;
        let answer = self.client.arm_tickets(ArmTicketsRequest { arms }).await;
        let answer = answer.expect("tickets are armed").into_inner();
        assert!(
            answer
                .outcomes()
                .all(|outcome| outcome == ArmOutcome::Armed)
        );
        count
    }
}

/// Arms all, one after the other by each of the callers, who share a stream.
pub(super) async fn arm_one_by_one(client: &Client, arms: Vec<TicketArm>, callers: usize) -> Done {
    let count = arms.len() as u64;
    let share = arms.len().div_ceil(callers).max(1);
    let (stream, mut answers) = ArmStream::open(client.clone(), callers).await;
    let callers = arms.chunks(share).map(|share| OneByOne {
        stream: stream.clone(),
        arms: share.to_vec(),
    });
    let callers = callers.collect();
    let answering = async {
        while let Ok(Some(answer)) = answers.message().await {
            stream.answered(&answer);
        }
        panic!("the stream has ended");
    };
    tokio::select! {
        (done, _) = until_done(callers) => {
            assert_eq!(done.count, count, "all were armed");
            done
        }
        () = answering => unreachable!(),
    }
}

/// A stream of arms that many callers share: answers come in the order of the requests.
#[derive(Clone)]
struct ArmStream {
    requests: mpsc::Sender<StreamArmsRequest>,
    waiting: Arc<Mutex<VecDeque<oneshot::Sender<()>>>>,
}

impl ArmStream {
    async fn open(
        mut client: Client,
        callers: usize,
    ) -> (Self, tonic::Streaming<StreamArmsResponse>) {
        let (requests, sent) = mpsc::channel(callers);
        let answers = client.stream_arms(ReceiverStream::new(sent)).await;
        let answers = answers.expect("a stream opens").into_inner();
        let waiting = Arc::default();
        (Self { requests, waiting }, answers)
    }

    async fn arm(&self, arm: TicketArm) {
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let request = StreamArmsRequest { arms: vec![arm] };
            self.requests
                .try_send(request)
                .expect("there is room for each caller");
            waiting.push_back(answer);
        }
        answered.await.expect("each is answered");
    }

    fn answered(&self, answer: &StreamArmsResponse) {
        assert_eq!(answer.outcomes, [i32::from(ArmOutcome::Armed)]);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let caller = waiting.pop_front().expect("somebody has asked");
        // Its caller waits for it.
        let _ = caller.send(());
    }
}

struct OneByOne {
    stream: ArmStream,
    arms: Vec<TicketArm>,
}

impl Caller for OneByOne {
    async fn step(&mut self) -> u64 {
        let Some(arm) = self.arms.pop() else {
            return 0;
        };
        self.stream.arm(arm).await;
        1
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    now_us() / 1_000
}

/// How far ahead so many jobs must be due that are added at this rate, so that all are there before.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a short time"
)]
pub(super) fn lead_ms(count: usize, per_s: f64) -> i64 {
    700 + (1_500.0 * count as f64 / per_s) as i64
}

/// Waits until this instant of the clock, in milliseconds since 1970.
pub(super) async fn sleep_until_ms(unix_ms: i64) {
    let wait = Duration::from_millis(u64::try_from(unix_ms - now_ms()).unwrap_or(0));
    tokio::time::sleep(wait).await;
}
