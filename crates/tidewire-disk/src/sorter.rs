//! Rewrites a sealed append-only file once, sorted by topic: one file for each retention class.
//!
//! The file is read from front to back in large pieces, a few times: each time the records of one
//! stretch of the order are gathered in memory and written out. Random reads would cost a system
//! call for each record; all of it at once would cost its size in memory.
//!
//! Invariant: the new files are whole and durable under their names before the old one is removed,
//! so a crash leaves the old one, from which they are made again, or all of the new.

use std::iter::Peekable;

use tidewire_proto::Sequence;

use crate::{
    bytes::narrow,
    disk::{Disk, TEMPORARY},
    error::{Context, StoreError},
    made::Made,
    record::{self, Record},
    scan::Window,
    segment::Segment,
    wal::{SealedWal, WalIndex},
};

/// About how many bytes of records are gathered at a time.
const STRETCH_BYTES: u64 = 16 * 1024 * 1024;
/// But a file is not read more often than this, however large it has grown.
const STRETCHES_MAX: u64 = 16;

/// The name of the file of the class number `class` that covers this stretch.
pub(crate) fn file_name(first: Sequence, last: Sequence, class: usize) -> String {
    format!("{:020}-{:020}-{class:04}.seg", first.0, last.0)
}

/// The first place that a file name says, if it is one of these.
pub(crate) fn first_in(name: &str) -> Option<Sequence> {
    let (first, _) = name.strip_suffix(".seg")?.split_once('-')?;
    (first.len() == 20).then(|| first.parse().ok().map(Sequence)).flatten()
}

/// Sorts a file. `previous` says where the file before of a class ended. Nothing if `stop` said so.
pub(crate) fn sort(
    disk: &dyn Disk,
    sealed: &SealedWal,
    previous: impl Fn(&str) -> Sequence,
    stop: impl Fn() -> bool,
) -> Result<Option<Vec<Segment>>, StoreError> {
    let mut files = Files { disk, sealed, previous, made: None, names: Vec::new() };
    let length = sealed.wal.file.len().on("measure", &sealed.wal.name)?;
    let stretch_bytes = STRETCH_BYTES.max(length / STRETCHES_MAX);
    match write_all(&mut files, length, stretch_bytes, stop) {
        Ok(true) => files.reveal().map(Some),
        stopped => {
            files.remove();
            stopped.map(|_| None)
        }
    }
}

/// Writes all records in their new order; false if `stop` said so.
fn write_all(
    files: &mut Files<'_, impl Fn(&str) -> Sequence>,
    length: u64,
    stretch_bytes: u64,
    stop: impl Fn() -> bool,
) -> Result<bool, StoreError> {
    let sealed = files.sealed;
    let mut gathered = Gathered::new(sealed, length);
    let mut runs = runs(&sealed.index).into_iter().peekable();
    while runs.peek().is_some() {
        let stretch = next_stretch(&mut runs, stretch_bytes, |rank| gathered.bytes_at_most(rank));
        gathered.gather(&stretch)?;
        for Run { class, topic, ranks } in stretch {
            let made = files.of_class(class)?;
            made.go_on_with(topic);
            for &rank in ranks {
                let (record, bytes) = gathered.record(rank)?;
                if made.push(&record, bytes)? && stop() {
                    return Ok(false);
                }
            }
        }
    }
    files.finish()?;
    Ok(true)
}

/// All entries of a topic, or some of them, by their ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run<'a> {
    class: usize,
    topic: u64,
    ranks: &'a [u32],
}

/// What the file holds, in the order of the files to be.
fn runs(index: &WalIndex) -> Vec<Run<'_>> {
    let mut runs = Vec::new();
    for (class, held) in index.classes.values().enumerate() {
        runs.extend(held.topics.iter().map(|(&topic, ranks)| Run { class, topic, ranks }));
    }
    runs.sort_unstable_by_key(|run| (run.class, run.topic));
    runs
}

