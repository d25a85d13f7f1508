//! The newest entries of all topics in memory, so that a live follower and a reconnect after a
//! moment seldom touch the disk. Pure.
//!
//! Invariant: every entry that the log keeps with a place above [`Recent::floor`] is here.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tidewire_proto::{Entry, Sequence};

/// What an entry takes beside its payload, about; so that empty payloads are bounded too.
const OVERHEAD_BYTES: usize = 128;

/// The newest entries.
pub(crate) struct Recent {
    floor: Sequence,
    entries: VecDeque<(u64, Arc<Entry>)>,
    /// With their places beside them, so that a search touches no entry.
    topics: HashMap<u64, VecDeque<(Sequence, Arc<Entry>)>>,
    bytes: usize,
    bytes_max: usize,
}

impl Recent {
    /// Empty: everything up to `floor` is elsewhere.
    pub(crate) fn new(floor: Sequence, bytes_max: usize) -> Self {
        Self { floor, entries: VecDeque::new(), topics: HashMap::new(), bytes: 0, bytes_max }
    }

    /// The place up to which entries must be looked for elsewhere.
    pub(crate) fn floor(&self) -> Sequence {
        self.floor
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes an entry in; what leaves for it is put into `gone`.
    pub(crate) fn push(&mut self, topic: u64, entry: Arc<Entry>, gone: &mut Vec<Arc<Entry>>) {
        self.bytes += cost(&entry);
        self.topics.entry(topic).or_default().push_back((entry.sequence, Arc::clone(&entry)));
        self.entries.push_back((topic, entry));
        while self.bytes > self.bytes_max {
            let Some((topic, entry)) = self.entries.pop_front() else { break };
            self.floor = entry.sequence;
            self.bytes -= cost(&entry);
            if let Some(of_topic) = self.topics.get_mut(&topic) {
                of_topic.pop_front();
                if of_topic.is_empty() {
                    self.topics.remove(&topic);
                }
            }
            gone.push(entry);
        }
    }

    /// A topic's entries after a place, oldest first, at most so many.
    pub(crate) fn of_topic(
        &self,
        hash: u64,
        topic: &str,
        after: Sequence,
        limit: usize,
    ) -> Vec<Arc<Entry>> {
        let of_topic = self.of_hash(hash, after).filter(|entry| entry.topic.as_str() == topic);
        of_topic.take(limit).cloned().collect()
    }

    /// A topic's newest entries before a place, newest first, at most so many.
    pub(crate) fn back(
        &self,
        hash: u64,
        topic: &str,
        before: Sequence,
        limit: usize,
    ) -> Vec<Arc<Entry>> {
        let Some(entries) = self.topics.get(&hash) else { return Vec::new() };
        let end = entries.partition_point(|&(place, _)| place < before);
        let entries = entries.range(..end).rev();
        let of_topic = entries.filter(|(_, entry)| entry.topic.as_str() == topic);
        of_topic.take(limit).map(|(_, entry)| Arc::clone(entry)).collect()
    }

    /// The entries after a place of all topics with this hash, which is nearly always one; no entry is looked at.
    pub(crate) fn of_hash(
        &self,
        hash: u64,
        after: Sequence,
    ) -> impl ExactSizeIterator<Item = &Arc<Entry>> {
        let entries = self.topics.get(&hash);
        let from = entries.map_or(0, |held| held.partition_point(|&(place, _)| place <= after));
        let found = entries.map(|held| held.range(from..)).unwrap_or_default();
        found.map(|(_, entry)| entry)
    }

    /// All entries after a place, oldest first, at most so many, up to the first missing place.
    pub(crate) fn after(&self, after: Sequence, limit: usize) -> Vec<Arc<Entry>> {
        let from = self.entries.partition_point(|(_, entry)| entry.sequence <= after);
        self.entries.range(from..).take(limit).map(|(_, entry)| Arc::clone(entry)).collect()
    }

    /// Takes out what retention dropped: entries up to a place, of the topics that `is_dropped` says.
    pub(crate) fn drop_up_to(&mut self, last: Sequence, is_dropped: impl Fn(&Entry) -> bool) {
        if last <= self.floor {
            return;
        }
        let gone = |entry: &Entry| entry.sequence <= last && is_dropped(entry);
        let mut freed = 0;
        self.entries.retain(|(_, entry)| {
            let gone = gone(entry);
            freed += if gone { cost(entry) } else { 0 };
            !gone
        });
        self.bytes -= freed;
        self.topics.retain(|_, entries| {
            entries.retain(|(_, entry)| !gone(entry));
            !entries.is_empty()
        });
    }
}

fn cost(entry: &Entry) -> usize {
    entry.data.bytes().len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_proto::{Data, EventType, Topic};

    fn entry(sequence: u64, topic: &str) -> Arc<Entry> {
        Arc::new(Entry {
            sequence: Sequence(sequence),
            topic: Topic::parse(topic).unwrap(),
            event: EventType::message(),
            data: Data::text("12345678901234567890").unwrap(),
            at_ms: 0,
            item: None,
        })
    }

    fn places(entries: &[Arc<Entry>]) -> Vec<u64> {
        entries.iter().map(|entry| entry.sequence.0).collect()
    }

    #[test]
    fn the_oldest_leave_first_and_the_floor_says_so() {
        let mut recent = Recent::new(Sequence::ZERO, 3 * (OVERHEAD_BYTES + 20));
        let mut gone = vec![];
        for sequence in 1..=5 {
            let topic = if sequence % 2 == 0 { "a" } else { "b" };
            recent.push(sequence % 2, entry(sequence, topic), &mut gone);
        }
        assert_eq!(recent.floor(), Sequence(2));
        assert_eq!(places(&gone), [1, 2]);
        assert_eq!(places(&recent.after(Sequence(2), 9)), [3, 4, 5]);
        assert_eq!(places(&recent.of_topic(1, "b", Sequence(3), 9)), [5]);
        assert_eq!(places(&recent.of_topic(0, "a", Sequence(0), 9)), [4]);
        assert!(recent.of_topic(0, "other", Sequence(0), 9).is_empty(), "hashes may collide");
    }

    #[test]
    fn what_retention_drops_leaves_memory_too() {
        let mut recent = Recent::new(Sequence::ZERO, usize::MAX);
        for sequence in 1..=5 {
            recent.push(0, entry(sequence, "a"), &mut vec![]);
        }
        recent.drop_up_to(Sequence(2), |_| true);
        assert_eq!(places(&recent.after(Sequence(0), 9)), [3, 4, 5]);
        assert_eq!(places(&recent.of_topic(0, "a", Sequence(0), 9)), [3, 4, 5]);
    }
}
