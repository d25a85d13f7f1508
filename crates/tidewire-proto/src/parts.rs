//! What a producer streams in, as parts: text as it comes, one part a line, or an event stream.
//!
//! Incremental, bounded and pure. Knows no topic and no log.
//!
//! Invariant: where the bytes were cut on their way decides nothing but how plain text is divided, and
//! never within a character. What comes before something malformed is given all the same.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    code::{Code, WireError},
    json::{bad_json, message_of, parse_data, present},
    message::{Data, EventType, Item, Message},
    sse::{Event, Parser},
};

/// The event of a piece of text that names no other.
pub const TEXT: &str = "text";

/// One part of a stream: a message without its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub event: EventType,
    /// The payload.
    pub data: Data,
    /// Which text it belongs to, of several.
    pub item: Option<Item>,
}

/// How a stream ended: the last of its parts that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It is whole.
    End,
    /// The producer could not finish it.
    Fail,
    /// Somebody wanted no more of it.
    Cancel,
}

impl Ended {
    /// The event on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Fail => "fail",
            Self::Cancel => "cancel",
        }
    }

    /// Does this event end a stream?
    #[must_use]
    pub fn of(event: &EventType) -> Option<Self> {
        [Self::End, Self::Fail, Self::Cancel].into_iter().find(|end| end.as_str() == event.as_str())
    }
}

/// What a producer's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `text/plain`: each piece as it comes is a part.
    Text,
    /// `application/x-ndjson`: one part a line.
    Lines,
    /// `text/event-stream`: one part an event.
    Events,
}

impl Form {
    /// By its media type, without parameters.
    #[must_use]
    pub fn of_media(media: &str) -> Option<Self> {
        match media.to_ascii_lowercase().as_str() {
            "text/plain" => Some(Self::Text),
            "application/x-ndjson" | "application/jsonl" => Some(Self::Lines),
            "text/event-stream" => Some(Self::Events),
            _ => None,
        }
    }
}

/// Reads parts from bytes, as they come.
#[derive(Debug)]
pub struct PartReader {
    bytes_max: usize,
    count: u64,
    held: Held,
}

#[derive(Debug)]
enum Held {
    /// The beginning of a character, at most 3 bytes.
    Text(Vec<u8>),
    /// The beginning of a line.
    Lines(Vec<u8>),
    Events(Box<Parser>),
}

impl PartReader {
    /// A reader that refuses a line or an event of more than `bytes_max` bytes.
    #[must_use]
    pub fn new(form: Form, bytes_max: usize) -> Self {
        let held = match form {
            Form::Text => Held::Text(Vec::new()),
            Form::Lines => Held::Lines(Vec::new()),
            Form::Events => Held::Events(Box::new(Parser::new(bytes_max))),
        };
        Self { bytes_max, count: 0, held }
    }

    /// Takes the next bytes, and adds the parts that they complete to `out`.
    ///
    /// # Errors
    /// `bad_utf8`, `bad_json`, `bad_event`, `bad_item` or `too_large`. What came before is in `out`; the
    /// reader is then useless.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Part>) -> Result<(), WireError> {
        match &mut self.held {
            Held::Text(held) => text(held, bytes, self.bytes_max, out),
            Held::Lines(held) => {
                for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
                    let (line, is_whole) =
                        piece.strip_suffix(b"\n").map_or((piece, false), |line| (line, true));
                    held.extend_from_slice(line);
                    if held.len() > self.bytes_max {
                        return Err(too_large("line", self.count, self.bytes_max));
                    }
                    if is_whole {
                        out.extend(line_part(&std::mem::take(held), &mut self.count)?);
                    }
                }
                Ok(())
            }
            Held::Events(parser) => {
                for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
                    let events = parser
                        .feed(piece)
                        .map_err(|_| too_large("event", self.count, self.bytes_max))?;
                    for event in events {
                        out.extend(event_part(event, &mut self.count)?);
                    }
                }
                Ok(())
            }
        }
    }

    /// The body is over.
    ///
    /// # Errors
    /// As [`feed`](Self::feed): text that ends within a character, or a last line that is no part. An
    /// event without its blank line is none (HTML standard, "Server-sent events").
    pub fn finish(mut self, out: &mut Vec<Part>) -> Result<(), WireError> {
        match self.held {
            Held::Text(held) if !held.is_empty() => {
                Err(WireError::new(Code::BadUtf8, "the text ends within a character"))
            }
            Held::Lines(held) => {
                out.extend(line_part(&held, &mut self.count)?);
                Ok(())
            }
            Held::Text(_) | Held::Events(_) => Ok(()),
        }
    }
}

