//! One entry as bytes: the same in the active file and in a sorted one, so sorting copies it whole.
//! The layout is in `docs/store-format.md`. Pure.
//!
//! Invariant: a record whose checksum holds was written by [`encode`]; everything else is damage.

use bytes::Bytes;
use tidewire_core::log::idempotency::{body_hash, key_hash};
use tidewire_proto::{
    Data, Entry, EventType, Item, Message, Sequence, Topic, message::ITEM_BYTES_MAX,
};

use crate::bytes::Walk;

/// Length and checksum, before everything else.
pub(crate) const PREFIX_BYTES: usize = 8;
/// The most that a record takes beside its topic, its event type and its data: with a key and an item.
pub(crate) const OVERHEAD_BYTES: usize = PREFIX_BYTES + 20 + 32 + 1 + ITEM_BYTES_MAX;
/// Shorter than this is no record: the fixed part, one letter of topic and one of event type.
const BODY_BYTES_MIN: usize = 22;

const JSON: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const HAS_KEY: u8 = 1;
const HAS_ITEM: u8 = 2;

/// An idempotency key as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredKey {
    pub(crate) name: [u8; 16],
    pub(crate) body: [u8; 16],
}

/// A record whose checksum held, still in the bytes it was read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) sequence: Sequence,
    pub(crate) at_ms: u64,
    pub(crate) topic: &'a str,
    pub(crate) key: Option<StoredKey>,
    kind: u8,
    event: &'a str,
    item: Option<&'a str>,
    data: &'a [u8],
    /// All of it, prefix included.
    pub(crate) length: usize,
}

/// Appends a message as the record at `sequence`.
pub(crate) fn encode(message: &Message, sequence: Sequence, at_ms: u64, out: &mut Vec<u8>) {
    let start = out.len();
    let key = key_hash(message).map(|name| StoredKey { name, body: body_hash(message) });
    let (topic, event) = (message.topic.as_str(), message.event.as_str());
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    out.extend_from_slice(&sequence.0.to_le_bytes());
    out.extend_from_slice(&at_ms.to_le_bytes());
    let kind = match message.data {
        Data::Json(_) => JSON,
        Data::Text(_) => TEXT,
        Data::Binary(_) => BINARY,
    };
    // A topic has at most 255 bytes and an event type at most 64.
    let flags =
        if key.is_some() { HAS_KEY } else { 0 } | if message.item.is_some() { HAS_ITEM } else { 0 };
    out.extend_from_slice(&[kind, flags, topic.len() as u8, event.len() as u8]);
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(event.as_bytes());
    if let Some(key) = key {
        out.extend_from_slice(&key.name);
        out.extend_from_slice(&key.body);
    }
    if let Some(item) = &message.item {
        // At most 64 bytes.
        out.push(item.as_str().len() as u8);
        out.extend_from_slice(item.as_str().as_bytes());
    }
    out.extend_from_slice(message.data.bytes());
    let length = crate::bytes::narrow((out.len() - start - PREFIX_BYTES) as u64).to_le_bytes();
    let body = out.get(start + PREFIX_BYTES..).unwrap_or_default();
    let checksum = checksum(length, body).to_le_bytes();
    if let Some(prefix) = out.get_mut(start..start + PREFIX_BYTES) {
        prefix.copy_from_slice(
            &(u64::from(u32::from_le_bytes(length))
                | u64::from(u32::from_le_bytes(checksum)) << 32)
                .to_le_bytes(),
        );
    }
}

fn checksum(length: [u8; 4], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), body)
}

/// How long the record that begins here says it is, prefix included.
pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
    Walk(bytes).u32().map(|body| body as usize + PREFIX_BYTES)
}

/// The record that begins here, or what is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> Result<Record<'_>, &'static str> {
    let mut walk = Walk(bytes);
    let (length, wanted) = walk.u32().zip(walk.u32()).ok_or("the record is cut off")?;
    let body = walk.take(length as usize).ok_or("the record is cut off")?;
    if body.len() < BODY_BYTES_MIN || checksum(length.to_le_bytes(), body) != wanted {
        return Err("the record's checksum does not match");
    }
    decode_body(body).ok_or("the record's fields make no sense")
}

