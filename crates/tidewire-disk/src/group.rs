//! The active file's own bytes: its head, and the groups of records, one for each batch.
//! The layout is in `docs/store-format.md`. Pure.
//!
//! Invariant: a group is whole or not there; its checksum covers all its records. The checksum
//! begins with the file's salt, so that nobody can publish data that look like a group.

use tidewire_proto::Sequence;

use crate::{bytes::Walk, error::StoreError};

/// The file's head.
pub(crate) const HEAD_BYTES: usize = 32;
/// A group's head, before its records.
pub(crate) const GROUP_HEAD_BYTES: usize = 32;
/// The format that is written.
pub(crate) const VERSION: u32 = 1;

const FILE_MAGIC: &[u8; 8] = b"TWIREWAL";
pub(crate) const GROUP_MAGIC: &[u8; 4] = b"GRP\x01";
/// Magic and checksum: what the checksum does not cover.
const UNCOVERED_BYTES: usize = 8;

/// What the head of an active file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// The sequence of its first entry.
    pub(crate) base: Sequence,
    /// Where the checksums of its groups begin.
    pub(crate) salt: u64,
}

impl Head {
    pub(crate) fn encode(self) -> [u8; HEAD_BYTES] {
        let mut out = Vec::with_capacity(HEAD_BYTES);
        out.extend_from_slice(FILE_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.base.0.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.try_into().unwrap_or([0; HEAD_BYTES])
    }

    /// Nothing if these bytes are not a head.
    pub(crate) fn decode(name: &str, bytes: &[u8]) -> Result<Option<Self>, StoreError> {
        let mut walk = Walk(bytes);
        let Some(covered) = Walk(bytes).take(HEAD_BYTES - 4) else { return Ok(None) };
        let magic = walk.take(8) == Some(FILE_MAGIC);
        let (Some(version), Some(base), Some(salt), Some(checksum)) =
            (walk.u32(), walk.u64(), walk.u64(), walk.u32())
        else {
            return Ok(None);
        };
        if !magic || crc32c::crc32c(covered) != checksum {
            return Ok(None);
        }
        if version != VERSION {
            let file = name.to_owned();
            return Err(StoreError::Version { file, found: version, known: VERSION });
        }
        Ok(Some(Self { base: Sequence(base), salt }))
    }
}

/// What the head of a group says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupHead {
    /// Bytes of its records.
    pub(crate) body_bytes: u32,
    /// How many records.
    pub(crate) count: u32,
    /// The sequence of the first one.
    pub(crate) first: Sequence,
    /// Up to where the file was durable when the group was written. A damaged byte before that, in
    /// front of a whole group that says so, was not torn by a crash.
    pub(crate) durable: u64,
    checksum: u32,
}

impl GroupHead {
    /// The head that begins here, if its magic is there.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut walk = Walk(bytes);
        (walk.take(4)? == GROUP_MAGIC).then_some(())?;
        let checksum = walk.u32()?;
        let (body_bytes, count) = (walk.u32()?, walk.u32()?);
        Some(Self {
            body_bytes,
            count,
            first: Sequence(walk.u64()?),
            durable: walk.u64()?,
            checksum,
        })
    }

    /// Head and records.
    pub(crate) fn total_bytes(&self) -> usize {
        GROUP_HEAD_BYTES + self.body_bytes as usize
    }

    /// Do these bytes, head and records, have the checksum that the head names?
    pub(crate) fn holds(&self, group: &[u8], salt: u64) -> bool {
        group.len() == self.total_bytes()
            && group
                .get(UNCOVERED_BYTES..)
                .is_some_and(|body| checksum(body, salt) == self.checksum)
    }
}

/// Makes room for a group's head. [`finish`] fills it when the records are there.
pub(crate) fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; GROUP_HEAD_BYTES]);
    start
}

/// Writes the head of the group that [`begin`] began at `start` and that goes to the end.
pub(crate) fn finish(
    out: &mut [u8],
    start: usize,
    count: u32,
    first: Sequence,
    durable: u64,
    salt: u64,
) {
    let body_bytes = crate::bytes::narrow((out.len() - start - GROUP_HEAD_BYTES) as u64);
    let mut head = Vec::with_capacity(GROUP_HEAD_BYTES);
    head.extend_from_slice(&body_bytes.to_le_bytes());
    head.extend_from_slice(&count.to_le_bytes());
    head.extend_from_slice(&first.0.to_le_bytes());
    head.extend_from_slice(&durable.to_le_bytes());
    let covered = start + UNCOVERED_BYTES;
    if let Some(room) = out.get_mut(covered..start + GROUP_HEAD_BYTES) {
        room.copy_from_slice(&head);
    }
    let sum = checksum(out.get(covered..).unwrap_or_default(), salt).to_le_bytes();
    if let Some(room) = out.get_mut(start..covered) {
        let (magic, checksum) = room.split_at_mut(GROUP_MAGIC.len());
        magic.copy_from_slice(GROUP_MAGIC);
        checksum.copy_from_slice(&sum);
    }
}

fn checksum(covered: &[u8], salt: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_written_and_a_newer_one_refused() {
        let head = Head { base: Sequence(5), salt: 77 };
        let bytes = head.encode();
        assert_eq!(Head::decode("f", &bytes).unwrap(), Some(head));
        assert_eq!(Head::decode("f", &bytes[..31]).unwrap(), None);
        let mut newer = bytes;
        newer[8] = 2;
        let sum = crc32c::crc32c(&newer[..28]).to_le_bytes();
        newer[28..].copy_from_slice(&sum);
        assert!(matches!(Head::decode("f", &newer), Err(StoreError::Version { found: 2, .. })));
    }

    #[test]
    fn a_group_holds_only_whole_and_only_in_its_file() {
        let mut out = vec![9];
        let start = begin(&mut out);
        out.extend_from_slice(b"records");
        finish(&mut out, start, 1, Sequence(3), 32, 77);
        let group = &out[start..];
        let head = GroupHead::decode(group).unwrap();
        assert_eq!((head.count, head.first, head.durable), (1, Sequence(3), 32));
        assert!(head.holds(group, 77));
        assert!(!head.holds(group, 78));
        assert!(!head.holds(&group[..group.len() - 1], 77));
    }
}
