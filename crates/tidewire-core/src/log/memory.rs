//! [`MemoryLog`]: the reference implementation, and the home of features that keep nothing.
//!
//! It remembers until the process ends, within the features' retention and its own bounds. It knows
//! no files; everything happens under one short lock that is never held across an `.await`.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use tidewire_proto::{Entry, Epoch, Lineage, Message, Sequence, Stored, Topic};
use tokio::{sync::watch, time::Instant};

use super::{
    AppendError, Batch, Bounds, Filter, Log, Page, PageBack, PageLimit, ReadError, Receipt,
    idempotency::{KeyWindow, Verdict},
};
use crate::{
    clock::{Clock, Random},
    feature::{CurrentFeatures, Features, History},
    limits::Limits,
};

/// Most entries in one followed batch: a follower that fell behind catches up in pieces.
const FOLLOW_ENTRIES_MAX: usize = 1_024;

/// A log in memory.
pub struct MemoryLog {
    shared: Arc<Shared>,
    features: CurrentFeatures,
    clock: Arc<dyn Clock>,
    started: Instant,
    batch_bytes_max: usize,
}

struct Shared {
    state: Mutex<State>,
    newest: watch::Sender<Sequence>,
    lineage: Arc<Lineage>,
}

struct State {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    newest: Sequence,
    topics: HashMap<Topic, Held>,
    // The newest loss among topics that are no longer in `topics`.
    forgotten: Sequence,
    feature_bytes: HashMap<String, u64>,
    keys: KeyWindow,
    bounds: MemoryBounds,
}

/// How much a [`MemoryLog`] holds at most, over all features.
#[derive(Debug, Clone, Copy)]
pub struct MemoryBounds {
    /// Most payload bytes.
    pub bytes_max: usize,
    /// Most entries.
    pub entries_max: usize,
    /// Most topics whose losses are remembered one by one. Beyond it, a topic of which nothing is
    /// left may be told of a loss that was another's: told too much, never too little.
    pub topics_max: usize,
}

impl Default for MemoryBounds {
    fn default() -> Self {
        Self { bytes_max: 64 * 1024 * 1024, entries_max: 1_000_000, topics_max: 100_000 }
    }
}

/// What the log holds of one topic.
#[derive(Default)]
struct Held {
    entries: VecDeque<Arc<Entry>>,
    lost: Sequence,
}

impl MemoryLog {
    /// An empty log, in a new life.
    pub fn new(
        features: impl Into<CurrentFeatures>,
        limits: &Limits,
        bounds: MemoryBounds,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
    ) -> Self {
        let state = State {
            entries: VecDeque::new(),
            bytes: 0,
            newest: Sequence::ZERO,
            topics: HashMap::new(),
            forgotten: Sequence::ZERO,
            feature_bytes: HashMap::new(),
            keys: KeyWindow::new(limits.idempotency_window, limits.idempotency_keys_max),
            bounds,
        };
        let shared = Shared {
            state: Mutex::new(state),
            newest: watch::Sender::new(Sequence::ZERO),
            lineage: Arc::new(Lineage::new(Epoch(random.next_u64()))),
        };
        Self {
            shared: Arc::new(shared),
            features: features.into(),
            clock,
            started: Instant::now(),
            batch_bytes_max: limits.batch_bytes_max,
        }
    }

