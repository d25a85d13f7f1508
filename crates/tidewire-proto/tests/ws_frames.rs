//! Runs `conformance/ws-frames.json`: what any decoder of Tidewire's makes of a stream of bytes.
//! The format is described in the file itself.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use tidewire_proto::frame::{CloseFrame, DecodeLimits, Decoder, Event, Role};

const VECTORS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/ws-frames.json"));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    #[serde(rename = "about")]
    _about: Vec<String>,
    limits: Limits,
    cases: Vec<Case>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct Limits {
    message_bytes_max: usize,
    fragments_max: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    role: End,
    limits: Option<Limits>,
    bytes_hex: Vec<ByteString>,
    expect: Vec<Expected>,
    close: Option<u16>,
    rfc: String,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum End {
    Server,
    Client,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ByteString {
    Plain(String),
    Repeated { repeat: String, times: usize },
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Text(String),
    Binary(ByteString),
    Ping(ByteString),
    Pong(ByteString),
    Close(Option<Close>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {
    code: u16,
    reason: String,
}

impl ByteString {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Plain(digits) => from_hex(digits),
            Self::Repeated { repeat, times } => from_hex(repeat).repeat(*times),
        }
    }
}

fn from_hex(digits: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hexadecimal digit");
    let (pairs, odd) = digits.as_bytes().as_chunks::<2>();
    assert!(odd.is_empty(), "an odd number of digits: {digits}");
    pairs.iter().map(|[high, low]| (digit(*high) << 4 | digit(*low)) as u8).collect()
}

impl Expected {
    fn event(&self) -> Event {
        match self {
            Self::Text(text) => Event::Text(Bytes::from(text.clone())),
            Self::Binary(bytes) => Event::Binary(Bytes::from(bytes.bytes())),
            Self::Ping(bytes) => Event::Ping(Bytes::from(bytes.bytes())),
            Self::Pong(bytes) => Event::Pong(Bytes::from(bytes.bytes())),
            Self::Close(None) => Event::Close(None),
            Self::Close(Some(Close { code, reason })) => {
                Event::Close(Some(CloseFrame { code: *code, reason: reason.clone() }))
            }
        }
    }
}

/// The events of a stream, and the close code it failed with.
fn decode<'a>(
    role: Role,
    limits: DecodeLimits,
    chunks: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Event>, Option<u16>) {
    let mut decoder = Decoder::new(role, limits);
    let mut input = BytesMut::new();
    let mut events = Vec::new();
    for chunk in chunks {
        input.extend_from_slice(chunk);
        loop {
            match decoder.feed(&mut input) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error.close_code())),
            }
        }
    }
    (events, None)
}

#[test]
fn every_frame_vector_holds_however_its_bytes_are_cut() {
    let vectors: Vectors = serde_json::from_str(VECTORS).expect("the file has its format");
    assert_eq!(limits(vectors.limits), DecodeLimits::default(), "the file states the defaults");
    assert!(vectors.cases.len() >= 40);
    for case in &vectors.cases {
        let role = match case.role {
            End::Server => Role::Server,
            End::Client => Role::Client,
        };
        let limits = limits(case.limits.unwrap_or(vectors.limits));
        let chunks: Vec<Vec<u8>> = case.bytes_hex.iter().map(ByteString::bytes).collect();
        let whole = chunks.concat();
        let events: Vec<Event> = case.expect.iter().map(Expected::event).collect();
        let expected = (events, case.close);
        let told = format!("{} (RFC 6455 section {})", case.name, case.rfc);
        let written = decode(role, limits, chunks.iter().map(Vec::as_slice));
        assert!(written == expected, "as written: {told}");
        assert!(decode(role, limits, [&whole[..]].into_iter()) == expected, "whole: {told}");
        assert!(decode(role, limits, whole.chunks(1)) == expected, "byte by byte: {told}");
    }
}

fn limits(limits: Limits) -> DecodeLimits {
    let Limits { message_bytes_max, fragments_max } = limits;
    DecodeLimits { message_bytes_max, fragments_max }
}
