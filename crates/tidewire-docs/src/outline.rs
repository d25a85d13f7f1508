//! [`Outline`]: what an update inserts and what it deletes, read from its bytes (Yjs update format,
//! version 1). Pure.
//!
//! It is also what stands between a peer's bytes and the library that applies them: an update whose
//! outline can be read has no count larger than its bytes, no value nested deeper than
//! [`DEPTH_MAX`], no clock beyond [`CLOCK_MAX`], and nothing after its end. That the parts fit
//! together is not known here.

use crate::wire::Walk;

/// Deepest nesting of a value: a decoder that recurses would leave its stack.
const DEPTH_MAX: usize = 100;
/// Clocks are 31 bits wide in the library.
const CLOCK_MAX: u64 = (1 << 31) - 1;

const HAS_ORIGIN: u8 = 0x80;
const HAS_RIGHT_ORIGIN: u8 = 0x40;
const HAS_PARENT_KEY: u8 = 0x20;
const GARBAGE: u8 = 0;
const SKIP: u8 = 10;

/// Clocks of one client: from, and up to, but not with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) client: u64,
    pub(crate) from: u32,
    pub(crate) to: u32,
}

/// What an update inserts and deletes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Outline {
    pub(crate) inserts: Vec<Range>,
    pub(crate) deletes: Vec<Range>,
}

impl Outline {
    /// Reads an update. Nothing if it is none.
    pub(crate) fn read(update: &[u8]) -> Option<Self> {
        let mut walk = Walk(update);
        let mut outline = Self::default();
        for _ in 0..walk.count()? {
            outline.read_client(&mut walk)?;
        }
        for _ in 0..walk.count()? {
            let client = walk.number()?;
            for _ in 0..walk.count()? {
                let (from, length) = (walk.number()?, walk.number()?);
                let (from, to) = (clock(from)?, clock(from + length)?);
                if from < to {
                    outline.deletes.push(Range { client, from, to });
                }
            }
        }
        walk.0.is_empty().then_some(outline)
    }

    fn read_client(&mut self, walk: &mut Walk<'_>) -> Option<()> {
        let (structs, client, mut at) = (walk.count()?, walk.number()?, walk.number()?);
        let mut from = clock(at)?;
        for _ in 0..structs {
            let info = walk.u8()?;
            let length = length(info, walk)?;
            let to = clock(at.checked_add(length)?)?;
            if info == SKIP {
                self.insert(Range { client, from, to: clock(at)? });
                from = to;
            }
            at = u64::from(to);
        }
        self.insert(Range { client, from, to: clock(at)? });
        Some(())
    }

    fn insert(&mut self, range: Range) {
        if range.from < range.to {
            self.inserts.push(range);
        }
    }
}

fn clock(number: u64) -> Option<u32> {
    (number <= CLOCK_MAX).then_some(number as u32)
}

/// Walks over a struct, and tells how many clocks it takes.
fn length(info: u8, walk: &mut Walk<'_>) -> Option<u64> {
    if info == GARBAGE || info == SKIP {
        return walk.number().filter(|&length| length > 0);
    }
    let id = |walk: &mut Walk<'_>| {
        walk.number()?;
        clock(walk.number()?)
    };
    if info & HAS_ORIGIN != 0 {
        id(walk)?;
    }
    if info & HAS_RIGHT_ORIGIN != 0 {
        id(walk)?;
    }
    if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) == 0 {
        match walk.number()? {
            1 => walk.text().map(drop)?,
            0 => id(walk).map(drop)?,
            _ => return None,
        }
        if info & HAS_PARENT_KEY != 0 {
            walk.text()?;
        }
    }
    content(info & 0b1_1111, walk)
}

fn content(kind: u8, walk: &mut Walk<'_>) -> Option<u64> {
    // 2 was JSON, before version 13 of Yjs; 5 of the types was a hook.
    match kind {
        1 => walk.number(),
        3 => walk.buffer().map(|_| 1),
        4 => walk.text().map(|text| text.encode_utf16().count() as u64),
        5 => walk.text().map(|_| 1),
        6 => walk.text().and_then(|_| walk.text()).map(|_| 1),
        7 => match walk.u8()? {
            0..=2 | 4 | 6 => Some(1),
            3 => walk.text().map(|_| 1),
            _ => None,
        },
        8 => {
            let count = walk.count()?;
            for _ in 0..count {
                value(walk, 0)?;
            }
            Some(count as u64)
        }
        9 => walk.text().and_then(|_| value(walk, 0)).map(|()| 1),
        _ => None,
    }
}

/// Walks over a value (lib0, `encoding.writeAny`).
fn value(walk: &mut Walk<'_>, depth: usize) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    match walk.u8()? {
        126 | 127 | 120 | 121 => Some(()),
        125 => signed(walk),
        124 => walk.take(4).map(drop),
        122 | 123 => walk.take(8).map(drop),
        119 => walk.text().map(drop),
        118 => {
            for _ in 0..walk.count()? {
                walk.text()?;
                value(walk, depth + 1)?;
            }
            Some(())
        }
        117 => {
            for _ in 0..walk.count()? {
                value(walk, depth + 1)?;
            }
            Some(())
        }
        116 => walk.buffer().map(drop),
        _ => None,
    }
}

