//! Providers that call back: what they send, and how they sign it.

use std::path::Path;

use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::channel_account::Settings;
use plazo_proto::notification::v1::{
    BlipSettings, ChannelAccount, CreateChannelAccountRequest, WhatsAppSettings,
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::Connection as _;

use super::{Service, TENANT, World, administrator};

pub(crate) const APP_SECRET: &str = "hush-hush";
pub(crate) const VERIFY_TOKEN: &str = "is-it-you";
pub(crate) const CALLBACK_TOKEN: &str = "open-sesame";
pub(crate) const NUMBER: &str = "106540352242922";
pub(crate) const CUSTOMER: &str = "5511987654321";

/// A world whose service takes callbacks, with its folder of credentials.
pub(crate) async fn world() -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    write_credential(folder.path());
    let world = World::new()
        .await
        .with("callbacks.listen", "127.0.0.1:0")
        .with("credentials.folder", &folder.path().to_string_lossy())
        .with("inbound.poll_ms", "50")
        .with("inbound.max_backoff_ms", "200");
    (world, folder)
}

fn write_credential(folder: &Path) {
    let tenant = folder.join(TENANT.to_string());
    std::fs::create_dir_all(&tenant).expect("it is ours");
    let secrets = json!({"app_secret": APP_SECRET, "verify_token": VERIFY_TOKEN,
        "callback_token": CALLBACK_TOKEN, "access_token": "x"});
    std::fs::write(tenant.join("desk"), secrets.to_string()).expect("it is ours");
}

/// Creates an account; its id.
pub(crate) async fn create(service: &Service, channel: Channel, credential: &str) -> i64 {
    let settings = match channel {
        Channel::Blip => Settings::Blip(BlipSettings {
            contract_id: "desk".to_owned(),
        }),
        _ => Settings::Whatsapp(WhatsAppSettings {
            phone_number_id: NUMBER.to_owned(),
            templates: Vec::new(),
        }),
    };
    let request = CreateChannelAccountRequest {
        account: Some(ChannelAccount {
            name: "number".to_owned(),
            channel: channel.into(),
            settings: Some(settings),
            credential_name: credential.to_owned(),
            ..ChannelAccount::default()
        }),
        request_id: String::new(),
    };
    let mut client = service.api.accounts(administrator());
    let answer = client.create_channel_account(request).await;
    let account = answer.expect("the account is good").into_inner().account;
    account.expect("it is set").channel_account_id
}

/// HMAC-SHA256 as RFC 2104 writes it, so that the service's own is not checked by itself.
pub(crate) fn signature(secret: &str, body: &[u8]) -> String {
    let mut key = [0_u8; 64];
    key[..secret.len()].copy_from_slice(secret.as_bytes());
    let padded = |pad: u8| key.map(|byte| byte ^ pad);
    let inner = Sha256::new()
        .chain_update(padded(0x36))
        .chain_update(body)
        .finalize();
    let outer = Sha256::new()
        .chain_update(padded(0x5c))
        .chain_update(inner)
        .finalize();
    let digits: Vec<String> = outer.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={}", digits.concat())
}

pub(crate) fn url(service: &Service, path: &str) -> String {
    let address = service.callbacks_address.expect("callbacks are taken");
    format!("http://{address}/callbacks/{path}")
}

pub(crate) fn whatsapp_url(service: &Service, account_id: i64) -> String {
    url(service, &format!("whatsapp/{TENANT}/{account_id}"))
}

/// Sends a body as WhatsApp does.
pub(crate) async fn post(
    service: &Service,
    account_id: i64,
    body: Vec<u8>,
    signature: &str,
) -> StatusCode {
    reqwest::Client::new()
        .post(whatsapp_url(service, account_id))
        .header("x-hub-signature-256", signature)
        .body(body)
        .send()
        .await
        .expect("an answer")
        .status()
}

/// Sends values of one callback, each as an entry of its own, signed.
pub(crate) async fn call(service: &Service, account_id: i64, values: &[Value]) -> StatusCode {
    let body = body(values);
    let signature = signature(APP_SECRET, &body);
    post(service, account_id, body, &signature).await
}

