//! A stand-in for the HTTP API of Blip: the key, the contract, the form of messages. It counts a second copy of a
//! message, and an id that comes twice. Written on the bare socket, so that it can be cut at any place.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::channel_account::Settings;
use plazo_proto::notification::v1::{
    ActiveMessage, BlipSettings, ChannelAccount, CreateChannelAccountRequest,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::whatsapp::next_request;
use super::{Api, TENANT, World, administrator, spawn};

pub(crate) const CONTRACT: &str = "desk-7";
pub(crate) const KEY: &str = "ZGVzazpzZWNyZXQ=";
pub(crate) const CREDENTIAL: &str = "contract-1";

/// What the next request meets.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// A status, and seconds of `Retry-After`. The message is not taken.
    Status(u16, Option<u32>),
    /// The connection is cut before the message is taken.
    CutBefore,
    /// The message is taken, and the connection is cut before the answer.
    CutAfter,
    /// The message is taken, and the answer's head ends in its middle.
    CutInAnswer,
    /// The message is taken, and the answer waits for the release.
    Hold,
}

/// The stand-in.
#[derive(Clone)]
pub(crate) struct Blip {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    release: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    faults: VecDeque<Fault>,
    requests: usize,
    ids: BTreeSet<String>,
    /// By our id of the message, without the attempt's.
    taken: BTreeMap<String, Value>,
    copies: usize,
    ids_again: usize,
}

impl Blip {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let it = Self {
            address: listener.local_addr().expect("it is bound"),
            state: Arc::default(),
            release: Arc::new(Semaphore::new(0)),
        };
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
        let secret = json!({ "key": KEY, "callback_token": "t".repeat(32) }).to_string();
        std::fs::write(tenant.join(CREDENTIAL), secret).expect("the folder is ours");
        World::new()
            .await
            .with(
                "blip.base_url",
                &format!("http://{}/{{contract}}", self.address),
            )
            .with("blip.request_timeout_ms", "5000")
            .with("credentials.folder", &folder.display().to_string())
            .with("credentials.recheck_ms", "10")
    }

    /// What the next requests meet, in their order.
    pub(crate) fn meet(&self, faults: &[Fault]) {
        self.state(|state| state.faults.extend(faults.iter().cloned()));
    }

    pub(crate) fn requests(&self) -> usize {
        self.state(|state| state.requests)
    }

    /// The request that brought a message, if it was taken.
    pub(crate) fn taken(&self, message_id: i64) -> Option<Value> {
        self.state(|state| state.taken.get(&message_id.to_string()).cloned())
    }

    /// Messages that came a second time after they were taken, and requests with an id that another had.
    pub(crate) fn copies(&self) -> (usize, usize) {
        self.state(|state| (state.copies, state.ids_again))
    }

    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut read = Vec::new();
        while let Some((head, body)) = next_request(&mut stream, &mut read).await {
            let fault = self.state(|state| {
                state.requests += 1;
                state.note_id(&body);
                state.faults.pop_front()
            });
            let (status, retry_after) = match fault {
                Some(Fault::CutBefore) => return,
                Some(Fault::Status(status, retry_after)) => (status, retry_after),
                _ => (self.state(|state| state.take(&head, &body)), None),
            };
            let header = retry_after.map_or(String::new(), |s| format!("retry-after: {s}\r\n"));
            let text = format!("HTTP/1.1 {status} Any\r\n{header}content-length: 0\r\n\r\n");
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

impl State {
    fn note_id(&mut self, body: &[u8]) {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let id = request["id"].as_str().unwrap_or_default().to_owned();
        if !self.ids.insert(id) {
            self.ids_again += 1;
        }
    }

    /// The answer's status.
    fn take(&mut self, head: &str, body: &[u8]) -> u16 {
        if !head.starts_with(&format!("POST /{CONTRACT}/messages HTTP/1.1")) {
            return 404;
        }
        let expected = format!("authorization: key {KEY}");
        if !head
            .lines()
            .any(|line| line.eq_ignore_ascii_case(&expected))
        {
            return 401;
        }
        let Ok(request) = serde_json::from_slice::<Value>(body) else {
            return 400;
        };
        let text = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
        let content = &request["content"];
        let is_content = match text("type").as_str() {
            "text/plain" => content.is_string(),
            "application/vnd.lime.media-link+json" => {
                content["uri"].is_string() && content["type"].is_string()
            }
            _ => false,
        };
        let id = text("id");
        let Some(rest) = id.strip_prefix("msg_") else {
            return 400;
        };
        if !is_content || !text("to").contains('@') {
            return 400;
        }
        let message_id = rest.split('_').next().unwrap_or_default().to_owned();
        if self.taken.insert(message_id, request).is_some() {
            self.copies += 1;
        }
        202
    }
}

/// Creates an account for the stand-in's contract; its id.
pub(crate) async fn create_blip(api: Api) -> i64 {
    let account = ChannelAccount {
        name: "contract".to_owned(),
        channel: Channel::Blip.into(),
        settings: Some(Settings::Blip(BlipSettings {
            contract_id: CONTRACT.to_owned(),
        })),
        credential_name: CREDENTIAL.to_owned(),
        ..ChannelAccount::default()
    };
    let request = CreateChannelAccountRequest {
        account: Some(account),
        request_id: String::new(),
    };
    let answer = api
        .accounts(administrator())
        .create_channel_account(request)
        .await
        .expect("the account is good")
        .into_inner();
    answer.account.expect("it is set").channel_account_id
}

/// The message by Blip to a customer of one of its channels.
pub(crate) fn by_blip(mut message: ActiveMessage, channel_account_id: i64) -> ActiveMessage {
    message.channel_account_id = channel_account_id;
    let recipient = message.recipient.get_or_insert_default();
    recipient.channel = Channel::Blip.into();
    "5511987654321@wa.gw.msging.net".clone_into(&mut recipient.address);
    message
}
