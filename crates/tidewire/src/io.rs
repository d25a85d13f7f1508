//! [`Deadlines`]: bytes with a bound on the waits that hyper has none for.
//!
//! A peer that takes nothing for a time is given up. What was read of a connection before it came
//! here is read again first. While bytes flow, neither costs more than a comparison.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// A connection with a deadline for writes.
pub(crate) struct Deadlines<Io> {
    io: Io,
    first: BytesMut,
    slow_reader_timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    stuck: Option<Stuck>,
    is_stuck: Arc<AtomicBool>,
}

/// In what a peer that takes nothing has stopped us. TLS keeps bytes of its own, so that a write may
/// be done while its flush, or the goodbye, is not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stuck {
    Write,
    Flush,
}

impl<Io> Deadlines<Io> {
    /// `first` was read from `io` already.
    pub(crate) fn new(io: Io, first: BytesMut, slow_reader_timeout: Duration) -> Self {
        let is_stuck = Arc::default();
        Self { io, first, slow_reader_timeout, timer: None, stuck: None, is_stuck }
    }

    /// True while something that should be written cannot be.
    pub(crate) fn stuck_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_stuck)
    }

    /// The connection, and what of the first bytes nobody has read again.
    pub(crate) fn into_parts(self) -> (Io, BytesMut) {
        (self.io, self.first)
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
                self.is_stuck.store(false, Ordering::Release);
                self.stuck = None;
                self.timer = None;
            }
            return polled;
        }
        if self.stuck.is_none() {
            self.is_stuck.store(true, Ordering::Release);
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

impl<Io: AsyncRead + Unpin> AsyncRead for Deadlines<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let count = this.first.len().min(buf.remaining());
        buf.put_slice(this.first.get(..count).unwrap_or_default());
        this.first.advance(count);
        if this.first.is_empty() {
            this.first = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Deadlines<Io> {
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

    #[tokio::test]
    async fn what_was_read_before_is_read_first() {
        let (near, mut far) = duplex(100);
        far.write_all(b"and the rest").await.unwrap();
        drop(far);
        let mut io = Deadlines::new(near, BytesMut::from("the first "), SECOND);
        let mut few = [0; 4];
        io.read_exact(&mut few).await.unwrap();
        let mut all = String::new();
        io.read_to_string(&mut all).await.unwrap();
        assert_eq!((&few, all.as_str()), (b"the ", "first and the rest"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up_and_one_that_takes_little_is_not() {
        let (near, mut far) = duplex(100);
        let mut io = Deadlines::new(near, BytesMut::new(), 10 * SECOND);
        let writer = tokio::spawn(async move { io.write_all(&[0; 500]).await });
        let mut some = [0; 100];
        for _ in 0..4 {
            tokio::time::sleep(9 * SECOND).await;
            far.read_exact(&mut some).await.unwrap();
        }
        far.read_exact(&mut some).await.unwrap();
        writer.await.unwrap().unwrap();

        let (near, _far) = duplex(100);
        let mut io = Deadlines::new(near, BytesMut::new(), 10 * SECOND);
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
            let mut io = Deadlines::new(Swallows, BytesMut::new(), 10 * SECOND);
            io.write_all(&[0; 500]).await.unwrap();
            let started = Instant::now();
            let goodbye = async { if is_flush { io.flush().await } else { io.shutdown().await } };
            let ended = tokio::time::timeout(60 * SECOND, goodbye).await.expect("an end");
            let told = (ended.unwrap_err().kind(), started.elapsed());
            assert_eq!(told, (io::ErrorKind::TimedOut, 10 * SECOND));
        }
    }
}
