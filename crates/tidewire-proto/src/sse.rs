//! The event-stream wire: entries and signals as bytes, and back.
//!
//! Format: HTML standard, "Server-sent events", §9.2.6 (interpreting an event stream). Payload lines
//! travel as published; the only change is that a line end (CR or CRLF) arrives as LF, because the
//! format has no other. Extra fields, which standard parsers pass over: `topic:`, `item:` (if there
//! is one) and `encoding:` (`text` or `base64`; JSON if absent).
//!
//! Invariant: an entry's frame says nothing about its receiver; only signals (`tidewire.*`) do.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use memchr::{memchr2, memmem};

use crate::{
    cursor::{Cursor, Gap},
    json::{self, Continuity},
    message::{Data, Entry},
};

mod parser;

pub use parser::{Event, Parser, ParserError};

/// The version of the protocol, said in every hello.
pub const PROTOCOL: u32 = 1;

/// An entry's frame. Without `id` (an ephemeral entry) the client's bookmark does not move.
#[must_use]
pub fn entry_frame(entry: &Entry, id: Option<Cursor>) -> String {
    let mut out = String::with_capacity(entry.data.bytes().len() + 128);
    if !entry.event.is_message() {
        push_field(&mut out, "event", entry.event.as_str());
    }
    match &entry.data {
        Data::Json(_) => push_lines(&mut out, entry.data.as_text().unwrap_or_default()),
        Data::Text(_) => {
            push_lines(&mut out, entry.data.as_text().unwrap_or_default());
            push_field(&mut out, "encoding", "text");
        }
        Data::Binary(bytes) => {
            push_field(&mut out, "data", &BASE64.encode(bytes));
            push_field(&mut out, "encoding", "base64");
        }
    }
    push_field(&mut out, "topic", entry.topic.as_str());
    if let Some(item) = &entry.item {
        push_field(&mut out, "item", item.as_str());
    }
    if let Some(id) = id {
        push_field(&mut out, "id", &id.to_string());
    }
    out.push('\n');
    out
}

/// The end of a body in chunks (RFC 9112 §7.1).
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A frame as one chunk of an HTTP/1.1 body (RFC 9112 §7.1), for a door that writes the body itself.
#[must_use]
pub fn chunk(frame: &str) -> Bytes {
    let mut out = format!("{:x}\r\n", frame.len());
    out.reserve_exact(frame.len() + 2);
    out.push_str(frame);
    out.push_str("\r\n");
    out.into()
}

/// The frame in a [`chunk`].
#[must_use]
pub fn unchunked(chunk: &Bytes) -> Bytes {
    let head = chunk.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    chunk.slice(head..chunk.len().saturating_sub(2).max(head))
}

/// How many frames have begun in the first `sent` of these bytes, which are whole frames, as they are
/// or in chunks. An empty line ends a frame and stands nowhere else; what comes after the last one,
/// or stands where there is none (the head of an answer, say), is no frame.
#[must_use]
pub fn frames_begun(bytes: &[u8], sent: usize) -> usize {
    if sent == 0 {
        return 0;
    }
    let ends: usize = memmem::find_iter(bytes, b"\n\n").count();
    if sent >= bytes.len() {
        return ends;
    }
    // Each end but the last is where another begins; of a chunk, its CRLF still belongs to the end.
    let begun = memmem::find_iter(bytes, b"\n\n").take_while(|at| {
        let end = at + 2;
        let rest = bytes.get(end..).unwrap_or_default();
        sent > end + if rest.starts_with(b"\r\n") { 2 } else { 0 }
    });
    (begun.count() + 1).min(ends)
}

/// What the first frame of a stream says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The connection's name, for the inspector and the path check.
    pub connection: &'a str,
    /// Time between beats on an idle stream.
    pub beat_ms: u64,
    /// How long this client waits before it comes back.
    pub retry_ms: u64,
    /// The tag of the plan that is in force.
    pub plan: &'a str,
    /// What is known of the seam.
    pub continuity: Continuity,
    /// Where the stream begins. Nothing when it carries ephemeral topics only.
    pub at: Option<Cursor>,
}

/// The first frame: `retry:` and `tidewire.hello`, and `tidewire.gap` if there is one. Its `id:` is
/// the place where the stream begins, so that a client that loses the connection before the first
/// entry still resumes from there.
#[must_use]
pub fn hello_frame(hello: &Hello<'_>) -> String {
    let mut data = String::from("{\"connection\":");
    json::push_string(&mut data, hello.connection);
    data.push_str(&format!(
        ",\"protocol\":{PROTOCOL},\"beat_ms\":{},\"retry_ms\":{},\"plan\":",
        hello.beat_ms, hello.retry_ms
    ));
    json::push_string(&mut data, hello.plan);
    data.push(',');
    json::push_continuity(&mut data, &hello.continuity);
    push_at(&mut data, hello.at);
    data.push('}');
    let mut out = format!("retry: {}\n", hello.retry_ms);
    out.push_str(&signal("tidewire.hello", &data, hello.at));
    if let Continuity::Gap(gap) = &hello.continuity {
        out.push_str(&gap_frame(gap));
    }
    out
}