/// Takes runs of about so many bytes from the front; a long one is cut.
fn next_stretch<'a>(
    runs: &mut Peekable<impl Iterator<Item = Run<'a>>>,
    bytes_max: u64,
    bytes_of: impl Fn(u32) -> u64,
) -> Vec<Run<'a>> {
    let (mut stretch, mut bytes) = (Vec::new(), 0);
    while let Some(run) = runs.peek_mut().filter(|_| bytes < bytes_max) {
        let fits = |&&rank: &&u32| {
            let fits = bytes < bytes_max;
            bytes += if fits { bytes_of(rank) } else { 0 };
            fits
        };
        let (taken, rest) = run.ranks.split_at(run.ranks.iter().take_while(fits).count());
        stretch.push(Run { ranks: taken, ..*run });
        run.ranks = rest;
        if rest.is_empty() {
            runs.next();
        }
    }
    stretch
}

/// The records of one stretch, in memory.
struct Gathered<'a> {
    index: &'a WalIndex,
    window: Window<'a>,
    length: u64,
    /// In the order of the file.
    bytes: Vec<u8>,
    /// By rank: where in `bytes` a record begins. Only those of the stretch are of use.
    places: Vec<u32>,
}

/// Where a record begins, and the next one; between the two may be the head of a group.
fn bounds(index: &WalIndex, length: u64, rank: usize) -> (u64, u64) {
    let offset = |rank: usize| index.offsets.get(rank).copied().map_or(length, u64::from);
    (offset(rank), offset(rank + 1).max(offset(rank)))
}

/// Where a record stands that is still to be read.
const TO_READ: u32 = u32::MAX;

impl<'a> Gathered<'a> {
    fn new(sealed: &'a SealedWal, length: u64) -> Self {
        let places = vec![0; sealed.index.offsets.len()];
        let window = Window::new(&sealed.wal, length);
        Self { index: &sealed.index, window, length, bytes: Vec::new(), places }
    }

    fn bytes_at_most(&self, rank: u32) -> u64 {
        let (offset, end) = bounds(self.index, self.length, rank as usize);
        end - offset
    }

    /// Reads the records of a stretch, from the front of the file to its back.
    fn gather(&mut self, stretch: &[Run<'_>]) -> Result<(), StoreError> {
        let ranks = || stretch.iter().flat_map(|run| run.ranks);
        let bytes: u64 = ranks().map(|&rank| self.bytes_at_most(rank)).sum();
        self.bytes.clear();
        self.bytes.reserve(usize::try_from(bytes).unwrap_or_default());
        for &rank in ranks() {
            if let Some(place) = self.places.get_mut(rank as usize) {
                *place = TO_READ;
            }
        }
        for (rank, place) in self.places.iter_mut().enumerate() {
            if *place == TO_READ {
                *place = narrow(self.bytes.len() as u64);
                let (offset, end) = bounds(self.index, self.length, rank);
                self.bytes.extend_from_slice(self.window.record_at(offset, end - offset)?);
            }
        }
        Ok(())
    }

    /// A record of the stretch, checked, and its bytes.
    fn record(&self, rank: u32) -> Result<(Record<'_>, &[u8]), StoreError> {
        let at = self.places.get(rank as usize).copied().unwrap_or(TO_READ) as usize;
        let bytes = self.bytes.get(at..).unwrap_or_default();
        let problem = match record::decode(bytes) {
            Ok(record) if record.sequence == self.index.sequence(rank) => {
                return Ok((record, bytes.get(..record.length).unwrap_or_default()));
            }
            Ok(_) => "another record stands here",
            Err(problem) => problem,
        };
        let offset = self.index.offsets.get(rank as usize).copied().unwrap_or_default();
        Err(StoreError::corrupt(&self.window.wal.name, u64::from(offset), problem))
    }
}

/// The sorted files in the making, one after another.
struct Files<'a, P> {
    disk: &'a dyn Disk,
    sealed: &'a SealedWal,
    previous: P,
    made: Option<(usize, Made)>,
    /// All of them, under the names that they will have.
    names: Vec<String>,
}

