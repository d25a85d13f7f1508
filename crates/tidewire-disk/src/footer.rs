//! The end of a sorted file, which says where everything else in it is. Pure but for one read.

use tidewire_proto::Sequence;

use crate::{
    bytes::Walk,
    disk::{DiskFile, read_exact},
    error::StoreError,
};

/// The file's head: magic and version, so that a look at its first bytes tells what it is.
pub(crate) const HEAD_BYTES: u64 = 16;
/// The footer's size.
pub(crate) const FOOTER_BYTES: usize = 128;
/// One run, one mark, one pair of the order, one key.
pub(crate) const RUN_BYTES: usize = 16;
pub(crate) const PAIR_BYTES: usize = 8;
pub(crate) const KEY_BYTES: usize = 48;
/// The format that is written.
pub(crate) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"TWIRESEG";

/// What the last bytes of a sorted file say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footer {
    /// The stretch of the log that the file covers, for its class.
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
    /// Where the stretch of the class's file before it ended; 0 for the first. So a missing file
    /// is noticed.
    pub(crate) previous: Sequence,
    /// The places of its oldest and its newest entry.
    pub(crate) oldest: Sequence,
    pub(crate) newest: Sequence,
    pub(crate) newest_at_ms: u64,
    /// Where the records end.
    pub(crate) records_end: u64,
    pub(crate) class_bytes: u32,
    pub(crate) runs: u32,
    pub(crate) marks: u32,
    pub(crate) entries: u32,
    pub(crate) keys: u32,
    pub(crate) table_checksum: u32,
    pub(crate) order_checksum: u32,
    pub(crate) keys_checksum: u32,
}

/// The first bytes of a sorted file.
pub(crate) fn head() -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.resize(HEAD_BYTES as usize, 0);
    out
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        let longs = [
            self.first.0,
            self.last.0,
            self.previous.0,
            self.oldest.0,
            self.newest.0,
            self.newest_at_ms,
            self.records_end,
        ];
        let shorts = [
            self.class_bytes,
            self.runs,
            self.marks,
            self.entries,
            self.keys,
            self.table_checksum,
            self.order_checksum,
            self.keys_checksum,
        ];
        longs.iter().for_each(|long| out.extend_from_slice(&long.to_le_bytes()));
        shorts.iter().for_each(|short| out.extend_from_slice(&short.to_le_bytes()));
        out.resize(FOOTER_BYTES - 16, 0);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.extend_from_slice(MAGIC);
        out
    }

    /// The footer of a file of this length.
    pub(crate) fn read(file: &dyn DiskFile, name: &str, bytes: u64) -> Result<Self, StoreError> {
        let short = || StoreError::corrupt(name, bytes, "the file is too short for its footer");
        let at = bytes.checked_sub(FOOTER_BYTES as u64).ok_or_else(short)?;
        let read = read_exact(file, name, FOOTER_BYTES, at)?;
        let damaged = || StoreError::corrupt(name, at, "the footer's checksum is wrong");
        let covered = read.get(..FOOTER_BYTES - 12).ok_or_else(short)?;
        let mut end = Walk(read.get(FOOTER_BYTES - 16..).ok_or_else(short)?);
        let (version, checksum) = end.u32().zip(end.u32()).ok_or_else(damaged)?;
        if end.take(8) != Some(MAGIC) || crc32c::crc32c(covered) != checksum {
            return Err(damaged());
        }
        if version != VERSION {
            let file = name.to_owned();
            return Err(StoreError::Version { file, found: version, known: VERSION });
        }
        let footer = Self::decode(covered).ok_or_else(damaged)?;
        if footer.keys_at() + footer.keys_bytes() as u64 != at {
            return Err(StoreError::corrupt(name, at, "the footer does not fit the file"));
        }
        Ok(footer)
    }

    fn decode(covered: &[u8]) -> Option<Self> {
        let mut walk = Walk(covered);
        Some(Self {
            first: Sequence(walk.u64()?),
            last: Sequence(walk.u64()?),
            previous: Sequence(walk.u64()?),
            oldest: Sequence(walk.u64()?),
            newest: Sequence(walk.u64()?),
            newest_at_ms: walk.u64()?,
            records_end: walk.u64()?,
            class_bytes: walk.u32()?,
            runs: walk.u32()?,
            marks: walk.u32()?,
            entries: walk.u32()?,
            keys: walk.u32()?,
            table_checksum: walk.u32()?,
            order_checksum: walk.u32()?,
            keys_checksum: walk.u32()?,
        })
    }

    /// The table: the class name, the runs and the marks.
    pub(crate) fn table_at(&self) -> u64 {
        self.records_end
    }

    pub(crate) fn table_bytes(&self) -> usize {
        self.class_bytes as usize
            + self.runs as usize * RUN_BYTES
            + self.marks as usize * PAIR_BYTES
    }

    pub(crate) fn order_at(&self) -> u64 {
        self.table_at() + self.table_bytes() as u64
    }

    pub(crate) fn keys_at(&self) -> u64 {
        self.order_at() + u64::from(self.entries) * PAIR_BYTES as u64
    }

    pub(crate) fn keys_bytes(&self) -> usize {
        self.keys as usize * KEY_BYTES
    }
}
