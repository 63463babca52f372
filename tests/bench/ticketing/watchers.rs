//! Thousands of watchers of one replica: what one takes, and what they leave to those who write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use plazo_proto::common::v1::AuthorKind;
use plazo_proto::ticketing::v1::ticket_service_client::TicketServiceClient;
use plazo_proto::ticketing::v1::watch_tickets_response::Update;
use plazo_proto::ticketing::v1::{TicketFilter, WatchTicketsRequest, WatchTicketsResponse};
use plazo_tests::desk::{Desk, SignedChannel, sign};
use plazo_tests::load::{put_tickets, start_clocks};
use plazo_tests::solo::Solo;
use tokio::task::JoinSet;
use tonic::Streaming;

use crate::machine::resident_bytes;
use crate::measure::{Caller, Done, side_by_side};
use crate::report::{Report, Table, median, rounded, shown};
use crate::ticketing::bed::Bed;
use crate::ticketing::messages::TEXT;
use crate::ticketing::{Effort, FAR_STAGES};

const DATABASE: &str = "watched";
const TENANT: i64 = 3;
/// Each has a bot of its own, and tickets.
const AGENTS: usize = 48;
const TICKETS_EACH: usize = 64;
/// So many watch each agent's tickets, as a team watches its board: each change goes to all of them.
const WATCHERS_EACH: usize = 100;
const WATCHERS: usize = AGENTS * WATCHERS_EACH;
/// Streams of one connection are bounded.
const WATCHERS_PER_CHANNEL: usize = 600;
const WRITERS: usize = 8;
/// Everyone has been told by then.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// Measures messages without and with watchers in turns, and the memory of a watcher.
pub(super) async fn run(bed: &Bed, effort: Effort, report: &mut Report) {
    let service = bed.ticketing(DATABASE, &[]).await;
    let writers = Writers::set_up(bed, &service).await;
    let mut alone = Vec::new();
    let mut watched = Vec::new();
    let mut updates = Vec::new();
    let mut update_cpu_us = Vec::new();
    let mut watcher_kb = Vec::new();
    let mut begun = Vec::new();
    for _ in 0..effort.rounds {
        let quiet = writers.write(bed, &service, effort.duration, || 0).await;
        alone.push(quiet.done.per_s());

        let memory_before = resident_bytes(service.pid());
        let crowd = Crowd::gather(&service, &writers.desks).await;
        let taken = resident_bytes(service.pid()).saturating_sub(memory_before);
        watcher_kb.push(float(taken) / 1_024.0 / float(WATCHERS as u64));
        begun.push(float(WATCHERS as u64) / crowd.took.as_secs_f64());

        let busy = writers
            .write(bed, &service, effort.duration, || crowd.told())
            .await;
        crowd.wait_for_all().await;
        watched.push(busy.done.per_s());
        updates.push(float(busy.told) / busy.done.seconds);
        let for_messages_s = quiet.cpu_s / float(quiet.done.count) * float(busy.done.count);
        update_cpu_us.push(1e6 * (busy.cpu_s - for_messages_s).max(0.0) / float(busy.told));
        crowd.leave().await;
    }
    service.stop().await;

    let ratio = median(&watched) / median(&alone);
    let mut table = Table::new(&["watchers", "figure"]);
    let rows = [
        ("watchers", "watchers", float(WATCHERS as u64)),
        (
            "watchers_begin_per_s",
            "begin, each with a snapshot, a second",
            median(&begun),
        ),
        // What the first crowd has left is used again by the next.
        ("watcher_memory_kb", "memory of each, kB", watcher_kb[0]),
        (
            "watched_messages_per_s",
            "messages a second beside them",
            median(&watched),
        ),
        (
            "watched_messages_ratio",
            "ratio to messages without them",
            ratio,
        ),
        (
            "watch_updates_per_s",
            "updates told a second",
            median(&updates),
        ),
        (
            "watch_update_cpu_us",
            "time of a core for each, µs",
            median(&update_cpu_us),
        ),
    ];
    for (name, title, figure) in rows {
        report.set(name, rounded(figure));
        table.row(vec![title.to_owned(), shown(figure)]);
    }
    table.print("Watchers of one replica; each message is told to a hundred of them");
}

/// Agents with their tickets, in which they and their customers write.
struct Writers {
    desks: Vec<Desk>,
    /// Of each desk.
    ticket_ids: Vec<Vec<i64>>,
}

/// What was done in a while.
struct Written {
    /// Messages.
    done: Done,
    /// Updates that watchers were told meanwhile.
    told: u64,
    /// Time that ticketing took of the cores.
    cpu_s: f64,
}

impl Writers {
    async fn set_up(bed: &Bed, service: &Solo) -> Self {
        let pool = bed.pool(DATABASE, 1).await;
        let mut writers = Self {
            desks: Vec::new(),
            ticket_ids: Vec::new(),
        };
        for _ in 0..AGENTS {
            let channel = service.channel();
            let desk = Desk::set_up_at(channel.clone(), channel, TENANT, FAR_STAGES).await;
            let seeds = put_tickets(&pool, &desk, TICKETS_EACH, 1_000).await;
            start_clocks(&pool, &desk, &seeds).await;
            writers.desks.push(desk);
            let ids = seeds.iter().map(|seed| seed.ticket_id);
            writers.ticket_ids.push(ids.collect());
        }
        writers
    }