fn text(
    held: &mut Vec<u8>,
    bytes: &[u8],
    bytes_max: usize,
    out: &mut Vec<Part>,
) -> Result<(), WireError> {
    held.extend_from_slice(bytes);
    let (valid, error) = match std::str::from_utf8(held) {
        Ok(_) => (held.len(), None),
        Err(error) => (error.valid_up_to(), error.error_len()),
    };
    let rest = held.split_off(valid);
    let whole = std::mem::replace(held, rest);
    push_text(std::str::from_utf8(&whole).unwrap_or_default(), bytes_max, out);
    match error {
        None => Ok(()),
        Some(_) => Err(WireError::new(Code::BadUtf8, "the text is not valid UTF-8")),
    }
}

/// Pieces that are no larger than a message may be.
fn push_text(mut text: &str, bytes_max: usize, out: &mut Vec<Part>) {
    while !text.is_empty() {
        // A bound below one character would never end.
        let most = text.floor_char_boundary(bytes_max.max(4));
        let (piece, rest) = text.split_at(most);
        out.push(Part {
            event: text_event(),
            data: Data::Text(Bytes::copy_from_slice(piece.as_bytes())),
            item: None,
        });
        text = rest;
    }
}

fn text_event() -> EventType {
    EventType::parse(TEXT).unwrap_or_else(|_| EventType::message())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartText<'a> {
    event: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    encoding: Option<String>,
    item: Option<String>,
}

/// A line as a part; nothing for a blank one.
fn line_part(line: &[u8], count: &mut u64) -> Result<Option<Part>, WireError> {
    let index = *count;
    let part = || -> Result<Option<Part>, WireError> {
        let text = std::str::from_utf8(line)
            .map_err(|error| WireError::new(Code::BadUtf8, format!("it is not UTF-8: {error}")))?
            .trim();
        match text.chars().next() {
            None => Ok(None),
            Some('"') => {
                let data = parse_data(text, Some("text"))?;
                Ok(Some(Part { event: text_event(), data, item: None }))
            }
            Some('{') => {
                let part: PartText<'_> =
                    serde_json::from_str(text).map_err(|error| bad_json(&error))?;
                part.settle().map(Some)
            }
            Some(_) => {
                let message = "it is neither a JSON string nor an object with `event` and `data`";
                Err(WireError::new(Code::BadJson, message))
            }
        }
    };
    let part = part().map_err(|error| at("line", index, &error))?;
    *count += u64::from(part.is_some());
    Ok(part)
}

impl PartText<'_> {
    fn settle(self) -> Result<Part, WireError> {
        let raw = self.data.map_or("null", RawValue::get);
        // A string is text, which is what the server joins, unless it is said to be JSON.
        let is_text = self.encoding.is_none() && raw.starts_with('"');
        let encoding = if is_text { Some("text") } else { self.encoding.as_deref() };
        part_of(self.event.as_deref(), parse_data(raw, encoding)?, self.item.as_deref())
    }
}

/// An event as a part; nothing for what a server like this one says of itself.
fn event_part(event: Event, count: &mut u64) -> Result<Option<Part>, WireError> {
    let Event { event, data, encoding, item, .. } = event;
    if event.starts_with(crate::message::RESERVED_EVENT_PREFIX) {
        return Ok(None);
    }
    let data = match encoding.as_deref() {
        Some("text") => Data::Text(data.into()),
        None if event == TEXT => Data::Text(data.into()),
        None => Data::json(data.clone()).unwrap_or_else(|_| Data::Text(data.into())),
        // Base64 stands in JSON as it stands here.
        other => parse_data(&format!("\"{data}\""), other)
            .map_err(|error| at("event", *count, &error))?,
    };
    let part = part_of(Some(&event), data, item.as_deref())
        .map_err(|error| at("event", *count, &error))?;
    *count += 1;
    Ok(Some(part))
}

/// A part from its checked pieces, by the rules of every message.
fn part_of(event: Option<&str>, data: Data, item: Option<&str>) -> Result<Part, WireError> {
    // The rules of a message want a topic too; this one is never looked at.
    let Message { event, data, item, .. } = message_of("stream", event, data, None, item)?;
    Ok(Part { event, data, item })
}

fn at(what: &str, index: u64, error: &WireError) -> WireError {
    WireError::new(error.code, format!("{what} {index}: {}", error.message))
}

fn too_large(what: &str, index: u64, bytes_max: usize) -> WireError {
    let message = format!("{what} {index}: one has at most {bytes_max} bytes");
    WireError::new(Code::TooLarge, message)
}
