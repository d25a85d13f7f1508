//! An append-only file of groups, and where in it each entry of each topic stands.
//!
//! One such file is *active*, a few may be *sealed* and wait to be sorted. This module reads and
//! remembers; `writer` appends, `recovery` checks what a crash left.
//!
//! Invariant: the sequences of one file are contiguous, so an entry is known by its rank in it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use smallvec::SmallVec;
use tidewire_proto::{Entry, Sequence};

use crate::{
    bytes::narrow,
    disk::{DiskFile, read_exact, read_up_to},
    error::StoreError,
    group::Head,
    record::{self, Record},
};

/// What a record is read with at first; most are smaller.
const GUESS_BYTES: usize = 1024;

/// The name of the file whose first entry is `base`.
pub(crate) fn file_name(base: Sequence) -> String {
    format!("{:020}.wal", base.0)
}

/// The base that a file name says, if it is one of these.
pub(crate) fn base_in(name: &str) -> Option<Sequence> {
    let digits = name.strip_suffix(".wal")?;
    (digits.len() == 20).then(|| digits.parse().ok().map(Sequence)).flatten()
}

/// The file itself.
pub(crate) struct WalFile {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) head: Head,
}

impl WalFile {
    /// The entry at a place whose offset the index knows.
    pub(crate) fn entry_at(
        &self,
        sequence: Sequence,
        offset: u32,
        like: Option<&Entry>,
    ) -> Result<Entry, StoreError> {
        let bytes = record_bytes(&*self.file, &self.name, u64::from(offset))?;
        entry_in(&bytes, sequence, &self.name, u64::from(offset), like)
    }
}

/// The bytes of the record at an offset.
pub(crate) fn record_bytes(
    file: &dyn DiskFile,
    name: &str,
    offset: u64,
) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![0; GUESS_BYTES];
    let read = read_up_to(file, name, &mut bytes, offset)?;
    bytes.truncate(read);
    let length = record::length(&bytes)
        .ok_or_else(|| StoreError::corrupt(name, offset, "the file ends too early"))?;
    if length > bytes.len() {
        // Ask how long the file is before believing a length that may be damaged.
        let end = file.len().unwrap_or(0);
        if offset.saturating_add(length as u64) > end {
            return Err(StoreError::corrupt(name, offset, "the record is cut off"));
        }
        return read_exact(file, name, length, offset);
    }
    Ok(bytes)
}

/// The entry in these bytes, which must be the one at `sequence`.
pub(crate) fn entry_in(
    bytes: &[u8],
    sequence: Sequence,
    name: &str,
    offset: u64,
    like: Option<&Entry>,
) -> Result<Entry, StoreError> {
    let entry = record::decode(bytes).and_then(|record| record.to_entry(like));
    match entry {
        Ok(entry) if entry.sequence == sequence => Ok(entry),
        Ok(_) => Err(StoreError::corrupt(name, offset, "another record stands here")),
        Err(problem) => Err(StoreError::corrupt(name, offset, problem)),
    }
}

/// Where the entries of a file stand.
#[derive(Default)]
pub(crate) struct WalIndex {
    base: u64,
    /// By rank.
    pub(crate) offsets: Vec<u32>,
    pub(crate) classes: BTreeMap<Arc<str>, ClassIndex>,
    /// How many topics of a class the file before this one had.
    expected: BTreeMap<Arc<str>, usize>,
    pub(crate) oldest_at_ms: u64,
    pub(crate) newest_at_ms: u64,
}

/// The part of an index that belongs to one retention class.
pub(crate) struct ClassIndex {
    /// Ranks by topic, oldest first. Most topics of many have few, which then need no room elsewhere.
    pub(crate) topics: HashMap<u64, SmallVec<[u32; 4]>>,
    /// What its records take.
    pub(crate) bytes: u64,
}

impl WalIndex {
    pub(crate) fn new(base: Sequence) -> Self {
        Self { base: base.0, ..Self::default() }
    }

    /// An empty one for the file that follows: it expects as many topics, so that readers do not wait
    /// while a large table grows.
    pub(crate) fn succeeding(&self, base: Sequence) -> Self {
        let topics =
            |(class, index): (&Arc<str>, &ClassIndex)| (Arc::clone(class), index.topics.len());
        Self { expected: self.classes.iter().map(topics).collect(), ..Self::new(base) }
    }

