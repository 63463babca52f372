//! Arming for many callers at once: what waits while Redis works is armed together.

use std::sync::Arc;

use plazo_proto::timer::v1::ArmOutcome;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::arm;
use crate::core::Core;
use crate::store::Arm;

/// Requests that wait at most. Who comes then waits to get in.
const QUEUE_MAX: usize = 1_024;
/// Requests that are armed together at most.
const TOGETHER_MAX: usize = 256;

/// Puts requests into the queue; a handle to it.
#[derive(Debug, Clone)]
pub(crate) struct Armer {
    queue: mpsc::Sender<Waiting>,
}

/// Where requests wait to be armed; a handle to it.
#[derive(Debug, Clone)]
pub(crate) struct ArmQueue {
    waiting: Arc<Mutex<mpsc::Receiver<Waiting>>>,
}

#[derive(Debug)]
struct Waiting {
    arms: Vec<Arm>,
    answer: oneshot::Sender<Vec<ArmOutcome>>,
}

impl Armer {
    /// A handle to an empty queue, and the queue.
    pub(crate) fn new() -> (Self, ArmQueue) {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        (Self { queue }, ArmQueue { waiting })
    }

    /// Arms, and says what became of each. UNAVAILABLE when the timer is about to end.
    pub(crate) async fn arm(&self, arms: Vec<Arm>) -> Vec<ArmOutcome> {
        let count = arms.len();
        let (answer, answered) = oneshot::channel();
        // When nobody takes it, the answer is dropped along with it.
        let _ = self.queue.send(Waiting { arms, answer }).await;
        let outcomes = answered.await.ok();
        outcomes.unwrap_or_else(|| vec![ArmOutcome::Unavailable; count])
    }
}

impl ArmQueue {
    /// Arms what waits until shutdown. One pipeline is under way at a time: whoever comes meanwhile shares the next one.
    pub(crate) async fn run(self, core: Arc<Core>, shutdown: CancellationToken) {
        let mut waiting = self.waiting.lock().await;
        let mut taken = Vec::with_capacity(TOGETHER_MAX);
        let arming = async {
            while waiting.recv_many(&mut taken, TOGETHER_MAX).await > 0 {
                arm_together(&core, std::mem::take(&mut taken)).await;
            }
        };
        shutdown.run_until_cancelled(arming).await;
    }
}

/// Arms what several callers ask for, and gives each its part of the answer.
async fn arm_together(core: &Core, mut requests: Vec<Waiting>) {
    let arms = match requests.as_mut_slice() {
        [one] => std::mem::take(&mut one.arms),
        // Whose arms are where is told by how many each has.
        many => many
            .iter()
            .flat_map(|one| one.arms.iter().cloned())
            .collect(),
    };
    let is_one = requests.len() == 1;
    let mut outcomes = arm(core, &arms).await.outcomes;
    for request in requests {
        let own = if is_one {
            std::mem::take(&mut outcomes)
        } else {
            outcomes.drain(..request.arms.len()).collect()
        };
        // A caller that has gone needs no answer.
        let _ = request.answer.send(own);
    }
}
