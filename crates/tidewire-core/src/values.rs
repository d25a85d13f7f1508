//! [`Values`]: of each item of a topic the newest entry, as of one place. Pure.
//!
//! It is what a walk from the start of a `keep = "latest"` topic comes to. So that nobody has to walk
//! that far, the log holds *bases*: an entry of the topic's base topic with all values as bytes. A
//! base is only a short cut: whoever has none walks the topic itself, and finds the same.
//!
//! Invariant: a value is replaced by a newer one of its item and by nothing else.

use std::{collections::HashMap, sync::Arc};

use bytes::{BufMut, Bytes};
use tidewire_proto::{Data, Entry, EventType, Item, Sequence, Topic};

/// The first byte of a base's data.
const VERSION: u8 = 1;

/// The newest entry of each item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Values {
    /// Everything up to here is in it.
    pub(crate) through: Sequence,
    by_item: HashMap<Option<Item>, Arc<Entry>>,
}

impl Values {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { through: Sequence::ZERO, by_item: HashMap::new() }
    }

    /// Takes entries of the topic in, which come after all that are here.
    pub(crate) fn take(
        &mut self,
        entries: impl IntoIterator<Item = Arc<Entry>>,
        through: Sequence,
    ) {
        for entry in entries {
            self.by_item.insert(entry.item.clone(), entry);
        }
        self.through = self.through.max(through);
    }

    /// Those that were set after a place, oldest first.
    pub(crate) fn after(&self, place: Sequence) -> Vec<Arc<Entry>> {
        let newer = self.by_item.values().filter(|entry| entry.sequence > place);
        let mut entries: Vec<_> = newer.cloned().collect();
        entries.sort_unstable_by_key(|entry| entry.sequence);
        entries
    }

    /// As the data of a base. The layout is in `docs/store-format.md`.
    pub(crate) fn encode(&self) -> Bytes {
        let entries = self.after(Sequence::ZERO);
        let mut out = Vec::new();
        out.put_u8(VERSION);
        out.put_u64_le(self.through.0);
        out.put_u32_le(entries.len() as u32);
        for entry in entries {
            let item = entry.item.as_ref().map(Item::as_str).unwrap_or_default();
            let kind = match entry.data {
                Data::Json(_) => 0,
                Data::Text(_) => 1,
                Data::Binary(_) => 2,
            };
            out.put_u64_le(entry.sequence.0);
            out.put_u64_le(entry.at_ms);
            // An event type and an item have at most 64 bytes each.
            out.put_slice(&[kind, entry.event.as_str().len() as u8, item.len() as u8]);
            out.put_u32_le(entry.data.bytes().len() as u32);
            out.put_slice(entry.event.as_str().as_bytes());
            out.put_slice(item.as_bytes());
            out.put_slice(entry.data.bytes());
        }
        out.into()
    }

    /// The values of a base of this topic; nothing if this is none.
    pub(crate) fn decode(topic: &Topic, base: &Bytes) -> Option<Self> {
        let mut rest = base.clone();
        let through = (rest.try_get(1)?.as_ref() == [VERSION]).then(|| rest.try_u64())??;
        let mut values = Self { through: Sequence(through), by_item: HashMap::new() };
        for _ in 0..rest.try_u32()? {
            let (sequence, at_ms) = (Sequence(rest.try_u64()?), rest.try_u64()?);
            let (kind, event, item) = (rest.try_u8()?, rest.try_u8()?, rest.try_u8()?);
            let length = rest.try_u32()? as usize;
            let event = EventType::parse(rest.try_text(event)?.as_str()).ok()?;
            let item = match rest.try_text(item)?.as_str() {
                "" => None,
                item => Some(Item::parse(item).ok()?),
            };
            // Copied, so that one value in somebody's hand does not hold all of them.
            let data = Bytes::copy_from_slice(&rest.try_get(length)?);
            let data = match kind {
                0 => Data::Json(data),
                1 => Data::Text(data),
                2 => Data::Binary(data),
                _ => return None,
            };
            let topic = topic.clone();
            let entry = Entry { sequence, topic, event, data, at_ms, item: item.clone() };
            values.by_item.insert(item, Arc::new(entry));
        }
        rest.is_empty().then_some(values)
    }
}

/// Reading bytes that may be too few.
trait TryRead {
    fn try_get(&mut self, count: usize) -> Option<Bytes>;

    fn try_u8(&mut self) -> Option<u8> {
        self.try_get(1)?.first().copied()
    }

    fn try_u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.try_get(4)?.as_ref().try_into().ok()?))
    }

    fn try_u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.try_get(8)?.as_ref().try_into().ok()?))
    }

    fn try_text(&mut self, count: u8) -> Option<String> {
        String::from_utf8(self.try_get(usize::from(count))?.to_vec()).ok()
    }
}

impl TryRead for Bytes {
    fn try_get(&mut self, count: usize) -> Option<Bytes> {
        (count <= self.len()).then(|| self.split_to(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64, item: Option<&str>, data: Data) -> Arc<Entry> {
        Arc::new(Entry {
            sequence: Sequence(sequence),
            topic: Topic::parse("stats/eu").unwrap(),
            event: EventType::parse("value").unwrap(),
            data,
            at_ms: 1_000 + sequence,
            item: item.map(|item| Item::parse(item).unwrap()),
        })
    }

    fn values() -> Values {
        let mut values = Values::new();
        let json = |text: &'static str| Data::json(text).unwrap();
        values.take([entry(1, Some("cpu"), json("1")), entry(2, None, json("2"))], Sequence(2));
        values.take([entry(5, Some("cpu"), Data::text("five").unwrap())], Sequence(5));
        values.take([entry(7, Some("disk"), Data::binary(vec![0, 255]))], Sequence(9));
        values
    }

    #[test]
    fn the_newest_of_each_item_stays() {
        let places = |after: u64| {
            let entries = values().after(Sequence(after));
            entries.iter().map(|entry| entry.sequence.0).collect::<Vec<_>>()
        };
        assert_eq!(places(0), [2, 5, 7]);
        assert_eq!(places(5), [7]);
        assert_eq!(places(7), [0_u64; 0]);
        assert_eq!(values().through, Sequence(9));
    }

    #[test]
    fn a_base_is_read_back_and_a_damaged_one_is_none() {
        let topic = Topic::parse("stats/eu").unwrap();
        let base = values().encode();
        assert_eq!(Values::decode(&topic, &base), Some(values()));
        for length in 0..base.len() {
            assert_eq!(Values::decode(&topic, &base.slice(..length)), None, "{length}");
        }
        let longer = Bytes::from([base.as_ref(), &[0]].concat());
        assert_eq!(Values::decode(&topic, &longer), None);
        let mut other = base.to_vec();
        other[0] = 2;
        assert_eq!(Values::decode(&topic, &other.into()), None, "another version");
    }
}
