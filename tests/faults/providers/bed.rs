//! A cluster under load that sends messages to a stand-in for providers, and the judgement of these messages.

use std::collections::BTreeMap;
use std::time::Duration;

use plazo_proto::notification::v1::ActiveMessageState as State;
use plazo_proto::notification::v1::notification_service_client::NotificationServiceClient;
use plazo_proto::notification::v1::{Resolution, ResolveActiveMessageRequest};
use plazo_tests::cluster::{Cluster, Durability, Setup};
use plazo_tests::desk::sign;
use plazo_tests::eventually;
use plazo_tests::mailing::{self, APP_SECRET, Account, Mailed};
use plazo_tests::outside::{Callbacks, Outside, Status, StatusKind};
use plazo_tests::process::Service;
use plazo_tests::proxy::Proxy;
use plazo_tests::report::FaultReport;
use tempfile::TempDir;

use crate::bed::{Bed, Size, to_float};

/// The first tenant of these messages.
const FIRST_TENANT: i64 = 101;
/// An attempt may take so long. A lease is this and the margin.
const ATTEMPT_MS: &str = "1000";
const MARGIN_MS: &str = "1000";
/// All leases have ended by then, and what they held is parked.
pub(crate) const LEASES_END_WITHIN: Duration = Duration::from_secs(4);
/// Within this all messages are where they belong, on a small and busy machine.
const SETTLED_WITHIN: Duration = Duration::from_mins(2);
/// What is put off longer than this need not be waited for.
const NUDGE: Duration = Duration::from_secs(5);

/// The cluster, whom it sends to, and what lies between.
pub(crate) struct Desks {
    pub(crate) bed: Bed,
    pub(crate) outside: Outside,
    /// Between notification and the API of the numbers.
    pub(crate) numbers: Proxy,
    /// One number of each tenant.
    pub(crate) accounts: Vec<Account>,
    /// Those whose statuses were told.
    told: usize,
    _folder: TempDir,
}

impl Desks {
    /// Starts a cluster under load, with so many tenants that have a number each.
    pub(crate) async fn start(size: Size, tenants: u8) -> Self {
        let outside = Outside::start().await;
        let numbers = Proxy::start(outside.address()).await;
        let folder = TempDir::new().expect("a folder for credentials");
        let tenants = (0..i64::from(tenants)).map(|tenant| FIRST_TENANT + tenant);
        for tenant in tenants.clone() {
            mailing::put_credential(folder.path(), tenant);
        }
        let mut setup = Setup::new(Durability::Fast);
        let base_url = format!("http://{}", numbers.address());
        for (key, value) in [
            ("WHATSAPP__BASE_URL", base_url.as_str()),
            ("WHATSAPP__REQUEST_TIMEOUT_MS", ATTEMPT_MS),
            ("WEBHOOK__REQUEST_TIMEOUT_MS", ATTEMPT_MS),
            ("BLIP__REQUEST_TIMEOUT_MS", ATTEMPT_MS),
            ("EMAIL__REQUEST_TIMEOUT_MS", ATTEMPT_MS),
            ("SENDER__LEASE_MARGIN_MS", MARGIN_MS),
            ("PROVIDERS__BREAKER_MAX_MS", "2000"),
            ("WEBHOOK__ALLOW_PRIVATE_NETWORKS", "true"),
            ("WEBHOOK__ALLOW_HTTP", "true"),
            ("CREDENTIALS__FOLDER", &folder.path().display().to_string()),
        ] {
            setup = setup.configure(Service::Notification, key, value);
        }
        let bed = Bed::start(size, setup).await;
        let mut accounts = Vec::new();
        for tenant in tenants {
            let number = format!("5511{tenant}");
            accounts.push(mailing::create_number(&bed.cluster, tenant, &number).await);
        }
        Self {
            bed,
            outside,
            numbers,
            accounts,
            told: 0,
            _folder: folder,
        }
    }

    /// The way back for the provider.
    pub(crate) fn callbacks(&self) -> Callbacks {
        let accounts = self.accounts.iter().map(|account| {
            let ids = (account.tenant_id, account.account_id);
            (account.number.clone(), ids)
        });
        let address = self.bed.cluster.callbacks_address();
        Callbacks::new(address, APP_SECRET, accounts.collect())
    }