    fn try_append(&self, batch: &[Message]) -> Result<Vec<Receipt>, AppendError> {
        let now_ms = self.clock.now_ms();
        let now = self.started.elapsed();
        let mut state = self.shared.lock();
        let newest_before = state.newest;
        let receipts = state.append(batch, now, now_ms)?;
        state.retain(&self.features.load(), now_ms);
        let newest = state.newest;
        drop(state);
        if newest > newest_before {
            self.shared.newest.send_replace(newest);
        }
        Ok(receipts)
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(&self, batch: Vec<Message>) -> Result<Vec<Receipt>, AppendError> {
        let bytes: usize = batch.iter().map(|message| message.data.bytes().len()).sum();
        if bytes > self.batch_bytes_max {
            return Err(AppendError::Busy);
        }
        self.try_append(&batch)
    }

    async fn read(
        &self,
        filter: &Filter,
        after: Sequence,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.shared.lock();
        state.retain(&self.features.load(), now_ms);
        Ok(state.page(filter, after, limit))
    }

    async fn read_back(
        &self,
        filter: &Filter,
        before: Option<Sequence>,
        limit: PageLimit,
    ) -> Result<PageBack, ReadError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.shared.lock();
        state.retain(&self.features.load(), now_ms);
        Ok(state.page_back(filter, before, limit))
    }

