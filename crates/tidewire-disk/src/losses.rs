//! What each topic lost to retention: the place of its newest dropped entry, also when nothing of
//! the topic is left. 16 bytes a topic, in memory and in the file `losses`.
//!
//! Invariant: the file is durable before an entry that it speaks of is removed, so a reader is told
//! of every loss, after any crash.

use std::{collections::BTreeMap, sync::Arc};

use tidewire_proto::Sequence;

use crate::{
    bytes::Walk,
    disk::{Disk, read_whole, replace},
    error::StoreError,
};

/// The file's name.
pub(crate) const FILE: &str = "losses";
const MAGIC: &[u8; 8] = b"TWIRELOS";
const VERSION: u32 = 1;

/// The table of losses. A new one is made for each change, so readers share it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// By topic hash, sorted.
    topics: Vec<(u64, Sequence)>,
    /// The newest loss that is not remembered by topic any more.
    forgotten: Sequence,
    /// Up to where each class was dropped.
    dropped: BTreeMap<Arc<str>, Sequence>,
    /// Up to where a file of each class is missing that retention did not drop.
    missing: BTreeMap<Arc<str>, Sequence>,
}

impl Losses {
    /// The place of the newest entry of a topic that was lost; 0 if none was.
    pub(crate) fn of(&self, topic: u64, classes: [&str; 2]) -> Sequence {
        let at = self.topics.binary_search_by_key(&topic, |&(hash, _)| hash);
        let by_name = at.ok().and_then(|at| self.topics.get(at)).map(|&(_, lost)| lost);
        let missing = classes.iter().filter_map(|&class| self.missing.get(class)).max();
        by_name.unwrap_or(self.forgotten).max(missing.copied().unwrap_or_default())
    }

    /// Up to where files of this class were dropped.
    pub(crate) fn dropped(&self, class: &str) -> Sequence {
        self.dropped.get(class).copied().unwrap_or_default()
    }

    /// The same in any class.
    pub(crate) fn dropped_newest(&self) -> Sequence {
        self.dropped.values().chain(self.missing.values()).copied().max().unwrap_or_default()
    }

    /// Adds what a dropped file held: its topics, sorted by hash, each with its last place.
    pub(crate) fn with_dropped(
        mut self,
        class: &Arc<str>,
        last: Sequence,
        lasts: impl Iterator<Item = (u64, Sequence)>,
    ) -> Self {
        let dropped = self.dropped.entry(Arc::clone(class)).or_default();
        *dropped = last.max(*dropped);
        self.topics = merge(&self.topics, lasts);
        self
    }

    /// Adds that a file of a class, or of all, is missing, whose topics nobody knows.
    pub(crate) fn with_missing(mut self, class: &Arc<str>, last: Sequence) -> Self {
        let missing = self.missing.entry(Arc::clone(class)).or_default();
        *missing = last.max(*missing);
        self
    }

    /// Lets the oldest losses become one until at most `topics_max` are remembered by topic.
    pub(crate) fn bounded(mut self, topics_max: usize) -> Self {
        if self.topics.len() > topics_max {
            // A quarter at once, so that this is not done at every change.
            let excess = self.topics.len() - topics_max / 4 * 3;
            let mut lasts: Vec<_> = self.topics.iter().map(|&(_, lost)| lost).collect();
            let (_, &mut limit, _) = lasts.select_nth_unstable(excess - 1);
            self.topics.retain(|&(_, lost)| lost > limit);
            self.forgotten = self.forgotten.max(limit);
        }
        self
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.topics.capacity() * 16
    }