    /// The provider tells of each message that it took since the last time that it has it.
    pub(crate) async fn tell_sent(&mut self) {
        let taken = self.outside.taken_by_number(self.told);
        self.told += taken.len();
        let statuses: Vec<Status> = taken
            .into_iter()
            .map(|(number, message_id)| Status {
                number,
                message_id,
                kind: StatusKind::Sent,
            })
            .collect();
        for some in statuses.chunks(200) {
            self.callbacks().tell(some).await;
        }
    }

    /// Messages of the load in a state.
    pub(crate) async fn in_state(&self, state: State) -> Vec<i64> {
        let states = mailing::states(&self.bed.databases.notification).await;
        let is_in = |found: &(i64, State)| found.1 == state;
        states.into_iter().filter(is_in).map(|(id, _)| id).collect()
    }

    /// Waits until no message waits, however long its next attempt was put off.
    pub(crate) async fn until_none_waits(&self) {
        let pool = &self.bed.databases.notification;
        eventually("no message waits", SETTLED_WITHIN, async || {
            // Leases are left alone: they are short.
            sqlx::query(
                "UPDATE active_messages SET next_attempt_at = clock_timestamp()
                 WHERE leased_until IS NULL AND next_attempt_at > clock_timestamp() + $1 * interval '1 second'",
            )
            .bind(NUDGE.as_secs_f64())
            .execute(pool)
            .await
            .expect("messages can be put forward");
            self.in_state(State::Accepted).await.is_empty()
        })
        .await;
    }

    /// Somebody finds out that the provider has none of these messages, and has them sent again.
    pub(crate) async fn send_again(&self, mailed: &Mailed, messages: &[i64]) {
        for message_id in messages {
            let tenant_id = mailed.accounts[message_id].tenant_id;
            let channel = sign(self.bed.cluster.channel(Service::Notification), tenant_id);
            let request = ResolveActiveMessageRequest {
                message_id: *message_id,
                resolution: Resolution::SendAgain.into(),
                request_id: String::new(),
            };
            NotificationServiceClient::new(channel)
                .resolve_active_message(request)
                .await
                .expect("it is uncertain");
        }
    }
}

/// Sees that each acknowledged message is in one of these states, and that whom it was for has it once, or, of webhooks,
/// at least once.
pub(crate) fn judge(
    report: &mut FaultReport,
    mailed: &Mailed,
    states: &BTreeMap<i64, State>,
    taken: &BTreeMap<i64, usize>,
    ends: &[State],
) {
    report.saw("messages", to_float(mailed.accounts.len()));
    report.require(!mailed.accounts.is_empty(), || "no message was sent".into());
    let mut problems = Vec::new();
    for (id, account) in &mailed.accounts {
        let times = taken.get(id).copied().unwrap_or_default();
        match states.get(id) {
            None => {
                report.lost += 1;
                problems.push(format!("message {id} was acknowledged and is not there"));
            }
            Some(state) if !ends.contains(state) => {
                report.wrong += 1;
                problems.push(format!("message {id} is {state:?} in the end"));
            }
            Some(_) if times == 0 => {
                report.lost += 1;
                problems.push(format!("message {id} never arrived"));
            }
            Some(_) => {}
        }
        if times > 1 && !account.number.is_empty() {
            report.twice += 1;
            problems.push(format!("message {id} arrived {times} times"));
        }
    }
    // A message that was acknowledged under another id would be there besides.
    if states.len() != mailed.accounts.len() {
        report.wrong += 1;
        problems.push(format!(
            "{} messages are there, {} were acknowledged",
            states.len(),
            mailed.accounts.len()
        ));
    }
    problems.truncate(5);
    report.problems.extend(problems);
}

/// A number that notification shows.
pub(crate) async fn metric(cluster: &Cluster, name: &str, label: &str) -> f64 {
    let metrics = cluster.metrics(Service::Notification).await;
    metrics.sum(name, label)
}
