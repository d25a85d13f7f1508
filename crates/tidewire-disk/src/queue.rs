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
use tokio::{sync::oneshot, time::Instant};

use crate::gather::Gather;

/// What a message counts beside its payload, so that empty ones are bounded too.
const MESSAGE_BYTES: usize = 64;

/// A group of so many bytes is worth a sync: nobody waits for more.
const ENOUGH_BYTES: usize = 64 * 1024;

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
    /// The writer sleeps until so many wait; nothing while it is awake.
    asleep_until: Option<usize>,
}

impl Inner {
    /// Is there what the sleeping writer waits for?
    fn is_due(&self) -> bool {
        let is_much = !self.waiting.is_empty() && self.bytes >= ENOUGH_BYTES;
        let enough = |count| is_much || self.waiting.len() >= count;
        self.asleep_until.is_some_and(|count| enough(count) || self.seal || self.closed)
    }
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
        self.wake_if_due(inner);
        Ok(())
    }

    /// Waits for work; takes batches of about `bytes_max` together, at least one if there is one.
    ///
    /// If there is something, but less than `gather` hopes for, waits a moment for the rest.
    pub(crate) fn take(&self, bytes_max: usize, gather: Gather) -> Work {
        let begun = Instant::now();
        let mut inner = self.sleep(self.lock(), 1, None);
        // Who has not come by now is not on the way.
        let left = gather.at_most.saturating_sub(begun.elapsed());
        if gather.hoped > 1 && !left.is_zero() {
            inner = self.sleep(inner, gather.hoped, Some(left));
        }
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

    /// Sleeps until so many wait, or there is something else to do, or time is up.
    fn sleep<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
        count: usize,
        at_most: Option<Duration>,
    ) -> MutexGuard<'a, Inner> {
        inner.asleep_until = Some(count);
        let idle = |inner: &mut Inner| !inner.is_due();
        let mut inner = match at_most {
            None => self.ready.wait_while(inner, idle).unwrap_or_else(PoisonError::into_inner),
            Some(at_most) => {
                let waited = self.ready.wait_timeout_while(inner, at_most, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        inner.asleep_until = None;
        inner
    }

    /// Nobody is woken in vain: each wake is a system call.
    fn wake_if_due(&self, inner: MutexGuard<'_, Inner>) {
        let is_due = inner.is_due();
        drop(inner);
        if is_due {
            self.ready.notify_one();
        }
    }

    /// These bytes have been answered. Says how many batches wait.
    pub(crate) fn done(&self, bytes: usize) -> usize {
        let mut inner = self.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes);
        inner.waiting.len()
    }

    /// Asks the writer to seal the active file.
    pub(crate) fn ask_to_seal(&self) {
        let mut inner = self.lock();
        inner.seal = true;
        self.wake_if_due(inner);
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
        let mut inner = self.lock();
        inner.closed = true;
        self.wake_if_due(inner);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, thread};
    use tidewire_proto::{Data, EventType, Topic};

    const LONG: Duration = Duration::from_secs(60);

    fn request(bytes: usize) -> Request {
        let data = Data::binary(vec![0; bytes]);
        let topic = Topic::parse("a").unwrap();
        let message = Message { topic, event: EventType::message(), data, key: None, item: None };
        Request::new(vec![message], Duration::ZERO).0
    }

    /// A writer that hopes for so many batches, for longer than the test may take.
    fn hoping(queue: &Arc<Queue>, hoped: usize) -> thread::JoinHandle<Work> {
        let queue = Arc::clone(queue);
        thread::spawn(move || queue.take(usize::MAX, Gather { hoped, at_most: LONG }))
    }

    #[test]
    fn the_writer_takes_what_it_hoped_for_together() {
        let queue = Arc::new(Queue::new(usize::MAX));
        let writer = hoping(&queue, 3);
        for _ in 0..3 {
            queue.push(request(1)).unwrap();
        }
        assert_eq!(writer.join().unwrap().requests.len(), 3);
    }

    #[test]
    fn much_data_a_seal_and_the_end_are_not_kept_waiting() {
        let queue = Arc::new(Queue::new(usize::MAX));
        let writer = hoping(&queue, 3);
        queue.push(request(ENOUGH_BYTES)).unwrap();
        assert_eq!(writer.join().unwrap().requests.len(), 1);
        queue.done(ENOUGH_BYTES + MESSAGE_BYTES);
        let writer = hoping(&queue, 3);
        queue.push(request(1)).unwrap();
        queue.ask_to_seal();
        assert!(writer.join().unwrap().seal);
        queue.sealed();
        let writer = hoping(&queue, 3);
        queue.push(request(1)).unwrap();
        queue.close();
        assert!(writer.join().unwrap().last);
    }

    #[test]
    fn hope_ends_when_its_time_is_up() {
        let queue = Queue::new(usize::MAX);
        queue.push(request(1)).unwrap();
        let work = queue.take(usize::MAX, Gather { hoped: 2, at_most: Duration::from_millis(1) });
        assert_eq!(work.requests.len(), 1);
    }
}
