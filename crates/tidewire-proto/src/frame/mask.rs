//! The mask of RFC 6455 section 5.3: an exclusive-or with a key of four bytes, repeated.
//!
//! The same operation masks and unmasks. It must not know where a payload begins or ends: the key
//! turns with every byte it covered, so a payload may come in any pieces.

/// A mask key, turned to the next byte of the payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mask {
    key: [u8; 4],
}

impl Mask {
    pub(super) fn new(key: [u8; 4]) -> Self {
        Self { key }
    }

    /// Covers the next `bytes` of the payload.
    pub(super) fn apply(&mut self, bytes: &mut [u8]) {
        let [a, b, c, d] = self.key;
        let key = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, tail) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ key).to_ne_bytes();
        }
        // Whole words leave the key where it was: eight is a multiple of four.
        for (byte, key) in tail.iter_mut().zip(self.key.iter().cycle()) {
            *byte ^= key;
        }
        let covered = tail.len() % self.key.len();
        self.key.rotate_left(covered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition in section 5.3, octet by octet.
    fn by_definition(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
        payload.iter().enumerate().map(|(i, octet)| octet ^ key[i % 4]).collect()
    }

    #[test]
    fn every_length_and_cut_agrees_with_the_definition() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..40_u8 {
            let payload: Vec<u8> = (0..length).collect();
            let masked = by_definition(&payload, key);
            for cut in 0..=payload.len() {
                let mut pieces = payload.clone();
                let (left, right) = pieces.split_at_mut(cut);
                let mut mask = Mask::new(key);
                mask.apply(left);
                mask.apply(right);
                assert_eq!(pieces, masked, "length {length}, cut at {cut}");
            }
        }
    }
}
