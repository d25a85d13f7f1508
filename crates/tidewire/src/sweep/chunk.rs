//! [`Chunk`]: entries' frames one after another, ready for one write; and, when a socket took only
//! some of it, where the cut falls. Pure.

use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::Framed;

use crate::wire::Wire;

/// Most bytes in one write, unless one frame alone has more.
const CHUNK_BYTES: usize = 64 * 1024;

/// Frames of some entries, in the order of the entries.
#[derive(Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    frames: Vec<(usize, Arc<Framed>)>,
}

impl Chunk {
    /// Begins anew with as many of the entries as fit, at least one. Keeps its room.
    pub(super) fn fill(&mut self, wire: Wire, entries: &[Arc<Framed>]) {
        self.bytes.clear();
        self.frames.clear();
        for framed in entries {
            let frame = wire.entry(framed);
            if !self.frames.is_empty() && self.bytes.len() + frame.len() > CHUNK_BYTES {
                break;
            }
            self.bytes.extend_from_slice(&frame);
            self.frames.push((self.bytes.len(), Arc::clone(framed)));
        }
    }

    /// Lets everything go, room that is more than usual included.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(CHUNK_BYTES);
        self.frames.clear();
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many entries are in it.
    pub(super) fn count(&self) -> usize {
        self.frames.len()
    }

    /// The entry of this number, from 0.
    pub(super) fn entry(&self, index: usize) -> Option<&Arc<Framed>> {
        self.frames.get(index).map(|(_, framed)| framed)
    }

    /// After so many bytes were taken: how many entries have gone, or have begun to; and what is
    /// left of the last of these.
    pub(super) fn cut(&self, wire: Wire, taken: usize) -> (usize, Bytes) {
        let whole = self.frames.partition_point(|(end, _)| *end <= taken);
        let begins = whole.checked_sub(1).and_then(|last| self.frames.get(last));
        let begins = begins.map_or(0, |(end, _)| *end);
        match self.frames.get(whole) {
            // The shared frame, not this buffer: who is slow must not keep what others wait for.
            Some((_, framed)) if taken > begins => {
                (whole + 1, wire.entry(framed).slice(taken - begins..))
            }
            _ => (whole, Bytes::new()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use tidewire_proto::{Data, Entry, EventType, Sequence, Topic};

    pub(in crate::sweep) fn framed(sequence: u64, text: &str) -> Arc<Framed> {
        let entry = Entry {
            sequence: Sequence(sequence),
            topic: Topic::parse("chat/a").unwrap(),
            event: EventType::message(),
            data: Data::text(text.to_owned()).unwrap(),
            at_ms: 0,
            item: None,
        };
        Arc::new(Framed::new(Arc::new(entry), None))
    }

    #[test]
    fn a_cut_at_any_byte_leaves_the_rest_of_one_frame() {
        let entries: Vec<_> =
            [(1, "one"), (2, ""), (3, "three\nlines\n")].map(|(n, text)| framed(n, text)).into();
        for wire in [Wire::Stream, Wire::Chunked, Wire::Socket] {
            let mut chunk = Chunk::default();
            chunk.fill(wire, &entries);
            let whole: Vec<u8> = entries.iter().flat_map(|one| wire.entry(one)).collect();
            assert_eq!(chunk.bytes(), whole);
            for taken in 0..=whole.len() {
                let (begun, rest) = chunk.cut(wire, taken);
                let later: Vec<u8> =
                    entries[begun..].iter().flat_map(|one| wire.entry(one)).collect();
                let all = [&whole[..taken], &rest, &later].concat();
                assert_eq!(all, whole, "{wire:?} cut at {taken}");
                assert!(begun == 0 || rest.len() < wire.entry(&entries[begun - 1]).len());
            }
        }
    }

    #[test]
    fn a_chunk_is_bounded_and_holds_at_least_one() {
        let large = framed(1, &"x".repeat(CHUNK_BYTES));
        let small = framed(2, &"x".repeat(CHUNK_BYTES / 3));
        let mut chunk = Chunk::default();
        chunk.fill(Wire::Socket, &[Arc::clone(&large), Arc::clone(&small)]);
        assert_eq!(chunk.count(), 1);
        chunk.fill(Wire::Socket, &[&small, &small, &small, &large].map(Arc::clone));
        assert_eq!(chunk.count(), 2);
        chunk.clear();
        assert_eq!((chunk.count(), chunk.bytes().len()), (0, 0));
    }
}
