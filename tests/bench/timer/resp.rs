//! The bare protocol of Redis: what a program could do at best that talks to Redis itself, without a client library
//! between. It blocks; long work goes to threads of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// An answer of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// Nothing.
    Nil,
    /// A number.
    Integer(i64),
    /// A string.
    Bytes(Vec<u8>),
    /// Several answers.
    List(Vec<Reply>),
}

/// A connection that blocks.
#[derive(Debug)]
pub(super) struct Resp {
    writer: UnixStream,
    reader: BufReader<UnixStream>,
    line: Vec<u8>,
}

/// Appends a command as Redis reads it.
pub(super) fn put_command(bytes: &mut Vec<u8>, parts: &[&[u8]]) {
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
    pub(super) fn connect(socket: &Path) -> Self {
        let writer = UnixStream::connect(socket).expect("Redis can be reached");
        let reader = writer.try_clone().expect("a socket has a second handle");
        Self {
            writer,
            reader: BufReader::with_capacity(1 << 18, reader),
            line: Vec::new(),
        }
    }

    /// Sends commands as they are.
    pub(super) fn send(&mut self, commands: &[u8]) {
        self.writer
            .write_all(commands)
            .expect("Redis takes commands");
    }

    /// Reads one answer; an error of Redis is a panic.
    pub(super) fn read(&mut self) -> Reply {
        self.line.clear();
        self.reader
            .read_until(b'\n', &mut self.line)
            .expect("Redis answers");
        let [kind, rest @ .., b'\r', b'\n'] = self.line.as_slice() else {
            panic!("Redis has closed the connection");
        };
        let text = std::str::from_utf8(rest).expect("the first line is text");
        match kind {
            b'+' => Reply::Bytes(rest.to_vec()),
            b'-' => panic!("Redis refused: {text}"),
            b':' => Reply::Integer(text.parse().expect("a number")),
            b'$' => match text.parse::<usize>() {
                // -1
                Err(_) => Reply::Nil,
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.reader.read_exact(&mut bytes).expect("Redis answers");
                    bytes.truncate(length);
                    Reply::Bytes(bytes)
                }
            },
            b'*' => match text.parse::<usize>() {
                Err(_) => Reply::Nil,
                Ok(length) => Reply::List((0..length).map(|_| self.read()).collect()),
            },
            other => panic!("no answer begins with {other}"),
        }
    }

    /// One command and its answer.
    pub(super) fn call(&mut self, parts: &[&[u8]]) -> Reply {
        let mut bytes = Vec::new();
        put_command(&mut bytes, parts);
        self.send(&bytes);
        self.read()
    }

    /// Memory that the data and the server's own structures take, in bytes.
    pub(super) fn used_memory(&mut self) -> f64 {
        let Reply::Bytes(text) = self.call(&[b"INFO", b"memory"]) else {
            panic!("INFO is text");
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"));
        let bytes = line.expect("the memory is told");
        bytes.trim().parse().expect("it is a number")
    }
}
