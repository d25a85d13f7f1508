//! [`Lane`]: one log, its follower and the tails that are read on this machine.
//!
//! A hub has two: what is kept, and what is only passed on. They work alike; the second gives no ids.
//!
//! Invariant: delivery happens only here, and only of what [`Log::follow`] yielded. When `position`
//! says a place, every tail that existed before holds its entries up to that place, or a floor above.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::StreamExt;
use smallvec::SmallVec;
use tidewire_proto::{Cursor, Entry, Lineage, Sequence, Topic};
use tokio::sync::Notify;

use crate::{
    feature::{CurrentFeatures, Keep},
    framed::Framed,
    join::join,
    limits::Limits,
    log::{Batch, Log},
    tail::{Replaces, Tail},
};

mod past;

/// Most topics that are noted between two looks at a [`Turnover`]: beyond it, all are looked at.
const TURNOVER_TOPICS_MAX: usize = 100_000;

pub(crate) struct Lane {
    pub(crate) log: Arc<dyn Log>,
    /// Do entries have ids, and can readers resume?
    pub(crate) kept: bool,
    features: CurrentFeatures,
    limits: Arc<Limits>,
    routes: Mutex<Routes>,
    bases: past::Bases,
    // Every tail has, or floors above, everything up to here.
    position: AtomicU64,
    turned: Notify,
}

struct Routes {
    tails: HashMap<Topic, Route>,
    // What is above has not been looked up in `tails` yet, so a new tail will get it.
    routed: Sequence,
    // Topics whose first reader came or whose last one left. Nothing while nobody wants to know.
    turnover: Option<HashSet<Topic>>,
}

/// Which topics have their first reader, or have lost their last, since it was looked last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Turnover {
    /// Topics, and whether somebody reads them now.
    pub topics: Vec<(Topic, bool)>,
    /// Too much happened to be noted: these are all that are read, and nobody reads any other.
    pub is_all: bool,
}

impl Routes {
    fn turn(&mut self, topic: &Topic) -> bool {
        let Some(turnover) = &mut self.turnover else { return false };
        // One more than the most says that there were more.
        if turnover.len() <= TURNOVER_TOPICS_MAX {
            turnover.insert(topic.clone());
        }
        true
    }
}

struct Route {
    tail: Arc<Tail>,
    readers: usize,
}

/// Where the entries of a batch go.
struct Routed {
    /// Tails with the index of an entry, in the order of the entries.
    entries: Vec<(Arc<Tail>, usize)>,
    /// All tails, if something before the batch was skipped.
    skipped: Vec<Arc<Tail>>,
}

impl Lane {
    pub(crate) fn new(
        log: Arc<dyn Log>,
        kept: bool,
        features: CurrentFeatures,
        limits: Arc<Limits>,
    ) -> Self {
        let newest = log.bounds().newest;
        Self {
            log,
            kept,
            features,
            limits,
            routes: Mutex::new(Routes { tails: HashMap::new(), routed: newest, turnover: None }),
            bases: past::Bases::default(),
            position: AtomicU64::new(newest.0),
            turned: Notify::new(),
        }
    }

