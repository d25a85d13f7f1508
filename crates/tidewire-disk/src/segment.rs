//! A sealed, sorted file: the entries of one retention class from one stretch of the log, topic by
//! topic. It never changes; retention removes it whole. The layout is in `docs/store-format.md`.
//!
//! In memory it keeps 16 bytes for each topic it holds (a *run*), and 8 for every 16 KiB within a
//! long run (a *mark*). What it holds in sequence order (the *order*) stays on disk.
//!
//! Invariant: nothing here is believed before its checksum held.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tidewire_proto::{Entry, Sequence};

use crate::{
    bytes::{Walk, narrow},
    disk::{Disk, DiskFile, Opening, read_exact, read_up_to},
    error::{Context, StoreError},
    footer::Footer,
    record::{self, StoredKey},
    wal::{entry_in, record_bytes},
};

/// The first piece of a run that is read, and every further one.
const PIECE_BYTES_FIRST: usize = 32 * 1024;
const PIECE_BYTES_MORE: usize = 256 * 1024;

/// A sorted file, open for reading.
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) class: Arc<str>,
    pub(crate) footer: Footer,
    /// The whole file.
    pub(crate) bytes: u64,
    /// Sorted; beside it, where each run begins and the place of its last entry.
    hashes: Box<[u64]>,
    runs: Box<[(u32, u32)]>,
    marks: Box<[(u32, u32)]>,
    order_held: AtomicBool,
}

/// The part of a file that holds one topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    start: u32,
    end: u32,
    pub(crate) last: Sequence,
}

/// A key with the place and the time of its entry.
pub(crate) struct KeyAt {
    pub(crate) sequence: Sequence,
    pub(crate) at_ms: u64,
    pub(crate) key: StoredKey,
}

impl Segment {
    /// Opens a file and checks all of it but its records, its order and its keys, which are checked
    /// when they are read.
    pub(crate) fn open(disk: &dyn Disk, name: &str) -> Result<Self, StoreError> {
        let file = disk.open(name, Opening::Read).on("open", name)?;
        let bytes = file.len().on("measure", name)?;
        let footer = Footer::read(&*file, name, bytes)?;
        let table_at = footer.table_at();
        let table = read_exact(&*file, name, footer.table_bytes(), table_at)?;
        if crc32c::crc32c(&table) != footer.table_checksum {
            return Err(StoreError::corrupt(name, table_at, "the topic table's checksum is wrong"));
        }
        let mut walk = Walk(&table);
        let class = walk.take(footer.class_bytes as usize).map(std::str::from_utf8);
        let Some(Ok(class)) = class else {
            return Err(StoreError::corrupt(name, table_at, "the class name is not text"));
        };
        let (mut hashes, mut runs) = (Vec::new(), Vec::new());
        for _ in 0..footer.runs {
            hashes.extend(walk.u64());
            runs.extend(walk.u32().zip(walk.u32()));
        }
        let marks = (0..footer.marks).filter_map(|_| walk.u32().zip(walk.u32())).collect();
        Ok(Self {
            name: name.to_owned(),
            class: class.into(),
            bytes,
            footer,
            hashes: hashes.into(),
            runs: runs.into(),
            marks,
            order_held: AtomicBool::new(false),
        })
    }

    /// The run of a topic, if the file has any of it.
    pub(crate) fn run(&self, topic: u64) -> Option<Run> {
        let at = self.hashes.binary_search(&topic).ok()?;
        let &(start, last) = self.runs.get(at)?;
        let end = self.runs.get(at + 1).map_or(narrow(self.footer.records_end), |next| next.0);
        Some(Run { start, end, last: self.place(last) })
    }

    /// Every topic of the file and the place of its last entry, sorted.
    pub(crate) fn lasts(&self) -> impl Iterator<Item = (u64, Sequence)> {
        let lasts = self.runs.iter().map(|&(_, last)| self.place(last));
        self.hashes.iter().copied().zip(lasts)
    }

    fn place(&self, delta: u32) -> Sequence {
        Sequence(self.footer.first.0 + u64::from(delta))
    }

