//! Sending what is due: for many accounts, for one, and with a million messages beside it that wait.

use plazo_tests::metrics::MetricsText;
use sqlx::PgPool;

use crate::measure::{Done, until_done};
use crate::notification::bed::{Account, BOUND, Bed, Notification, forget_all, put};
use crate::notification::effort::Effort;
use crate::notification::raw::{RawSending, SENDERS};
use crate::rates::{Measured, Rates};
use crate::timer::recorder::Seen;

/// One round: the bare program, then the service.
pub(super) async fn round(
    bed: &mut Bed,
    notification: &Notification,
    bare: &PgPool,
    effort: Effort,
    rates: &mut Rates,
) {
    let accounts = &notification.accounts;
    let raw = raw(bed, notification, Some(bare), effort.due).await;
    let measured = drain(bed, notification, accounts, "many", effort.due).await;
    rates.add(
        &format!("sent, {} accounts", accounts.len()),
        "sent_per_s",
        measured,
        Some(("raw_sent_per_s", "sent_ratio", raw)),
    );
    let posts = self::raw(bed, notification, None, effort.due).await;
    rates.add(
        "bare posts, without a database",
        "raw_posts_per_s",
        posts,
        None,
    );
    let measured = drain(bed, notification, &accounts[..1], "one", effort.due_of_one).await;
    rates.add("sent, 1 account", "sent_per_s_one_account", measured, None);
    forget_all(&notification.pool).await;
}

/// Lets the service send so many messages that are due at once, and waits until ticketing has been told of all. The rate is
/// that of their arrival.
pub(super) async fn drain(
    bed: &mut Bed,
    notification: &Notification,
    accounts: &[Account],
    key: &str,
    count: usize,
) -> Measured {
    let service = &notification.service;
    let reported = |metrics: &MetricsText| metrics.sum("plazo_notification_reports_total", "");
    let reported_before = reported(&service.metrics().await);
    let before = bed.database.cpu(service);
    put(&notification.pool, key, count, accounts, true).await;
    // What the putting took is not the sending's.
    let put = bed.database.cpu(service).since(before);
    let seen = bed.endpoints.seen(count, BOUND).await;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let reports = 2.0 * count as f64;
    plazo_tests::eventually("ticketing is told of all messages", BOUND, async || {
        reported(&service.metrics().await) - reported_before >= reports
    })
    .await;
    let mut before = before;
    before.database += put.database;
    before.callers += put.callers;
    bed.database.measured(service, before, arrival(&seen))
}

/// How fast they came.
fn arrival(seen: &[Seen]) -> Done {
    let at_ms = seen.iter().map(|one| one.at_ms);
    let first_ms = at_ms.clone().fold(f64::INFINITY, f64::min);
    let last_ms = at_ms.fold(f64::NEG_INFINITY, f64::max);
    Done {
        count: seen.len() as u64,
        seconds: (last_ms - first_ms) / 1e3,
    }
}

/// The same without the service; without rows, posts alone.
async fn raw(
    bed: &mut Bed,
    notification: &Notification,
    bare: Option<&PgPool>,
    count: usize,
) -> Measured {
    let accounts = &notification.accounts;
    let mut callers = Vec::new();
    for share in accounts.chunks(accounts.len().div_ceil(SENDERS)) {
        let connection = match bare {
            Some(bare) => Some(bare.acquire().await.expect("a connection is free").detach()),
            None => None,
        };
        callers.push(RawSending::new(connection, share, count / SENDERS));
    }
    if let Some(bare) = bare {
        forget_all(bare).await;
        put(bare, "bare", count, accounts, true).await;
    }
    let before = bed.database.cpu(&notification.service);
    let (done, callers) = until_done(callers).await;
    let measured = bed.database.measured(&notification.service, before, done);
    drop(callers);
    assert_eq!(done.count, count as u64, "all were sent");
    bed.endpoints.seen(count, BOUND).await;
    measured
}
