//! Just enough of the protocol of Redis to break it in a test.

use std::fmt::Write as _;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// A connection to a Redis server.
#[derive(Debug)]
pub struct RedisConnection(BufReader<UnixStream>);

impl RedisConnection {
    /// Connects to the server's socket.
    pub async fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket)
            .await
            .expect("Redis can be reached");
        Self(BufReader::new(stream))
    }

    /// Runs a command that answers with one line or text; an error is its text.
    pub async fn run(&mut self, command: &[&str]) -> Result<String, String> {
        let mut bytes = format!("*{}\r\n", command.len());
        for part in command {
            // Writing to a string can't fail.
            let _ = write!(bytes, "${}\r\n{part}\r\n", part.len());
        }
        let stream = self.0.get_mut();
        stream
            .write_all(bytes.as_bytes())
            .await
            .map_err(|error| error.to_string())?;
        let mut line = String::new();
        self.0
            .read_line(&mut line)
            .await
            .map_err(|error| error.to_string())?;
        let line = line.trim_end();
        let Some((kind, rest)) = line.split_at_checked(1) else {
            return Err("the connection ended".to_owned());
        };
        match kind {
            "+" | ":" => Ok(rest.to_owned()),
            "$" => self.text(rest).await,
            "-" => Err(rest.to_owned()),
            _ => Err(format!("an answer of another kind: {line}")),
        }
    }

    async fn text(&mut self, length: &str) -> Result<String, String> {
        let Ok(length) = length.parse::<usize>() else {
            return Ok(String::new());
        };
        let mut bytes = vec![0; length + 2];
        self.0
            .read_exact(&mut bytes)
            .await
            .map_err(|error| error.to_string())?;
        bytes.truncate(length);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A field of INFO.
    pub async fn info(&mut self, field: &str) -> String {
        let text = self.run(&["INFO"]).await.expect("INFO answers");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_default().to_owned()
    }
}
