//! Background tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use plazo_service::{OnEnd, Supervisor, commit_in_background};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::echo::{spawn, wait_until};

const BOUND: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_task_that_fails_or_panics_is_restarted() {
    let supervisor = Supervisor::new("test", &CancellationToken::new());
    let starts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&starts);
    supervisor.spawn("flaky", OnEnd::Restart, move |stop| {
        let start = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            match start {
                0 => Err("on purpose".into()),
                1 => panic!("on purpose"),
                2 => Ok(()),
                _ => {
                    stop.cancelled().await;
                    Ok(())
                }
            }
        }
    });
    wait_until("it was started again", || {
        starts.load(Ordering::SeqCst) == 4
    })
    .await;
    supervisor
        .shut_down(BOUND)
        .await
        .expect("it ends when asked");
}

#[tokio::test]
async fn a_task_that_must_not_end_ends_its_service_and_no_other() {
    let process = CancellationToken::new();
    let supervisor = Supervisor::new("test", &process);
    supervisor.spawn("relay", OnEnd::FailService, |_| async {
        Err("on purpose".into())
    });
    supervisor.shutdown_token().cancelled().await;
    let failed = supervisor
        .shut_down(BOUND)
        .await
        .expect_err("the task failed");
    assert_eq!(failed.task, "relay");
    assert_eq!(
        failed.source.map(|source| source.to_string()).as_deref(),
        Some("on purpose")
    );
    assert!(!process.is_cancelled(), "other services go on");
}

#[tokio::test]
async fn a_task_that_does_not_listen_is_aborted_at_the_bound() {
    let process = CancellationToken::new();
    let supervisor = Supervisor::new("test", &process);
    let held = Arc::new(());
    let in_task = Arc::clone(&held);
    supervisor.spawn("deaf", OnEnd::Restart, move |_| {
        let held = Arc::clone(&in_task);
        async move {
            std::future::pending::<()>().await;
            drop(held);
            Ok(())
        }
    });
    process.cancel();
    supervisor
        .shut_down(Duration::from_millis(50))
        .await
        .expect("no failure");
    assert_eq!(Arc::strong_count(&held), 1, "the task is gone");
}

#[tokio::test]
async fn a_commit_goes_on_when_its_caller_goes_away() {
    let (begun, has_begun) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel::<()>();
    let (committed, has_committed) = oneshot::channel();
    let caller = spawn(commit_in_background(async move {
        begun.send(()).expect("the test waits");
        may_go_on.await.expect("the test says so");
        committed.send("committed").expect("the test waits");
    }));
    has_begun.await.expect("the commit began");
    caller.abort();
    caller.await.expect_err("the caller is gone");
    go_on.send(()).expect("the commit still waits");
    assert_eq!(has_committed.await, Ok("committed"));
}
