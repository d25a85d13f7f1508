//! What waits for the writer thread: bounded in bytes, taken in groups.
//!
//! Invariant: bytes count from the moment a batch is accepted until it is answered, so what the log
//! holds for publishers never exceeds its bound.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidewire_core::{AppendError, Receipt};
use tidewire_proto::Message;
use tokio::sync::oneshot;

/// What a message counts beside its payload, so that empty ones are bounded too.
const MESSAGE_BYTES: usize = 64;

/// The answer to a batch.
pub(crate) type Answer = Result<Vec<Receipt>, AppendError>;

/// A batch on its way to the writer.
pub(crate) struct Request {
    pub(crate) messages: Vec<Message>,
    /// When it came, on the log's monotonic clock.
    pub(crate) now: Duration,
    pub(crate) reply: oneshot::Sender<Answer>,
    pub(crate) cost: usize,
}

impl Request {
    pub(crate) fn new(messages: Vec<Message>, now: Duration) -> (Self, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        let bytes: usize = messages.iter().map(|message| message.data.bytes().len()).sum();
        let cost = bytes + messages.len() * MESSAGE_BYTES;
        (Self { messages, now, reply, cost }, answer)
    }
}

/// What the writer does next.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) requests: Vec<Request>,
    /// Seal the active file after them.
    pub(crate) seal: bool,
    /// Nothing comes after this.
    pub(crate) last: bool,
}

/// The queue.
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    ready: Condvar,
    bytes_max: usize,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Request>,
    bytes: usize,
    seal: bool,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { inner: Mutex::default(), ready: Condvar::new(), bytes_max }
    }

    /// Accepts a batch, or refuses it at once. Into an empty queue any batch fits.
    pub(crate) fn push(&self, request: Request) -> Result<(), AppendError> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(AppendError::Closed);
        }
        if inner.bytes > 0 && inner.bytes.saturating_add(request.cost) > self.bytes_max {
            return Err(AppendError::Busy);
        }
        inner.bytes += request.cost;
        inner.waiting.push_back(request);
        drop(inner);
        self.ready.notify_one();
        Ok(())
    }

    /// Waits for work; takes batches of about `bytes_max` together, at least one if there is one.
    pub(crate) fn take(&self, bytes_max: usize) -> Work {
        let inner = self.lock();
        let idle = |inner: &mut Inner| inner.waiting.is_empty() && !inner.seal && !inner.closed;
        let mut inner = self.ready.wait_while(inner, idle).unwrap_or_else(PoisonError::into_inner);
        let mut work = Work { seal: inner.seal, ..Work::default() };
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some(request) = inner.waiting.pop_front() else { break };
            bytes += request.cost;
            work.requests.push(request);
        }
        work.last = inner.closed && inner.waiting.is_empty();
        work
    }

    /// These bytes have been answered.
    pub(crate) fn done(&self, bytes: usize) {
        let mut inner = self.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes);
    }

    /// Asks the writer to seal the active file.
    pub(crate) fn ask_to_seal(&self) {
        self.lock().seal = true;
        self.ready.notify_one();
    }

    /// The writer sealed it, or could not.
    pub(crate) fn sealed(&self) {
        self.lock().seal = false;
    }

    pub(crate) fn is_seal_asked(&self) -> bool {
        self.lock().seal
    }

    /// Refuses everything from now on; what was accepted is still done.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
