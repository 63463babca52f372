//! Arming on a stream: each request is answered in its turn, and what comes at the same time is armed together.

use plazo_proto::timer::v1 as proto;
use plazo_service::status::violations_of;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::bed::{Bed, RunningTimer, arm, own_redis};
use crate::desk::now_ms;

const HOUR_MS: i64 = 3_600_000;
/// Requests that a test sends ahead.
const AHEAD: usize = 200;

/// A stream that is open.
struct Arming {
    requests: mpsc::Sender<proto::StreamArmsRequest>,
    answers: tonic::Streaming<proto::StreamArmsResponse>,
}

impl Arming {
    async fn open(timer: &RunningTimer) -> Self {
        let (requests, sent) = mpsc::channel(AHEAD);
        let answers = timer
            .client
            .clone()
            .stream_arms(ReceiverStream::new(sent))
            .await;
        Self {
            requests,
            answers: answers.expect("the stream opens").into_inner(),
        }
    }

    async fn send(&self, arms: Vec<proto::TicketArm>) {
        let request = proto::StreamArmsRequest { arms };
        self.requests.send(request).await.expect("it is open");
    }

    async fn answer(&mut self) -> Result<Vec<proto::ArmOutcome>, Status> {
        let answer = self.answers.message().await?;
        Ok(answer.expect("it goes on").outcomes().collect())
    }
}

fn in_an_hour(ticket_id: i64, generation: i64) -> proto::TicketArm {
    let superseded = generation - 1;
    arm(
        (1, ticket_id),
        generation,
        Some(now_ms() + HOUR_MS),
        superseded,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_arm_side_by_side_and_each_request_has_its_answer() {
    let mut bed = Bed::new().await;
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(Arming::open(&timer).await);
    }
    // Requests of different sizes, all sent before the first answer is read; then the same tickets again.
    for generation in [1, 2] {
        for (number, stream) in (0_i64..).zip(&streams) {
            for request in 0..50 {
                let first = 1 + number * 1_000 + request * 3;
                let size = 1 + request % 3;
                let arms = (first..first + size).map(|id| in_an_hour(id, generation));
                stream.send(arms.collect()).await;
            }
        }
        for stream in &mut streams {
            for request in 0..50 {
                let outcomes = stream.answer().await.expect("it is armed");
                assert_eq!(outcomes, vec![proto::ArmOutcome::Armed; 1 + request % 3]);
            }
        }
    }
    let waiting: i64 = timer
        .stats()
        .await
        .shards
        .iter()
        .map(|s| s.waiting_count)
        .sum();
    assert_eq!(waiting, 8 * (17 + 17 * 2 + 16 * 3));
    let entries = timer.entries((1, 7_001)).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].ticket.map(|ticket| ticket.generation), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_wrong_ends_the_stream_after_the_answers_before_it() {
    let mut bed = Bed::new().await;
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    let too_many = (1..=101).map(|id| in_an_hour(id, 1)).collect();
    for (wrong, field) in [
        (vec![arm((1, 0), 1, None, 0)], "arms[0].ticket.ticket_id"),
        (Vec::new(), "arms"),
        (too_many, "arms"),
    ] {
        let mut stream = Arming::open(&timer).await;
        stream.send(vec![in_an_hour(500, 1)]).await;
        stream.send(wrong).await;
        stream.send(vec![in_an_hour(501, 1)]).await;
        let first = stream.answer().await.expect("it is armed");
        assert_eq!(first, [proto::ArmOutcome::Armed]);
        let refused = stream.answer().await.expect_err("it is wrong");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert_eq!(violations_of(&refused)[0].0, field);
    }
    assert!(timer.entries((1, 1)).await.is_empty());
    assert_eq!(timer.entries((1, 500)).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_outlives_a_redis_that_is_away() {
    let mut redis = own_redis(&[]).await;
    let mut bed = Bed::on(redis.url()).await;
    let mut timer = bed.start().await;
    timer.rebuilt().await;
    let mut stream = Arming::open(&timer).await;
    stream.send(vec![in_an_hour(1, 1)]).await;
    assert_eq!(
        stream.answer().await.expect("an answer"),
        [proto::ArmOutcome::Armed]
    );
    redis.kill().await.expect("it can be killed");
    stream.send(vec![in_an_hour(2, 1), in_an_hour(3, 1)]).await;
    let away = stream.answer().await.expect("an answer");
    assert_eq!(away, [proto::ArmOutcome::Unavailable; 2]);
    redis.restart().await.expect("it starts again");
    timer.rebuilt().await;
    stream.send(vec![in_an_hour(2, 1)]).await;
    assert_eq!(
        stream.answer().await.expect("an answer"),
        [proto::ArmOutcome::Armed]
    );
    assert_eq!(timer.entries((1, 2)).await.len(), 1);
}