    /// The entries after a place in log order, the first `limit` of them and about so many payload
    /// bytes. One small read each.
    pub(crate) fn in_order(
        &self,
        disk: &dyn Disk,
        after: Sequence,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let file = disk.open(&self.name, Opening::Read).on("open", &self.name)?;
        self.check_order(&*file)?;
        let wanted = |delta: u32| self.place(delta) > after;
        let (mut low, mut high) = (0, self.footer.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            let at = self.order_pairs(&*file, middle, 1)?;
            if at.first().is_some_and(|&(delta, _)| wanted(delta)) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let count = narrow(limit as u64).min(self.footer.entries - low);
        let mut entries: Vec<Entry> = Vec::with_capacity(count as usize);
        let mut payload = 0;
        for (delta, offset) in self.order_pairs(&*file, low, count)? {
            let bytes = record_bytes(&*file, &self.name, u64::from(offset))?;
            let like = entries.last();
            let entry = entry_in(&bytes, self.place(delta), &self.name, u64::from(offset), like)?;
            payload += entry.data.bytes().len();
            entries.push(entry);
            if payload >= bytes_max {
                break;
            }
        }
        Ok(entries)
    }

    fn order_pairs(
        &self,
        file: &dyn DiskFile,
        from: u32,
        count: u32,
    ) -> Result<Vec<(u32, u32)>, StoreError> {
        let at = self.footer.order_at() + u64::from(from) * 8;
        let bytes = read_exact(file, &self.name, count as usize * 8, at)?;
        let mut walk = Walk(&bytes);
        Ok((0..count).filter_map(|_| walk.u32().zip(walk.u32())).collect())
    }

    /// A search believes every pair it meets, so all of them are checked before the first.
    fn check_order(&self, file: &dyn DiskFile) -> Result<(), StoreError> {
        if self.order_held.load(Ordering::Relaxed) {
            return Ok(());
        }
        let at = self.footer.order_at();
        let bytes = read_exact(file, &self.name, self.footer.entries as usize * 8, at)?;
        if crc32c::crc32c(&bytes) != self.footer.order_checksum {
            return Err(StoreError::corrupt(&self.name, at, "the order's checksum is wrong"));
        }
        self.order_held.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The idempotency keys of the file's entries.
    pub(crate) fn keys(&self, disk: &dyn Disk) -> Result<Vec<KeyAt>, StoreError> {
        if self.footer.keys == 0 {
            return Ok(vec![]);
        }
        let file = disk.open(&self.name, Opening::Read).on("open", &self.name)?;
        let at = self.footer.keys_at();
        let bytes = read_exact(&*file, &self.name, self.footer.keys_bytes(), at)?;
        if crc32c::crc32c(&bytes) != self.footer.keys_checksum {
            return Err(StoreError::corrupt(&self.name, at, "the keys' checksum is wrong"));
        }
        let mut walk = Walk(&bytes);
        let keys = (0..self.footer.keys).filter_map(|_| {
            let (sequence, at_ms) = (Sequence(walk.u64()?), walk.u64()?);
            let key = StoredKey { name: walk.array()?, body: walk.array()? };
            Some(KeyAt { sequence, at_ms, key })
        });
        Ok(keys.collect())
    }

    /// Begins to read a run after a place.
    pub(crate) fn read_run(
        self: &Arc<Self>,
        disk: &dyn Disk,
        run: Run,
        after: Sequence,
    ) -> Result<RunReader, StoreError> {
        let file = disk.open(&self.name, Opening::Read).on("open", &self.name)?;
        // The last mark within the run that is not after the place we look for.
        let marks = self.marks.partition_point(|&(offset, _)| offset < run.end);
        let in_run = self.marks.get(..marks).unwrap_or_default();
        let first = in_run.partition_point(|&(offset, _)| offset < run.start);
        let in_run = in_run.get(first..).unwrap_or_default();
        let before = in_run.partition_point(|&(_, delta)| self.place(delta) <= after);
        let mark = before.checked_sub(1).and_then(|at| in_run.get(at));
        Ok(RunReader {
            segment: Arc::clone(self),
            file,
            at: u64::from(mark.map_or(run.start, |&(offset, _)| offset)),
            end: u64::from(run.end),
            after,
            ready: VecDeque::new(),
            piece_bytes: PIECE_BYTES_FIRST,
        })
    }

    /// About how much memory this takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.hashes.len() * 16 + self.marks.len() * 8 + 300
    }
}

/// Reads one run, piece by piece.
pub(crate) struct RunReader {
    segment: Arc<Segment>,
    file: Arc<dyn DiskFile>,
    at: u64,
    end: u64,
    after: Sequence,
    ready: VecDeque<Entry>,
    piece_bytes: usize,
}

impl RunReader {
    /// The next entry whose topic is `topic` (a run may hold another of the same hash).
    pub(crate) fn next(&mut self, topic: &str) -> Result<Option<Entry>, StoreError> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Ok(Some(entry));
            }
            if self.at >= self.end {
                return Ok(None);
            }
            self.read_piece(topic)?;
        }
    }

    fn read_piece(&mut self, topic: &str) -> Result<(), StoreError> {
        let name = &self.segment.name;
        let rest = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let mut piece = vec![0; rest.min(self.piece_bytes)];
        let read = read_up_to(&*self.file, name, &mut piece, self.at)?;
        piece.truncate(read);
        let (mut used, mut wanted) = (0, PIECE_BYTES_MORE);
        while let Some(bytes) = piece.get(used..).filter(|bytes| !bytes.is_empty()) {
            let offset = self.at + used as u64;
            let length = record::length(bytes).unwrap_or(record::PREFIX_BYTES);
            if length > bytes.len() && piece.len() < rest {
                // The record goes on behind this piece.
                if length > rest - used {
                    return Err(StoreError::corrupt(name, offset, "the record is cut off"));
                }
                wanted = wanted.max(length);
                break;
            }
            let record = record::decode(bytes)
                .map_err(|problem| StoreError::corrupt(name, offset, problem))?;
            used += record.length;
            if record.sequence > self.after && record.topic == topic {
                let entry = record
                    .to_entry(self.ready.back())
                    .map_err(|problem| StoreError::corrupt(name, offset, problem))?;
                self.ready.push_back(entry);
            }
        }
        if read == 0 {
            return Err(StoreError::corrupt(name, self.at, "the file ends too early"));
        }
        self.at += used as u64;
        self.piece_bytes = wanted;
        Ok(())
    }
}
