//! A private Redis (or Valkey) server.

use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::binaries::find_redis;
use crate::error::{Result, file_error};
use crate::folder::{DataFolder, ServerFolder, make_private_folder};
use crate::server::{Kind, LocalServer};
use crate::url::percent_encode;

const SOCKET_NAME: &str = "redis.sock";

/// A server that loads its data answers at once; one that hangs is asked again.
const PING_BOUND: Duration = Duration::from_secs(1);

/// Nothing that is asked of a server takes long.
const CALL_BOUND: Duration = Duration::from_secs(10);

const KIND: Kind = Kind {
    name: "Redis",
    // Writes what is left of the append-only file.
    first_signal: Signal::SIGTERM,
    // There is nothing between asking and SIGKILL.
    second_signal: Signal::SIGKILL,
};

/// What a server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It keeps data; it may follow another one.
    Alone,
    /// It is a node of a cluster, and listens on a TCP port.
    ClusterNode,
    /// It watches others and keeps no data, and listens on a TCP port.
    Sentinel,
}

/// How to run a Redis server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RedisOptions {
    /// Where the data are.
    pub folder: DataFolder,
    /// Whether the server keeps an append-only file, synced every second; without it a restarted server is empty.
    pub append_only: bool,
    /// Whether it also listens on a free TCP port of 127.0.0.1, without a password: for tests that put a proxy
    /// between, or a replica beside.
    pub tcp: bool,
    pub(crate) role: Role,
    /// More lines of `redis.conf`; they win over the ones made here.
    pub settings: Vec<String>,
    /// How long a start may take, loading the data included; default 60 s.
    pub start_timeout: Duration,
    /// How long an orderly end may take before the server is forced; default 20 s.
    pub stop_timeout: Duration,
}

impl RedisOptions {
    /// A server with an append-only file in this folder.
    pub fn new(folder: DataFolder) -> Self {
        Self {
            folder,
            append_only: true,
            tcp: false,
            role: Role::Alone,
            settings: Vec::new(),
            start_timeout: Duration::from_mins(1),
            stop_timeout: Duration::from_secs(20),
        }
    }

    /// A server with an append-only file in a folder that stays.
    pub fn persistent(folder: impl Into<PathBuf>) -> Self {
        Self::new(DataFolder::Persistent(folder.into()))
    }

    /// A server with an append-only file in a temporary folder.
    pub fn temporary() -> Self {
        Self::new(DataFolder::Temporary)
    }

    /// The same, with another [`append_only`](Self::append_only).
    #[must_use]
    pub fn append_only(mut self, append_only: bool) -> Self {
        self.append_only = append_only;
        self
    }

    /// The same, with another [`tcp`](Self::tcp).
    #[must_use]
    pub fn tcp(mut self, tcp: bool) -> Self {
        self.tcp = tcp;
        self
    }

    /// The same, with one more of [`settings`](Self::settings).
    #[must_use]
    pub fn setting(mut self, line: impl Into<String>) -> Self {
        self.settings.push(line.into());
        self
    }
}

/// A Redis server that this process owns, reachable on a Unix socket that only its own account (and root) can open.
/// It evicts nothing. It ends when this handle is dropped or the owner's process ends; [`stop`](Self::stop) ends it
/// in order and waits for that.
#[derive(Debug)]
pub struct RedisServer {
    server: LocalServer,
    options: RedisOptions,
    program: PathBuf,
    tcp_port: Option<u16>,
    /// Where the nodes of a cluster talk to each other.
    bus_port: Option<u16>,
}

impl RedisServer {
    /// Starts a server and waits until it has loaded its data and answers.
    pub async fn start(options: RedisOptions) -> Result<Self> {
        let program = find_redis()?;
        let folder = ServerFolder::prepare(&options.folder, SOCKET_NAME)?;
        let server = LocalServer::new(KIND, folder, options.stop_timeout).await?;
        let data = server.folder().data();
        if !data.exists() {
            make_private_folder(&data)?;
            if let Some(account) = server.folder().account() {
                account.own(&data)?;
            }
        }
        let mut redis = Self {
            server,
            options,
            program,
            tcp_port: None,
            bus_port: None,
        };
        if redis.options.tcp || redis.options.role != Role::Alone {
            redis.launch_on_free_port().await?;
        } else {
            redis.launch().await?;
        }
        Ok(redis)
    }

    /// The URL of the server's socket, for redis-rs.
    pub fn url(&self) -> String {
        // The slashes stay: without them it would be no path.
        format!(
            "redis+unix://{}",
            percent_encode(&self.socket_path()).replace("%2F", "/")
        )
    }

    /// The port on 127.0.0.1, when the options ask for one. It stays the same over restarts.
    pub fn tcp_port(&self) -> Option<u16> {
        self.tcp_port
    }

    /// Ends the server in order. The data stay for [`restart`](Self::restart) when it has an append-only file.
    pub async fn stop(&mut self) -> Result<()> {
        self.server.stop().await
    }

    /// Ends the server at once with SIGKILL. Up to a second of writes is not yet synced; it survives the death of the
    /// process, but not that of the machine.
    pub async fn kill(&mut self) -> Result<()> {
        self.server.kill().await
    }

    /// Starts the server again on the same data, socket and port; stops it first when it runs.
    pub async fn restart(&mut self) -> Result<()> {
        self.server.stop().await?;
        self.launch().await
    }

    /// Freezes the server (SIGSTOP).
    pub fn pause(&self) -> Result<()> {
        self.server.pause()
    }

