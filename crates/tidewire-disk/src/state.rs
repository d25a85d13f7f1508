//! What the log knows in memory, under one short lock: where everything stands. No I/O.
//!
//! Invariant: what is in here is committed. Readers take what they need and leave; they never hold
//! the lock while they read a file.

use std::{collections::BTreeMap, sync::Arc};

use tidewire_core::Features;
use tidewire_proto::{Entry, Sequence, Topic};

use crate::{
    losses::Losses,
    recent::Recent,
    retention::UNDECLARED,
    segment::Segment,
    wal::{Noted, SealedWal, WalFile, WalIndex},
};

/// The sorted files of one class, oldest first.
pub(crate) type Segments = Arc<Vec<Arc<Segment>>>;

/// Everything that changes.
pub(crate) struct State {
    pub(crate) newest: Sequence,
    pub(crate) recent: Recent,
    pub(crate) wal: Arc<WalFile>,
    pub(crate) index: WalIndex,
    /// Oldest first.
    pub(crate) sealed: Vec<Arc<SealedWal>>,
    pub(crate) classes: BTreeMap<Arc<str>, Segments>,
    pub(crate) losses: Arc<Losses>,
}

/// An entry that has just become as safe as it asked.
pub(crate) struct Fresh {
    pub(crate) class: Arc<str>,
    pub(crate) topic: u64,
    pub(crate) offset: u64,
    pub(crate) noted: Noted,
    pub(crate) entry: Arc<Entry>,
}

/// A file that retention drops.
pub(crate) struct Gone {
    pub(crate) segment: Arc<Segment>,
    /// The place of each topic's last entry in it; left empty where nothing of it is in memory.
    pub(crate) lasts: Vec<(u64, Sequence)>,
}

impl Gone {
    /// Did it hold this entry?
    fn held(&self, topic: u64, sequence: Sequence) -> bool {
        let at = self.lasts.binary_search_by_key(&topic, |&(topic, _)| topic);
        let last = at.ok().and_then(|at| self.lasts.get(at)).map(|&(_, last)| last);
        sequence >= self.segment.footer.oldest && last.is_some_and(|last| sequence <= last)
    }
}

/// A topic that somebody looks for.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) topic: Topic,
    pub(crate) hash: u64,
}

impl From<&Topic> for Wanted {
    fn from(topic: &Topic) -> Self {
        Self { topic: topic.clone(), hash: crate::record::topic_hash(topic.as_str()) }
    }
}

impl Wanted {
    /// The classes in which it may be kept: a feature that is declared now may not have been when an
    /// entry was stored, and the other way round.
    fn classes(&self) -> [&str; 2] {
        [self.topic.feature(), UNDECLARED]
    }
}

/// Where the entries of one topic stand, at one moment. Nothing here is read yet.
pub(crate) struct Places {
    pub(crate) wanted: Wanted,
    pub(crate) segments: Vec<Segments>,
    pub(crate) wals: Vec<InWal>,
    pub(crate) recent: Vec<Arc<Entry>>,
}

/// Where a topic's entries stand in one unsorted file: place and offset.
pub(crate) struct InWal {
    pub(crate) wal: Arc<WalFile>,
    pub(crate) found: Vec<(Sequence, u32)>,
}

/// Where the newest entries of one topic stand, at one moment. Nothing here is read yet.
pub(crate) struct PlacesBack {
    pub(crate) wanted: Wanted,
    /// Newest first.
    pub(crate) recent: Vec<Arc<Entry>>,
    /// Newest file first, and in each the newest place first.
    pub(crate) wals: Vec<InWal>,
    /// In any order. None if there is enough elsewhere.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Memory has what is above.
    pub(crate) floor: Sequence,
}

impl PlacesBack {
    /// Need no file be read for so many?
    pub(crate) fn is_in_memory(&self, most: usize) -> bool {
        self.recent.len() >= most || (self.wals.is_empty() && self.segments.is_empty())
    }
}

/// What memory alone knows of some topics after a place.
pub(crate) struct InMemory {
    pub(crate) newest: Sequence,
    pub(crate) lost: Option<Sequence>,
    /// Is there anything?
    pub(crate) any: bool,
    /// Topic by topic; two topics with one hash are not told apart yet.
    pub(crate) entries: Vec<Arc<Entry>>,
}

/// What one read needs, at one moment.
pub(crate) struct Plan {
    pub(crate) after: Sequence,
    pub(crate) newest: Sequence,
    pub(crate) floor: Sequence,
    pub(crate) lost: Option<Sequence>,
    pub(crate) topics: Vec<Places>,
}

