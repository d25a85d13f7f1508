//! A sorted file in the making: records in, one checked file out. The layout is in
//! `docs/store-format.md`; what order the records come in is the sorter's business.
//!
//! Invariant: it is written in pieces, each synced, so that nobody else's sync waits for more than one.

use std::sync::Arc;

use tidewire_proto::Sequence;

use crate::{
    bytes::narrow,
    disk::{Disk, DiskFile, Opening},
    error::{Context, StoreError},
    footer::{self, Footer},
    record::Record,
    segment::KeyAt,
};

/// How much is written between two syncs: the writer's own sync waits for no more than this.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
/// The way between two marks within a run.
const MARK_BYTES: u32 = 16 * 1024;

/// A sorted file in the making.
pub(crate) struct Made {
    file: Arc<dyn DiskFile>,
    name: String,
    first: Sequence,
    written: u64,
    chunk: Vec<u8>,
    runs: Vec<(u64, u32, u32)>,
    marks: Vec<(u32, u32)>,
    marked: u32,
    order: Vec<(u32, u32)>,
    keys: Vec<KeyAt>,
    newest_at_ms: u64,
}

impl Made {
    /// Begins a file whose stretch of the log begins at `first`.
    pub(crate) fn create(disk: &dyn Disk, name: &str, first: Sequence) -> Result<Self, StoreError> {
        Ok(Self {
            file: disk.open(name, Opening::Create).on("create", name)?,
            name: name.to_owned(),
            first,
            written: 0,
            chunk: footer::head(),
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

    /// The records that follow are of this topic.
    pub(crate) fn go_on_with(&mut self, topic: u64) {
        if self.runs.last().is_some_and(|&(last, ..)| last == topic) {
            return;
        }
        self.marked = self.at();
        self.runs.push((topic, self.at(), 0));
    }

    /// Adds a record with its bytes. Says whether a piece was written.
    pub(crate) fn push(&mut self, record: &Record<'_>, bytes: &[u8]) -> Result<bool, StoreError> {
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
        let is_full = self.chunk.len() >= CHUNK_BYTES;
        if is_full {
            self.flush()?;
        }
        Ok(is_full)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.file.write_at(&self.chunk, self.written).on("write", &self.name)?;
        self.file.sync().on("sync", &self.name)?;
        self.written += self.chunk.len() as u64;
        self.chunk.clear();
        Ok(())
    }

    /// Writes what comes behind the records. The file covers the log up to `last`, and the class's
    /// file before it ended at `previous`.
    pub(crate) fn finish(
        &mut self,
        class: &str,
        last: Sequence,
        previous: Sequence,
    ) -> Result<(), StoreError> {
        let first = self.first;
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
