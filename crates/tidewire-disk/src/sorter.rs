//! Rewrites a sealed append-only file once, sorted by topic: one file for each retention class.
//!
//! Invariant: the new files are whole and durable under their names before the old one is removed,
//! so a crash leaves the old one, from which they are made again, or all of the new.

use std::sync::Arc;

use tidewire_proto::Sequence;

use crate::{
    bytes::narrow,
    disk::{Disk, DiskFile, Opening, TEMPORARY},
    error::{Context, StoreError},
    footer::{self, Footer},
    record::{self, Record},
    segment::{KeyAt, Segment},
    wal::{ClassIndex, SealedWal, record_bytes},
};

/// How much is written between two syncs: the writer's own sync waits for no more than this.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
/// The way between two marks within a run.
const MARK_BYTES: u32 = 16 * 1024;

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
    let (first, last) = (sealed.wal.head.base, sealed.index.last());
    let mut names = Vec::new();
    for (number, (class, index)) in sealed.index.classes.iter().enumerate() {
        let name = file_name(first, last, number);
        let temporary = format!("{name}{TEMPORARY}");
        let mut made = Made::create(disk, &temporary, first)?;
        let written = write_class(&mut made, sealed, index, &stop).and_then(|whole| {
            if whole {
                made.finish(class, (first, last), previous(class))?;
            }
            Ok(whole)
        });
        if !matches!(written, Ok(true)) {
            // Opening removes what is left if this does not.
            let _ = disk.remove(&temporary);
            return written.map(|_| None);
        }
        names.push(name);
    }
    for name in &names {
        let temporary = format!("{name}{TEMPORARY}");
        disk.rename(&temporary, name).on("rename", &temporary)?;
    }
    disk.sync().on("sync the directory of", &sealed.wal.name)?;
    names.iter().map(|name| Segment::open(disk, name)).collect::<Result<_, _>>().map(Some)
}

fn write_class(
    made: &mut Made,
    sealed: &SealedWal,
    class: &ClassIndex,
    stop: &impl Fn() -> bool,
) -> Result<bool, StoreError> {
    let wal = &sealed.wal;
    let mut topics: Vec<_> = class.topics.iter().collect();
    topics.sort_unstable_by_key(|&(hash, _)| *hash);
    for (&topic, ranks) in topics {
        made.begin_run(topic);
        for &rank in ranks {
            let Some(&offset) = sealed.index.offsets.get(rank as usize) else { continue };
            let offset = u64::from(offset);
            let bytes = record_bytes(&*wal.file, &wal.name, offset)?;
            let record = record::decode(&bytes)
                .map_err(|problem| StoreError::corrupt(&wal.name, offset, problem))?;
            if record.sequence != sealed.index.sequence(rank) {
                return Err(StoreError::corrupt(&wal.name, offset, "another record stands here"));
            }
            made.push(&record, bytes.get(..record.length).unwrap_or_default())?;
        }
        if made.chunk.len() >= CHUNK_BYTES || made.was_written {
            made.was_written = false;
            if stop() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// A sorted file in the making.
struct Made {
    file: Arc<dyn DiskFile>,
    name: String,
    first: Sequence,
    written: u64,
    chunk: Vec<u8>,
    was_written: bool,
    runs: Vec<(u64, u32, u32)>,
    marks: Vec<(u32, u32)>,
    marked: u32,
    order: Vec<(u32, u32)>,
    keys: Vec<KeyAt>,
    newest_at_ms: u64,
}

impl Made {
    fn create(disk: &dyn Disk, name: &str, first: Sequence) -> Result<Self, StoreError> {
        Ok(Self {
            file: disk.open(name, Opening::Create).on("create", name)?,
            name: name.to_owned(),
            first,
            written: 0,
            chunk: footer::head(),
            was_written: false,
            runs: Vec::new(),
            marks: Vec::new(),
            marked: 0,
            order: Vec::new(),
            keys: Vec::new(),
            newest_at_ms: 0,
        })
    }

    fn at(&self) -> u32 {
        narrow(self.written + self.chunk.len() as u64)
    }

    fn begin_run(&mut self, topic: u64) {
        self.marked = self.at();
        self.runs.push((topic, self.at(), 0));
    }

    fn push(&mut self, record: &Record<'_>, bytes: &[u8]) -> Result<(), StoreError> {
        let delta = narrow(record.sequence.0 - self.first.0);
        let at = self.at();
        if at - self.marked >= MARK_BYTES {
            self.marks.push((at, delta));
            self.marked = at;
        }
        if let Some(run) = self.runs.last_mut() {
            run.2 = delta;
        }
        self.order.push((delta, at));
        self.newest_at_ms = self.newest_at_ms.max(record.at_ms);
        if let Some(key) = record.key {
            self.keys.push(KeyAt { sequence: record.sequence, at_ms: record.at_ms, key });
        }
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.file.write_at(&self.chunk, self.written).on("write", &self.name)?;
        self.file.sync().on("sync", &self.name)?;
        self.written += self.chunk.len() as u64;
        self.chunk.clear();
        self.was_written = true;
        Ok(())
    }

    fn finish(
        &mut self,
        class: &str,
        (first, last): (Sequence, Sequence),
        previous: Sequence,
    ) -> Result<(), StoreError> {
        let records_end = self.written + self.chunk.len() as u64;
        self.order.sort_unstable();
        self.keys.sort_unstable_by_key(|key| key.sequence);
        let place = |pair: Option<&(u32, u32)>| {
            Sequence(first.0 + u64::from(pair.map_or(0, |&(delta, _)| delta)))
        };
        let table_checksum = self.block(|made, out| {
            out.extend_from_slice(class.as_bytes());
            for &(hash, start, last) in &made.runs {
                out.extend_from_slice(&hash.to_le_bytes());
                put_pair(out, (start, last));
            }
            made.marks.iter().for_each(|&mark| put_pair(out, mark));
        });
        let order_checksum = self.block(|made, out| {
            made.order.iter().for_each(|&pair| put_pair(out, pair));
        });
        let keys_checksum = self.block(|made, out| {
            for KeyAt { sequence, at_ms, key } in &made.keys {
                out.extend_from_slice(&sequence.0.to_le_bytes());
                out.extend_from_slice(&at_ms.to_le_bytes());
                out.extend_from_slice(&key.name);
                out.extend_from_slice(&key.body);
            }
        });
        let footer = Footer {
            first,
            last,
            previous,
            oldest: place(self.order.first()),
            newest: place(self.order.last()),
            newest_at_ms: self.newest_at_ms,
            records_end,
            class_bytes: narrow(class.len() as u64),
            runs: narrow(self.runs.len() as u64),
            marks: narrow(self.marks.len() as u64),
            entries: narrow(self.order.len() as u64),
            keys: narrow(self.keys.len() as u64),
            table_checksum,
            order_checksum,
            keys_checksum,
        };
        self.chunk.extend_from_slice(&footer.encode());
        self.flush()
    }

    /// Appends a block and answers its checksum.
    fn block(&mut self, fill: impl FnOnce(&Self, &mut Vec<u8>)) -> u32 {
        let mut out = std::mem::take(&mut self.chunk);
        let start = out.len();
        fill(self, &mut out);
        let checksum = crc32c::crc32c(out.get(start..).unwrap_or_default());
        self.chunk = out;
        checksum
    }
}

fn put_pair(out: &mut Vec<u8>, (a, b): (u32, u32)) {
    out.extend_from_slice(&a.to_le_bytes());
    out.extend_from_slice(&b.to_le_bytes());
}
