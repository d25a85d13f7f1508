//! A sealed, sorted file: the entries of one retention class from one stretch of the log, topic by
//! topic. It never changes; retention removes it whole. The layout is in `docs/store-format.md`.
//!
//! In memory it keeps 8 bytes for each topic it holds (of a *run*: half the hash, and where it ends in
//! the log), and 8 for every 16 KiB within a long run (a *mark*). Where a run stands in the file, and
//! what the file holds in sequence order (the *order*), stays on disk.
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
    footer::{Footer, RUN_BYTES},
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
    /// The upper half of each run's topic hash, sorted; beside it, the place of its last entry.
    hashes: Box<[u32]>,
    lasts: Box<[u32]>,
    marks: Box<[(u32, u32)]>,
    order_held: AtomicBool,
}

/// The part of a file that may hold one topic: only the file itself knows the whole hash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    topic: u64,
    /// The first row of the table with this half of the hash, and how many there are.
    rows: (u32, u32),
    /// No entry of the topic stands behind this.
    pub(crate) last: Sequence,
}

/// A row of the table: a topic's hash, where its run begins, and the place of its last entry.
struct Row {
    topic: u64,
    start: u32,
    last: u32,
}

fn half(topic: u64) -> u32 {
    (topic >> 32) as u32
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
        let table = read_table(&*file, name, &footer)?;
        let (class, rows) = table.split_at_checked(footer.class_bytes as usize).unwrap_or_default();
        let class = std::str::from_utf8(class).map_err(|_| {
            StoreError::corrupt(name, footer.table_at(), "the class name is not text")
        })?;
        let (mut hashes, mut lasts) = (Vec::new(), Vec::new());
        hashes.reserve_exact(footer.runs as usize);
        lasts.reserve_exact(footer.runs as usize);
        let mut walk = Walk(rows);
        for row in (0..footer.runs).map_while(|_| row(&mut walk)) {
            hashes.push(half(row.topic));
            lasts.push(row.last);
        }
        let marks = (0..footer.marks).filter_map(|_| walk.u32().zip(walk.u32())).collect();
        Ok(Self {
            name: name.to_owned(),
            class: class.into(),
            bytes,
            footer,
            hashes: hashes.into(),
            lasts: lasts.into(),
            marks,
            order_held: AtomicBool::new(false),
        })
    }

    /// The run of a topic, if the file may have any of it.
    pub(crate) fn run(&self, topic: u64) -> Option<Run> {
        let half = half(topic);
        let first = self.hashes.partition_point(|&other| other < half);
        let rows = self.hashes.get(first..)?.iter().take_while(|&&other| other == half).count();
        let &last = self.lasts.get(first..first + rows)?.iter().max()?;
        let rows = (narrow(first as u64), narrow(rows as u64));
        Some(Run { topic, rows, last: self.place(last) })
    }

    /// Every topic of the file and the place of its last entry, sorted: read again.
    pub(crate) fn lasts(&self, disk: &dyn Disk) -> Result<Vec<(u64, Sequence)>, StoreError> {
        let file = disk.open(&self.name, Opening::Read).on("open", &self.name)?;
        let table = read_table(&*file, &self.name, &self.footer)?;
        let mut walk = Walk(table.get(self.footer.class_bytes as usize..).unwrap_or_default());
        let rows = (0..self.footer.runs).map_while(|_| row(&mut walk));
        Ok(rows.map(|row| (row.topic, self.place(row.last))).collect())
    }

    /// From where to where a run goes in the file; the same place twice if there is none.
    fn bounds(&self, file: &dyn DiskFile, run: Run) -> Result<(u32, u32), StoreError> {
        let (first, count) = run.rows;
        let rows = self.footer.table_at() + u64::from(self.footer.class_bytes);
        // One more, to know where the last one ends.
        let count = (count + 1).min(self.footer.runs - first) as usize;
        let at = rows + u64::from(first) * RUN_BYTES as u64;
        let bytes = read_exact(file, &self.name, count * RUN_BYTES, at)?;
        let mut walk = Walk(&bytes);
        let mut rows = std::iter::from_fn(|| row(&mut walk));
        let Some(found) = rows.find(|row| row.topic == run.topic) else { return Ok((0, 0)) };
        let end = rows.next().map_or(narrow(self.footer.records_end), |next| next.start);
        Ok((found.start, end))
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
        let (start, end) = self.bounds(&*file, run)?;
        // The last mark within the run that is not after the place we look for.
        let marks = self.marks.partition_point(|&(offset, _)| offset < end);
        let in_run = self.marks.get(..marks).unwrap_or_default();
        let first = in_run.partition_point(|&(offset, _)| offset < start);
        let in_run = in_run.get(first..).unwrap_or_default();
        let before = in_run.partition_point(|&(_, delta)| self.place(delta) <= after);
        let mark = before.checked_sub(1).and_then(|at| in_run.get(at));
        Ok(RunReader {
            segment: Arc::clone(self),
            file,
            at: u64::from(mark.map_or(start, |&(offset, _)| offset)),
            end: u64::from(end),
            after,
            ready: VecDeque::new(),
            piece_bytes: PIECE_BYTES_FIRST,
        })
    }

    /// The newest entries of a run before a place, oldest first, at most so many. Begins at the last
    /// mark and goes back further and further until there are enough.
    pub(crate) fn read_run_back(
        self: &Arc<Self>,
        disk: &dyn Disk,
        run: Run,
        (topic, before): (&str, Sequence),
        most: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let file = disk.open(&self.name, Opening::Read).on("open", &self.name)?;
        let (start, end) = self.bounds(&*file, run)?;
        let in_run = self.marks.iter().filter(|&&(offset, _)| start <= offset && offset < end);
        let places = in_run.map(|&(_, delta)| self.place(delta)).filter(|&place| place < before);
        let marks: Vec<Sequence> = places.collect();
        let mut back = 1;
        loop {
            let mark = marks.len().checked_sub(back).and_then(|at| marks.get(at));
            let after = mark.map_or(Sequence::ZERO, |mark| Sequence(mark.0.saturating_sub(1)));
            let mut reader = self.read_run(disk, run, after)?;
            let mut found = VecDeque::new();
            while let Some(entry) = reader.next(topic)?.filter(|entry| entry.sequence < before) {
                if found.len() == most {
                    found.pop_front();
                }
                found.push_back(entry);
            }
            if found.len() == most || mark.is_none() {
                return Ok(found.into());
            }
            back *= 2;
        }
    }

    /// About how much memory this takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.hashes.len() * 8 + self.marks.len() * 8 + 300
    }
}

/// The table, checked.
fn read_table(file: &dyn DiskFile, name: &str, footer: &Footer) -> Result<Vec<u8>, StoreError> {
    let table = read_exact(file, name, footer.table_bytes(), footer.table_at())?;
    if crc32c::crc32c(&table) != footer.table_checksum {
        let problem = "the topic table's checksum is wrong";
        return Err(StoreError::corrupt(name, footer.table_at(), problem));
    }
    Ok(table)
}

fn row(walk: &mut Walk<'_>) -> Option<Row> {
    Some(Row { topic: walk.u64()?, start: walk.u32()?, last: walk.u32()? })
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
