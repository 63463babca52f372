//! Long work in the background, such as an erasure of all that a contact wrote: each piece is a row that stays until the
//! piece is done, and is worked on page by page, each page in a transaction of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// How often to look for pieces that other replicas accepted, or left behind.
const POLL: Duration = Duration::from_millis(500);
const FIRST_BACKOFF: Duration = Duration::from_millis(25);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// Pieces of one kind of work.
pub(crate) trait Pieces {
    /// Does a page of the next piece after the one with this id, of the first one after the last, and puts that piece's id
    /// in its place, also when it fails: the others get their turn. False when nothing is free.
    fn do_page(&self, last_id: &mut i64) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Logs why a page of this piece was not done.
    fn log_failure(&self, id: i64, error: &Error);
}

/// Lets pieces of work take turns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns {
    asked: Arc<Notify>,
}

impl Turns {
    /// Says that there may be something to do.
    pub(crate) fn wake(&self) {
        self.asked.notify_one();
    }

    /// Runs until `stop`. A page for each piece in turn: a small one does not wait for a large one.
    pub(crate) async fn run(&self, pieces: &impl Pieces, stop: &CancellationToken) {
        let mut last_id = 0;
        let mut backoff = FIRST_BACKOFF;
        while !stop.is_cancelled() {
            let wait = match pieces.do_page(&mut last_id).await {
                Ok(true) => {
                    backoff = FIRST_BACKOFF;
                    continue;
                }
                Ok(false) => POLL,
                Err(error) => {
                    if !error.is_transient() {
                        pieces.log_failure(last_id, &error);
                    }
                    let wait = backoff;
                    backoff = (backoff * 2).min(MAX_BACKOFF);
                    wait
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.asked.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const FAILING: i64 = 1;
    const GOOD: i64 = 2;

    /// A piece that always fails, and one of three pages.
    struct Two {
        stop: CancellationToken,
        pages_left: Mutex<u32>,
        failures: Mutex<Vec<i64>>,
    }

    impl Pieces for Two {
        async fn do_page(&self, last_id: &mut i64) -> Result<bool, Error> {
            *last_id = if *last_id == FAILING { GOOD } else { FAILING };
            if *last_id == FAILING {
                return Err(Error::Changed);
            }
            let mut pages_left = self.pages_left.lock().expect("nobody panicked");
            *pages_left -= 1;
            if *pages_left == 0 {
                self.stop.cancel();
            }
            Ok(true)
        }

        fn log_failure(&self, id: i64, _: &Error) {
            self.failures.lock().expect("nobody panicked").push(id);
        }
    }

    #[tokio::test]
    async fn a_piece_that_fails_does_not_hold_up_the_others() {
        let two = Two {
            stop: CancellationToken::new(),
            pages_left: Mutex::new(3),
            failures: Mutex::default(),
        };
        let turns = Turns::default();
        let run = turns.run(&two, &two.stop);
        let ended = tokio::time::timeout(Duration::from_secs(30), run).await;
        ended.expect("the other one is done");
        let failures = two.failures.lock().expect("nobody panicked");
        assert_eq!(*failures, [FAILING; 3]);
    }
}
