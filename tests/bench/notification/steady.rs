//! Messages that come at a steady rate, whatever becomes of them: how late they are sent, and how late those of other
//! tenants are while some endpoints hang.

use std::time::Duration;

use plazo_proto::notification::v1::SendActiveMessagesRequest;
use plazo_proto::notification::v1::notification_service_client::NotificationServiceClient;
use plazo_tests::desk::sign_as_timer;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::notification::accepting::message;
use crate::notification::bed::{Account, BOUND, Bed, Notification, forget_all};
use crate::notification::effort::Effort;
use crate::timer::recorder::Lateness;
use crate::timer::rounds::Rounds;

/// Messages in a second.
pub(super) const RATE: usize = 1_000;
/// They come in calls.
const CALL: usize = 10;
const STEP: Duration = Duration::from_millis(10);
/// Messages of a call that go to the accounts whose endpoints may hang.
const TROUBLED: usize = 2;

/// Names of the figures: how late all messages are sent with all endpoints well, and how long the calls take.
pub(super) const ALL: &str = "all";
pub(super) const CALLS: &str = "calls";
/// How late those of other tenants are with all endpoints well, with one that hangs, and with many.
pub(super) const OTHERS: &str = "others";
pub(super) const ONE_HANGS: &str = "others, one hangs";
pub(super) const MANY_HANG: &str = "others, many hang";
/// So many endpoints hang at the same time: more than the places in flight bear, 8 for each account.
pub(super) const MANY: usize = 40;

/// One round.
pub(super) async fn round(bed: &mut Bed, database: &str, effort: Effort, rounds: &mut Rounds) {
    for (name, hanging) in [(OTHERS, 0), (ONE_HANGS, 1), (MANY_HANG, MANY)] {
        // Anew each time: what hangs is in flight for a while.
        let notification = bed.notification(database).await;
        let accounts = &notification.troubled[..hanging.max(1)];
        if hanging > 0 {
            bed.troubled.ask("hang").await;
            let calls = send(&notification, accounts, effort.hanging).await.len();
            let seen = bed.endpoints.seen(calls * (CALL - TROUBLED), BOUND).await;
            rounds.add_lateness(name, Lateness::of(&seen));
        } else {
            let calls_ms = send(&notification, accounts, effort.steady).await;
            let calls = calls_ms.len();
            let mut seen = bed.endpoints.seen(calls * (CALL - TROUBLED), BOUND).await;
            rounds.add_lateness(name, Lateness::of(&seen));
            seen.extend(bed.troubled.seen(calls * TROUBLED, BOUND).await);
            rounds.add_lateness(ALL, Lateness::of(&seen));
            rounds.add_lateness(CALLS, Lateness::of_ms(calls_ms));
        }
        bed.troubled.ask("go").await;
        let pool = notification.pool.clone();
        notification.service.kill().await;
        forget_all(&pool).await;
        bed.troubled.take().await;
    }
}

/// Calls at the rate for so long, whether or not they are answered; how long each took from the instant at which it was to be
/// made, in milliseconds.
async fn send(notification: &Notification, troubled: &[Account], duration: Duration) -> Vec<f64> {
    let client = NotificationServiceClient::new(sign_as_timer(notification.service.channel()));
    let calls = usize::try_from(duration.as_millis() / STEP.as_millis()).expect("a short time");
    let mut next_to = [0, 0];
    let mut ticks = tokio::time::interval_at(Instant::now() + Duration::from_millis(500), STEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut tasks = JoinSet::new();
    for call in 0..calls {
        let messages = (0..CALL).map(|place| {
            let side = usize::from(place < TROUBLED);
            let accounts = [&notification.accounts, troubled][side];
            next_to[side] += 1;
            let account = &accounts[next_to[side] % accounts.len()];
            let number = call * CALL + place;
            message(account, format!("steady/{number}"), number)
        });
        let request = SendActiveMessagesRequest {
            messages: messages.collect(),
        };
        let planned_at = ticks.tick().await;
        let mut client = client.clone();
        tasks.spawn(async move {
            let answer = client.send_active_messages(request).await;
            let results = answer.expect("messages are taken").into_inner().results;
            assert_eq!(results.len(), CALL);
            planned_at.elapsed().as_secs_f64() * 1e3
        });
    }
    tasks.join_all().await
}
