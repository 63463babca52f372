//! A stand-in for the WhatsApp Cloud API that keeps the provider's published rules: the bearer token, the window of
//! 24 hours, one message to a recipient in a while, so many of a number in a second, and the codes of its errors. It
//! counts a second copy of a message. Written on the bare socket, so that it can be cut at any place.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::channel_account::Settings;
use plazo_proto::notification::v1::{
    ActiveMessage, ChannelAccount, CreateChannelAccountRequest, WhatsAppSettings, WhatsAppTemplate,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{Api, TENANT, World, administrator, eventually, spawn};

pub(crate) const NUMBER: &str = "1045678";
pub(crate) const TOKEN: &str = "EAAG-a-token";
pub(crate) const CREDENTIAL: &str = "number-1";

/// What the next request meets.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// An error of the API: status, code, seconds of `Retry-After`.
    Error(u16, i64, Option<u32>),
    /// A status and text from something on the way to the API.
    Status(u16),
    /// The connection is cut before the message is taken.
    CutBefore,
    /// The message is taken, and the connection is cut before the answer.
    CutAfter,
    /// The message is taken, and the answer ends in its middle.
    CutInAnswer,
    /// The message is taken, and the answer waits for the release.
    Hold,
}

/// The stand-in.
#[derive(Clone)]
pub(crate) struct WhatsApp {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Lets answers go that are held.
    pub(crate) release: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    faults: VecDeque<Fault>,
    /// Recipients in the window.
    open_windows: Vec<String>,
    recipient_interval: Duration,
    per_second: usize,
    requests: usize,
    /// By our id of them.
    taken: BTreeMap<String, Value>,
    /// Those that could not be delivered.
    undelivered: Vec<String>,
    copies: usize,
    taken_at: VecDeque<Instant>,
    last_to: HashMap<String, Instant>,
}

impl WhatsApp {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let it = Self {
            address: listener.local_addr().expect("it is bound"),
            state: Arc::default(),
            release: Arc::new(Semaphore::new(0)),
        };
        it.state(|state| state.per_second = 80);
        let accepting = it.clone();
        spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let it = accepting.clone();
                spawn(async move { it.serve(stream).await });
            }
        });
        it
    }

    /// A world whose service sends here, and finds the credential in the folder.
    pub(crate) async fn world(&self, folder: &Path) -> World {
        let tenant = folder.join(TENANT.to_string());
        std::fs::create_dir_all(&tenant).expect("the folder is ours");
        let secret = json!({ "access_token": TOKEN }).to_string();
        std::fs::write(tenant.join(CREDENTIAL), secret).expect("the folder is ours");
        World::new()
            .await
            .with("whatsapp.base_url", &format!("http://{}", self.address))
            .with("credentials.folder", &folder.display().to_string())
            .with("credentials.recheck_ms", "10")
    }

    /// What the next requests meet, in their order.
    pub(crate) fn meet(&self, faults: &[Fault]) {
        self.state(|state| state.faults.extend(faults.iter().cloned()));
    }

    /// Nothing more is to be met.
    pub(crate) fn clear(&self) {
        self.state(|state| state.faults.clear());
    }

    /// The recipient has written within the last 24 hours.
    pub(crate) fn open_window(&self, number: &str) {
        self.state(|state| state.open_windows.push(number.to_owned()));
    }

    pub(crate) fn limit(&self, recipient_interval: Duration, per_second: usize) {
        self.state(|state| {
            state.recipient_interval = recipient_interval;
            state.per_second = per_second;
        });
    }

    pub(crate) fn requests(&self) -> usize {
        self.state(|state| state.requests)
    }

    /// The request that brought a message, if it was taken.
    pub(crate) fn taken(&self, message_id: i64) -> Option<Value> {
        self.state(|state| state.taken.get(&format!("msg_{message_id}")).cloned())
    }

    pub(crate) async fn until_taken(&self, message_id: i64) -> Value {
        eventually("the provider takes the message", || async {
            self.taken(message_id)
        })
        .await
    }

    /// The provider finds out that it can't deliver a message: something else may come in its place.
    pub(crate) fn refuse_afterwards(&self, message_id: i64) {
        let id = format!("msg_{message_id}");
        self.state(|state| {
            assert!(state.taken.remove(&id).is_some(), "it was never taken");
            state.undelivered.push(id);
        });
    }

    pub(crate) fn taken_count(&self) -> usize {
        self.state(|state| state.taken.len())
    }

    /// Messages that came a second time after they were taken.
    pub(crate) fn copies(&self) -> usize {
        self.state(|state| state.copies)
    }

    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut read = Vec::new();
        while let Some((head, body)) = next_request(&mut stream, &mut read).await {
            let fault = self.state(|state| {
                state.requests += 1;
                state.faults.pop_front()
            });
            let answer = match fault {
                Some(Fault::CutBefore) => return,
                Some(Fault::Error(status, code, retry_after)) => error(status, code, retry_after),
                Some(Fault::Status(status)) => (status, None, "<html>".to_owned()),
                _ => self.state(|state| state.take(&head, &body)),
            };
            let (status, retry_after, body) = answer;
            let header = retry_after.map_or(String::new(), |s| format!("retry-after: {s}\r\n"));
            let text = format!(
                "HTTP/1.1 {status} Any\r\n{header}content-length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut bytes = text.as_bytes();
            match fault {
                Some(Fault::CutAfter) => return,
                Some(Fault::CutInAnswer) => bytes = &bytes[..bytes.len() - 5],
                Some(Fault::Hold) => self.release.acquire().await.expect("never closed").forget(),
                _ => {}
            }
            if stream.write_all(bytes).await.is_err() || bytes.len() < text.len() {
                return;
            }
        }
    }
}

