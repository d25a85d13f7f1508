//! [`Tail`]: the newest entries of one topic, and who waits for the next.
//!
//! A tail exists while somebody here reads its topic. It knows nothing of cursors but that readers
//! come with one; what it no longer holds, the log does.
//!
//! Invariant: a tail holds every entry of its topic above its `floor`, up to what the follower has
//! pushed, but for those that a newer one of their item has replaced, where that is the topic's way.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tidewire_proto::{Sequence, Topic};

use crate::{feature::Feature, framed::Framed, limits::Limits, watch::Mark};

/// The newest entries of one topic.
#[derive(Debug)]
pub struct Tail {
    topic: Topic,
    state: Mutex<State>,
    // For those who want to know without the lock.
    newest: AtomicU64,
    replaces: Replaces,
    joins: bool,
    entries_max: usize,
    bytes_max: usize,
}

/// Which entries a newer one of their item replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replaces {
    /// None.
    Nothing,
    /// Those that name an item.
    Items,
    /// All: those that name none count as one item.
    All,
}

impl Replaces {
    /// What a feature's tails do.
    pub(crate) fn of(feature: &Feature) -> Self {
        match (feature.replaces(false), feature.replaces(true)) {
            (true, _) => Self::All,
            (false, true) => Self::Items,
            (false, false) => Self::Nothing,
        }
    }

    /// Does the newer of two entries stand for the older?
    fn covers(self, newer: &Framed, older: &Framed) -> bool {
        let (newer, older) = (&newer.entry().item, &older.entry().item);
        match self {
            Self::Nothing => false,
            Self::Items => newer.is_some() && newer == older,
            Self::All => newer == older,
        }
    }
}

#[derive(Debug)]
struct State {
    floor: Sequence,
    frames: VecDeque<Arc<Framed>>,
    bytes: usize,
    // By address, so that whoever leaves is found at once.
    watchers: HashMap<usize, Arc<Mark>>,
}

/// The tail no longer holds what was asked for: read the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behind;

