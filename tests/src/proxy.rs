//! A TCP proxy between two parts, which delays, stalls or drops what passes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Bytes taken in at a time.
const CHUNK: usize = 64 * 1_024;

/// What becomes of what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Passing {
    /// It passes.
    #[default]
    Freely,
    /// Answers come so much later; requests pass.
    AnswersLater(Duration),
    /// Requests pass, and answers are thrown away; connections in which one was lost end with this mode.
    AnswersDropped,
    /// Nothing passes, and no connection ends: what is under way arrives afterwards.
    Stalled,
    /// Connections end, and new ones end at once.
    Cut,
}

/// A proxy on a port of the loopback. When it is dropped, its connections end.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    passing: watch::Sender<Passing>,
    affected: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens on a free port, and connects to the target for each connection.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (passing, _) = watch::channel(Passing::Freely);
        let affected = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(
            listener,
            target,
            passing.clone(),
            Arc::clone(&affected),
        ));
        Self {
            address,
            passing,
            affected,
            _tasks: tasks,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets things pass otherwise from now on.
    pub fn set(&self, passing: Passing) {
        self.passing.send_replace(passing);
    }

    /// Pieces of answers that were delayed, stalled or dropped so far, pieces of requests that were stalled, and connections
    /// that were cut.
    pub fn affected(&self) -> u64 {
        self.affected.load(Ordering::Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    passing: watch::Sender<Passing>,
    affected: Arc<AtomicU64>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (passing, affected) = (passing.subscribe(), Arc::clone(&affected));
        connections.spawn(async move {
            // A connection that can't come about ends, as one to a dead server does.
            let Ok(server) = TcpStream::connect(target).await else {
                return;
            };
            connect(client, server, passing, &affected).await;
        });
    }
}

/// Carries both ways until either side ends, or the connection is cut.
async fn connect(
    client: TcpStream,
    server: TcpStream,
    passing: watch::Receiver<Passing>,
    affected: &AtomicU64,
) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut cut = passing.clone();
    let requests = async {
        let mut passing = passing.clone();
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = from_client.read(&mut chunk).await {
            if *passing.borrow_and_update() == Passing::Stalled {
                affected.fetch_add(1, Ordering::Relaxed);
                let _ = passing.wait_for(|mode| *mode != Passing::Stalled).await;
            }
            if to_server.write_all(&chunk[..length]).await.is_err() {
                break;
            }
        }
    };
    let answers = async {
        let mut passing = passing.clone();
        let mut chunk = vec![0; CHUNK];
        let mut has_dropped = false;
        while let Ok(length @ 1..) = from_server.read(&mut chunk).await {
            let arrived_at = Instant::now();
            let mode = *passing.borrow_and_update();
            if has_dropped && mode != Passing::AnswersDropped {
                break;
            }
            match mode {
                Passing::Freely => {}
                Passing::Cut => break,
                Passing::AnswersDropped => {
                    affected.fetch_add(1, Ordering::Relaxed);
                    has_dropped = true;
                    continue;
                }
                Passing::AnswersLater(delay) => {
                    affected.fetch_add(1, Ordering::Relaxed);
                    // What is read meanwhile waits in the system's buffers, and then comes at once: each piece is late
                    // by no more than the delay and what came before it.
                    tokio::time::sleep_until(arrived_at + delay).await;
                }
                Passing::Stalled => {
                    affected.fetch_add(1, Ordering::Relaxed);
                    let _ = passing.wait_for(|mode| *mode != Passing::Stalled).await;
                }
            }
            if to_client.write_all(&chunk[..length]).await.is_err() {
                break;
            }
        }
    };
    let ended = async {
        let _ = cut.wait_for(|mode| *mode == Passing::Cut).await;
        affected.fetch_add(1, Ordering::Relaxed);
    };
    tokio::select! {
        () = requests => {}
        () = answers => {}
        () = ended => {}
    }
}
