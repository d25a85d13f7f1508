//! [`Handover`]: how a door takes an HTTP/1.1 connection out of hyper's hands.
//!
//! hyper reads and routes the request; the door answers with a response of no body and says what is
//! to be done with the connection. The head of that response is then the first thing to write, and
//! hyper never sees it. Where there is no handover (HTTP/2, somebody else's server) a door answers
//! in the ordinary way.
//!
//! Invariant: a connection is handed over only between two answers: nothing of an earlier one waits
//! to be written.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, ready},
    time::{Duration, SystemTime},
};

use axum::{body::Body, extract::Request, response::Response};
use bytes::{BufMut, Bytes, BytesMut};
use http::{Version, header};
use tokio::{io, net::TcpStream, sync::Notify};
use tokio_rustls::server::TlsStream;

use crate::{io::Deadlines, places::Place, sweep::Sweep};

/// Bytes asked of a connection at once.
const READ_BYTES: usize = 4 * 1024;

/// Bytes in and out, of whatever kind.
pub(crate) trait Io: io::AsyncRead + io::AsyncWrite + Unpin + Send {}
impl<T: io::AsyncRead + io::AsyncWrite + Unpin + Send> Io for T {}

/// A connection that was taken over.
pub(crate) struct Taken {
    pub(crate) stream: Stream,
    /// The head of the answer, to be written before anything else.
    pub(crate) head: Bytes,
    /// What the peer sent after its request.
    pub(crate) input: BytesMut,
    pub(crate) place: Place,
    /// Where plain sockets are swept, if they are.
    pub(crate) sweep: Option<Sweep>,
}

/// What is under a connection.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(crate) fn into_io(self) -> Box<dyn Io> {
        match self {
            Self::Plain(stream) => Box::new(stream),
            Self::Tls(stream) => stream,
        }
    }

    pub(crate) fn into_deadlines(self, slow_reader_timeout: Duration) -> Deadlines<Box<dyn Io>> {
        Deadlines::new(self.into_io(), BytesMut::new(), slow_reader_timeout)
    }
}

/// Reads what there is, at most a few KiB, and hands it on; 0 at the end. Cancel-safe. The buffer
/// is there only while bytes are: nothing is kept for a connection that says nothing.
pub(crate) async fn read_some(
    io: &mut (impl io::AsyncRead + Unpin),
    mut take: impl FnMut(&[u8]),
) -> io::Result<usize> {
    std::future::poll_fn(|cx| {
        let mut space = [0; READ_BYTES];
        let mut read = io::ReadBuf::new(&mut space);
        ready!(Pin::new(&mut *io).poll_read(cx, &mut read))?;
        take(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    })
    .await
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }
}

impl From<TlsStream<TcpStream>> for Stream {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(stream))
    }
}

/// What a door does with a connection that it took over.
type Taker = Box<dyn FnOnce(Taken) + Send>;

/// One connection's handover: of its requests, the first whose door takes it is the last.
#[derive(Default)]
pub(crate) struct Handover {
    taker: Mutex<Option<Taker>>,
    head: Mutex<Option<Bytes>>,
    is_complete: Notify,
    // Something is left to be written: see `io`.
    is_stuck: Arc<AtomicBool>,
}

impl Handover {
    pub(crate) fn new(is_stuck: Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self { is_stuck, ..Self::default() })
    }

    fn is_possible(&self) -> bool {
        !self.is_stuck.load(Ordering::Acquire)
    }

    /// The door's side: `taker` gets the connection when the answer's head is known.
    pub(crate) fn take(&self, taker: impl FnOnce(Taken) + Send + 'static) {
        *self.taker.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(taker));
    }

    /// The listener's side: is this the answer of a door that took the connection? Then hyper must
    /// not get it.
    pub(crate) fn complete(&self, response: &Response, version: Version) -> bool {
        if self.taker.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return false;
        }
        let head = head(response, version);
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
        self.is_complete.notify_one();
        true
    }

    /// Waits until the connection is taken, and tells by whom and what to write first.
    pub(crate) async fn taken(&self) -> (Taker, Bytes) {
        loop {
            self.is_complete.notified().await;
            let head = self.head.lock().unwrap_or_else(PoisonError::into_inner).take();
            let taker = self.taker.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let (Some(head), Some(taker)) = (head, taker) {
                return (taker, head);
            }
        }
    }
}

/// The handover that a request came with, if its connection can be taken now.
pub(crate) fn of(request: &Request) -> Option<&Arc<Handover>> {
    request.extensions().get::<Arc<Handover>>().filter(|handover| handover.is_possible())
}

/// The head of an answer (RFC 9112 §4).
fn head(response: &Response<Body>, version: Version) -> Bytes {
    let mut out = BytesMut::with_capacity(512);
    let status = response.status();
    let version = if version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
    out.put_slice(format!("{version} {}", status.as_str()).as_bytes());
    out.put_u8(b' ');
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    // Of an answer that goes on, the length of the empty body that the door gave means nothing.
    let headers = response.headers().iter().filter(|(name, _)| *name != header::CONTENT_LENGTH);
    for (name, value) in headers {
        out.put_slice(b"\r\n");
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
    }
    out.put_slice(format!("\r\ndate: {}\r\n\r\n", date()).as_bytes());
    out.freeze()
}

/// The time of day, because RFC 9110 §6.6.1 wants it said; nothing here depends on it.
#[expect(clippy::disallowed_methods, reason = "a header for people and caches, not for order")]
fn date() -> httpdate::HttpDate {
    SystemTime::now().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, StatusCode};

    #[tokio::test]
    async fn the_head_of_the_doors_answer_comes_first() {
        let handover = Handover::new(Arc::default());
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        assert!(!handover.complete(&response, Version::HTTP_11), "nobody took it");
        handover.take(drop);
        assert!(handover.complete(&response, Version::HTTP_11));
        let (_, head) = handover.taken().await;
        let head = std::str::from_utf8(&head).unwrap();
        let (lines, date) = head.split_once("date: ").unwrap();
        assert_eq!(lines, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n");
        assert!(date.ends_with(" GMT\r\n\r\n"), "{date}");
    }
}
