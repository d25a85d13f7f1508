//! Runs `conformance/sse-frames.json`: the event-stream wire, written and read.
//! The format is described in the file itself.

use serde::Deserialize;
use tidewire_proto::{
    Continuity, Cursor, Data, Entry, EventType, Gap, GapReason, Item, Sequence, Topic, json,
    sse::{self, Event, Hello, Parser},
};

const VECTORS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/sse-frames.json"));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    #[serde(rename = "about")]
    _about: Vec<String>,
    entries: Vec<EntryCase>,
    signals: Vec<SignalCase>,
    streams: Vec<StreamCase>,
    round_trips: Vec<RoundTrip>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryCase {
    name: String,
    topic: String,
    event: String,
    data: Payload,
    item: Option<String>,
    id: Option<String>,
    frame: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Payload {
    Json(String),
    Text(String),
    Binary(String),
}

#[derive(Deserialize)]
struct SignalCase {
    name: String,
    frame: String,
    #[serde(flatten)]
    signal: Signal,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Signal {
    Hello {
        connection: String,
        beat_ms: u64,
        retry_ms: u64,
        plan: String,
        continuity: String,
        gap: Option<GapText>,
        at: Option<String>,
    },
    Gap {
        gap: GapText,
    },
    Beat {
        at: Option<String>,
    },
    Plan {
        tag: String,
        wait_ms: u64,
    },
    Bye {
        code: String,
        message: String,
        next: String,
        retry_ms: u64,
    },
    Canary {
        n: u32,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GapText {
    reason: String,
    oldest: String,
    newest: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamCase {
    name: String,
    chunks: Vec<Chunk>,
    events: Vec<Expected>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Chunk {
    Text(String),
    Bytes { hex: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    event: Option<String>,
    data: String,
    id: Option<String>,
    topic: Option<String>,
    encoding: Option<String>,
    item: Option<String>,
    retry_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoundTrip {
    text: String,
    arrives: Option<String>,
}

fn vectors() -> Vectors {
    serde_json::from_str(VECTORS).expect("the file has its format")
}

fn from_hex(digits: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hexadecimal digit");
    let (pairs, odd) = digits.as_bytes().as_chunks::<2>();
    assert!(odd.is_empty(), "an odd number of digits: {digits}");
    pairs.iter().map(|[high, low]| (digit(*high) << 4 | digit(*low)) as u8).collect()
}

fn cursor(text: &str) -> Cursor {
    Cursor::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn place(at: &Option<String>) -> Option<Cursor> {
    at.as_deref().map(cursor)
}

fn entry(topic: &str, event: &str, data: Data) -> Entry {
    Entry {
        sequence: Sequence(1),
        topic: Topic::parse(topic).expect("a topic"),
        event: EventType::parse(event).expect("an event type"),
        data,
        at_ms: 0,
        item: None,
    }
}

impl Payload {
    fn data(&self) -> Data {
        match self {
            Self::Json(text) => Data::json(text.clone()).expect("JSON"),
            Self::Text(text) => Data::text(text.clone()).expect("text"),
            Self::Binary(digits) => Data::binary(from_hex(digits)),
        }
    }
}

impl GapText {
    fn gap(&self) -> Gap {
        let reason = GapReason::ALL.into_iter().find(|reason| reason.as_str() == self.reason);
        let reason = reason.unwrap_or_else(|| panic!("no reason {:?}", self.reason));
        Gap { reason, oldest: cursor(&self.oldest), newest: cursor(&self.newest) }
    }
}

impl Signal {
    fn frame(&self) -> String {
        match self {
            Self::Hello { connection, beat_ms, retry_ms, plan, continuity, gap, at } => {
                let continuity = match (continuity.as_str(), gap) {
                    ("new", None) => Continuity::New,
                    ("resumed", None) => Continuity::Resumed,
                    ("gap", Some(gap)) => Continuity::Gap(gap.gap()),
                    _ => panic!("a continuity that cannot be: {continuity}"),
                };
                let (beat_ms, retry_ms, at) = (*beat_ms, *retry_ms, place(at));
                sse::hello_frame(&Hello { connection, beat_ms, retry_ms, plan, continuity, at })
            }
            Self::Gap { gap } => sse::gap_frame(&gap.gap()),
            Self::Beat { at } => sse::beat_frame(place(at)),
            Self::Plan { tag, wait_ms } => sse::plan_frame(tag, *wait_ms),
            Self::Bye { code, message, next, retry_ms } => {
                sse::bye_frame(code, message, next, *retry_ms)
            }
            Self::Canary { n } => sse::canary_frame(*n),
        }
    }
}

impl Chunk {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Bytes { hex } => from_hex(hex),
        }
    }
}

impl From<Expected> for Event {
    fn from(expected: Expected) -> Self {
        let Expected { event, data, id, topic, encoding, item, retry_ms } = expected;
        let event = event.unwrap_or_else(|| "message".to_owned());
        Self { event, data, id, topic, encoding, item, retry_ms }
    }
}

fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut parser = Parser::new(1 << 20);
    chunks.into_iter().flat_map(|chunk| parser.feed(chunk).expect("a small stream")).collect()
}

#[test]
fn entries_are_written_to_the_letter_and_read_back() {
    for EntryCase { name, topic, event, data, item, id, frame } in vectors().entries {
        let item = item.map(|item| Item::parse(&item).expect("an item"));
        let entry = Entry { item, ..entry(&topic, &event, data.data()) };
        assert_eq!(sse::entry_frame(&entry, place(&id)), frame, "{name}");
        let events = parse([frame.as_bytes()]);
        let [heard] = events.as_slice() else { panic!("{name}: one frame is one event") };
        assert_eq!((&heard.event, &heard.id), (&event, &id), "{name}");
        assert_eq!(heard.topic.as_deref(), Some(topic.as_str()), "{name}");
        assert_eq!(heard.item.as_deref(), entry.item.as_ref().map(Item::as_str), "{name}");
        if let Payload::Binary(_) = data {
            let text = format!("\"{}\"", heard.data);
            let read = json::parse_data(&text, heard.encoding.as_deref()).expect("base64");
            assert_eq!(read, entry.data, "{name}");
        }
    }
}

#[test]
fn signals_are_written_to_the_letter() {
    for SignalCase { name, frame, signal } in vectors().signals {
        assert_eq!(signal.frame(), frame, "{name}");
    }
}

#[test]
fn streams_are_read_however_their_bytes_are_cut() {
    for StreamCase { name, chunks, events } in vectors().streams {
        let events: Vec<Event> = events.into_iter().map(Event::from).collect();
        let chunks: Vec<Vec<u8>> = chunks.iter().map(Chunk::bytes).collect();
        let whole = chunks.concat();
        assert_eq!(parse(chunks.iter().map(Vec::as_slice)), events, "as written: {name}");
        assert_eq!(parse([&whole[..]]), events, "whole: {name}");
        assert_eq!(parse(whole.chunks(1)), events, "byte by byte: {name}");
    }
}

#[test]
fn payloads_come_back_as_they_were_but_for_line_ends() {
    for RoundTrip { text, arrives } in vectors().round_trips {
        let entry = entry("chat/general", "message", Data::text(text.clone()).expect("text"));
        let events = parse([sse::entry_frame(&entry, None).as_bytes()]);
        let data: Vec<&str> = events.iter().map(|event| event.data.as_str()).collect();
        assert_eq!(data, [arrives.as_deref().unwrap_or(&text)], "{text:?}");
    }
}