    fn follow(&self, after: Sequence) -> BoxStream<'static, Batch> {
        let shared = Arc::clone(&self.shared);
        let news = shared.newest.subscribe();
        stream::unfold((shared, news, after), |(shared, mut news, after)| async move {
            loop {
                let newest = *news.borrow_and_update();
                if newest > after {
                    let batch = shared.lock().batch_after(after);
                    if let Some(batch) = batch {
                        let through = batch.entries.last().map_or(after, |entry| entry.sequence);
                        return Some((batch, (shared, news, through)));
                    }
                }
                news.changed().await.ok()?;
            }
        })
        .boxed()
    }

    fn bounds(&self) -> Bounds {
        let state = self.shared.lock();
        Bounds {
            lineage: Arc::clone(&self.shared.lineage),
            oldest: state.oldest(),
            newest: state.newest,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn oldest(&self) -> Sequence {
        self.entries.front().map_or(self.newest, |entry| Sequence(entry.sequence.0 - 1))
    }

    fn append(
        &mut self,
        batch: &[Message],
        now: Duration,
        at_ms: u64,
    ) -> Result<Vec<Receipt>, AppendError> {
        let mut receipts = Vec::with_capacity(batch.len());
        let mut sequence = self.newest;
        for (index, message) in batch.iter().enumerate() {
            let duplicate = match self.keys.verdict(message, now) {
                Verdict::New => None,
                Verdict::Duplicate(earlier) => Some(earlier),
                refused => {
                    // All of the batch or nothing: forget the keys of the part before this one.
                    for (message, receipt) in batch.iter().zip(&receipts) {
                        let receipt: &Receipt = receipt;
                        if !receipt.duplicate {
                            self.keys.take_back(message);
                        }
                    }
                    return Err(match refused {
                        Verdict::Conflict => AppendError::Conflict { index },
                        _ => AppendError::Busy,
                    });
                }
            };
            if duplicate.is_none() {
                sequence = sequence.next();
                self.keys.remember(message, sequence, now);
            }
            receipts.push(Receipt {
                sequence: duplicate.unwrap_or(sequence),
                stored: Stored::Memory,
                duplicate: duplicate.is_some(),
            });
        }
        for (message, receipt) in batch.iter().zip(&receipts) {
            if !receipt.duplicate {
                self.push(message, receipt.sequence, at_ms);
            }
        }
        self.newest = sequence;
        Ok(receipts)
    }

    fn push(&mut self, message: &Message, sequence: Sequence, at_ms: u64) {
        let entry = Arc::new(Entry {
            sequence,
            topic: message.topic.clone(),
            event: message.event.clone(),
            data: message.data.clone(),
            at_ms,
            item: message.item.clone(),
        });
        let bytes = entry.data.bytes().len();
        self.bytes += bytes;
        *self.feature_bytes.entry(entry.topic.feature().to_owned()).or_default() += bytes as u64;
        self.topics.entry(entry.topic.clone()).or_default().entries.push_back(Arc::clone(&entry));
        self.entries.push_back(entry);
    }

    /// Drops what the features' retention and the log's own bounds no longer keep: from the front,
    /// so an old entry of a patient feature may hold a few younger ones of an impatient one.
    fn retain(&mut self, features: &Features, now_ms: u64) {
        while let Some(front) = self.entries.front() {
            let feature_bytes =
                self.feature_bytes.get(front.topic.feature()).copied().unwrap_or_default();
            let over = match features.of(&front.topic).map(|feature| feature.history) {
                Some(History::Kept { age, bytes }) => {
                    age.is_some_and(|age| is_older(front.at_ms, now_ms, age))
                        || bytes.is_some_and(|bytes| feature_bytes > bytes)
                }
                Some(History::None) | None => false,
            };
            let full =
                self.bytes > self.bounds.bytes_max || self.entries.len() > self.bounds.entries_max;
            if !over && !full {
                break;
            }
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        let bytes = entry.data.bytes().len();
        self.bytes -= bytes;
        if let Some(of_feature) = self.feature_bytes.get_mut(entry.topic.feature()) {
            *of_feature -= bytes as u64;
        }
        if let Some(held) = self.topics.get_mut(&entry.topic) {
            held.entries.pop_front();
            held.lost = entry.sequence;
            if held.entries.is_empty() && self.topics.len() > self.bounds.topics_max {
                self.topics.remove(&entry.topic);
                self.forgotten = self.forgotten.max(entry.sequence);
            }
        }
    }

    fn page(&self, filter: &Filter, after: Sequence, limit: PageLimit) -> Page {
        let mut found: Vec<&Arc<Entry>> = Vec::new();
        let mut lost = None;
        for topic in filter.topics() {
            let lost_here = self.topics.get(topic).map_or(self.forgotten, |held| held.lost);
            lost = lost.max(Some(lost_here).filter(|&lost| lost > after));
            let Some(held) = self.topics.get(topic) else { continue };
            let from = held.entries.partition_point(|entry| entry.sequence <= after);
            // One more than wanted, to know whether the page was cut short.
            found.extend(held.entries.range(from..).take(limit.entries.saturating_add(1)));
        }
        found.sort_by_key(|entry| entry.sequence);
        let fits = fitting(&found, limit);
        let whole = fits == found.len();
        let entries: Vec<_> = found.into_iter().take(fits).cloned().collect();
        let last = entries.last().map_or(after, |entry| entry.sequence);
        Page { entries, through: if whole { self.newest.max(after) } else { last }, lost }
    }

    fn page_back(&self, filter: &Filter, before: Option<Sequence>, limit: PageLimit) -> PageBack {
        let mut found = Vec::new();
        for topic in filter.topics() {
            let Some(held) = self.topics.get(topic) else { continue };
            let is_before =
                |entry: &Arc<Entry>| before.is_none_or(|before| entry.sequence < before);
            let end = held.entries.partition_point(is_before);
            // One more than wanted, to know whether there are others.
            let most = limit.entries.saturating_add(1);
            found.extend(held.entries.range(end.saturating_sub(most)..end).cloned());
        }
        PageBack::of(found, limit, self.newest)
    }

    fn batch_after(&self, after: Sequence) -> Option<Batch> {
        let from = self.entries.partition_point(|entry| entry.sequence <= after);
        let entries: Arc<[_]> =
            self.entries.range(from..).take(FOLLOW_ENTRIES_MAX).cloned().collect();
        let first = entries.first()?;
        // Places are contiguous here, so a first entry that is not the next one means a loss.
        let after = after.max(Sequence(first.sequence.0 - 1));
        Some(Batch { after, entries })
    }
}

/// How many of these entries a page may hold.
fn fitting(entries: &[&Arc<Entry>], limit: PageLimit) -> usize {
    let mut bytes = 0_usize;
    entries
        .iter()
        .take(limit.entries)
        .enumerate()
        .take_while(|(index, entry)| {
            bytes = bytes.saturating_add(entry.data.bytes().len());
            *index == 0 || bytes <= limit.bytes
        })
        .count()
}

fn is_older(at_ms: u64, now_ms: u64, age: Duration) -> bool {
    u128::from(now_ms.saturating_sub(at_ms)) > age.as_millis()
}
