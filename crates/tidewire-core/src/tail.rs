//! [`Tail`]: the newest entries of one topic, and who waits for the next.
//!
//! A tail exists while somebody here reads its topic. It knows nothing of cursors but that readers
//! come with one; what it no longer holds, the log does.
//!
//! Invariant: a tail holds every entry of its topic above its `floor`, up to what the follower has
//! pushed.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidewire_proto::Sequence;
use tokio::sync::Notify;

use crate::{framed::Framed, limits::Limits};

/// The newest entries of one topic.
#[derive(Debug)]
pub(crate) struct Tail {
    state: Mutex<State>,
    entries_max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct State {
    floor: Sequence,
    frames: VecDeque<Arc<Framed>>,
    bytes: usize,
    readers: HashMap<usize, Arc<Notify>>,
}

/// The tail no longer holds what was asked for: read the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behind;

impl Tail {
    /// A tail that holds nothing yet: everything up to `floor` is the log's to tell.
    pub(crate) fn new(floor: Sequence, limits: &Limits) -> Self {
        let state = State { floor, frames: VecDeque::new(), bytes: 0, readers: HashMap::new() };
        Self {
            state: Mutex::new(state),
            entries_max: limits.tail_entries_max,
            bytes_max: limits.tail_bytes_max,
        }
    }

    /// Adds the next entries, which are in log order, and lets the oldest go.
    pub(crate) fn push(&self, frames: impl IntoIterator<Item = Arc<Framed>>) {
        let mut state = self.lock();
        for frame in frames {
            state.bytes += frame.entry().data.bytes().len();
            state.frames.push_back(frame);
        }
        while state.frames.len() > self.entries_max || state.bytes > self.bytes_max {
            let Some(gone) = state.frames.pop_front() else { break };
            state.bytes -= gone.entry().data.bytes().len();
            state.floor = gone.entry().sequence;
        }
    }

    /// Says that entries up to `floor` may be missing here.
    pub(crate) fn raise_floor(&self, floor: Sequence) {
        let mut state = self.lock();
        state.floor = state.floor.max(floor);
        while state.frames.front().is_some_and(|frame| frame.entry().sequence <= floor) {
            if let Some(gone) = state.frames.pop_front() {
                state.bytes -= gone.entry().data.bytes().len();
            }
        }
    }

    /// Appends the entries above `after` and up to `through` to `out`.
    ///
    /// # Errors
    /// [`Behind`] when some of them may be gone from here; `out` is then as it was.
    pub(crate) fn take(
        &self,
        after: Sequence,
        through: Sequence,
        out: &mut Vec<Arc<Framed>>,
    ) -> Result<(), Behind> {
        let state = self.lock();
        if after < state.floor {
            return Err(Behind);
        }
        // Readers are nearly always close to the end.
        let from = state.frames.partition_point(|frame| frame.entry().sequence <= after);
        let newer = state.frames.range(from..);
        out.extend(newer.take_while(|frame| frame.entry().sequence <= through).cloned());
        Ok(())
    }

    /// Is every entry above this place here, as far as the follower has come?
    pub(crate) fn reaches(&self, after: Sequence) -> bool {
        after >= self.lock().floor
    }

    /// Wakes everybody who reads this topic.
    pub(crate) fn wake(&self) {
        for reader in self.lock().readers.values() {
            reader.notify_one();
        }
    }

    /// Adds a reader, known by the address of its signal.
    pub(crate) fn attach(&self, signal: &Arc<Notify>) {
        self.lock().readers.insert(reader_key(signal), Arc::clone(signal));
    }

    /// Removes a reader.
    pub(crate) fn detach(&self, signal: &Arc<Notify>) {
        self.lock().readers.remove(&reader_key(signal));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reader_key(signal: &Arc<Notify>) -> usize {
    Arc::as_ptr(signal) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_proto::{Data, Entry, EventType, Topic};

    fn framed(sequence: u64) -> Arc<Framed> {
        let entry = Entry {
            sequence: Sequence(sequence),
            topic: Topic::parse("chat/a").unwrap(),
            event: EventType::message(),
            data: Data::text("0123456789").unwrap(),
            at_ms: 0,
        };
        Arc::new(Framed::new(Arc::new(entry), None))
    }

    fn tail(entries_max: usize, bytes_max: usize) -> Tail {
        let limits = Limits {
            tail_entries_max: entries_max,
            tail_bytes_max: bytes_max,
            ..Limits::default()
        };
        Tail::new(Sequence(10), &limits)
    }

    fn taken(tail: &Tail, after: u64, through: u64) -> Result<Vec<u64>, Behind> {
        let mut out = Vec::new();
        tail.take(Sequence(after), Sequence(through), &mut out)?;
        Ok(out.iter().map(|frame| frame.entry().sequence.0).collect())
    }

    #[test]
    fn it_holds_everything_above_its_floor_or_says_so() {
        let tail = tail(3, 1_000);
        tail.push([11, 13, 14].map(framed));
        assert_eq!(taken(&tail, 9, 14), Err(Behind));
        assert_eq!(taken(&tail, 10, 14), Ok(vec![11, 13, 14]));
        assert_eq!(taken(&tail, 11, 13), Ok(vec![13]));
        tail.push([framed(17)]);
        assert_eq!(taken(&tail, 10, 17), Err(Behind), "11 went");
        assert_eq!(taken(&tail, 11, 17), Ok(vec![13, 14, 17]));
        tail.raise_floor(Sequence(15));
        assert_eq!(taken(&tail, 14, 17), Err(Behind));
        assert_eq!(taken(&tail, 15, 17), Ok(vec![17]));
    }

    #[test]
    fn it_is_bounded_by_bytes_too() {
        let tail = tail(100, 25);
        tail.push([11, 12, 13].map(framed));
        assert_eq!(taken(&tail, 11, 13), Ok(vec![12, 13]));
        assert_eq!(taken(&tail, 10, 13), Err(Behind));
    }
}
