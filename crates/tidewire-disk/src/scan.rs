//! Walks the groups of an append-only file from the front, as opening does, and tells a tail that a
//! crash tore from damage in the middle.
//!
//! A group says up to where the file was durable when it was written. A bad group that is followed
//! by a whole one which knows the bad place as durable was once safe and is damaged now: an error.
//! Anything else after the last whole group was never acknowledged as `fsync` and is cut off.

use crate::{
    disk::read_up_to,
    error::StoreError,
    group::{GROUP_HEAD_BYTES, GROUP_MAGIC, GroupHead, HEAD_BYTES},
    record::{self, Record},
    wal::WalFile,
};

/// How much is read at a time.
const WINDOW_BYTES: usize = 1024 * 1024;

/// What a walk found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Where the last whole group ends.
    pub(crate) end: u64,
    /// Up to where the file was known to be durable when that group was written.
    pub(crate) durable: u64,
    /// Whole groups reach to the end of the file.
    pub(crate) whole: bool,
}

/// Walks all whole groups and shows each record with its offset.
pub(crate) fn scan(
    wal: &WalFile,
    length: u64,
    mut each: impl FnMut(Record<'_>, u64) -> Result<(), StoreError>,
) -> Result<Scanned, StoreError> {
    let mut window = Window::new(wal, length);
    let mut scanned = Scanned { end: HEAD_BYTES as u64, durable: HEAD_BYTES as u64, whole: true };
    let mut next = wal.head.base;
    while scanned.end < length {
        let Some((head, group)) = window.group_at(scanned.end)? else {
            scanned.whole = false;
            return Ok(scanned);
        };
        if head.first != next {
            let problem = format!("the group begins at {}, not at {next}", head.first);
            return Err(StoreError::corrupt(&wal.name, scanned.end, problem));
        }
        let mut records = group.get(GROUP_HEAD_BYTES..).unwrap_or_default();
        let mut offset = scanned.end + GROUP_HEAD_BYTES as u64;
        for _ in 0..head.count {
            let bad = |problem: &str| StoreError::corrupt(&wal.name, offset, problem);
            let record = record::decode(records).map_err(bad)?;
            if record.sequence != next {
                return Err(bad("the record has another place than its group says"));
            }
            let length = record.length;
            each(record, offset)?;
            records = records.get(length..).unwrap_or_default();
            offset += length as u64;
            next = next.next();
        }
        scanned.durable = head.durable;
        scanned.end += head.total_bytes() as u64;
    }
    Ok(scanned)
}

/// Does a whole group stand at the front?
pub(crate) fn begins_whole(wal: &WalFile, length: u64) -> Result<bool, StoreError> {
    let mut window = Window::new(wal, length);
    Ok(window.group_at(HEAD_BYTES as u64)?.is_some())
}

/// Is there, behind a bad place, a whole group that knew it as durable? Answers where.
pub(crate) fn later_witness(
    wal: &WalFile,
    length: u64,
    bad: u64,
) -> Result<Option<u64>, StoreError> {
    let mut window = Window::new(wal, length);
    let mut at = bad + 1;
    while at + GROUP_HEAD_BYTES as u64 <= length {
        let Some(bytes) = window.from(at, GROUP_HEAD_BYTES)? else { return Ok(None) };
        let found = bytes.windows(GROUP_MAGIC.len()).position(|four| four == GROUP_MAGIC);
        let Some(skipped) = found else {
            at += (bytes.len() - GROUP_MAGIC.len() + 1) as u64;
            continue;
        };
        at += skipped as u64;
        if let Some((head, _)) = window.group_at(at)?
            && head.durable > bad
        {
            return Ok(Some(at));
        }
        at += 1;
    }
    Ok(None)
}

/// A piece of the file in memory.
pub(crate) struct Window<'a> {
    pub(crate) wal: &'a WalFile,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    /// A file of this length, of which nothing is read yet.
    pub(crate) fn new(wal: &'a WalFile, length: u64) -> Self {
        Self { wal, length, start: 0, bytes: Vec::new() }
    }

    /// The bytes of the record at an offset, as many as it says it has: at most so many.
    pub(crate) fn record_at(&mut self, offset: u64, at_most: u64) -> Result<&[u8], StoreError> {
        let wal = self.wal;
        let cut_off = || StoreError::corrupt(&wal.name, offset, "the record is cut off");
        let prefix = self.from(offset, record::PREFIX_BYTES)?;
        let length = prefix.and_then(record::length).filter(|&length| length as u64 <= at_most);
        let length = length.ok_or_else(cut_off)?;
        self.from(offset, length)?.and_then(|bytes| bytes.get(..length)).ok_or_else(cut_off)
    }

    /// The whole group at an offset, if there is one.
    fn group_at(&mut self, offset: u64) -> Result<Option<(GroupHead, &[u8])>, StoreError> {
        let salt = self.wal.head.salt;
        let Some(head) = self.from(offset, GROUP_HEAD_BYTES)?.and_then(GroupHead::decode) else {
            return Ok(None);
        };
        let group = self.from(offset, head.total_bytes())?;
        let group = group.and_then(|bytes| bytes.get(..head.total_bytes()));
        Ok(group.filter(|group| head.holds(group, salt)).map(|group| (head, group)))
    }

    /// At least so many bytes from an offset, if the file has them.
    fn from(&mut self, offset: u64, wanted: usize) -> Result<Option<&[u8]>, StoreError> {
        if offset.saturating_add(wanted as u64) > self.length {
            return Ok(None);
        }
        let held = self.start..self.start + self.bytes.len() as u64;
        if !(held.contains(&offset) && offset + wanted as u64 <= held.end) {
            let rest = usize::try_from(self.length - offset).unwrap_or(usize::MAX);
            self.bytes.resize(wanted.max(WINDOW_BYTES).min(rest), 0);
            self.start = offset;
            let read = read_up_to(&*self.wal.file, &self.wal.name, &mut self.bytes, offset)?;
            self.bytes.truncate(read);
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..).filter(|bytes| bytes.len() >= wanted))
    }
}
