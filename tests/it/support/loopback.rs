//! A lean HTTP/1.1 client on one kept connection: requests are bytes made beforehand, and of an answer only the status and the
//! length are read. For measuring and for load, where a whole client would use the processor that is to be measured.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// A connection.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, as long as the next request is not sent.
pub(crate) struct Answer<'w> {
    pub(crate) status: u16,
    /// Whether the server closes the connection after it.
    #[allow(dead_code, reason = "the load generator goes on until the end")]
    pub(crate) last: bool,
    pub(crate) body: &'w [u8],
}

impl Answer<'_> {
    /// Whether the body has this text in it.
    #[allow(dead_code, reason = "the load generator asks, the tests do not")]
    pub(crate) fn says(&self, text: &str) -> bool {
        self.body.windows(text.len()).any(|window| window == text.as_bytes())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.body).unwrap_or_default()
    }
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(8 * 1024) })
    }

    /// Send a request and read its answer.
    pub(crate) async fn send(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some(head) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let last = says_close(&self.buffer[..head]);
            let (status, length) = read_head(&self.buffer[..head]).ok_or(io::ErrorKind::InvalidData)?;
            let whole = head + 4 + length;
            if whole > MAX_ANSWER_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            while self.buffer.len() < whole {
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            return Ok(Answer { status, last, body: &self.buffer[head + 4..whole] });
        }
    }
}

/// Status and `content-length`; an answer without one is not understood.
fn read_head(head: &[u8]) -> Option<(u16, usize)> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    })?;
    Some((status, length))
}

fn says_close(head: &[u8]) -> bool {
    std::str::from_utf8(head).is_ok_and(|head| head.to_ascii_lowercase().contains("\r\nconnection: close"))
}

/// The bytes of a request with a body of this type.
pub(crate) fn request(method: &str, path: &str, authorization: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: h\r\nauthorization: {authorization}\r\ncontent-type: {kind}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The bytes of a request without a body.
pub(crate) fn get(path: &str, authorization: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: h\r\nauthorization: {authorization}\r\n\r\n").into_bytes()
}