/// A signed number: six bits in the first byte, seven in each after it.
fn signed(walk: &mut Walk<'_>) -> Option<()> {
    for _ in 0..9 {
        if walk.u8()? < 0x80 {
            return Some(());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, Unapplied};
    use proptest::prelude::*;
    use yrs::{Any, Array, Doc, Map, ReadTxn, StateVector, Text, Transact, WriteTxn, XmlFragment};

    fn whole(doc: &Doc) -> Vec<u8> {
        doc.transact().encode_state_as_update_v1(&StateVector::default())
    }

    #[test]
    fn every_kind_of_content_is_walked_over() {
        let doc = Doc::with_client_id(7);
        let mut txn = doc.transact_mut();
        let text = txn.get_or_insert_text("text");
        text.insert(&mut txn, 0, "Grüße, 🌊!");
        text.format(&mut txn, 0, 2, [("bold".into(), Any::from(true))].into());
        text.insert_embed(&mut txn, 1, Any::from("embedded"));
        let map = txn.get_or_insert_map("map");
        map.insert(&mut txn, "a", Any::from(vec![Any::from(-70_000), Any::from(1.5), Any::Null]));
        map.insert(&mut txn, "b", Any::Buffer(vec![1, 2, 3].into()));
        map.insert(&mut txn, "c", yrs::MapPrelim::from([("d", Any::from("e"))]));
        let array = txn.get_or_insert_array("array");
        array.insert_range(&mut txn, 0, [1, 2, 3]);
        array.insert(&mut txn, 1, Doc::new());
        array.remove_range(&mut txn, 2, 2);
        let xml = txn.get_or_insert_xml_fragment("xml");
        xml.push_back(&mut txn, yrs::XmlElementPrelim::empty("p"));
        xml.push_back(&mut txn, yrs::XmlTextPrelim::new("text"));
        drop(txn);
        let outline = Outline::read(&whole(&doc)).unwrap();
        let end = doc.transact().state_vector().get(&yrs::ClientID::new(7));
        assert_eq!(outline.inserts, [Range { client: 7, from: 0, to: end }]);
        assert_eq!(outline.deletes.len(), 1);
    }

    #[test]
    fn an_update_without_anything_is_one() {
        assert_eq!(Outline::read(&[0, 0]), Some(Outline::default()));
    }

    #[test]
    fn a_difference_inserts_what_is_new_in_it() {
        let one = Doc::with_client_id(1);
        let mut txn = one.transact_mut();
        let text = txn.get_or_insert_text("text");
        text.insert(&mut txn, 0, "ab");
        drop(txn);
        let before = one.transact().state_vector();
        let mut txn = one.transact_mut();
        let text = txn.get_or_insert_text("text");
        text.insert(&mut txn, 1, "cd");
        text.insert(&mut txn, 4, "ef");
        drop(txn);
        let update = one.transact().encode_diff_v1(&before);
        let outline = Outline::read(&update).unwrap();
        assert_eq!(outline.inserts, [Range { client: 1, from: 2, to: 6 }]);
    }

    #[test]
    fn what_would_hurt_a_decoder_is_no_update() {
        let nested = |depth: usize| {
            // One item of one value: arrays of one in each other.
            let mut update = vec![1, 1, 7, 0, 8, 1, 1, b'a', 1];
            update.extend(std::iter::repeat_n([117, 1], depth).flatten());
            update.extend([126, 0]);
            update
        };
        assert!(Outline::read(&nested(100)).is_some());
        assert!(Outline::read(&nested(101)).is_none());
        assert!(Outline::read(&nested(1_000_000)).is_none());
        let clients = [255, 255, 255, 255, 15];
        let structs = [1, 255, 255, 255, 255, 15, 7, 0];
        let beyond = [1, 1, 7, 255, 255, 255, 255, 7, 0, 1, 0];
        let deleted_beyond = [0, 1, 7, 1, 255, 255, 255, 255, 7, 1];
        let trailing = [0, 0, 0];
        for update in
            [&[][..], &[0], &clients, &structs, &beyond, &deleted_beyond, &trailing, &[9, 9, 9]]
        {
            assert_eq!(Outline::read(update), None, "{update:?}");
        }
    }

    proptest! {
        /// Whatever has an outline can be given to the library: it may refuse or break, but nobody
        /// else notices.
        #[test]
        fn what_has_an_outline_harms_nobody(
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            text in "[a-zé]{1,12}",
        ) {
            let options = yrs::Options {
                offset_kind: yrs::OffsetKind::Utf16,
                ..yrs::Options::with_client_id(yrs::ClientID::new(7))
            };
            let doc = Doc::with_options(options);
            let mut txn = doc.transact_mut();
            let shared = txn.get_or_insert_text("text");
            shared.insert(&mut txn, 0, &text);
            shared.remove_range(&mut txn, 0, 1);
            let map = txn.get_or_insert_map("map");
            map.insert(&mut txn, "c", yrs::MapPrelim::from([("d", Any::from("e"))]));
            drop(txn);
            let mut update = whole(&doc);
            for (at, byte) in flips {
                let at = at.index(update.len());
                update[at] = byte;
            }
            if Outline::read(&update).is_some() && Document::is_update(&update) {
                let mut document = Document::new();
                let applied = document.apply(&update);
                let whole = document.whole();
                prop_assert!(whole.is_ok() || applied == Err(Unapplied::Broken) || applied.is_ok());
            }
        }
    }
}
