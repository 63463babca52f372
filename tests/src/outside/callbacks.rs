//! What the provider tells about messages, signed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{REFERENCE, http, provider_id};

/// A callback that is not taken comes again after this time.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What a status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusKind {
    /// The provider has it.
    Sent,
    /// It could not be delivered, as it seems.
    Failed,
    /// The customer has it.
    Delivered,
    /// The customer read it.
    Read,
}

/// A status of a message.
#[derive(Debug, Clone)]
pub struct Status {
    /// The provider's id of the number.
    pub number: String,
    /// Our id of the message.
    pub message_id: i64,
    /// What became of it.
    pub kind: StatusKind,
}

/// The way back to notification.
#[derive(Debug, Clone)]
pub struct Callbacks {
    address: SocketAddr,
    secret: String,
    /// Tenant and account by the number.
    accounts: Arc<BTreeMap<String, (i64, i64)>>,
    repeated: Arc<AtomicUsize>,
}

impl Callbacks {
    /// Calls at an address, signed with the secret of the app, for numbers with their tenants and accounts.
    pub fn new(address: SocketAddr, secret: &str, accounts: BTreeMap<String, (i64, i64)>) -> Self {
        Self {
            address,
            secret: secret.to_owned(),
            accounts: Arc::new(accounts),
            repeated: Arc::default(),
        }
    }

    /// Callbacks that were not taken at once, and came again.
    pub fn repeated(&self) -> usize {
        self.repeated.load(Ordering::Relaxed)
    }

    /// Tells statuses, in one callback for each number, again and again until each is taken.
    pub async fn tell(&self, statuses: &[Status]) {
        let mut by_number: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for status in statuses {
            let told = by_number.entry(&status.number).or_default();
            told.push(status.to_json());
        }
        for (number, statuses) in by_number {
            let (tenant, account) = self.accounts[number];
            let path = format!("/callbacks/whatsapp/{tenant}/{account}");
            let value = json!({
                "metadata": { "phone_number_id": number },
                "statuses": statuses,
            });
            let change = json!({ "field": "messages", "value": value });
            let body = json!({ "entry": [{ "changes": [change] }] }).to_string();
            let signature = self.signature(&body);
            let header = ("x-hub-signature-256", signature.as_str());
            while http::post(self.address, &path, header, &body).await != Some(200) {
                self.repeated.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }

    fn signature(&self, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes())
            .expect("keys of any length will do");
        mac.update(body.as_bytes());
        let digits = mac.finalize().into_bytes();
        let digits: Vec<String> = digits.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256={}", digits.concat())
    }
}

impl Status {
    fn to_json(&self) -> Value {
        let name = match self.kind {
            StatusKind::Sent => "sent",
            StatusKind::Failed => "failed",
            StatusKind::Delivered => "delivered",
            StatusKind::Read => "read",
        };
        let mut status = json!({
            "id": provider_id(self.message_id),
            "status": name,
            "biz_opaque_callback_data": format!("{REFERENCE}{}", self.message_id),
        });
        if self.kind == StatusKind::Failed {
            status["errors"] = json!([{ "code": 131_026 }]);
        }
        status
    }
}
