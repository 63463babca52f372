//! Endpoints that take webhooks at once, and note when each came; or take them and never answer. A process of its own,
//! this program with another argument, that takes commands by lines (`recorder`).

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prost_types::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::timer::now_us;
use crate::timer::recorder::{answer, hand_over};

/// Ports on which it listens, each as if it were another endpoint's host: connections are kept for each.
pub(super) const PORTS: usize = 64;

/// Serves until its input ends.
pub(crate) fn serve() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let endpoints = Endpoints::default();
        let mut ports = Vec::new();
        let mut listening = JoinSet::new();
        for _ in 0..PORTS {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .await
                .expect("a port is free");
            let address = listener.local_addr().expect("it is bound");
            ports.push(address.port().to_string());
            listening.spawn(endpoints.clone().listen(listener));
        }
        answer(&format!("ready {}", ports.join(" ")));
        tokio::task::spawn_blocking(move || endpoints.obey())
            .await
            .expect("commands are known");
    });
    ExitCode::SUCCESS
}

#[derive(Debug, Clone, Default)]
struct Endpoints {
    /// For each message when it was accepted and when it came, in milliseconds since 1970.
    pairs_ms: Arc<Mutex<Vec<f64>>>,
    hang: Arc<AtomicBool>,
}

impl Endpoints {
    fn obey(&self) {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            let mut pairs_ms = self.pairs_ms.lock().unwrap_or_else(PoisonError::into_inner);
            match words[0] {
                "count" => answer(&(pairs_ms.len() / 2).to_string()),
                "take" => {
                    let given = std::mem::take(&mut *pairs_ms);
                    drop(pairs_ms);
                    hand_over(words[1], &given);
                }
                mode @ ("hang" | "go") => {
                    self.hang.store(mode == "hang", Ordering::Relaxed);
                    answer("0");
                }
                other => panic!("no command {other}"),
            }
        }
    }

    async fn listen(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.expect("connections come");
            connections.spawn(self.clone().serve(stream));
            while connections.try_join_next().is_some() {}
        }
    }

    fn note(&self, message_ms: [f64; 2]) {
        let mut pairs_ms = self.pairs_ms.lock().unwrap_or_else(PoisonError::into_inner);
        pairs_ms.extend(message_ms);
    }

    /// Takes requests one after the other until the other side goes.
    async fn serve(self, mut stream: TcpStream) {
        stream
            .set_nodelay(true)
            .expect("a connection has that option");
        let mut bytes = Vec::with_capacity(4_096);
        loop {
            let Some(body) = read_request(&mut stream, &mut bytes).await else {
                return;
            };
            let at_ms = millis(now_us());
            if self.hang.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let accepted_ms = accepted_ms(&body);
            self.note([accepted_ms, at_ms]);
            if stream
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

/// The body of the next request; none when no more comes. What was read beyond it stays in `bytes`.
async fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some((head_end, end)) = request_end(bytes)
            && bytes.len() >= end
        {
            let body = bytes[head_end..end].to_vec();
            bytes.drain(..end);
            return Some(body);
        }
        match stream.read_buf(bytes).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// Where the head and the body of the first request end, once its head is there.
fn request_end(bytes: &[u8]) -> Option<(usize, usize)> {
    const END: &[u8] = b"\r\n\r\n";
    let head_end = bytes.windows(END.len()).position(|four| four == END)? + END.len();
    let head = std::str::from_utf8(&bytes[..head_end]).expect("a head is ASCII");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    Some((head_end, head_end + length.expect("a request has a length")))
}

/// When the message was accepted, as the body says.
fn accepted_ms(body: &[u8]) -> f64 {
    let body: serde_json::Value = serde_json::from_slice(body).expect("bodies are JSON");
    let timestamp = body["timestamp"].as_str().expect("it has a timestamp");
    let at: Timestamp = timestamp.parse().expect("RFC 3339");
    millis(at.seconds * 1_000_000 + i64::from(at.nanos) / 1_000)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of our days fit")]
fn millis(us: i64) -> f64 {
    us as f64 / 1e3
}
