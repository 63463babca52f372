//! As much of HTTP/1.1 as is needed, on the bare socket.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    /// The path.
    pub(super) path: String,
    head: String,
    /// The body.
    pub(super) body: Vec<u8>,
}

impl Request {
    /// A header by its name in small letters.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// The next request; none when the connection ends. What was read beyond it stays in `read`.
pub(super) async fn next_request(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<Request> {
    loop {
        let end = read
            .windows(END_OF_HEAD.len())
            .position(|part| part == END_OF_HEAD);
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            let length = header(&head, "content-length");
            let length: usize = length.and_then(|text| text.parse().ok()).unwrap_or(0);
            let begin = end + END_OF_HEAD.len();
            if read.len() >= begin + length {
                let rest = read.split_off(begin + length);
                let body = read.split_off(begin);
                *read = rest;
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                return Some(Request { path, head, body });
            }
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

/// Answers a request.
pub(super) async fn answer(stream: &mut TcpStream, status: u16, body: &str) -> io::Result<()> {
    let text = format!(
        "HTTP/1.1 {status} Any\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await
}

/// Posts a body with a header on a connection of its own; the status, or none when it could not be asked.
pub(super) async fn post(
    address: SocketAddr,
    path: &str,
    (name, value): (&str, &str),
    body: &str,
) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\n{name}: {value}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1)?.parse().ok()
}
