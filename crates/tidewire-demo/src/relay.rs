//! [`Relay`]: a proxy that holds event streams back, for a window that wants to see what its client
//! does then. It listens on this machine only, and forwards to the server on this machine only.
//!
//! It is what a corporate gateway or a virus scanner is: an answer of the type `text/event-stream` is
//! read to its end before a byte of it goes on, head and all. Everything else passes, a WebSocket
//! included. One request for each connection, because it reads no further than heads.
//!
//! Knows nothing of Tidewire. Invariant: what it holds has a bound; beyond it, it lets go, as their
//! buffers do.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

/// Bytes of a request's or an answer's head.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Bytes of an event stream that are held.
const HELD_BYTES_MAX: usize = 1024 * 1024;
/// Connections at a time: a page or two of one person.
const CONNECTIONS_MAX: usize = 64;
/// How long a head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server may take to begin an answer: a long-poll waits for its first byte.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// A relay that runs until it is dropped.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    tasks: JoinSet<()>,
}

impl Relay {
    /// Listens on the port that it had, if that is free, and forwards to `server`.
    pub(crate) async fn start(port: Option<u16>, server: SocketAddr) -> io::Result<Self> {
        let at = |port: u16| TcpListener::bind(("127.0.0.1", port));
        let listener = match at(port.unwrap_or_default()).await {
            Err(_) if port.is_some() => at(0).await?,
            bound => bound?,
        };
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, server));
        Ok(Self { address, tasks })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        tokio::select! {
            accepted = listener.accept() => if let Ok((near, _)) = accepted {
                connections.spawn(async move {
                    let _place = place;
                    relay(near, server).await;
                });
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One request and its answer. When the server breaks off, so does the relay.
async fn relay(mut near: TcpStream, server: SocketAddr) {
    if let Err(error) = forward(&mut near, server).await {
        tracing::debug!(%error, "a connection of the relay ended early");
        // Closed with nothing to linger for, it is reset: the client sees what the relay saw.
        let _ = SockRef::from(&near).set_linger(Some(Duration::ZERO));
    }
}

async fn forward(near: &mut TcpStream, server: SocketAddr) -> io::Result<()> {
    let Some((head, rest)) = timeout(HEAD_TIMEOUT, read_head(near)).await?? else { return Ok(()) };
    let mut far = TcpStream::connect(server).await?;
    far.set_nodelay(true)?;
    far.write_all(&one_request(&head)).await?;
    far.write_all(&rest).await?;
    let (mut near_read, mut near_write) = near.split();
    let (mut far_read, mut far_write) = far.split();
    let down = async {
        let head = timeout(ANSWER_TIMEOUT, read_head(&mut far_read)).await??;
        let (head, mut held) = head.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if is_event_stream(&head) {
            hold(&mut far_read, &mut held).await?;
        }
        near_write.write_all(&head).await?;
        near_write.write_all(&held).await?;
        copy(&mut far_read, &mut near_write).await?;
        near_write.shutdown().await
    };
    // The request's body, and what else the client says. Who ends its side is gone.
    let up = async { copy(&mut near_read, &mut far_write).await.map(drop) };
    tokio::select! {
        done = down => done,
        done = up => done,
    }
}

/// Reads an event stream to its end, or until the buffer is full.
async fn hold(far: &mut (impl AsyncRead + Unpin), held: &mut Vec<u8>) -> io::Result<()> {
    let room = HELD_BYTES_MAX.saturating_sub(held.len());
    far.take(room as u64).read_to_end(held).await.map(drop)
}

/// Reads up to the empty line that ends a head, and what came with it. Nothing: the peer said nothing.
async fn read_head(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut read = Vec::with_capacity(1_024);
    loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = read.split_off(at + 4);
            return Ok(Some((read, rest)));
        }
        if read.len() > HEAD_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the head is too long"));
        }
        if from.read_buf(&mut read).await? == 0 {
            return if read.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
    }
}

/// The same head, for a connection with one request: a WebSocket keeps its `Connection: Upgrade`.
fn one_request(head: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(head);
    let is_upgrade = field(&text, "upgrade").is_some();
    let mut out = String::with_capacity(text.len() + 32);
    for line in text.trim_end().split("\r\n") {
        let name = line.split(':').next().unwrap_or_default();
        if is_upgrade || !name.eq_ignore_ascii_case("connection") {
            out += line;
            out += "\r\n";
        }
    }
    if !is_upgrade {
        out += "Connection: close\r\n";
    }
    out += "\r\n";
    out.into_bytes()
}

fn is_event_stream(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let kind = field(&text, "content-type").unwrap_or_default();
    kind.trim().to_ascii_lowercase().starts_with("text/event-stream")
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.split("\r\n").skip(1);
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_the_only_one_of_its_connection_unless_it_is_an_upgrade() {
        let request = "GET /a HTTP/1.1\r\nHost: x\r\nconnection: keep-alive\r\n\r\n";
        let sent = String::from_utf8(one_request(request.as_bytes())).unwrap();
        assert_eq!(sent, "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let upgrade = "GET /a HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(one_request(upgrade.as_bytes()), upgrade.as_bytes());
    }

    #[test]
    fn an_event_stream_is_known_by_its_type() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", false),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", false),
        ] {
            assert_eq!(is_event_stream(head.as_bytes()), expected, "{head}");
        }
    }

    #[tokio::test]
    async fn what_is_held_has_a_bound() {
        let mut held = vec![b'x'; 10];
        let endless = vec![b'y'; 2 * HELD_BYTES_MAX];
        hold(&mut &endless[..], &mut held).await.unwrap();
        assert_eq!(held.len(), HELD_BYTES_MAX);
        let long = vec![b'z'; 2 * HEAD_BYTES_MAX];
        assert!(read_head(&mut &long[..]).await.is_err());
    }
}
