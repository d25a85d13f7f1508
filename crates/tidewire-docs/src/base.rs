//! A *base*: the state of a document up to a place, as the data of an entry in the document's base
//! topic. The layout is in `docs/store-format.md`. Pure.
//!
//! A base is only a short cut: who finds none, or one that cannot be read, reads the document itself.

use bytes::{BufMut, Bytes};
use tidewire_proto::Sequence;

/// The first byte of a base's data.
const VERSION: u8 = 1;

/// The state of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    /// Everything up to here is in it.
    pub(crate) through: Sequence,
    /// All of it, as one update.
    pub(crate) update: Bytes,
}

impl Base {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(9 + self.update.len());
        out.put_u8(VERSION);
        out.put_u64_le(self.through.0);
        out.extend_from_slice(&self.update);
        out.into()
    }

    pub(crate) fn decode(data: &Bytes) -> Option<Self> {
        let (&version, rest) = data.split_first()?;
        let (through, _) = rest.split_first_chunk::<8>()?;
        let through = Sequence(u64::from_le_bytes(*through));
        (version == VERSION).then(|| Self { through, update: data.slice(9..) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_survives_its_bytes() {
        let base = Base { through: Sequence(513), update: Bytes::from_static(&[0, 0]) };
        let bytes = base.encode();
        assert_eq!(&bytes[..], [1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Base::decode(&bytes), Some(base));
        assert_eq!(Base::decode(&Bytes::from_static(&[2, 0, 0, 0, 0, 0, 0, 0, 0])), None);
        assert_eq!(Base::decode(&Bytes::from_static(&[1, 0])), None);
    }
}