/// A piece of the log in which the next entries in log order are found.
pub(crate) enum Piece {
    /// A class's first file that reaches further, and where its next file begins, if there is one.
    Segment(Arc<Segment>, Option<Sequence>),
    /// The positions in an unsorted file; cut short or not; where the next such file begins.
    Wal(Arc<WalFile>, Vec<(Sequence, u32)>, Option<Sequence>),
}

impl State {
    /// Takes in what was committed. Answers what left memory, for the caller to drop when it has
    /// let go of the lock.
    pub(crate) fn publish(&mut self, fresh: Vec<Fresh>) -> Vec<Arc<Entry>> {
        let mut gone = Vec::with_capacity(fresh.len());
        for Fresh { class, topic, offset, noted, entry } in fresh {
            self.index.push(&class, topic, offset, &noted);
            self.newest = entry.sequence;
            self.recent.push(topic, entry, &mut gone);
        }
        gone
    }

    /// The place before the oldest entry of any topic.
    pub(crate) fn oldest(&self) -> Sequence {
        let firsts = self.classes.values().filter_map(|segments| segments.first());
        let sorted = firsts.map(|segment| segment.footer.oldest).min();
        let unsorted = self.sealed.first().map(|sealed| &sealed.index);
        let unsorted = unsorted.unwrap_or(&self.index);
        let unsorted = (!unsorted.is_empty()).then(|| unsorted.before());
        sorted
            .map(|oldest| Sequence(oldest.0.saturating_sub(1)))
            .or(unsorted)
            .unwrap_or(self.newest)
    }

    /// What memory alone answers, if it does: at most `limit` of each topic's entries.
    pub(crate) fn in_memory(
        &self,
        wanted: &[Wanted],
        after: Sequence,
        limit: usize,
    ) -> Option<InMemory> {
        if after < self.recent.floor() {
            return None;
        }
        let mut found = InMemory {
            newest: self.newest,
            lost: self.lost(wanted, after),
            any: false,
            entries: Vec::new(),
        };
        for wanted in wanted {
            let of_hash = self.recent.of_hash(wanted.hash, after);
            found.any |= of_hash.len() > 0;
            found.entries.extend(of_hash.take(limit).cloned());
        }
        Some(found)
    }

    /// The newest place after this one at which one of the topics lost something.
    fn lost(&self, wanted: &[Wanted], after: Sequence) -> Option<Sequence> {
        let lost = wanted.iter().map(|wanted| self.losses.of(wanted.hash, wanted.classes()));
        lost.max().filter(|&lost| lost > after)
    }

    /// Where to find the topics' entries after a place: at most `limit` in each kind of file.
    pub(crate) fn plan(&self, wanted: Vec<Wanted>, after: Sequence, limit: usize) -> Plan {
        let floor = self.recent.floor();
        let lost = self.lost(&wanted, after);
        let topics = wanted.into_iter().map(|wanted| self.places(wanted, after, limit)).collect();
        Plan { after, newest: self.newest, floor, lost, topics }
    }

    fn places(&self, wanted: Wanted, after: Sequence, limit: usize) -> Places {
        let (hash, floor) = (wanted.hash, self.recent.floor());
        let recent = self.recent.of_topic(hash, wanted.topic.as_str(), after, limit);
        let (mut segments, mut wals) = (Vec::new(), Vec::new());
        if after < floor {
            let held = wanted.classes().into_iter().filter_map(|class| self.classes.get(class));
            segments.extend(held.cloned());
            let unsorted = self.sealed.iter().map(|sealed| (&sealed.wal, &sealed.index));
            let mut left = limit;
            for (wal, index) in unsorted.chain([(&self.wal, &self.index)]) {
                let classes = wanted.classes().into_iter();
                let found = classes.map(|class| index.positions(class, hash, (after, floor), left));
                // A file knows a feature as declared or as not, so only one of these has any.
                let found = found.max_by_key(Vec::len).unwrap_or_default();
                left -= found.len().min(left);
                if !found.is_empty() {
                    wals.push(InWal { wal: Arc::clone(wal), found });
                }
            }
        }
        Places { wanted, segments, wals, recent }
    }

    /// The newest place, and where to find the topics' newest entries before a place, so many of each.
    pub(crate) fn plan_back(
        &self,
        wanted: &[Wanted],
        before: Sequence,
        most: usize,
    ) -> (Sequence, Vec<PlacesBack>) {
        let places = wanted.iter().map(|wanted| self.places_back(wanted, before, most));
        (self.newest, places.collect())
    }