fn decode_body(body: &[u8]) -> Option<Record<'_>> {
    let mut walk = Walk(body);
    let (sequence, at_ms) = (walk.u64()?, walk.u64()?);
    let (kind, flags) = (walk.u8()?, walk.u8()?);
    let (topic, event) = (usize::from(walk.u8()?), usize::from(walk.u8()?));
    let topic = std::str::from_utf8(walk.take(topic)?).ok()?;
    let event = std::str::from_utf8(walk.take(event)?).ok()?;
    if flags & !(HAS_KEY | HAS_ITEM) != 0 {
        return None;
    }
    let key = match flags & HAS_KEY {
        0 => None,
        _ => Some(StoredKey { name: walk.array()?, body: walk.array()? }),
    };
    let item = match flags & HAS_ITEM {
        0 => None,
        _ => {
            let length = usize::from(walk.u8()?);
            Some(std::str::from_utf8(walk.take(length)?).ok()?)
        }
    };
    let length = body.len() + PREFIX_BYTES;
    let sequence = Sequence(sequence);
    Some(Record { sequence, at_ms, topic, key, kind, event, item, data: walk.0, length })
}

impl Record<'_> {
    /// The entry. The texts of `like` are shared where they are equal: pages repeat themselves.
    pub(crate) fn to_entry(self, like: Option<&Entry>) -> Result<Entry, &'static str> {
        let topic = match like {
            Some(like) if like.topic.as_str() == self.topic => like.topic.clone(),
            _ => Topic::parse(self.topic).map_err(|_| "the record's topic is not one")?,
        };
        let event = match like {
            Some(like) if like.event.as_str() == self.event => like.event.clone(),
            _ => EventType::parse(self.event).map_err(|_| "the record's event type is not one")?,
        };
        let item = match (self.item, like.and_then(|like| like.item.as_ref())) {
            (None, _) => None,
            (Some(item), Some(like)) if like.as_str() == item => Some(like.clone()),
            (Some(item), _) => Some(Item::parse(item).map_err(|_| "the record's item is not one")?),
        };
        // Copied, so that a small entry in somebody's hand does not hold a large buffer.
        let data = Bytes::copy_from_slice(self.data);
        let text = || std::str::from_utf8(self.data).is_ok();
        let data = match self.kind {
            JSON if text() => Data::Json(data),
            TEXT if text() => Data::Text(data),
            BINARY => Data::Binary(data),
            _ => return Err("the record's data are not of their kind"),
        };
        Ok(Entry { sequence: self.sequence, topic, event, data, at_ms: self.at_ms, item })
    }
}

/// The number under which a topic is found: half of nothing but its text, so for ever the same.
/// Two topics may share one; whoever looks compares the text as well.
pub(crate) fn topic_hash(topic: &str) -> u64 {
    let hash = blake3::hash(topic.as_bytes());
    Walk(hash.as_bytes()).u64().unwrap_or_default()
}

/// The feature of a topic's text.
pub(crate) fn feature(topic: &str) -> &str {
    topic.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_proto::Key;

    fn message(key: Option<&str>, data: Data) -> Message {
        Message {
            topic: Topic::parse("chat/general").unwrap(),
            event: EventType::parse("note").unwrap(),
            data,
            key: key.map(|key| Key::parse(key).unwrap()),
            item: None,
        }
    }

    #[test]
    fn what_was_written_is_read() {
        for data in [
            Data::json(&b"[1]"[..]).unwrap(),
            Data::text("").unwrap(),
            Data::binary(&[0xff, 0][..]),
        ] {
            for key in [None, Some("k")] {
                let message = message(key, data.clone());
                let mut bytes = vec![];
                encode(&message, Sequence(7), 9, &mut bytes);
                let record = decode(&bytes).unwrap();
                assert_eq!(record.length, bytes.len());
                assert_eq!(record.key.is_some(), key.is_some());
                let entry = record.to_entry(None).unwrap();
                assert_eq!((entry.sequence, entry.at_ms), (Sequence(7), 9));
                assert_eq!(
                    (entry.topic, entry.event, entry.data),
                    (message.topic, message.event, message.data)
                );
            }
        }
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let mut bytes = vec![];
        encode(&message(Some("k"), Data::text("hi").unwrap()), Sequence(1), 1, &mut bytes);
        for at in 0..bytes.len() {
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(decode(&flipped).is_err(), "bit {bit} of byte {at}");
            }
        }
    }
}