    /// Notes the next entry.
    pub(crate) fn push(&mut self, class: &Arc<str>, topic: u64, offset: u64, found: &Noted) {
        if self.offsets.is_empty() {
            self.oldest_at_ms = found.at_ms;
        }
        self.newest_at_ms = self.newest_at_ms.max(found.at_ms);
        let rank = narrow(self.offsets.len() as u64);
        self.offsets.push(narrow(offset));
        if !self.classes.contains_key(class) {
            let expected = self.expected.get(class).copied().unwrap_or_default();
            let topics = HashMap::with_capacity(expected);
            self.classes.insert(Arc::clone(class), ClassIndex { topics, bytes: 0 });
        }
        if let Some(index) = self.classes.get_mut(class) {
            index.bytes += found.length;
            index.topics.entry(topic).or_default().push(rank);
        }
    }

    /// The place before the first entry.
    pub(crate) fn before(&self) -> Sequence {
        Sequence(self.base.saturating_sub(1))
    }

    /// The place of the last entry; [`before`](Self::before) if there is none.
    pub(crate) fn last(&self) -> Sequence {
        Sequence(self.before().0 + self.offsets.len() as u64)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    pub(crate) fn sequence(&self, rank: u32) -> Sequence {
        Sequence(self.base + u64::from(rank))
    }

    /// Where a topic's entries after one place and up to another stand, the first `limit` of them.
    pub(crate) fn positions(
        &self,
        class: &str,
        topic: u64,
        (after, up_to): (Sequence, Sequence),
        limit: usize,
    ) -> Vec<(Sequence, u32)> {
        let ranks = self.classes.get(class).and_then(|index| index.topics.get(&topic));
        let Some(ranks) = ranks else { return vec![] };
        let from = ranks.partition_point(|&rank| self.sequence(rank) <= after);
        let positions = ranks.iter().skip(from).take(limit).map_while(|&rank| {
            let offset = *self.offsets.get(rank as usize)?;
            let sequence = self.sequence(rank);
            (sequence <= up_to).then_some((sequence, offset))
        });
        positions.collect()
    }

    /// Where a topic's newest entries up to a place stand, newest first, at most so many.
    pub(crate) fn positions_back(
        &self,
        class: &str,
        topic: u64,
        up_to: Sequence,
        most: usize,
    ) -> Vec<(Sequence, u32)> {
        let ranks = self.classes.get(class).and_then(|index| index.topics.get(&topic));
        let Some(ranks) = ranks else { return vec![] };
        let end = ranks.partition_point(|&rank| self.sequence(rank) <= up_to);
        let places = ranks.get(..end).unwrap_or_default().iter().rev().take(most);
        let position = |&rank: &u32| Some((self.sequence(rank), *self.offsets.get(rank as usize)?));
        places.filter_map(position).collect()
    }

    /// Where all entries after a place stand, the first `limit` of them.
    pub(crate) fn all_after(&self, after: Sequence, limit: usize) -> Vec<(Sequence, u32)> {
        let from = after.0.saturating_sub(self.before().0);
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let places = (self.base + from as u64..).map(Sequence);
        places.zip(self.offsets.iter().skip(from).copied()).take(limit).collect()
    }

    /// About how much memory this takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let topics = self.classes.values().flat_map(|class| class.topics.values());
        let spilled = topics.filter(|ranks| ranks.spilled()).map(|ranks| ranks.capacity() * 4);
        let tables: usize = self.classes.values().map(|class| class.topics.capacity() * 33).sum();
        self.offsets.capacity() * 4 + spilled.sum::<usize>() + tables
    }
}

/// What an index notes of an entry beside its place.
pub(crate) struct Noted {
    pub(crate) at_ms: u64,
    pub(crate) length: u64,
}

impl From<&Record<'_>> for Noted {
    fn from(record: &Record<'_>) -> Self {
        Self { at_ms: record.at_ms, length: record.length as u64 }
    }
}

/// A sealed file with its index.
pub(crate) struct SealedWal {
    pub(crate) wal: Arc<WalFile>,
    pub(crate) index: WalIndex,
}