    async fn write(
        &self,
        bed: &Bed,
        service: &Solo,
        duration: Duration,
        told: impl Fn() -> u64,
    ) -> Written {
        let channel = sign(service.channel(), TENANT);
        let writers = (0..WRITERS).map(|writer| Writer {
            client: TicketServiceClient::new(channel.clone()),
            // Nobody else writes to the tickets of these desks.
            desks: every(WRITERS, writer, &self.desks),
            ticket_ids: every(WRITERS, writer, &self.ticket_ids),
            next: 0,
        });
        let mut before = (bed.cpu(service), 0);
        let started = || before = (bed.cpu(service), told());
        let (done, _) = side_by_side(writers.collect(), duration, started).await;
        let (cpu_before, told_before) = before;
        Written {
            done,
            told: told() - told_before,
            cpu_s: bed.cpu(service).since(cpu_before).service,
        }
    }
}

fn every<T: Clone>(step: usize, first: usize, all: &[T]) -> Vec<T> {
    all.iter().skip(first).step_by(step).cloned().collect()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

struct Writer {
    client: TicketServiceClient<SignedChannel>,
    desks: Vec<Desk>,
    ticket_ids: Vec<Vec<i64>>,
    next: usize,
}

impl Caller for Writer {
    async fn step(&mut self) -> u64 {
        let place = self.next % self.desks.len();
        let pass = self.next / self.desks.len();
        self.next += 1;
        let ids = &self.ticket_ids[place];
        let kind = if (pass / ids.len()).is_multiple_of(2) {
            AuthorKind::Customer
        } else {
            AuthorKind::Agent
        };
        let request = self.desks[place].message(ids[pass % ids.len()], kind, TEXT);
        let answer = self.client.record_message(request).await;
        answer.expect("a message is recorded");
        1
    }
}

/// Watchers that take what they are told as fast as it comes.
struct Crowd {
    told: Arc<AtomicU64>,
    tasks: JoinSet<()>,
    took: Duration,
}

impl Crowd {
    /// Starts all, and waits until each has its snapshot.
    async fn gather(service: &Solo, desks: &[Desk]) -> Self {
        let begin = Instant::now();
        let told = Arc::new(AtomicU64::new(0));
        let mut starting = JoinSet::new();
        for number in 0..WATCHERS.div_ceil(WATCHERS_PER_CHANNEL) {
            let client = TicketServiceClient::new(sign(service.channel(), TENANT));
            let first = number * WATCHERS_PER_CHANNEL;
            let agents: Vec<i64> = (first..WATCHERS.min(first + WATCHERS_PER_CHANNEL))
                .map(|watcher| desks[watcher % desks.len()].agent_id)
                .collect();
            let told = Arc::clone(&told);
            starting.spawn(async move {
                let mut watching = Vec::with_capacity(agents.len());
                for agent_id in agents {
                    let stream = watch(client.clone(), agent_id).await;
                    watching.push(take(stream, Arc::clone(&told)));
                }
                watching
            });
        }
        let mut tasks = JoinSet::new();
        for watching in starting.join_all().await {
            for watcher in watching {
                tasks.spawn(watcher);
            }
        }
        Self {
            told,
            tasks,
            took: begin.elapsed(),
        }
    }

    /// Updates that came.
    fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// Waits until nothing has come for a while: all that was written was told.
    async fn wait_for_all(&self) {
        const SILENCE: Duration = Duration::from_millis(500);
        let give_up_at = Instant::now() + TOLD_WITHIN;
        loop {
            let before = self.told();
            tokio::time::sleep(SILENCE).await;
            if self.told() == before {
                return;
            }
            assert!(Instant::now() < give_up_at, "watchers are told without end");
        }
    }

    async fn leave(mut self) {
        assert!(self.tasks.try_join_next().is_none(), "nobody was cut off");
        self.tasks.shutdown().await;
    }
}

/// Begins to watch an agent's tickets, and reads the snapshot.
async fn watch(
    mut client: TicketServiceClient<SignedChannel>,
    agent_id: i64,
) -> Streaming<WatchTicketsResponse> {
    let filter = TicketFilter {
        agent_id,
        ..TicketFilter::default()
    };
    let request = WatchTicketsRequest {
        filter: Some(filter),
        position: String::new(),
    };
    let answer = client.watch_tickets(request).await;
    let mut stream = answer.expect("a watcher is taken").into_inner();
    loop {
        let message = stream.message().await.expect("the snapshot goes on");
        let message = message.expect("the snapshot has an end");
        if let Some(Update::SnapshotEnd(end)) = message.update {
            assert_eq!(usize::try_from(end.ticket_count), Ok(TICKETS_EACH));
            return stream;
        }
    }
}

/// Counts the tickets that come, until the stream ends.
async fn take(mut stream: Streaming<WatchTicketsResponse>, told: Arc<AtomicU64>) {
    while let Ok(Some(message)) = stream.message().await {
        if let Some(Update::Ticket(_)) = message.update {
            told.fetch_add(1, Ordering::Relaxed);
        }
    }
}
