//! Taking messages in, by calls with many messages and with one.

use plazo_proto::common::v1::{Channel, ChannelIdentity};
use plazo_proto::notification::v1::notification_service_client::NotificationServiceClient;
use plazo_proto::notification::v1::{
    ActiveMessage, ActiveMessageKind, SendActiveMessagesRequest, SendOutcome,
};
use plazo_tests::desk::{SignedChannel, sign_as_timer};
use sqlx::PgPool;

use crate::measure::{Caller, side_by_side};
use crate::notification::bed::{Account, BOT, Bed, Notification, TEXT, forget_all};
use crate::notification::effort::Effort;
use crate::notification::raw::RawAccepting;
use crate::rates::Rates;

/// Messages in a call, and callers at the same time.
const SIZES: [(usize, usize); 3] = [(100, 16), (500, 8), (1, 64)];
/// Callers that share a connection to the service.
const CALLERS_PER_CHANNEL: usize = 16;

/// One round: the bare server, then the service, for each size. Nothing is sent meanwhile, since the accounts are stopped as
/// their provider would stop them.
pub(super) async fn round(
    bed: &Bed,
    notification: &Notification,
    bare: &PgPool,
    effort: Effort,
    rates: &mut Rates,
) {
    let (service, pool) = (&notification.service, &notification.pool);
    set_stopped(pool, true).await;
    for (size, callers) in SIZES {
        forget_all(bare).await;
        let mut raw = Vec::with_capacity(callers);
        for caller in 0..callers {
            let connection = bare.acquire().await.expect("a connection is free").detach();
            raw.push(RawAccepting::new(
                connection,
                Batches::new(&notification.accounts, caller, size),
            ));
        }
        let mut before = bed.database.cpu(service);
        let started = || before = bed.database.cpu(service);
        let (done, raw) = side_by_side(raw, effort.accepting, started).await;
        drop(raw);
        let raw = bed.database.measured(service, before, done);

        let channels: Vec<SignedChannel> = (0..callers.div_ceil(CALLERS_PER_CHANNEL))
            .map(|_| sign_as_timer(service.channel()))
            .collect();
        let callers_now = (0..callers).map(|caller| Accepting {
            client: NotificationServiceClient::new(channels[caller % channels.len()].clone()),
            batches: Batches::new(&notification.accounts, caller, size),
        });
        let started = || before = bed.database.cpu(service);
        let (done, _callers) = side_by_side(callers_now.collect(), effort.accepting, started).await;
        let measured = bed.database.measured(service, before, done);
        forget_all(pool).await;

        let suffix = match size {
            100 => String::new(),
            1 => "_one_by_one".to_owned(),
            size => format!("_in_calls_of_{size}"),
        };
        rates.add(
            &format!("accepted, {callers} callers, {size} in a call"),
            &format!("accepted_per_s{suffix}"),
            measured,
            Some((
                &format!("raw_accepted_per_s{suffix}"),
                &format!("accepted_ratio{suffix}"),
                raw,
            )),
        );
    }
    set_stopped(pool, false).await;
}

async fn set_stopped(pool: &PgPool, stopped: bool) {
    sqlx::query(
        "UPDATE channel_accounts
         SET stopped_reason = CASE WHEN $1 THEN 'MEASURED' ELSE '' END,
             stopped_at = CASE WHEN $1 THEN clock_timestamp() END",
    )
    .bind(stopped)
    .execute(pool)
    .await
    .expect("accounts can be stopped");
}

/// Closing texts for each account in turn, no key twice.
#[derive(Debug)]
pub(super) struct Batches {
    accounts: Vec<Account>,
    key: String,
    size: usize,
    next: usize,
}

impl Batches {
    pub(super) fn new(accounts: &[Account], caller: usize, size: usize) -> Self {
        Self {
            accounts: accounts.to_vec(),
            key: format!("ticket/{caller}"),
            size,
            next: 0,
        }
    }

    /// The next batch.
    pub(super) fn next(&mut self) -> Vec<ActiveMessage> {
        (0..self.size).map(|_| self.one()).collect()
    }

    fn one(&mut self) -> ActiveMessage {
        let number = self.next;
        self.next += 1;
        let account = &self.accounts[number % self.accounts.len()];
        message(
            account,
            format!("{}/cycle/{number}/close", self.key),
            number,
        )
    }
}

/// A closing text.
pub(super) fn message(account: &Account, idempotency_key: String, number: usize) -> ActiveMessage {
    let number = 1 + i64::try_from(number).expect("a count");
    ActiveMessage {
        tenant_id: account.tenant_id,
        idempotency_key,
        kind: ActiveMessageKind::ClosingText.into(),
        bot_id: BOT,
        ticket_id: number,
        contact_id: number,
        recipient: Some(ChannelIdentity {
            channel: Channel::Webhook.into(),
            address: format!("customer-{number}"),
        }),
        channel_account_id: account.id,
        text: TEXT.to_owned(),
        ..ActiveMessage::default()
    }
}

struct Accepting {
    client: NotificationServiceClient<SignedChannel>,
    batches: Batches,
}

impl Caller for Accepting {
    async fn step(&mut self) -> u64 {
        let request = SendActiveMessagesRequest {
            messages: self.batches.next(),
        };
        let answer = self.client.send_active_messages(request).await;
        let results = answer.expect("messages are taken").into_inner().results;
        assert!(
            results
                .iter()
                .all(|one| one.outcome() == SendOutcome::Accepted)
        );
        results.len() as u64
    }
}