impl Tail {
    /// A tail that holds nothing yet: everything up to `floor` is the log's to tell.
    pub(crate) fn new(
        topic: Topic,
        floor: Sequence,
        (replaces, joins): (Replaces, bool),
        limits: &Limits,
    ) -> Self {
        let state = State { floor, frames: VecDeque::new(), bytes: 0, watchers: HashMap::new() };
        Self {
            topic,
            state: Mutex::new(state),
            newest: AtomicU64::new(floor.0),
            replaces,
            joins,
            entries_max: limits.tail_entries_max,
            bytes_max: limits.tail_bytes_max,
        }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// May texts of this topic come joined?
    pub(crate) fn joins(&self) -> bool {
        self.joins
    }

    /// Nothing happened to this topic above this place, as far as the follower has come: no entry, and
    /// no loss.
    #[must_use]
    pub fn newest(&self) -> Sequence {
        Sequence(self.newest.load(Ordering::Acquire))
    }

    /// Sets this mark whenever there are news, until [`unwatch`](Self::unwatch).
    pub fn watch(&self, mark: &Arc<Mark>) {
        self.lock().watchers.insert(address(mark), Arc::clone(mark));
    }

    /// The opposite of [`watch`](Self::watch).
    pub fn unwatch(&self, mark: &Arc<Mark>) {
        self.lock().watchers.remove(&address(mark));
    }

    /// Adds the next entry in log order, and lets the oldest go.
    pub(crate) fn push(&self, frame: Arc<Framed>) {
        let mut state = self.lock();
        self.newest.store(frame.entry().sequence.0, Ordering::Release);
        self.replace_older(&mut state, &frame);
        state.bytes += size(&frame);
        state.frames.push_back(frame);
        while state.frames.len() > self.entries_max || state.bytes > self.bytes_max {
            let Some(gone) = state.frames.pop_front() else { break };
            state.bytes -= size(&gone);
            state.floor = gone.entry().sequence;
        }
    }

    /// Does an entry that is here stand for this one?
    fn is_replaced(&self, state: &State, older: &Framed) -> bool {
        self.replaces != Replaces::Nothing
            && state.frames.iter().any(|newer| self.replaces.covers(newer, older))
    }

    /// Takes out the entry that this one replaces: there is at most one.
    fn replace_older(&self, state: &mut State, newer: &Framed) {
        if self.replaces == Replaces::Nothing {
            return;
        }
        let replaced = state.frames.iter().rposition(|older| self.replaces.covers(newer, older));
        if let Some(gone) = replaced.and_then(|at| state.frames.remove(at)) {
            state.bytes -= size(&gone);
        }
    }

    /// Says that entries up to `floor` may be missing here.
    pub(crate) fn raise_floor(&self, floor: Sequence) {
        let mut state = self.lock();
        state.floor = state.floor.max(floor);
        // Nobody may pass over this without looking.
        self.newest.fetch_max(floor.0, Ordering::AcqRel);
        while state.frames.front().is_some_and(|frame| frame.entry().sequence <= floor) {
            if let Some(gone) = state.frames.pop_front() {
                state.bytes -= size(&gone);
            }
        }
    }

    /// What one reader had to get from the log, for those who come after it: `frames` are all of
    /// this topic above `after` and up to `through`, in order. Of use only where they reach up to
    /// what is here already; the newest are taken, as far as there is room.
    pub(crate) fn lower_floor(&self, after: Sequence, through: Sequence, frames: &[Arc<Framed>]) {
        let mut state = self.lock();
        if after >= state.floor || through < state.floor {
            return;
        }
        let below = frames.partition_point(|frame| frame.entry().sequence <= state.floor);
        for frame in frames.iter().take(below).rev() {
            if self.is_replaced(&state, frame) {
                continue;
            }
            let bytes = size(frame);
            if state.frames.len() >= self.entries_max || state.bytes + bytes > self.bytes_max {
                state.floor = frame.entry().sequence;
                return;
            }
            state.bytes += bytes;
            state.frames.push_front(Arc::clone(frame));
        }
        state.floor = after;
    }

    /// Appends the entries above `after` and up to `through` to `out`, at most about `bytes` of
    /// data, at least one. Tells up to where that is all.
    ///
    /// # Errors
    /// [`Behind`] when some of them may be gone from here; `out` is then as it was.
    pub(crate) fn take(
        &self,
        after: Sequence,
        through: Sequence,
        bytes: usize,
        out: &mut Vec<Arc<Framed>>,
    ) -> Result<Sequence, Behind> {
        let state = self.lock();
        if after < state.floor {
            return Err(Behind);
        }
        // Readers are nearly always close to the end.
        let from = state.frames.partition_point(|frame| frame.entry().sequence <= after);
        let (mut room, mut reached) = (bytes, after);
        for frame in state.frames.range(from..) {
            let sequence = frame.entry().sequence;
            if sequence > through {
                break;
            }
            if room < size(frame) && reached > after {
                return Ok(reached);
            }
            room = room.saturating_sub(size(frame));
            out.push(Arc::clone(frame));
            reached = sequence;
        }
        Ok(through)
    }

    /// Is every entry above this place here, as far as the follower has come?
    pub(crate) fn reaches(&self, after: Sequence) -> bool {
        after >= self.lock().floor
    }

    /// Tells everybody who watches this topic.
    pub(crate) fn wake(&self) {
        // Not under the lock: a mark takes one of its own.
        let watchers: Vec<_> = self.lock().watchers.values().cloned().collect();
        for mark in watchers {
            mark.set();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(frame: &Framed) -> usize {
    frame.entry().data.bytes().len()
}

fn address(mark: &Arc<Mark>) -> usize {
    Arc::as_ptr(mark) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidewire_proto::{Data, Entry, EventType};

    fn framed(sequence: u64) -> Arc<Framed> {
        let entry = Entry {
            sequence: Sequence(sequence),
            topic: Topic::parse("chat/a").unwrap(),
            event: EventType::message(),
            data: Data::text("0123456789").unwrap(),
            at_ms: 0,
            item: None,
        };
        Arc::new(Framed::new(Arc::new(entry), None))
    }

    fn tail(entries_max: usize, bytes_max: usize, pushed: &[u64]) -> Tail {
        let limits = Limits {
            tail_entries_max: entries_max,
            tail_bytes_max: bytes_max,
            ..Limits::default()
        };
        let topic = Topic::parse("chat/a").unwrap();
        let tail = Tail::new(topic, Sequence(10), (Replaces::Nothing, false), &limits);
        for sequence in pushed {
            tail.push(framed(*sequence));
        }
        tail
    }

    fn taken(tail: &Tail, after: u64, through: u64) -> Result<Vec<u64>, Behind> {
        taken_within(tail, after, through, 1_000).map(|(taken, reached)| {
            assert_eq!(reached, through);
            taken
        })
    }

    fn taken_within(
        tail: &Tail,
        after: u64,
        through: u64,
        bytes: usize,
    ) -> Result<(Vec<u64>, u64), Behind> {
        let mut out = Vec::new();
        let reached = tail.take(Sequence(after), Sequence(through), bytes, &mut out)?;
        Ok((out.iter().map(|frame| frame.entry().sequence.0).collect(), reached.0))
    }

    #[test]
    fn it_holds_everything_above_its_floor_or_says_so() {
        let tail = tail(3, 1_000, &[11, 13, 14]);
        assert_eq!(taken(&tail, 9, 14), Err(Behind));
        assert_eq!(taken(&tail, 10, 14), Ok(vec![11, 13, 14]));
        assert_eq!(taken(&tail, 11, 13), Ok(vec![13]));
        tail.push(framed(17));
        assert_eq!(taken(&tail, 10, 17), Err(Behind), "11 went");
        assert_eq!(taken(&tail, 11, 17), Ok(vec![13, 14, 17]));
        tail.raise_floor(Sequence(15));
        assert_eq!(taken(&tail, 14, 17), Err(Behind));
        assert_eq!(taken(&tail, 15, 17), Ok(vec![17]));
        assert_eq!(tail.newest(), Sequence(17));
    }

    #[test]
    fn it_is_bounded_by_bytes_too() {
        let tail = tail(100, 25, &[11, 12, 13]);
        assert_eq!(taken(&tail, 11, 13), Ok(vec![12, 13]));
        assert_eq!(taken(&tail, 10, 13), Err(Behind));
    }

    #[test]
    fn a_reader_takes_a_piece_and_is_told_where_it_ends() {
        let tail = tail(100, 1_000, &[11, 12, 13, 20]);
        assert_eq!(taken_within(&tail, 10, 30, 20), Ok((vec![11, 12], 12)));
        assert_eq!(taken_within(&tail, 12, 30, 19), Ok((vec![13], 13)));
        assert_eq!(taken_within(&tail, 13, 30, 1), Ok((vec![20], 30)), "one always fits");
        assert_eq!(taken_within(&tail, 20, 30, 1), Ok((vec![], 30)));
    }

    #[test]
    fn what_one_reader_read_below_the_floor_is_there_for_the_next() {
        let frames: Vec<_> = [4, 7, 9, 11].map(framed).into();
        let lowered = |entries_max, after, through| {
            let tail = tail(entries_max, 1_000, &[11, 12]);
            tail.lower_floor(Sequence(after), Sequence(through), &frames);
            tail
        };
        let all = lowered(10, 3, 11);
        assert_eq!(taken(&all, 3, 12), Ok(vec![4, 7, 9, 11, 12]));
        assert_eq!(taken(&all, 2, 12), Err(Behind));
        let some = lowered(4, 3, 11);
        assert_eq!(taken(&some, 3, 12), Err(Behind), "there is room for four");
        assert_eq!(taken(&some, 4, 12), Ok(vec![7, 9, 11, 12]));
        let hole = lowered(10, 3, 9);
        assert_eq!(taken(&hole, 9, 12), Err(Behind), "10 may be missing");
        assert_eq!(taken(&hole, 10, 12), Ok(vec![11, 12]));
        assert_eq!(taken(&lowered(10, 10, 11), 10, 12), Ok(vec![11, 12]), "nothing new");
    }

    fn framed_of(sequence: u64, item: Option<&str>) -> Arc<Framed> {
        let item = item.map(|item| tidewire_proto::Item::parse(item).unwrap());
        let entry = Entry { item, ..framed(sequence).entry().clone() };
        Arc::new(Framed::new(Arc::new(entry), None))
    }

    #[test]
    fn a_newer_entry_of_an_item_replaces_the_older_where_that_is_the_way() {
        let pushed = [(11, Some("a")), (12, None), (13, Some("b")), (14, Some("a")), (15, None)];
        for (replaces, expected) in [
            (Replaces::Nothing, vec![11, 12, 13, 14, 15]),
            (Replaces::Items, vec![12, 13, 14, 15]),
            (Replaces::All, vec![13, 14, 15]),
        ] {
            let topic = Topic::parse("chat/a").unwrap();
            let tail = Tail::new(topic, Sequence(10), (replaces, false), &Limits::default());
            for (sequence, item) in pushed {
                tail.push(framed_of(sequence, item));
            }
            assert_eq!(taken(&tail, 10, 15), Ok(expected), "{replaces:?}");
            assert_eq!(taken(&tail, 14, 15), Ok(vec![15]));
            let state = tail.lock();
            assert_eq!(state.bytes, 10 * state.frames.len());
            drop(state);
            // What was read below the floor is replaced by what is here, too.
            let below = [framed_of(4, Some("a")), framed_of(5, Some("c")), framed_of(6, None)];
            tail.lower_floor(Sequence(3), Sequence(11), &below);
            let held: Vec<_> =
                tail.lock().frames.iter().take(2).map(|f| f.entry().sequence.0).collect();
            let expected = match replaces {
                Replaces::Nothing => [4, 5],
                Replaces::Items => [5, 6],
                Replaces::All => [5, 13],
            };
            assert_eq!(held, expected, "{replaces:?}");
        }
    }

    /// However many updates there are, a ring of few items never overflows, so a slow reader is never
    /// sent to the log.
    #[test]
    fn a_ring_of_few_items_keeps_its_floor() {
        let topic = Topic::parse("stats/a").unwrap();
        let limits = Limits { tail_entries_max: 3, ..Limits::default() };
        let tail = Tail::new(topic, Sequence(10), (Replaces::All, false), &limits);
        for round in 0..1_000 {
            tail.push(framed_of(11 + round, Some(["a", "b", "c"][round as usize % 3])));
        }
        assert_eq!(taken(&tail, 10, 1_010), Ok(vec![1_008, 1_009, 1_010]));
    }

    #[derive(Debug, Clone)]
    enum Operation {
        /// The log gets an entry, so many places above the last.
        Append(u64),
        /// The follower brings so many of those that it has not brought.
        Deliver(usize),
        /// Retention overtook the follower: it brings nothing of what there is.
        Skip,
        /// Somebody reads a page of so many from the log after this place.
        Read { after: u64, entries: usize },
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            5 => (1..4_u64).prop_map(Operation::Append),
            3 => (1..5_usize).prop_map(Operation::Deliver),
            1 => Just(Operation::Skip),
            4 => (0..60_u64, 0..6_usize)
                .prop_map(|(after, entries)| Operation::Read { after, entries }),
        ]
    }

    /// What a page of the log is: its entries, and the place up to which it is all.
    fn page(log: &[u64], after: u64, entries: usize) -> (Vec<u64>, u64) {
        let all: Vec<_> = log.iter().copied().filter(|place| *place > after).collect();
        let some: Vec<_> = all.iter().copied().take(entries).collect();
        let newest = log.last().copied().unwrap_or_default().max(after);
        let through =
            if some.len() < all.len() { some.last().copied().unwrap_or(after) } else { newest };
        (some, through)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

        /// Against a log that forgets nothing: whatever was pushed, skipped, and put in below, a
        /// tail gives exactly what the log has, or says that it does not have it.
        #[test]
        fn what_a_tail_gives_is_what_the_log_has(
            entries_max in 1..7_usize,
            bytes_max in prop_oneof![Just(35_usize), Just(1_000)],
            operations in prop::collection::vec(operation(), 1..60),
        ) {
            let (mut log, mut brought) = (vec![4_u64, 7, 10], 3_usize);
            let tail = tail(entries_max, bytes_max, &[]);
            for operation in operations {
                match operation {
                    Operation::Append(above) => log.push(log.last().unwrap() + above),
                    Operation::Deliver(count) => {
                        for place in log[brought..].iter().take(count) {
                            tail.push(framed(*place));
                            brought += 1;
                        }
                    }
                    Operation::Skip => {
                        brought = log.len();
                        tail.raise_floor(Sequence(log[brought - 1]));
                    }
                    Operation::Read { after, entries } => {
                        let (frames, through) = page(&log, after, entries);
                        let room = entries_max - tail.lock().frames.len();
                        let floor = tail.lock().floor.0;
                        let frames: Vec<_> = frames.into_iter().map(framed).collect();
                        tail.lower_floor(Sequence(after), Sequence(through), &frames);
                        let new = log.iter().filter(|place| **place > after && **place <= floor);
                        let fits = new.count() <= room && bytes_max == 1_000;
                        if fits && after < floor && through >= floor {
                            prop_assert!(tail.reaches(Sequence(after)), "there was room for all");
                        }
                    }
                }
                let through = log[brought - 1];
                prop_assert!(tail.newest().0 >= through);
                for after in 0..through {
                    let all: Vec<_> = log[..brought].iter().copied().filter(|p| *p > after).collect();
                    if let Ok(given) = taken(&tail, after, through) {
                        prop_assert_eq!(given, all, "after {}", after);
                    }
                }
                let state = tail.lock();
                prop_assert!(state.frames.len() <= entries_max);
                prop_assert_eq!(state.bytes, 10 * state.frames.len());
                prop_assert!(state.bytes <= bytes_max);
            }
        }
    }
}
