//! [`Paths`]: which event streams are open under which name, and what was written to each.
//!
//! A swept stream is known to its shard, which counts for it; one with a task of its own has a
//! [`Trace`] here. Knows no HTTP.
//!
//! Invariant: of all open streams with one name and one subject, the newest is found.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    num::NonZero,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tidewire_proto::path::Written;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use crate::{app::App, sweep::Asking};

/// Longest wait for a shard's answer. A shard that is well answers in its next round, which takes
/// milliseconds even under load.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// A writer that has bytes for so long has not got rid of them. Shorter, and one that is about to come
/// back for more would count as one that can not.
const BLOCKED_AFTER: Duration = Duration::from_millis(10);

/// An event stream's name as the server keeps it: a hash of the name and of whose stream it is, so
/// that nobody finds the stream of another subject. It is keyed anew in each process: nobody can look
/// for two names that are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StreamName(NonZero<u64>);

impl StreamName {
    /// Its bits, which are as good as random.
    pub(crate) fn bits(self) -> u64 {
        self.0.get()
    }
}

/// All event streams of a server, by name.
#[derive(Default)]
pub(crate) struct Paths {
    seed: RandomState,
    // Those with a task of their own.
    traces: Mutex<HashMap<StreamName, Arc<Trace>>>,
    swept: OnceLock<Asking>,
}

/// Nobody said what was written.
#[derive(Debug, thiserror::Error)]
#[error("whoever writes this stream did not answer within {} s", ANSWER_WAIT.as_secs())]
pub(crate) struct Unanswered;

impl Paths {
    /// The name of this subject's stream.
    pub(crate) fn name(&self, subject: Option<&str>, connection: &str) -> StreamName {
        let hash = self.seed.hash_one((subject, connection));
        StreamName(NonZero::new(hash).unwrap_or(NonZero::<u64>::MIN))
    }

    /// From now on there are swept streams too, which are asked for in this way.
    pub(crate) fn are_swept(&self, asking: Asking) {
        // A server is served once.
        let _ = self.swept.set(asking);
    }

    /// A swept stream has this name now.
    pub(crate) fn is_swept(&self, name: StreamName) {
        self.lock().remove(&name);
    }

    /// What was written to the stream of this name, if one is open. It may be made to beat at once.
    pub(crate) async fn written(
        &self,
        name: StreamName,
        wants_beat: bool,
    ) -> Result<Option<Written>, Unanswered> {
        let trace = self.lock().get(&name).cloned();
        if let Some(trace) = trace {
            if wants_beat {
                trace.beat.notify_one();
            }
            return Ok(Some(trace.written()));
        }
        let Some(asking) = self.swept.get() else { return Ok(None) };
        timeout(ANSWER_WAIT, asking.written(name, wants_beat)).await.map_err(|_| Unanswered)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamName, Arc<Trace>>> {
        // Nothing in here panics half way through a change.
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream with a task of its own is found by its name until this is dropped.
pub(crate) struct Entered {
    app: App,
    name: StreamName,
    trace: Arc<Trace>,
}

impl Entered {
    pub(crate) fn new(app: &App, name: StreamName) -> Self {
        let trace = Arc::new(Trace::new());
        app.paths.lock().insert(name, Arc::clone(&trace));
        if let Some(asking) = app.paths.swept.get() {
            asking.forget(name);
        }
        Self { app: app.clone(), name, trace }
    }

    pub(crate) fn trace(&self) -> &Arc<Trace> {
        &self.trace
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut traces = self.app.paths.lock();
        // A newer stream may have the name by now.
        if traces.get(&self.name).is_some_and(|trace| Arc::ptr_eq(trace, &self.trace)) {
            traces.remove(&self.name);
        }
    }
}

/// What was written to one stream, told by who writes it.
pub(crate) struct Trace {
    record: Mutex<Record>,
    /// Somebody wants to hear whether it comes through.
    pub(crate) beat: Notify,
}

struct Record {
    events: u64,
    first_at: Option<Instant>,
    last_at: Instant,
    // Since when the writer has bytes. Nothing while it waits for more.
    busy_since: Option<Instant>,
}

impl Trace {
    fn new() -> Self {
        let now = Instant::now();
        let record = Record { events: 0, first_at: None, last_at: now, busy_since: Some(now) };
        Self { record: Mutex::new(record), beat: Notify::new() }
    }

    /// The writer has got rid of everything and waits for more.
    pub(crate) fn waits(&self) {
        self.lock().busy_since = None;
    }

    /// The writer has bytes to write.
    pub(crate) fn is_busy(&self) {
        self.lock().busy_since = Some(Instant::now());
    }

    /// Bytes have gone, and with them so many frames have begun to.
    pub(crate) fn wrote(&self, frames: usize) {
        let now = Instant::now();
        let mut record = self.lock();
        record.events += frames as u64;
        if record.events > 0 {
            record.first_at.get_or_insert(now);
        }
        record.last_at = now;
    }

    fn written(&self) -> Written {
        let now = Instant::now();
        let record = self.lock();
        let since = |at: Instant| now.saturating_duration_since(at);
        Written {
            events: record.events,
            open_ms: since(record.first_at.unwrap_or(now)).as_millis() as u64,
            quiet_ms: since(record.last_at).as_millis() as u64,
            is_blocked: record.busy_since.is_some_and(|at| since(at) >= BLOCKED_AFTER),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[test]
    fn a_name_belongs_to_its_subject() {
        let paths = Paths::default();
        let subjects = [None, Some(""), Some("alice"), Some("bob")];
        for (index, subject) in subjects.iter().enumerate() {
            for (other_index, other) in subjects.iter().enumerate() {
                let same = paths.name(*subject, "c-1234567") == paths.name(*other, "c-1234567");
                assert_eq!(same, index == other_index, "{subject:?} and {other:?}");
            }
            assert_ne!(paths.name(*subject, "c-1234567"), paths.name(*subject, "c-1234568"));
        }
        // Where the one ends and the other begins is part of it.
        assert_ne!(paths.name(Some("alic"), "e1234567"), paths.name(Some("alice"), "1234567"));
        let other = Paths::default();
        assert_ne!(paths.name(None, "c-1234567"), other.name(None, "c-1234567"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trace_tells_what_has_gone_and_when() {
        let trace = Trace::new();
        let written = |events, open_ms, quiet_ms, is_blocked| Written {
            events,
            open_ms,
            quiet_ms,
            is_blocked,
        };
        assert_eq!(trace.written(), written(0, 0, 0, false));
        advance(Duration::from_millis(9)).await;
        assert_eq!(trace.written(), written(0, 0, 9, false), "it may be about to write");
        advance(Duration::from_millis(1)).await;
        assert_eq!(trace.written(), written(0, 0, 10, true), "it cannot");
        trace.wrote(0);
        advance(Duration::from_millis(5)).await;
        trace.wrote(2);
        trace.waits();
        advance(Duration::from_millis(40)).await;
        assert_eq!(trace.written(), written(2, 40, 40, false));
        trace.is_busy();
        trace.wrote(1);
        advance(Duration::from_millis(10)).await;
        assert_eq!(trace.written(), written(3, 50, 10, true));
        trace.waits();
        assert_eq!(trace.written(), written(3, 50, 10, false));
    }
}