type Answer = (u16, Option<u32>, String);

impl State {
    fn take(&mut self, head: &str, body: &[u8]) -> Answer {
        let is_authorized = head
            .lines()
            .any(|line| line.eq_ignore_ascii_case(&format!("authorization: bearer {TOKEN}")));
        if !head.starts_with(&format!("POST /v23.0/{NUMBER}/messages HTTP/1.1")) {
            return error(404, 100, None);
        }
        if !is_authorized {
            return error(401, 190, None);
        }
        let Ok(request) = serde_json::from_slice::<Value>(body) else {
            return error(400, 100, None);
        };
        let text = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
        let (to, kind, id) = (text("to"), text("type"), text("biz_opaque_callback_data"));
        let is_whole = request["messaging_product"] == "whatsapp" && request[&kind].is_object();
        if !is_whole || to.is_empty() || !to.bytes().all(|b| b.is_ascii_digit()) {
            return error(400, 131_008, None);
        }
        if kind != "template" && !self.open_windows.contains(&to) {
            return error(400, 131_047, None);
        }
        let now = Instant::now();
        if let Some(last) = self.last_to.get(&to)
            && now.duration_since(*last) < self.recipient_interval
        {
            return error(400, 131_056, None);
        }
        while let Some(first) = self.taken_at.front()
            && now.duration_since(*first) >= Duration::from_secs(1)
        {
            self.taken_at.pop_front();
        }
        if self.taken_at.len() >= self.per_second {
            return error(429, 130_429, None);
        }
        self.taken_at.push_back(now);
        self.last_to.insert(to, now);
        let before = self.undelivered.iter().filter(|one| **one == id).count();
        let again = ".again".repeat(before);
        if self.taken.insert(id.clone(), request).is_some() {
            self.copies += 1;
        }
        let answer = json!({
            "messaging_product": "whatsapp",
            "messages": [{ "id": format!("wamid.{id}{again}") }],
        });
        (200, None, answer.to_string())
    }
}

fn error(status: u16, code: i64, retry_after: Option<u32>) -> Answer {
    let body =
        json!({ "error": { "message": "in words", "type": "OAuthException", "code": code } });
    (status, retry_after, body.to_string())
}

/// The next request's head and body; none when the connection ends.
pub(crate) async fn next_request(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            let length: usize = head
                .lines()
                .find_map(|line| {
                    line.to_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            if read.len() >= end + 4 + length {
                let rest = read.split_off(end + 4 + length);
                let body = read.split_off(end + 4);
                *read = rest;
                return Some((head, body));
            }
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

/// An account for the stand-in's number.
pub(crate) fn whatsapp_account(templates: Vec<WhatsAppTemplate>) -> ChannelAccount {
    ChannelAccount {
        name: "number".to_owned(),
        channel: Channel::Whatsapp.into(),
        settings: Some(Settings::Whatsapp(WhatsAppSettings {
            phone_number_id: NUMBER.to_owned(),
            templates,
        })),
        credential_name: CREDENTIAL.to_owned(),
        ..ChannelAccount::default()
    }
}

/// Creates it; its id.
pub(crate) async fn create_whatsapp(api: Api, templates: Vec<WhatsAppTemplate>) -> i64 {
    let request = CreateChannelAccountRequest {
        account: Some(whatsapp_account(templates)),
        request_id: String::new(),
    };
    let answer = api
        .accounts(administrator())
        .create_channel_account(request)
        .await
        .expect("the account is good")
        .into_inner();
    assert_eq!(answer.signing_secret, "", "only webhooks have one");
    answer.account.expect("it is set").channel_account_id
}

/// The message by WhatsApp to a number, whose owner wrote just now.
pub(crate) fn by_whatsapp(
    mut message: ActiveMessage,
    channel_account_id: i64,
    number: &str,
) -> ActiveMessage {
    let now = jiff::Timestamp::now();
    message.channel_account_id = channel_account_id;
    let recipient = message.recipient.get_or_insert_default();
    recipient.channel = Channel::Whatsapp.into();
    recipient.address = format!("+{number}");
    message.last_customer_message_time = Some(prost_types::Timestamp {
        seconds: now.as_second() - 60,
        nanos: 0,
    });
    message
}
