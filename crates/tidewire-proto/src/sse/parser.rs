//! Reading an event stream: HTML standard, "Server-sent events", §9.2.6.
//!
//! Incremental and bounded; knows nothing of Tidewire's signals but the names of its extra fields.
//! Unlike a browser it keeps the `id` of each event apart from the last one seen, so that a caller
//! can tell an event that moves the bookmark from one that does not.

/// One dispatched event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// `message` if the stream named none.
    pub event: String,
    /// The lines of data, joined by LF.
    pub data: String,
    /// The `id` field of this event, if it had one.
    pub id: Option<String>,
    /// The `topic` field (Tidewire's).
    pub topic: Option<String>,
    /// The `encoding` field (Tidewire's).
    pub encoding: Option<String>,
    /// The `item` field (Tidewire's).
    pub item: Option<String>,
    /// A `retry` field that came since the event before.
    pub retry_ms: Option<u64>,
}

/// An event grew past its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {bytes_max} bytes")]
pub struct ParserError {
    bytes_max: usize,
}

/// An incremental parser. Holds at most one unfinished event.
#[derive(Debug)]
pub struct Parser {
    bytes_max: usize,
    line: Vec<u8>,
    after_cr: bool,
    at_start: bool,
    event: Event,
    has_data: bool,
    held: usize,
}

impl Parser {
    /// A parser that refuses an event of more than `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            event: Event::default(),
            has_data: false,
            held: 0,
        }
    }

    /// Takes the next bytes of the stream and returns the events that they complete.
    ///
    /// # Errors
    /// [`ParserError`] when an unfinished event is larger than the bound. The stream is then useless.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, ParserError> {
        let mut events = Vec::new();
        for &byte in bytes {
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    events.extend(self.end_line());
                }
                _ => {
                    self.after_cr = false;
                    self.line.push(byte);
                    self.held += 1;
                    if self.held > self.bytes_max {
                        return Err(ParserError { bytes_max: self.bytes_max });
                    }
                }
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let mut text: &str = &line;
        if std::mem::take(&mut self.at_start) {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        if text.is_empty() {
            return self.dispatch();
        }
        if text.starts_with(':') {
            // A comment is held no longer than its line.
            self.held = self.held.saturating_sub(line.len());
            return None;
        }
        let (name, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        self.field(name, value);
        None
    }

    fn field(&mut self, name: &str, value: &str) {
        match name {
            "event" => value.clone_into(&mut self.event.event),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(value);
            }
            "id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                // More digits than a time can have are no time.
                self.event.retry_ms = value.parse().ok().or(self.event.retry_ms);
            }
            "topic" => self.event.topic = Some(value.to_owned()),
            "encoding" => self.event.encoding = Some(value.to_owned()),
            "item" => self.event.item = Some(value.to_owned()),
            // Unknown fields.
            _ => {}
        }
    }

    fn dispatch(&mut self) -> Option<Event> {
        self.held = 0;
        if !std::mem::take(&mut self.has_data) {
            // No data: nothing is dispatched, but `id` and `retry` were heard and wait for the next.
            let Event { id, retry_ms, .. } = std::mem::take(&mut self.event);
            self.event = Event { id, retry_ms, ..Event::default() };
            return None;
        }
        let mut event = std::mem::take(&mut self.event);
        if event.event.is_empty() {
            event.event.push_str("message");
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_of(stream: &[u8]) -> Vec<String> {
        Parser::new(1_000).feed(stream).unwrap().into_iter().map(|event| event.data).collect()
    }

    #[test]
    fn the_examples_of_the_standard() {
        assert_eq!(data_of(b"data: YHOO\ndata: +2\ndata: 10\n\n"), ["YHOO\n+2\n10"]);
        assert_eq!(data_of(b"data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
        assert_eq!(data_of(b"data:test\n\ndata: test\n\n"), ["test", "test"]);
        assert_eq!(data_of(b": comment\n\nevent: x\n\n"), [""; 0]);
    }

    #[test]
    fn every_line_end_and_a_byte_order_mark() {
        for stream in
            [&b"data: a\rdata: b\r\r"[..], b"data: a\r\ndata: b\r\n\r\n", b"data: a\ndata: b\n\n"]
        {
            assert_eq!(data_of(stream), ["a\nb"], "{stream:?}");
        }
        assert_eq!(data_of(b"\xef\xbb\xbfdata: a\n\n"), ["a"]);
    }

    #[test]
    fn any_split_gives_the_same_events() {
        let stream =
            "retry: 5\nevent: é\r\nid: 1\r\ndata: a\r\n\r\ndata: b\nid: x\0\n\n".as_bytes();
        let whole = Parser::new(1_000).feed(stream).unwrap();
        assert_eq!(whole.len(), 2);
        assert_eq!(whole[0].retry_ms, Some(5));
        assert_eq!(whole[1].id, None, "an id with NUL is ignored");
        for split in 0..stream.len() {
            let mut parser = Parser::new(1_000);
            let mut events = parser.feed(&stream[..split]).unwrap();
            events.extend(parser.feed(&stream[split..]).unwrap());
            assert_eq!(events, whole, "split at {split}");
        }
    }

    #[test]
    fn a_block_without_data_leaves_only_its_id_and_retry() {
        let events = Parser::new(1_000)
            .feed(b"topic: a\nencoding: text\nevent: x\nid: 1\nretry: 5\n\nretry: 99999999999999999999\ndata: b\n\n")
            .unwrap();
        let expected = Event {
            event: "message".into(),
            data: "b".into(),
            id: Some("1".into()),
            retry_ms: Some(5),
            ..Event::default()
        };
        assert_eq!(events, [expected]);
    }

    #[test]
    fn comments_for_ever_are_not_an_event() {
        let mut parser = Parser::new(100);
        for _ in 0..1_000 {
            assert_eq!(parser.feed(b": still here\n"), Ok(vec![]));
        }
        assert_eq!(parser.feed(b"data: a\n\n").unwrap().len(), 1);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::new(100);
        assert!(parser.feed(&[b'x'; 100]).is_ok());
        assert!(parser.feed(b"x").is_err());
    }
}