impl<P: Fn(&str) -> Sequence> Files<'_, P> {
    /// The file of a class; the classes come in order.
    fn of_class(&mut self, class: usize) -> Result<&mut Made, StoreError> {
        if self.made.as_ref().is_none_or(|&(have, _)| have != class) {
            self.finish()?;
            let (first, last) = (self.sealed.wal.head.base, self.sealed.index.last());
            let name = file_name(first, last, class);
            let temporary = format!("{name}{TEMPORARY}");
            self.names.push(name);
            self.made = Some((class, Made::create(self.disk, &temporary, first)?));
        }
        match &mut self.made {
            Some((_, made)) => Ok(made),
            None => Err(StoreError::corrupt(&self.sealed.wal.name, 0, "no file is being made")),
        }
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        let Some((number, mut made)) = self.made.take() else { return Ok(()) };
        let index = &self.sealed.index;
        let class = index.classes.keys().nth(number).map_or("", |class| class);
        made.finish(class, index.last(), (self.previous)(class))
    }

    /// Gives the finished files their names, durably, and opens them.
    fn reveal(self) -> Result<Vec<Segment>, StoreError> {
        for name in &self.names {
            let temporary = format!("{name}{TEMPORARY}");
            self.disk.rename(&temporary, name).on("rename", &temporary)?;
        }
        self.disk.sync().on("sync the directory of", &self.sealed.wal.name)?;
        self.names.iter().map(|name| Segment::open(self.disk, name)).collect()
    }

    /// Opening removes what is left if this does not.
    fn remove(&self) {
        for name in &self.names {
            let _ = self.disk.remove(&format!("{name}{TEMPORARY}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        disk::RealDisk,
        group::{self, HEAD_BYTES},
        recovery::create_wal,
        wal::Noted,
    };
    use std::sync::Arc;
    use tidewire_proto::{Data, EventType, Message, Topic};

    /// Groups of three: the topics of two classes in turn, with data of many sizes.
    fn sealed(disk: &dyn Disk, entries: u64) -> SealedWal {
        sealed_as(disk, entries, record::topic_hash)
    }

    fn sealed_as(disk: &dyn Disk, entries: u64, hash: impl Fn(&str) -> u64) -> SealedWal {
        let (wal, _) = create_wal(disk, Sequence(10), 7).unwrap();
        let (mut index, mut bytes) = (WalIndex::new(Sequence(10)), wal.head.encode().to_vec());
        for first in (0..entries).step_by(3) {
            let head = group::begin(&mut bytes);
            for number in first..first + 3 {
                let class = if number % 2 == 0 { "a" } else { "b" };
                let topic = Topic::parse(&format!("{class}/{}", number % 7)).unwrap();
                let data = Data::text("x".repeat((number * 37 % 500) as usize)).unwrap();
                let (hash, at) = (hash(topic.as_str()), bytes.len() as u64);
                let message =
                    Message { topic, event: EventType::message(), data, key: None, item: None };
                record::encode(&message, Sequence(10 + number), 1, &mut bytes);
                let noted = Noted { at_ms: 1, length: bytes.len() as u64 - at };
                index.push(&class.into(), hash, at, &noted);
            }
            group::finish(&mut bytes, head, 3, Sequence(10 + first), HEAD_BYTES as u64, 7);
        }
        wal.file.write_at(&bytes, 0).unwrap();
        SealedWal { wal: Arc::new(wal), index }
    }

    /// The sorted files that come of a file, byte for byte.
    fn sorted(disk: &RealDisk, sealed: &SealedWal, stretch_bytes: u64) -> Vec<Vec<u8>> {
        let previous = |_: &str| Sequence::ZERO;
        let mut files = Files { disk, sealed, previous, made: None, names: Vec::new() };
        let length = sealed.wal.file.len().unwrap();
        assert!(write_all(&mut files, length, stretch_bytes, || false).unwrap());
        let whole =
            |segment: &Segment| crate::disk::read_whole(disk, &segment.name).unwrap().unwrap();
        files.reveal().unwrap().iter().map(whole).collect()
    }

    #[test]
    fn however_little_is_gathered_at_a_time_the_files_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path()).unwrap();
        let sealed = sealed(&disk, 300);
        let whole = sorted(&disk, &sealed, u64::MAX);
        assert_eq!(whole.len(), 2);
        for stretch_bytes in [1, 100, 1_000, 10_000] {
            assert!(sorted(&disk, &sealed, stretch_bytes) == whole, "{stretch_bytes}");
        }
    }

    #[test]
    fn a_stretch_is_bounded_and_all_of_them_are_all() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path()).unwrap();
        let sealed = sealed(&disk, 300);
        let mut gathered = Gathered::new(&sealed, sealed.wal.file.len().unwrap());
        let mut rest = runs(&sealed.index).into_iter().peekable();
        let mut seen = Vec::new();
        while rest.peek().is_some() {
            let stretch = next_stretch(&mut rest, 2_000, |rank| gathered.bytes_at_most(rank));
            gathered.gather(&stretch).unwrap();
            // One record more than wanted, and the heads of groups.
            assert!(gathered.bytes.len() < 2_000 + 700, "{}", gathered.bytes.len());
            seen.extend(stretch.iter().flat_map(|run| run.ranks).copied());
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..300).collect::<Vec<_>>());
    }

    #[test]
    fn damage_is_named_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path()).unwrap();
        let sealed = sealed(&disk, 300);
        let offset = u64::from(sealed.index.offsets[150]);
        // The length, the checksum, the place, the data.
        for at in [0, 2, 4, 8, 40] {
            let mut byte = [0];
            sealed.wal.file.read_at(&mut byte, offset + at).unwrap();
            sealed.wal.file.write_at(&[byte[0] ^ 0x40], offset + at).unwrap();
            let error = sort(&disk, &sealed, |_| Sequence::ZERO, || false).err().unwrap();
            assert!(error.to_string().contains(&sealed.wal.name), "{error}");
            assert!(error.to_string().contains(&offset.to_string()), "{error}");
            assert!(disk.list().unwrap().iter().all(|name| !name.ends_with(TEMPORARY)));
            sealed.wal.file.write_at(&byte, offset + at).unwrap();
        }
        let stopped = sort(&disk, &sealed, |_| Sequence::ZERO, || true).unwrap();
        assert!(stopped.is_some(), "too small for a piece to be written in between");
    }

    #[test]
    fn topics_that_share_half_a_hash_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path()).unwrap();
        let hash = |topic: &str| record::topic_hash(topic) & 0xffff_ffff;
        let sealed = sealed_as(&disk, 300, hash);
        let segments = sort(&disk, &sealed, |_| Sequence::ZERO, || false).unwrap().unwrap();
        for segment in segments.into_iter().map(Arc::new) {
            let places = |topic: &str, hash: u64| {
                let run = segment.run(hash).unwrap();
                let mut reader = segment.read_run(&disk, run, Sequence::ZERO).unwrap();
                std::iter::from_fn(|| reader.next(topic).unwrap())
                    .map(|entry| entry.sequence.0)
                    .collect::<Vec<_>>()
            };
            let mut all = Vec::new();
            for number in 0..7 {
                let topic = format!("{}/{number}", segment.class);
                all.extend(places(&topic, hash(&topic)));
                assert!(places(&topic, 1).is_empty(), "a hash that is not there");
            }
            assert_eq!(all.len(), 150);
            assert_eq!(segment.lasts(&disk).unwrap().len(), 7);
        }
    }
}