    /// Lets a frozen server go on (SIGCONT).
    pub fn resume(&self) -> Result<()> {
        self.server.resume()
    }

    /// Waits until the server has ended by itself. Returns at once when it isn't running.
    pub async fn ended(&mut self) {
        self.server.ended().await;
    }

    /// The process id of the server; an error while it isn't running.
    pub fn pid(&self) -> Result<i32> {
        self.server.pid().map(Pid::as_raw)
    }

    /// The server's socket.
    pub fn socket_path(&self) -> PathBuf {
        self.server.folder().socket_folder().join(SOCKET_NAME)
    }

    /// The folder with the append-only files.
    pub fn data_folder(&self) -> PathBuf {
        self.server.folder().data()
    }

    /// Sends a command and returns the answer; see [`call`].
    pub(crate) async fn call(&self, words: &[&str]) -> Result<String> {
        call(&self.socket_path(), words).await
    }

    /// Where the nodes of a cluster talk to each other, when this is one.
    pub(crate) fn bus_port(&self) -> Option<u16> {
        self.bus_port
    }

    /// The server's log.
    pub fn log_path(&self) -> PathBuf {
        self.server.folder().log()
    }

    /// Another process may take the port between its choice and the server's start: then another one is chosen.
    async fn launch_on_free_port(&mut self) -> Result<()> {
        let attempts = 3;
        for attempt in 1..=attempts {
            self.tcp_port = Some(free_port()?);
            if self.options.role == Role::ClusterNode {
                self.bus_port = Some(free_port()?);
            }
            match self.launch().await {
                Err(error) if attempt < attempts => tracing::warn!(%error, "trying another port"),
                result => return result,
            }
        }
        Ok(())
    }

    async fn launch(&mut self) -> Result<()> {
        let path = self.server.folder().path().join("redis.conf");
        fs::write(&path, self.configuration()).map_err(file_error("write", &path))?;
        // The server rewrites it on CONFIG REWRITE, and refuses one that it can't read.
        if let Some(account) = self.server.folder().account() {
            account.own(&path)?;
        }
        let mut arguments = vec![path.into()];
        if self.options.role == Role::Sentinel {
            arguments.push("--sentinel".into());
        }
        self.server.launch(&self.program, &arguments).await?;
        let socket = self.socket_path();
        let ready = async |_: Pid| answers_ping(&socket).await;
        self.server
            .wait_ready(self.options.start_timeout, ready)
            .await
    }

    fn configuration(&self) -> String {
        let append_only = if self.options.append_only {
            "yes"
        } else {
            "no"
        };
        let mut text = format!(
            "port {}\n\
             bind 127.0.0.1\n\
             unixsocket {}\n\
             unixsocketperm 700\n\
             daemonize no\n\
             dir {}\n",
            self.tcp_port.unwrap_or(0),
            quote(&self.socket_path()),
            quote(&self.data_folder()),
        );
        // Writing to a string can't fail.
        if self.options.role != Role::Sentinel {
            let _ = write!(
                text,
                "save \"\"\n\
                 appendonly {append_only}\n\
                 appendfsync everysec\n\
                 maxmemory-policy noeviction\n"
            );
        }
        if let Some(bus_port) = self.bus_port {
            let _ = write!(
                text,
                "cluster-enabled yes\n\
                 cluster-config-file nodes.conf\n\
                 cluster-port {bus_port}\n"
            );
        }
        for line in &self.options.settings {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

/// A path as a string of `redis.conf`.
fn quote(path: &Path) -> String {
    let text = path.to_string_lossy();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    let address = address.map_err(file_error("find a free port on", Path::new("127.0.0.1")))?;
    Ok(address.port())
}

/// Whether the server is there and has loaded its data; until then it answers `-LOADING`.
async fn answers_ping(socket: &Path) -> bool {
    let ping = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(&answer == b"+PONG")
    };
    matches!(tokio::time::timeout(PING_BOUND, ping).await, Ok(Ok(true)))
}

/// Sends a command to the server on the socket. Returns a plain answer as text, and a list with an item a line.
async fn call(socket: &Path, words: &[&str]) -> Result<String> {
    let asked = async {
        let stream = UnixStream::connect(socket).await?;
        let mut stream = BufReader::new(stream);
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            // Writing to a string can't fail.
            let _ = write!(request, "${}\r\n{word}\r\n", word.len());
        }
        stream.write_all(request.as_bytes()).await?;
        let mut items = Vec::new();
        let mut wanted = 1;
        while wanted > 0 {
            wanted -= 1;
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let (kind, rest) = line.trim_end().split_at_checked(1).unwrap_or_default();
            match kind {
                "+" | ":" => items.push(rest.to_owned()),
                "$" if rest == "-1" => items.push(String::new()),
                "$" => {
                    let mut bytes = vec![0; rest.parse::<usize>().unwrap_or(0) + 2];
                    stream.read_exact(&mut bytes).await?;
                    bytes.truncate(bytes.len() - 2);
                    items.push(String::from_utf8_lossy(&bytes).into_owned());
                }
                "*" => wanted += rest.parse::<usize>().unwrap_or(0),
                _ => return Err(std::io::Error::other(rest.to_owned())),
            }
        }
        Ok(items.join("\n"))
    };
    let bounded = tokio::time::timeout(CALL_BOUND, asked).await;
    bounded
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        .map_err(file_error("ask the server on", socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted() {
        assert_eq!(quote(Path::new(r#"/a b/"c"\d"#)), r#""/a b/\"c\"\\d""#);
    }
}