/// A callback of WhatsApp for the account's number.
pub(crate) fn body(values: &[Value]) -> Vec<u8> {
    let entries: Vec<Value> = values
        .iter()
        .map(|value| {
            let mut value = value.clone();
            if value["metadata"].is_null() {
                value["metadata"] = json!({"phone_number_id": NUMBER});
            }
            json!({"id": "1", "changes": [{"field": "messages", "value": value}]})
        })
        .collect();
    json!({"object": "whatsapp_business_account", "entry": entries})
        .to_string()
        .into_bytes()
}

/// A status of a message, by the provider's id, and by ours unless it is 0.
pub(crate) fn status(provider_id: &str, state: &str, message_id: i64) -> Value {
    let mut status = json!({"id": provider_id, "status": state, "timestamp": "1750030073",
        "recipient_id": CUSTOMER});
    if message_id > 0 {
        status["biz_opaque_callback_data"] = json!(format!("msg_{message_id}"));
    }
    if state == "failed" {
        status["errors"] = json!([{"code": 131_026, "title": "Message undeliverable"}]);
    }
    json!({"statuses": [status]})
}

/// What a customer writes.
pub(crate) fn said(provider_id: &str, from: &str, text: &str) -> Value {
    json!({
        "contacts": [{"profile": {"name": "Ana"}, "wa_id": from}],
        "messages": [{"from": from, "id": provider_id, "timestamp": "1750030073", "type": "text",
            "text": {"body": text}}],
    })
}

/// How a message stands before its callbacks come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Standing {
    /// A sender has it, and nothing is known of it.
    Sending,
    /// It waits to be sent, after so many attempts of this round.
    Waiting(i32),
    /// The provider took it under this id.
    Sent(&'static str),
    /// Nobody knows.
    Uncertain,
    Failed,
}

impl World {
    /// Writes a message of an account as a sender would have left it; its id. Its key is `ticket/<ticket>`.
    pub(crate) async fn plant(&self, account_id: i64, ticket_id: i64, standing: Standing) -> i64 {
        let (state, provider_id, waits, is_leased, attempts) = match standing {
            Standing::Sending => (1_i16, None, true, true, 1),
            Standing::Waiting(attempts) => (1, None, true, false, attempts),
            Standing::Sent(id) => (2, Some(id), false, false, 1),
            Standing::Uncertain => (7, None, false, false, 1),
            Standing::Failed => (5, None, false, false, 1),
        };
        let mut connection = sqlx::PgConnection::connect(&self.database_url)
            .await
            .expect("the database is there");
        sqlx::query_scalar(
            "INSERT INTO active_messages (tenant_id, idempotency_key, kind, bot_id, ticket_id, contact_id, channel,
                 recipient_address, channel_account_id, body_text, image_url, accepted_at, queued_at, state_at,
                 state, provider_message_id, next_attempt_at, leased_until, attempts, round_attempts)
             VALUES ($1, 'ticket/' || $3, 1, 11, $3, 5, 3, '+5511987654321', $2, 'text', '', now(), now(), now(),
                 $4, $5, CASE WHEN $6 THEN now() + interval '1 h' END, CASE WHEN $7 THEN now() + interval '1 h' END,
                 $8, $8)
             RETURNING message_id",
        )
        .bind(TENANT)
        .bind(account_id)
        .bind(ticket_id)
        .bind(state)
        .bind(provider_id)
        .bind(waits)
        .bind(is_leased)
        .bind(attempts)
        .fetch_one(&mut connection)
        .await
        .expect("it fits the schema")
    }

    /// Runs statements on the database.
    pub(crate) async fn execute(&self, statements: &'static str) {
        let mut connection = sqlx::PgConnection::connect(&self.database_url)
            .await
            .expect("the database is there");
        sqlx::raw_sql(statements)
            .execute(&mut connection)
            .await
            .expect("the statements are right");
    }
}
