//! The bare protocol of Redis: what a program could do at best that talks to Redis itself, without a client library
//! between, and how a test breaks a server.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use tokio::task::spawn_blocking;

/// Bytes of answers that are read at a time.
const READ_BYTES: usize = 1 << 18;

/// An answer of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Nil,
    /// A number.
    Integer(i64),
    /// A string.
    Bytes(Vec<u8>),
    /// Several answers.
    List(Vec<Reply>),
    /// It was refused, for this reason.
    Error(String),
}

/// A connection that blocks; long work goes to threads of its own.
#[derive(Debug)]
pub struct Resp {
    writer: UnixStream,
    reader: BufReader<UnixStream>,
    line: Vec<u8>,
}

/// Appends a command as Redis reads it.
pub fn put_command(bytes: &mut Vec<u8>, parts: &[&[u8]]) {
    let put = |bytes: &mut Vec<u8>, kind: u8, number: usize| {
        bytes.push(kind);
        bytes.extend_from_slice(number.to_string().as_bytes());
        bytes.extend_from_slice(b"\r\n");
    };
    put(bytes, b'*', parts.len());
    for part in parts {
        put(bytes, b'$', part.len());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
}

impl Resp {
    /// Connects to a socket.
    pub fn connect(socket: &Path) -> Self {
        let writer = UnixStream::connect(socket).expect("Redis can be reached");
        let reader = writer.try_clone().expect("a socket has a second handle");
        Self {
            writer,
            reader: BufReader::with_capacity(READ_BYTES, reader),
            line: Vec::new(),
        }
    }

    /// Sends commands as they are.
    pub fn send(&mut self, commands: &[u8]) {
        self.writer
            .write_all(commands)
            .expect("Redis takes commands");
    }

    /// Reads one answer; an error of Redis is a panic.
    pub fn read(&mut self) -> Reply {
        match self.try_read().expect("Redis answers") {
            Reply::Error(reason) => panic!("Redis refused: {reason}"),
            reply => reply,
        }
    }

    /// Reads one answer; fails when the connection has ended.
    fn try_read(&mut self) -> std::io::Result<Reply> {
        self.line.clear();
        self.reader.read_until(b'\n', &mut self.line)?;
        let [kind, rest @ .., b'\r', b'\n'] = self.line.as_slice() else {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        };
        let text = std::str::from_utf8(rest).expect("the first line is text");
        Ok(match kind {
            b'+' => Reply::Bytes(rest.to_vec()),
            b'-' => Reply::Error(text.to_owned()),
            b':' => Reply::Integer(text.parse().expect("a number")),
            b'$' => match text.parse::<usize>() {
                // -1
                Err(_) => Reply::Nil,
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.reader.read_exact(&mut bytes)?;
                    bytes.truncate(length);
                    Reply::Bytes(bytes)
                }
            },
            b'*' => match text.parse::<usize>() {
                Err(_) => Reply::Nil,
                Ok(length) => Reply::List(
                    (0..length)
                        .map(|_| self.try_read())
                        .collect::<std::io::Result<_>>()?,
                ),
            },
            other => panic!("no answer begins with {other}"),
        })
    }

    /// One command and its answer.
    pub fn call(&mut self, parts: &[&[u8]]) -> Reply {
        let mut bytes = Vec::new();
        put_command(&mut bytes, parts);
        self.send(&bytes);
        self.read()
    }

    /// Memory that the data and the server's own structures take, in bytes.
    pub fn used_memory(&mut self) -> f64 {
        let Reply::Bytes(text) = self.call(&[b"INFO", b"memory"]) else {
            panic!("INFO is text");
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        let bytes = field_of(&text, "used_memory").expect("the memory is told");
        bytes.parse().expect("it is a number")
    }
}

/// A connection that waits without blocking.
#[derive(Debug)]
pub struct RedisConnection(Option<Resp>);

impl RedisConnection {
    /// Connects to the server's socket.
    pub fn open(socket: &Path) -> Self {
        Self(Some(Resp::connect(socket)))
    }

    /// Runs a command; a refusal, or the end of the connection, is an error in words. After a call that was not waited
    /// for, the connection is of no use.
    pub async fn ask(&mut self, command: &[&str]) -> Result<Reply, String> {
        let parts: Vec<_> = command.iter().map(|part| part.as_bytes()).collect();
        let mut bytes = Vec::new();
        put_command(&mut bytes, &parts);
        let mut resp = self.0.take().ok_or("an answer was not waited for")?;
        let call = spawn_blocking(move || {
            let written = resp.writer.write_all(&bytes);
            let answer = written.and_then(|()| resp.try_read());
            (resp, answer)
        });
        let (resp, answer) = call.await.map_err(|error| error.to_string())?;
        self.0 = Some(resp);
        match answer {
            Ok(Reply::Error(reason)) => Err(reason),
            Ok(reply) => Ok(reply),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Runs a command that answers with a number, a line or text.
    pub async fn run(&mut self, command: &[&str]) -> Result<String, String> {
        match self.ask(command).await? {
            Reply::Nil => Ok(String::new()),
            Reply::Integer(number) => Ok(number.to_string()),
            Reply::Bytes(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            other => Err(format!("an answer of another kind: {other:?}")),
        }
    }

    /// A field of INFO; empty when it is not there.
    pub async fn info(&mut self, field: &str) -> String {
        let text = self.run(&["INFO", "all"]).await.expect("INFO answers");
        field_of(&text, field).unwrap_or_default().to_owned()
    }
}

fn field_of<'a>(info: &'a str, field: &str) -> Option<&'a str> {
    let mut lines = info.lines();
    let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(value.trim())
}