    /// Walks the log and fills the tails, until the log is closed.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut batches = self.log.follow(self.position());
        while let Some(batch) = batches.next().await {
            self.deliver(&batch);
            self.note_values(&batch);
        }
        tracing::info!(kept = self.kept, "the log is closed, its follower ends");
    }

    /// Everything up to here is in the tails.
    pub(crate) fn position(&self) -> Sequence {
        Sequence(self.position.load(Ordering::Acquire))
    }

    /// The id of a place, if entries of this lane have ids.
    pub(crate) fn id(&self, lineage: &Lineage, sequence: Sequence) -> Option<Cursor> {
        self.kept.then(|| lineage.cursor_at(sequence))
    }

    /// Entries that were read from the log, ready to go out.
    pub(crate) fn framed(&self, entries: impl IntoIterator<Item = Arc<Entry>>) -> Vec<Arc<Framed>> {
        let lineage = self.log.bounds().lineage;
        let framed = |entry: Arc<Entry>| {
            let id = self.id(&lineage, entry.sequence);
            Arc::new(Framed::new(entry, id))
        };
        entries.into_iter().map(framed).collect()
    }

    /// Joins what the topics' features say may be joined.
    pub(crate) fn join(&self, entries: &mut Vec<Arc<Framed>>) {
        let features = self.features.load();
        let is_text = |topic: &Topic| features.keep(topic) == Keep::Text;
        join(entries, is_text, self.limits.message_bytes_max);
    }

    /// Makes topics alive here: each has a tail until as many left as came.
    pub(crate) fn enter(&self, topics: &[Topic]) -> SmallVec<[Arc<Tail>; 1]> {
        let features = self.features.load();
        let ways = |topic: &Topic| match features.of(topic) {
            // What is not of the lane's kind is the server's own.
            Some(feature) if feature.is_kept() == self.kept && !topic.is_reserved() => {
                (Replaces::of(feature), self.kept && feature.keep == Keep::Text)
            }
            _ if self.kept => (Replaces::Nothing, false),
            _ => (Replaces::Items, false),
        };
        let mut routes = self.lock();
        let floor = routes.routed;
        let alive = |topic: &Topic| {
            let route = routes.tails.entry(topic.clone()).or_insert_with(|| Route {
                tail: Arc::new(Tail::new(topic.clone(), floor, ways(topic), &self.limits)),
                readers: 0,
            });
            route.readers += 1;
            let (tail, is_first) = (Arc::clone(&route.tail), route.readers == 1);
            if is_first && routes.turn(topic) {
                self.turned.notify_one();
            }
            tail
        };
        topics.iter().map(alive).collect()
    }

    /// The opposite of [`enter`](Self::enter): a topic without readers is forgotten.
    pub(crate) fn exit(&self, tails: &[Arc<Tail>]) {
        let mut routes = self.lock();
        for tail in tails {
            if let Some(route) = routes.tails.get_mut(tail.topic()) {
                route.readers -= 1;
                if route.readers == 0 {
                    routes.tails.remove(tail.topic());
                    if routes.turn(tail.topic()) {
                        self.turned.notify_one();
                    }
                }
            }
        }
    }

    /// Begins to note which topics get and lose their readers; or ceases to.
    pub(crate) fn note_turnover(&self, is_noted: bool) {
        let mut routes = self.lock();
        routes.turnover = is_noted.then(|| routes.tails.keys().cloned().collect());
        drop(routes);
        self.turned.notify_one();
    }

    /// Waits until a topic has its first reader, or has lost its last. One may wait at a time.
    pub(crate) async fn turned(&self) {
        self.turned.notified().await;
    }

    /// All topics that are read.
    pub(crate) fn all_read(&self) -> Vec<(Topic, bool)> {
        self.lock().tails.keys().map(|topic| (topic.clone(), true)).collect()
    }

    /// What was noted since the last look. Of one that is all, no topic is named.
    pub(crate) fn turnover(&self) -> Turnover {
        let mut routes = self.lock();
        let Some(noted) = routes.turnover.as_mut().map(std::mem::take) else {
            return Turnover::default();
        };
        if noted.len() > TURNOVER_TOPICS_MAX {
            return Turnover { topics: Vec::new(), is_all: true };
        }
        let is_read = |topic: Topic| {
            let is_read = routes.tails.contains_key(&topic);
            (topic, is_read)
        };
        Turnover { topics: noted.into_iter().map(is_read).collect(), is_all: false }
    }

    /// Does somebody read a topic of this feature here? Looks at every topic that is read, but for the
    /// server's own, which stay in their lane whatever the feature does.
    pub(crate) fn is_read(&self, feature: &str) -> bool {
        let is_of = |topic: &Topic| topic.feature() == feature && !topic.is_reserved();
        self.lock().tails.keys().any(is_of)
    }

    fn deliver(&self, batch: &Batch) {
        let Some(through) = batch.entries.last().map(|entry| entry.sequence) else { return };
        let lineage = self.log.bounds().lineage;
        let Routed { entries, skipped } = self.route(batch, through);
        for tail in &skipped {
            // Retention overtook the follower: readers ask the log, which tells what was lost.
            tail.raise_floor(batch.after);
        }
        let mut awake: HashMap<usize, Arc<Tail>> = HashMap::new();
        for (tail, index) in entries {
            let Some(entry) = batch.entries.get(index) else { continue };
            let id = self.id(&lineage, entry.sequence);
            tail.push(Arc::new(Framed::new(Arc::clone(entry), id)));
            awake.insert(Arc::as_ptr(&tail) as usize, tail);
        }
        self.position.store(through.0, Ordering::Release);
        for tail in awake.values().chain(&skipped) {
            tail.wake();
        }
    }

    /// Looks up who reads what, under one lock.
    fn route(&self, batch: &Batch, through: Sequence) -> Routed {
        let mut routes = self.lock();
        let find = |(index, topic)| {
            let route: &Route = routes.tails.get::<Topic>(topic)?;
            Some((Arc::clone(&route.tail), index))
        };
        let topics = batch.entries.iter().map(|entry| &entry.topic).enumerate();
        let entries = topics.filter_map(find).collect();
        let skipped = if batch.after > routes.routed {
            routes.tails.values().map(|route| Arc::clone(&route.tail)).collect()
        } else {
            Vec::new()
        };
        routes.routed = through;
        Routed { entries, skipped }
    }

    fn lock(&self) -> MutexGuard<'_, Routes> {
        // Nothing in here panics half way through a change.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }
}
