//! Frames of one entry, and what a peer says: no log, no runtime.

use std::{fmt::Write as _, sync::Arc};

use bytes::{Bytes, BytesMut};
use tidewire_core::{Framed, Limits};
use tidewire_proto::{
    Cursor, Data, Entry, Epoch, EventType, Sequence,
    frame::{self, Event, Opcode},
    json,
};

use super::{DATA_BYTES, count, data, topic};
use crate::socket::talk::{self, Heard};

const MANY: usize = 100;

fn entries(data: &Data) -> Vec<Framed> {
    let topic = topic("chat/general");
    let framed = |number| {
        let sequence = Sequence(1_000_000 + number);
        let (topic, event, data) = (topic.clone(), EventType::message(), data.clone());
        let entry = Entry { sequence, topic, event, data, at_ms: 1_800_000_000_000, item: None };
        Framed::new(Arc::new(entry), Some(Cursor { epoch: Epoch(0x1234_5678_9abc), sequence }))
    };
    (0..MANY as u64).map(framed).collect()
}

fn text() -> Data {
    Data::json(data()).expect("it is JSON")
}

#[test]
#[ignore = "make guard counts it"]
fn encode_chunk() {
    let framed = || entries(&text());
    count(MANY, framed, |framed| {
        framed.iter().for_each(|one| assert!(one.chunk().len() > DATA_BYTES));
        framed
    });
}

#[test]
#[ignore = "make guard counts it"]
fn encode_ws_text() {
    let framed = || entries(&text());
    count(MANY, framed, |framed| {
        framed.iter().for_each(|one| assert!(one.ws().len() > DATA_BYTES));
        framed
    });
}

#[test]
#[ignore = "make guard counts it"]
fn encode_ws_binary() {
    let framed = || entries(&Data::binary(vec![7; DATA_BYTES]));
    count(MANY, framed, |framed| {
        framed.iter().for_each(|one| assert!(one.ws().len() > DATA_BYTES));
        framed
    });
}

/// A masked text frame of [`DATA_BYTES`] bytes, without what its words mean.
#[test]
#[ignore = "make guard counts it"]
fn decode_ws_text() {
    let input = || masked(&"x".repeat(DATA_BYTES));
    let mut decoder = talk::decoder(&Limits::default());
    count(MANY, input, |mut input| {
        for _ in 0..MANY {
            let event = decoder.feed(&mut input).expect("a good frame");
            assert!(matches!(event, Some(Event::Text(text)) if text.len() == DATA_BYTES));
        }
    });
}

/// The words of a publish command.
#[test]
#[ignore = "make guard counts it"]
fn parse_ws_publish() {
    let command = Bytes::from(publish_command("chat/general"));
    let events = || vec![command.clone(); MANY];
    count(MANY, events, |events| {
        let heard = |event| talk::hear(Event::Text(event));
        let heard: Vec<_> = events.into_iter().map(heard).collect();
        assert!(heard.iter().all(|heard| matches!(heard, Heard::Publish(..))));
        heard
    });
}

/// For each message of a batch.
#[test]
#[ignore = "make guard counts it"]
fn parse_batch() {
    let mut text = String::from("[");
    for number in 0..MANY {
        let comma = if number == 0 { "" } else { "," };
        let data = data();
        let _ = write!(text, "{comma}{{\"topic\":\"chat/general\",\"data\":{data}}}");
    }
    text.push(']');
    let parse = |()| json::parse_batch(&text, MANY).expect("a good batch");
    count(MANY, || (), |()| assert_eq!(parse(()).len(), MANY));
}

/// What a client sends to publish [`data`].
pub(crate) fn publish_command(topic: &str) -> String {
    format!("{{\"do\":\"publish\",\"ref\":7,\"topic\":\"{topic}\",\"data\":{}}}", data())
}

pub(crate) fn masked_once(text: &str) -> BytesMut {
    let mut out = BytesMut::new();
    frame::encode_masked(&mut out, Opcode::Text, text.as_bytes(), [1, 2, 3, 4]);
    out
}

fn masked(text: &str) -> BytesMut {
    let mut out = BytesMut::new();
    (0..MANY).for_each(|_| out.unsplit(masked_once(text)));
    out
}