/// `tidewire.gap`: continuity ended here; what follows begins anew.
#[must_use]
pub fn gap_frame(gap: &Gap) -> String {
    let mut data = String::new();
    json::push_gap(&mut data, gap, None);
    signal("tidewire.gap", &data, None)
}

/// `tidewire.beat`: the server is there, and everything up to `at` was sent.
#[must_use]
pub fn beat_frame(at: Option<Cursor>) -> String {
    let mut data = String::from("{\"beat\":true");
    push_at(&mut data, at);
    data.push('}');
    signal("tidewire.beat", &data, at)
}

/// `tidewire.plan`: another plan is in force. Who wants to know asks for it after `wait_ms`.
#[must_use]
pub fn plan_frame(tag: &str, wait_ms: u64) -> String {
    let mut data = String::from("{\"tag\":");
    json::push_string(&mut data, tag);
    data.push_str(&format!(",\"wait_ms\":{wait_ms}}}"));
    signal("tidewire.plan", &data, None)
}

/// `tidewire.bye`: the server closes; come back after `retry_ms`.
#[must_use]
pub fn bye_frame(code: &str, message: &str, next: &str, retry_ms: u64) -> String {
    let mut data = String::from("{\"code\":");
    json::push_string(&mut data, code);
    data.push_str(",\"message\":");
    json::push_string(&mut data, message);
    data.push_str(",\"next\":");
    json::push_string(&mut data, next);
    data.push_str(&format!(",\"retry_ms\":{retry_ms}}}"));
    format!("retry: {retry_ms}\n{}", signal("tidewire.bye", &data, None))
}

/// `tidewire.canary`, the event of this number: one of those that show whether a path holds streams
/// back.
#[must_use]
pub fn canary_frame(number: u32) -> String {
    signal("tidewire.canary", &format!("{{\"n\":{number}}}"), None)
}

fn push_at(out: &mut String, at: Option<Cursor>) {
    if let Some(at) = at {
        out.push_str(&format!(",\"at\":\"{at}\""));
    }
}

fn signal(event: &str, data: &str, id: Option<Cursor>) -> String {
    let mut out = format!("event: {event}\n");
    push_lines(&mut out, data);
    if let Some(id) = id {
        push_field(&mut out, "id", &id.to_string());
    }
    out.push('\n');
    out
}

fn push_field(out: &mut String, name: &str, value: &str) {
    // Every value that comes here is of an alphabet without line ends; a stray one would forge fields.
    debug_assert!(!value.contains(['\r', '\n']));
    out.push_str(name);
    out.push_str(": ");
    out.push_str(value);
    out.push('\n');
}

