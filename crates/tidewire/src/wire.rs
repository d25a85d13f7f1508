//! [`Wire`]: what a door says, as the bytes of one of three wires. The same words whether a task or
//! the sweep writes them.
//!
//! Entries come encoded from [`Framed`]; here are the words that concern one receiver: beat, gap,
//! live, goodbye. Knows no sockets.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tidewire_core::{Filter, Framed, Session, Subscription};
use tidewire_proto::{Cursor, Gap, Topic, WireError, frame, sse, ws};

/// The form in which bytes go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// An event stream whose framing is another's business, or that ends with its connection.
    Stream,
    /// An event stream in the chunks of an HTTP/1.1 body.
    Chunked,
    /// WebSocket frames.
    Socket,
}

impl Wire {
    pub(crate) fn is_socket(self) -> bool {
        self == Self::Socket
    }

    /// An entry, encoded once and shared.
    pub(crate) fn entry(self, framed: &Framed) -> Bytes {
        match self {
            Self::Stream => framed.sse(),
            Self::Chunked => framed.chunk().clone(),
            Self::Socket => framed.ws().clone(),
        }
    }

    /// Continuity of these topics ended here.
    pub(crate) fn gap(self, filter: &Filter, gap: &Gap) -> Bytes {
        if !self.is_socket() {
            return self.event(&sse::gap_frame(gap));
        }
        let mut out = BytesMut::new();
        for topic in filter.topics() {
            frame::encode_text(&mut out, &ws::gap(gap, topic));
        }
        out.freeze()
    }

    /// These have caught up. On a stream that needs no word.
    pub(crate) fn live(self, session: &Session, live: &[Filter]) -> Bytes {
        let mut out = BytesMut::new();
        if self.is_socket() {
            for topic in live.iter().flat_map(Filter::topics) {
                frame::encode_text(&mut out, &ws::live(topic, place(session, topic)));
            }
        }
        out.freeze()
    }

    /// The server is there, and everything up to `at` was sent. On a socket a ping goes with it.
    pub(crate) fn beat(self, at: Option<Cursor>) -> Bytes {
        if !self.is_socket() {
            return self.event(&sse::beat_frame(at));
        }
        let mut out = BytesMut::new();
        frame::encode_text(&mut out, &ws::beat(at));
        frame::encode_ping(&mut out, b"beat");
        out.freeze()
    }

    /// Another plan is in force: who wants to know asks for it after `slot`.
    pub(crate) fn plan(self, tag: &str, slot: Duration) -> Bytes {
        let wait_ms = slot.as_millis() as u64;
        if self.is_socket() {
            return text(&ws::plan(tag, wait_ms));
        }
        self.event(&sse::plan_frame(tag, wait_ms))
    }

    /// The server ends it: come back after `slot`. The end of the body, or the close frame, is in it.
    pub(crate) fn bye(self, error: &WireError, slot: Duration) -> Bytes {
        let slot_ms = slot.as_millis() as u64;
        let mut out = BytesMut::new();
        if self.is_socket() {
            frame::encode_text(&mut out, &ws::bye(error, slot_ms));
            frame::encode_close(&mut out, error.code.close_code(), error.code.as_str());
            return out.freeze();
        }
        let (code, next) = (error.code.as_str(), error.code.next().as_str());
        out.put(self.event(&sse::bye_frame(code, &error.message, next, slot_ms)));
        if self == Self::Chunked {
            out.put_slice(sse::LAST_CHUNK);
        }
        out.freeze()
    }

    /// One event of a stream.
    pub(crate) fn event(self, frame: &str) -> Bytes {
        match self {
            Self::Chunked => sse::chunk(frame),
            Self::Stream | Self::Socket => Bytes::copy_from_slice(frame.as_bytes()),
        }
    }
}

/// A text message as a frame.
pub(crate) fn text(text: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(text.len() + frame::HEADER_BYTES_MAX);
    frame::encode_text(&mut out, text);
    out.freeze()
}

fn place(session: &Session, topic: &Topic) -> Option<Cursor> {
    let mut of_topic =
        session.subscriptions().iter().filter(|have| have.topics().any(|one| one == topic));
    of_topic.next().and_then(Subscription::cursor)
}
