//! Bytes on a connection: requests and frames written by hand, answers taken apart by hand.

use std::io;

use bytes::{Buf, BytesMut};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{PATIENCE, Server};

/// A key of 16 bytes and its answer, from RFC 6455 §1.3.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection, and what was read of it but not used yet.
pub(crate) struct Raw {
    pub(crate) io: Box<dyn Io>,
    input: BytesMut,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) version: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// A header's value; names in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

/// A frame as the server sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// FIN, reserved bits and opcode.
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(first: u8, payload: impl AsRef<[u8]>) -> Self {
        Self { first, payload: payload.as_ref().to_vec() }
    }

    /// The code in a close frame.
    pub(crate) fn close_code(&self) -> u16 {
        assert_eq!(self.first, 0x88, "{self:?}");
        u16::from_be_bytes([self.payload[0], self.payload[1]])
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.first, 0x81, "{self:?}");
        serde_json::from_slice(&self.payload).unwrap()
    }
}

/// The host and port of a server.
pub(crate) fn address(server: &Server) -> &str {
    server.url.split_once("://").unwrap().1.trim_end_matches('/')
}

/// The request of an opening handshake.
pub(crate) fn handshake(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

/// A client's frame: masked, its length in the fewest bytes.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = head_of(first, payload.len());
    let key = [0x37, 0xfa, 0x21, 0x3d];
    out.extend_from_slice(&key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

/// The header of a client's frame, without its mask key.
pub(crate) fn head_of(first: u8, length: usize) -> Vec<u8> {
    let mut out = vec![first];
    match length {
        0..126 => out.push(0x80 | length as u8),
        126..65_536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out
}

impl Raw {
    pub(crate) async fn open(server: &Server) -> Self {
        Self::over(TcpStream::connect(address(server)).await.unwrap())
    }

    pub(crate) fn over(io: impl Io + 'static) -> Self {
        Self { io: Box::new(io), input: BytesMut::new() }
    }

    /// Opens and upgrades.
    pub(crate) async fn upgraded(server: &Server, path: &str) -> Self {
        let mut raw = Self::open(server).await;
        raw.send(handshake(path)).await;
        let head = raw.head().await;
        assert_eq!(head.status, 101);
        assert_eq!(head.header("sec-websocket-accept"), Some(ACCEPT));
        raw
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    /// The same, for a server that may have hung up.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        timeout(PATIENCE, self.io.write_all(bytes.as_ref())).await.expect("a server that reads")
    }

    /// Sends a masked frame.
    pub(crate) async fn send_frame(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        self.send(masked(first, payload.as_ref())).await;
    }

    /// Reads more; false at the end.
    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.io.read_buf(&mut self.input)).await;
        read.expect("bytes in time").is_ok_and(|count| count > 0)
    }

    /// Everything up to a text, that included.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let end = end.as_bytes();
        loop {
            if let Some(at) = self.input.windows(end.len()).position(|window| window == end) {
                let bytes = self.input.split_to(at + end.len());
                return String::from_utf8_lossy(&bytes).into_owned();
            }
            assert!(self.more().await, "the end came before {end:?}: {:?}", self.input);
        }
    }

    /// Everything up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        self.input.split().to_vec()
    }

    pub(crate) async fn head(&mut self) -> Head {
        let text = self.until("\r\n\r\n").await;
        let mut lines = text.trim_end().split("\r\n");
        let (version, status) = lines.next().unwrap().split_once(' ').unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        Head {
            status: status[..3].parse().unwrap(),
            version: version.to_owned(),
            headers: headers.collect(),
        }
    }

    /// A head, and the JSON that its `Content-Length` announces.
    pub(crate) async fn answer(&mut self) -> (Head, Value) {
        let head = self.head().await;
        let length: usize = head.header("content-length").expect("a length").parse().unwrap();
        while self.input.len() < length {
            assert!(self.more().await, "the body broke off");
        }
        let body = self.input.split_to(length);
        (head, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// The next frame; nothing at the end of the connection.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        while self.input.len() < 2 {
            if !self.more().await {
                assert!(self.input.is_empty(), "half a frame: {:?}", self.input);
                return None;
            }
        }
        assert_eq!(self.input[1] & 0x80, 0, "a server masks nothing");
        let (skip, bytes) = match self.input[1] & 0x7f {
            126 => (4, 2..4),
            127 => (10, 2..10),
            _ => (2, 1..2),
        };
        self.filled(skip).await;
        let length = self.input[bytes].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        self.filled(skip + length).await;
        let first = self.input[0];
        self.input.advance(skip);
        Some(Frame { first, payload: self.input.split_to(length).to_vec() })
    }

    async fn filled(&mut self, bytes: usize) {
        while self.input.len() < bytes {
            assert!(self.more().await, "a frame broke off");
        }
    }

    /// The code with which the server closes; what it says before is passed over. Answers the close
    /// and waits for the end of the connection.
    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            let frame = self.frame().await.expect("a close frame, not just the end");
            if frame.first == 0x88 {
                let code = frame.close_code();
                let _ = self.try_send(masked(0x88, &code.to_be_bytes())).await;
                assert_eq!(self.frame().await, None, "nothing comes after a close");
                return code;
            }
        }
    }
}