/// One `data:` line for each line of the payload, split where the standard's parser splits.
fn push_lines(out: &mut String, text: &str) {
    let mut rest = text;
    loop {
        let end = memchr2(b'\r', b'\n', rest.as_bytes());
        let line = end.map_or(rest, |end| rest.get(..end).unwrap_or_default());
        push_field(out, "data", line);
        let Some(end) = end else { return };
        let ending = if rest.as_bytes().get(end..end + 2) == Some(b"\r\n") { 2 } else { 1 };
        rest = rest.get(end + ending..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cursor::{Epoch, GapReason, Sequence},
        message::EventType,
        topic::Topic,
    };
    use proptest::prelude::*;

    fn entry(event: &str, data: Data) -> Entry {
        Entry {
            sequence: Sequence(7),
            topic: Topic::parse("chat/general").unwrap(),
            event: EventType::parse(event).unwrap(),
            data,
            at_ms: 0,
            item: None,
        }
    }

    #[test]
    fn a_chunk_is_its_length_and_the_frame() {
        let frame = entry_frame(&entry("message", Data::json("7").unwrap()), id(7));
        let chunk = chunk(&frame);
        assert_eq!(chunk, format!("{:x}\r\n{frame}\r\n", frame.len()));
        assert_eq!(unchunked(&chunk), frame);
    }

    /// Whatever a payload has in it, and however little of the frames has gone.
    #[test]
    fn frames_count_when_they_begin() {
        let data = ["", "\n\n", "a\n\nb\n", "\r\n\r\n"].map(|text| Data::text(text).unwrap());
        let frames: Vec<_> = data.map(|data| entry_frame(&entry("message", data), id(7))).into();
        let chunks: Vec<_> = frames.iter().map(|frame| chunk(frame)).collect();
        let plain: Vec<_> = frames.iter().map(|frame| Bytes::from(frame.clone())).collect();
        for parts in [plain, chunks] {
            let whole = parts.concat();
            let (mut begins, mut place) = (Vec::new(), 0);
            for part in &parts {
                begins.push(place);
                place += part.len();
            }
            for sent in 0..=whole.len() {
                let expected = begins.iter().filter(|begin| **begin < sent).count();
                assert_eq!(frames_begun(&whole, sent), expected, "{sent} of {whole:?}");
            }
            let ended = [&whole, LAST_CHUNK].concat();
            assert_eq!(frames_begun(&ended, ended.len()), frames.len());
            assert_eq!(frames_begun(&ended, ended.len() - 1), frames.len());
        }
        let head = b"HTTP/1.1 200 OK\r\ndate: today\r\n\r\n";
        assert_eq!(frames_begun(head, 5), 0);
        assert_eq!(frames_begun(head, head.len()), 0);
    }

    fn id(sequence: u64) -> Option<Cursor> {
        Some(Cursor { epoch: Epoch(5), sequence: Sequence(sequence) })
    }

    fn parse(bytes: &[u8]) -> Vec<Event> {
        let mut parser = Parser::new(1 << 20);
        parser.feed(bytes).unwrap()
    }

    #[test]
    fn frames_look_as_the_specification_says() {
        let json = Data::json(&b"{\"a\":1}"[..]).unwrap();
        assert_eq!(
            entry_frame(&entry("message", json.clone()), id(7)),
            "data: {\"a\":1}\ntopic: chat/general\nid: 5.7\n\n"
        );
        assert_eq!(
            entry_frame(&entry("task.assigned", json), None),
            "event: task.assigned\ndata: {\"a\":1}\ntopic: chat/general\n\n"
        );
        assert_eq!(
            entry_frame(&entry("message", Data::text("a\r\nb\rc\n").unwrap()), id(7)),
            "data: a\ndata: b\ndata: c\ndata: \nencoding: text\ntopic: chat/general\nid: 5.7\n\n"
        );
        assert_eq!(
            beat_frame(id(9)),
            "event: tidewire.beat\ndata: {\"beat\":true,\"at\":\"5.9\"}\nid: 5.9\n\n"
        );
    }

    #[test]
    fn a_gap_is_in_the_hello_and_an_event_of_its_own() {
        let cursor = |sequence| Cursor { epoch: Epoch(5), sequence: Sequence(sequence) };
        let gap = Gap { reason: GapReason::Trimmed, oldest: cursor(3), newest: cursor(9) };
        let frame = hello_frame(&Hello {
            connection: "c1",
            beat_ms: 20_000,
            retry_ms: 1_500,
            plan: "8f14e45fceea167a",
            continuity: Continuity::Gap(gap),
            at: id(3),
        });
        let events = parse(frame.as_bytes());
        let names: Vec<_> = events.iter().map(|event| event.event.as_str()).collect();
        assert_eq!(names, ["tidewire.hello", "tidewire.gap"]);
        assert_eq!(events[0].retry_ms, Some(1_500));
        assert_eq!(events[0].id.as_deref(), Some("5.3"));
        assert_eq!(events[1].id, None);
        let data: serde_json::Value = serde_json::from_str(&events[0].data).unwrap();
        assert_eq!(data["continuity"], "gap");
        assert_eq!(data["gap"]["reason"], "trimmed");
        assert_eq!(data["gap"]["oldest"], "5.3");
    }

    proptest! {
        /// Whatever somebody publishes as text, a standard parser sees one event with that text.
        #[test]
        fn no_payload_escapes_its_frame(text in "(?s).{0,200}") {
            let frame = entry_frame(&entry("message", Data::text(text.clone()).unwrap()), id(7));
            let events = parse(frame.as_bytes());
            prop_assert_eq!(events.len(), 1);
            let expected = text.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(&events[0].data, &expected);
            prop_assert_eq!(events[0].id.as_deref(), Some("5.7"));
            prop_assert_eq!(events[0].topic.as_deref(), Some("chat/general"));
        }

        #[test]
        fn binary_comes_back_whole(bytes: Vec<u8>) {
            let frame = entry_frame(&entry("message", Data::binary(bytes.clone())), None);
            let events = parse(frame.as_bytes());
            prop_assert_eq!(events.len(), 1);
            prop_assert_eq!(events[0].encoding.as_deref(), Some("base64"));
            prop_assert_eq!(BASE64.decode(&events[0].data).unwrap(), bytes);
        }
    }
}
