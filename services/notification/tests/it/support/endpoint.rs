//! A webhook endpoint that answers as a test tells it to.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::{eventually, spawn};

/// Counts what comes, by path.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<EndpointState>>,
    /// Paths that begin with /held answer only when they are released.
    pub(crate) release: Arc<Semaphore>,
}

#[derive(Default)]
struct EndpointState {
    calls: HashMap<String, Vec<Call>>,
    answers: HashMap<String, VecDeque<Answer>>,
    rules: HashMap<String, Rule>,
}

/// The status for a call.
type Rule = Arc<dyn Fn(&Call) -> u16 + Send + Sync>;

/// A call that came in.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) timestamp: String,
    pub(crate) signature: String,
    pub(crate) body: Vec<u8>,
    /// What it was answered.
    pub(crate) status: u16,
}

impl Call {
    /// The body of a webhook.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("webhooks carry JSON")
    }
}

/// Status, and a header if any.
pub(crate) type Answer = (u16, Option<(&'static str, String)>);

impl Endpoint {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let endpoint = Self {
            address,
            state: Arc::default(),
            release: Arc::new(Semaphore::new(0)),
        };
        let router = Router::new().fallback(take).with_state(endpoint.clone());
        spawn(async move { axum::serve(listener, router).await });
        endpoint
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next answers on a path; 200 after them.
    pub(crate) fn answer(&self, path: &str, answers: &[Answer]) {
        self.state(|state| {
            state
                .answers
                .entry(path.to_owned())
                .or_default()
                .extend(answers.iter().cloned());
        });
    }

    /// What a path answers from now on, where no answers are set.
    pub(crate) fn rule(&self, path: &str, rule: impl Fn(&Call) -> u16 + Send + Sync + 'static) {
        self.state(|state| state.rules.insert(path.to_owned(), Arc::new(rule)));
    }

    pub(crate) fn calls(&self, path: &str) -> Vec<Call> {
        self.state(|state| state.calls.get(path).cloned().unwrap_or_default())
    }

    pub(crate) async fn until_called(&self, path: &str, times: usize) -> Vec<Call> {
        eventually(&format!("{path} is called {times} times"), || async {
            let calls = self.calls(path);
            (calls.len() >= times).then_some(calls)
        })
        .await
    }

    fn state<T>(&self, act: impl FnOnce(&mut EndpointState) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn take(
    State(endpoint): State<Endpoint>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let path = uri.path().to_owned();
    let mut call = Call {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body: body.to_vec(),
        status: 200,
    };
    let (set, rule) = endpoint.state(|state| {
        let set = state.answers.get_mut(&path).and_then(VecDeque::pop_front);
        (set, state.rules.get(&path).cloned())
    });
    // A rule may look at the calls so far.
    let (status, header) = set.unwrap_or_else(|| (rule.map_or(200, |rule| rule(&call)), None));
    call.status = status;
    endpoint.state(|state| state.calls.entry(path.clone()).or_default().push(call));
    if path.starts_with("/held") {
        endpoint
            .release
            .acquire()
            .await
            .expect("it is never closed")
            .forget();
    }
    let status = StatusCode::from_u16(status).expect("a status");
    match header {
        Some((name, value)) => (status, [(name, value)]).into_response(),
        None => status.into_response(),
    }
}

/// Whether a call is signed with the secret, as Standard Webhooks tells a receiver to check it.
pub(crate) fn is_signed(call: &Call, secret: &str) -> bool {
    let key = secret
        .strip_prefix("whsec_")
        .and_then(|text| STANDARD.decode(text).ok());
    let Some(key) = key.filter(|key| key.len() >= 24) else {
        return false;
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key will do");
    mac.update(
        [
            call.id.as_bytes(),
            b".",
            call.timestamp.as_bytes(),
            b".",
            &call.body,
        ]
        .concat()
        .as_slice(),
    );
    call.signature
        .split(' ')
        .filter_map(|one| one.strip_prefix("v1,"))
        .any(|one| {
            STANDARD
                .decode(one)
                .is_ok_and(|signature| mac.clone().verify_slice(&signature).is_ok())
        })
}