    fn places_back(&self, wanted: &Wanted, before: Sequence, most: usize) -> PlacesBack {
        let (hash, floor) = (wanted.hash, self.recent.floor());
        let recent = self.recent.back(hash, wanted.topic.as_str(), before, most);
        let (mut wals, mut segments) = (Vec::new(), Vec::new());
        if recent.len() < most {
            let up_to = Sequence(before.0.saturating_sub(1)).min(floor);
            let unsorted = self.sealed.iter().map(|sealed| (&sealed.wal, &sealed.index));
            for (wal, index) in unsorted.chain([(&self.wal, &self.index)]) {
                let classes = wanted.classes().into_iter();
                let found = classes.map(|class| index.positions_back(class, hash, up_to, most));
                let found = found.max_by_key(Vec::len).unwrap_or_default();
                if !found.is_empty() {
                    wals.push(InWal { wal: Arc::clone(wal), found });
                }
            }
            wals.reverse();
            let held = wanted.classes().into_iter().filter_map(|class| self.classes.get(class));
            segments.extend(held.flat_map(|held| held.iter()).cloned());
        }
        PlacesBack { wanted: wanted.clone(), recent, wals, segments, floor }
    }

    /// The pieces that together hold the next entries after a place, of all topics.
    pub(crate) fn next_pieces(&self, after: Sequence, limit: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for segments in self.classes.values() {
            let at = segments.partition_point(|segment| segment.footer.newest <= after);
            if let Some(segment) = segments.get(at) {
                let next = segments.get(at + 1).map(|next| next.footer.oldest);
                pieces.push(Piece::Segment(Arc::clone(segment), next));
            }
        }
        let unsorted = self.sealed.iter().map(|sealed| (&sealed.wal, &sealed.index));
        let mut unsorted = unsorted.chain([(&self.wal, &self.index)]);
        if let Some((wal, index)) =
            unsorted.find(|(_, index)| !index.is_empty() && index.last() > after)
        {
            let next = unsorted.next().map(|(_, next)| Sequence(next.before().0 + 1));
            pieces.push(Piece::Wal(Arc::clone(wal), index.all_after(after, limit), next));
        }
        pieces
    }

    /// Puts sorted files in the place of the unsorted one they were made from.
    pub(crate) fn replace_sealed(&mut self, base: Sequence, sorted: Vec<Segment>) {
        self.sealed.retain(|sealed| sealed.wal.head.base != base);
        for segment in sorted {
            let class = Arc::clone(&segment.class);
            let segments = self.classes.entry(class).or_default();
            Arc::make_mut(segments).push(Arc::new(segment));
        }
    }

    /// Takes the oldest files of a class out, and what they held out of memory.
    pub(crate) fn drop_oldest(&mut self, class: &str, gone: &[Gone], losses: Arc<Losses>) {
        self.losses = losses;
        let Some(segments) = self.classes.get_mut(class) else { return };
        Arc::make_mut(segments).drain(..gone.len());
        if segments.is_empty() {
            self.classes.remove(class);
        }
        let Some(last) = gone.last().map(|gone| gone.segment.footer.last) else { return };
        // The run says exactly which topics went; a class alone does not when features changed.
        self.recent.drop_up_to(last, |entry| {
            let topic = crate::record::topic_hash(entry.topic.as_str());
            gone.iter().any(|gone| gone.held(topic, entry.sequence))
        });
    }

    /// What a class holds that is not sorted yet.
    pub(crate) fn unsorted_bytes(&self, class: &str) -> u64 {
        let unsorted = self.sealed.iter().map(|sealed| &sealed.index).chain([&self.index]);
        unsorted.filter_map(|index| index.classes.get(class)).map(|held| held.bytes).sum()
    }
}

/// Which class a feature's topics are kept in. A file has one table of these for all its life.
pub(crate) struct Classes {
    declared: Vec<Arc<str>>,
    undeclared: Arc<str>,
}

impl Classes {
    /// The classes of these features, whose names come in alphabetical order.
    pub(crate) fn new(features: &Features) -> Self {
        let declared = features.all().map(|(name, _)| name.into());
        Self { declared: declared.collect(), undeclared: UNDECLARED.into() }
    }

    /// Would these features have the same classes?
    pub(crate) fn are_of(&self, features: &Features) -> bool {
        self.declared.iter().map(|name| &**name).eq(features.all().map(|(name, _)| name))
    }

    pub(crate) fn of(&self, feature: &str) -> &Arc<str> {
        let at = self.declared.binary_search_by(|name| (**name).cmp(feature));
        at.ok().and_then(|at| self.declared.get(at)).unwrap_or(&self.undeclared)
    }
}
