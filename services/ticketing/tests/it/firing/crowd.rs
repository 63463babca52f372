//! Many callers at once.

use std::sync::Arc;

use plazo_proto::timer::v1::HandleOutcome;
use rand::seq::IndexedRandom as _;
use tokio::task::JoinSet;
use tonic::Code;

use crate::desk::{Desk, ids, named, unwarned};

const CALLERS: usize = 200;
const TICKETS: usize = 40;

/// Asks again about what was busy; counts what fired in these calls.
async fn fire(desk: Arc<Desk>, mut asked: Vec<(i64, i64)>) -> usize {
    let mut fired = 0;
    while !asked.is_empty() {
        let answer = match desk.handle_once(&asked).await {
            Ok(answer) => answer,
            // No free connection for so many: the whole call did nothing.
            Err(status) if status.code() == Code::ResourceExhausted => continue,
            Err(status) => panic!("{status:?}"),
        };
        let mut busy = Vec::new();
        for (ticket, result) in asked.into_iter().zip(answer.results) {
            match result.outcome() {
                HandleOutcome::Fired => fired += 1,
                HandleOutcome::Busy => busy.push(ticket),
                HandleOutcome::NotDue | HandleOutcome::Already => {}
                other => panic!("{other:?}"),
            }
        }
        asked = busy;
    }
    fired
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stage_fires_once_however_many_ask() {
    let desk = Arc::new(Desk::start().await);
    desk.set_policy(unwarned()).await;
    let tickets = desk.answered(TICKETS).await;
    let asked = named(&tickets);
    for stage in 1..=3 {
        desk.age(&ids(&tickets), 10.0).await;
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            // Overlapping batches in any order.
            let batch: Vec<_> = asked
                .choose_multiple(&mut rand::rng(), TICKETS / 2)
                .copied()
                .collect();
            callers.spawn(fire(Arc::clone(&desk), batch));
        }
        callers.spawn(fire(Arc::clone(&desk), asked.clone()));
        let fired: usize = callers.join_all().await.into_iter().sum();
        assert_eq!(fired, TICKETS, "stage {stage}");
    }
    for ticket in tickets {
        let story = desk.story(ticket.ticket_id).await;
        assert_eq!(
            story[2..],
            [
                "fired FirstAlert",
                "fired SecondAlert",
                "fired Close",
                "closed by CustomerInactivity",
                "cleared Red",
                "asked for ClosingText",
            ]
        );
    }
}
