//! What messages go to: a stand-in for the WhatsApp Cloud API and for endpoints of webhooks, which keeps account of each
//! message, and calls back when a test wants it to.

mod callbacks;
mod http;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub use callbacks::{Callbacks, Status, StatusKind};

/// What notification says before the id of a message.
const REFERENCE: &str = "msg_";
/// One answer in so many comes later by so much: statuses overtake it.
const LATE_SHARE: usize = 8;
const LATE_BY: Duration = Duration::from_millis(200);

/// The stand-in on a port of the loopback. When it is dropped, it is gone.
#[derive(Debug)]
pub struct Outside {
    address: SocketAddr,
    books: Arc<Mutex<Books>>,
    _tasks: JoinSet<()>,
}

/// What came.
#[derive(Debug, Default)]
struct Books {
    /// How often each message was taken.
    taken: BTreeMap<i64, usize>,
    /// Messages of WhatsApp numbers in the order in which they were taken.
    by_number: Vec<(String, i64)>,
}

impl Outside {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let books: Arc<Mutex<Books>> = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&books)));
        Self {
            address,
            books,
            _tasks: tasks,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often each message was taken, by its id.
    pub fn taken(&self) -> BTreeMap<i64, usize> {
        lock(&self.books).taken.clone()
    }

    /// Messages that numbers were to send, from the `from`th on: the number and the message.
    pub fn taken_by_number(&self, from: usize) -> Vec<(String, i64)> {
        let books = lock(&self.books);
        books.by_number.get(from..).unwrap_or_default().to_vec()
    }
}

async fn accept(listener: TcpListener, books: Arc<Mutex<Books>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        connections.spawn(serve(stream, Arc::clone(&books)));
    }
}

async fn serve(mut stream: TcpStream, books: Arc<Mutex<Books>>) {
    let mut read = Vec::new();
    while let Some(request) = http::next_request(&mut stream, &mut read).await {
        let (status, body, place) = take(&request, &books);
        if place % LATE_SHARE == LATE_SHARE - 1 {
            tokio::time::sleep(LATE_BY).await;
        }
        if http::answer(&mut stream, status, &body).await.is_err() {
            return;
        }
    }
}

/// Takes a message; the answer, and how many were taken before.
fn take(request: &http::Request, books: &Mutex<Books>) -> (u16, String, usize) {
    let number = request
        .path
        .strip_prefix("/v23.0/")
        .and_then(|rest| rest.strip_suffix("/messages"));
    let reference = if number.is_some() {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        body["biz_opaque_callback_data"].as_str().map(str::to_owned)
    } else {
        request.header("webhook-id").map(str::to_owned)
    };
    let id = reference.as_deref().and_then(message_id);
    let Some(id) = id else {
        return (400, "{}".to_owned(), 0);
    };
    let mut books = lock(books);
    let place = books.taken.len();
    *books.taken.entry(id).or_default() += 1;
    if let Some(number) = number {
        books.by_number.push((number.to_owned(), id));
    }
    let answer = json!({ "messages": [{ "id": provider_id(id) }] });
    (200, answer.to_string(), place)
}

/// The provider's id of a message.
fn provider_id(message_id: i64) -> String {
    format!("wamid.{message_id}")
}

fn message_id(reference: &str) -> Option<i64> {
    reference.strip_prefix(REFERENCE)?.parse().ok()
}

/// A panic while the lock is held leaves nothing half-changed.
fn lock(books: &Mutex<Books>) -> std::sync::MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}
