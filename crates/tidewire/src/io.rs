//! [`Deadlines`]: bytes with a bound on every wait that hyper has none for.
//!
//! Two bounds: the first bytes of a connection must come within a time (until then hyper does not
//! even know which HTTP it is and waits for ever), and a peer that takes nothing for a time is given
//! up. While bytes flow, neither costs more than a comparison.
//!
//! Whatever is counted or held for a connection goes with it here, because this is what lives until
//! its very end, also when hyper hands it over to a WebSocket.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// Bytes that tell an HTTP/2 preface (RFC 9113 §3.4) from a request line.
const PREFACE_BYTES: usize = 24;

/// A connection with deadlines, and what is held for as long as it is open.
pub(crate) struct Deadlines<Io, Held> {
    io: Io,
    _held: Held,
    head_timeout: Duration,
    slow_reader_timeout: Duration,
    opened: Instant,
    // Counted up to PREFACE_BYTES; or all, once anything was answered.
    heard: usize,
    timer: Option<Pin<Box<Sleep>>>,
    stuck: Option<Stuck>,
}

/// In what a peer that takes nothing has stopped us. TLS keeps bytes of its own, so that a write may
/// be done while its flush, or the goodbye, is not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stuck {
    Write,
    Flush,
}

impl<Io, Held> Deadlines<Io, Held> {
    pub(crate) fn new(
        io: Io,
        held: Held,
        head_timeout: Duration,
        slow_reader_timeout: Duration,
    ) -> Self {
        Self {
            io,
            _held: held,
            head_timeout,
            slow_reader_timeout,
            opened: Instant::now(),
            heard: 0,
            timer: None,
            stuck: None,
        }
    }

    /// Registers a wake-up at the deadline; true when it has passed.
    fn is_over(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(Duration::ZERO)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx).is_ready()
    }

    fn after_write<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        kind: Stuck,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            // That there is nothing to flush does not mean that a write gets on.
            if kind == Stuck::Write || self.stuck == Some(kind) {
                self.heard = PREFACE_BYTES;
                self.stuck = None;
                self.timer = None;
            }
            return polled;
        }
        if self.stuck.is_none() {
            self.stuck = Some(kind);
            self.timer = Some(Box::pin(sleep(self.slow_reader_timeout)));
        }
        let deadline = self.timer.as_ref().map_or_else(Instant::now, |timer| timer.deadline());
        if self.is_over(deadline, cx) {
            let message = "the peer accepted nothing for too long";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)));
        }
        Poll::Pending
    }
}

impl<Io: AsyncRead + Unpin, Held: Unpin> AsyncRead for Deadlines<Io, Held> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        if this.heard >= PREFACE_BYTES {
            return polled;
        }
        this.heard += buf.filled().len() - before;
        if polled.is_ready() {
            return polled;
        }
        let deadline = this.opened + this.head_timeout;
        if this.is_over(deadline, cx) {
            let message = "no request came in time";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)));
        }
        Poll::Pending
    }
}

impl<Io: AsyncWrite + Unpin, Held: Unpin> AsyncWrite for Deadlines<Io, Held> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.after_write(polled, Stuck::Write, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write_vectored(cx, parts);
        this.after_write(polled, Stuck::Write, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_flush(cx);
        this.after_write(polled, Stuck::Flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_shutdown(cx);
        this.after_write(polled, Stuck::Flush, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_too_little_ends() {
        for said in ["", "PRI * HTTP/2.0"] {
            let (near, mut far) = duplex(1_000);
            far.write_all(said.as_bytes()).await.unwrap();
            let mut io = Deadlines::new(near, (), 10 * SECOND, SECOND);
            let mut all = Vec::new();
            let started = Instant::now();
            let error = io.read_to_end(&mut all).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(started.elapsed(), 10 * SECOND, "{said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up_and_one_that_takes_little_is_not() {
        let (near, mut far) = duplex(100);
        let mut io = Deadlines::new(near, (), SECOND, 10 * SECOND);
        let writer = tokio::spawn(async move { io.write_all(&[0; 500]).await });
        let mut some = [0; 100];
        for _ in 0..4 {
            tokio::time::sleep(9 * SECOND).await;
            far.read_exact(&mut some).await.unwrap();
        }
        far.read_exact(&mut some).await.unwrap();
        writer.await.unwrap().unwrap();

        let (near, _far) = duplex(100);
        let mut io = Deadlines::new(near, (), SECOND, 10 * SECOND);
        let started = Instant::now();
        let error = io.write_all(&[0; 500]).await.unwrap_err();
        assert_eq!((error.kind(), started.elapsed()), (io::ErrorKind::TimedOut, 10 * SECOND));
    }

    /// Takes what is written, as TLS does, and never gets it out.
    struct Swallows;

    impl AsyncWrite for Swallows {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_no_goodbye_is_given_up() {
        for is_flush in [true, false] {
            let mut io = Deadlines::new(Swallows, (), SECOND, 10 * SECOND);
            io.write_all(&[0; 500]).await.unwrap();
            let started = Instant::now();
            let goodbye = async { if is_flush { io.flush().await } else { io.shutdown().await } };
            let ended = tokio::time::timeout(60 * SECOND, goodbye).await.expect("an end");
            let told = (ended.unwrap_err().kind(), started.elapsed());
            assert_eq!(told, (io::ErrorKind::TimedOut, 10 * SECOND));
        }
    }
}
