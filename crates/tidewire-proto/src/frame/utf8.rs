//! Is this UTF-8, told while it arrives.
//!
//! It must not know of frames or messages: pieces in, a verdict out, at the first byte that no
//! continuation can make good. Invariant: what waits for its continuation is at most three bytes.

use std::str::from_utf8;

/// The bytes so far are not the beginning of any UTF-8 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotUtf8;

/// Validates one text that comes in pieces; a code point may lie across them.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The beginning of a code point whose other bytes have not come yet.
    begun: [u8; 4],
    begun_bytes: usize,
}

impl Utf8 {
    /// Takes the next piece of the text.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<(), NotUtf8> {
        let rest = self.complete(piece)?;
        let Err(error) = from_utf8(rest) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(NotUtf8);
        }
        let tail = rest.get(error.valid_up_to()..).unwrap_or_default();
        for (slot, byte) in self.begun.iter_mut().zip(tail) {
            *slot = *byte;
        }
        self.begun_bytes = tail.len();
        Ok(())
    }

    /// May the text end here? Not inside a code point.
    pub(super) fn may_end(&self) -> bool {
        self.begun_bytes == 0
    }

    /// Spends as much of `piece` as the code point under way needs; the rest begins on a boundary,
    /// or is empty.
    fn complete<'a>(&mut self, mut piece: &'a [u8]) -> Result<&'a [u8], NotUtf8> {
        while self.begun_bytes > 0 {
            let Some((byte, rest)) = piece.split_first() else { break };
            // Four bytes are a whole code point or an error, so a fifth is never asked for.
            let Some(slot) = self.begun.get_mut(self.begun_bytes) else { return Err(NotUtf8) };
            *slot = *byte;
            self.begun_bytes += 1;
            piece = rest;
            match from_utf8(self.begun.get(..self.begun_bytes).unwrap_or_default()) {
                Ok(_) => self.begun_bytes = 0,
                Err(error) if error.error_len().is_some() => return Err(NotUtf8),
                Err(_) => {}
            }
        }
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first length at which the standard library knows that all is lost.
    fn lost_at(bytes: &[u8]) -> Option<usize> {
        (1..=bytes.len()).find(
            |end| matches!(from_utf8(&bytes[..*end]), Err(error) if error.error_len().is_some()),
        )
    }

    fn check_byte_by_byte(bytes: &[u8]) {
        let mut utf8 = Utf8::default();
        let found = bytes.chunks(1).position(|byte| utf8.feed(byte).is_err());
        assert_eq!(found.map(|at| at + 1), lost_at(bytes), "{bytes:02x?}");
        if found.is_none() {
            assert_eq!(utf8.may_end(), from_utf8(bytes).is_ok(), "{bytes:02x?}");
        }
    }

    #[test]
    fn every_edge_of_the_encoding_agrees_with_the_standard_library() {
        let edges = [
            0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1,
            0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff,
        ];
        for a in edges {
            for b in edges {
                for c in edges {
                    for d in [0x41, 0x7f, 0x80, 0xbf, 0xc0, 0xff] {
                        check_byte_by_byte(&[a, b, c, d]);
                    }
                }
            }
        }
    }

    #[test]
    fn a_code_point_may_come_in_four_pieces() {
        let mut utf8 = Utf8::default();
        for (byte, whole) in "𝄞".bytes().zip([false, false, false, true]) {
            assert_eq!(utf8.feed(&[byte]), Ok(()));
            assert_eq!(utf8.feed(&[]), Ok(()));
            assert_eq!(utf8.may_end(), whole);
        }
    }

    proptest! {
        #[test]
        fn random_bytes_in_random_pieces(
            text in "\\PC{0,40}",
            damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            noise in prop::collection::vec(any::<u8>(), 0..6),
            sizes in prop::collection::vec(1..9_usize, 1..5),
        ) {
            let mut bytes = text.into_bytes();
            if let Some((index, byte)) = damage {
                bytes.insert(index.index(bytes.len() + 1), byte);
            }
            bytes.extend(noise);
            check_byte_by_byte(&bytes);
            let mut utf8 = Utf8::default();
            let mut rest = &bytes[..];
            let mut good = true;
            for size in sizes.iter().cycle() {
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                good = good && utf8.feed(piece).is_ok();
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(good && utf8.may_end(), from_utf8(&bytes).is_ok());
            prop_assert_eq!(good, lost_at(&bytes).is_none());
        }
    }
}