    /// Reads the table; an empty one if there is no file.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Self, StoreError> {
        match read_whole(disk, FILE)? {
            Some(bytes) => Self::decode(&bytes),
            None => Ok(Self::default()),
        }
    }

    /// Makes the table durable.
    pub(crate) fn write(&self, disk: &dyn Disk) -> Result<(), StoreError> {
        replace(disk, FILE, &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.forgotten.0.to_le_bytes());
        for classes in [&self.dropped, &self.missing] {
            out.extend_from_slice(&(classes.len() as u64).to_le_bytes());
            for (class, last) in classes {
                // A class is named like a feature: at most 255 bytes.
                out.push(class.len() as u8);
                out.extend_from_slice(class.as_bytes());
                out.extend_from_slice(&last.0.to_le_bytes());
            }
        }
        out.extend_from_slice(&(self.topics.len() as u64).to_le_bytes());
        for (topic, lost) in &self.topics {
            out.extend_from_slice(&topic.to_le_bytes());
            out.extend_from_slice(&lost.0.to_le_bytes());
        }
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = || StoreError::corrupt(FILE, 0, "the checksum is wrong");
        let (covered, checksum) = bytes
            .len()
            .checked_sub(4)
            .and_then(|at| bytes.split_at_checked(at))
            .ok_or_else(damaged)?;
        if Walk(checksum).u32() != Some(crc32c::crc32c(covered)) {
            return Err(damaged());
        }
        let mut walk = Walk(covered);
        if walk.take(8) != Some(MAGIC) {
            return Err(damaged());
        }
        match walk.u32() {
            Some(VERSION) => Self::decode_body(walk).ok_or_else(damaged),
            found => {
                let (file, found) = (FILE.to_owned(), found.unwrap_or_default());
                Err(StoreError::Version { file, found, known: VERSION })
            }
        }
    }

    fn decode_body(mut walk: Walk<'_>) -> Option<Self> {
        let mut losses = Self { forgotten: Sequence(walk.u64()?), ..Self::default() };
        for classes in [&mut losses.dropped, &mut losses.missing] {
            for _ in 0..walk.u64()? {
                let length = usize::from(walk.u8()?);
                let class = std::str::from_utf8(walk.take(length)?).ok()?;
                classes.insert(class.into(), Sequence(walk.u64()?));
            }
        }
        for _ in 0..walk.u64()? {
            losses.topics.push((walk.u64()?, Sequence(walk.u64()?)));
        }
        walk.0.is_empty().then_some(losses)
    }
}

/// Two sorted lists as one; the later place wins.
fn merge(
    held: &[(u64, Sequence)],
    news: impl Iterator<Item = (u64, Sequence)>,
) -> Vec<(u64, Sequence)> {
    let mut out = Vec::with_capacity(held.len());
    let mut held = held.iter().copied().peekable();
    for (topic, lost) in news {
        while let Some(before) = held.next_if(|&(hash, _)| hash < topic) {
            out.push(before);
        }
        let same = held.next_if(|&(hash, _)| hash == topic);
        out.push((topic, same.map_or(lost, |(_, other)| lost.max(other))));
    }
    out.extend(held);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(losses: &Losses, topic: u64) -> u64 {
        losses.of(topic, ["chat", ""]).0
    }

    #[test]
    fn losses_add_up_and_survive_their_file() {
        let class: Arc<str> = "chat".into();
        let news = |pairs: &[(u64, u64)]| {
            pairs.iter().map(|&(topic, at)| (topic, Sequence(at))).collect::<Vec<_>>().into_iter()
        };
        let losses = Losses::default()
            .with_dropped(&class, Sequence(10), news(&[(1, 4), (5, 9)]))
            .with_dropped(&class, Sequence(20), news(&[(0, 11), (5, 19), (9, 12)]));
        assert_eq!([0, 1, 5, 9, 7].map(|topic| lost(&losses, topic)), [11, 4, 19, 12, 0]);
        assert_eq!(losses.dropped("chat"), Sequence(20));
        assert_eq!(Losses::decode(&losses.encode()).unwrap(), losses);
        let mut bytes = losses.encode();
        bytes[20] ^= 1;
        assert!(Losses::decode(&bytes).is_err());
    }

    #[test]
    fn a_full_table_tells_too_much_rather_than_too_little() {
        let class: Arc<str> = "chat".into();
        let many = (0..100).map(|topic| (topic, Sequence(topic + 1)));
        let losses = Losses::default().with_dropped(&class, Sequence(100), many).bounded(40);
        assert!(losses.topics.len() <= 40);
        assert!((0..100).all(|topic| lost(&losses, topic) > topic));
        assert_eq!(lost(&losses, 99), 100, "the newest losses stay exact");
    }
}
