//! [`Framed`]: an entry with its frames, each encoded at most once and shared by everyone.
//!
//! Invariant: a frame says nothing about who receives it.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use tidewire_proto::{
    Cursor, Entry, frame, sse,
    ws::{self, Delivery},
};

/// An entry that is on its way to readers.
#[derive(Debug)]
pub struct Framed {
    entry: Arc<Entry>,
    id: Option<Cursor>,
    chunk: OnceLock<Bytes>,
    ws: OnceLock<Bytes>,
}

impl Framed {
    /// An entry and its id; no id for an entry of a feature that keeps nothing.
    #[must_use]
    pub fn new(entry: Arc<Entry>, id: Option<Cursor>) -> Self {
        Self { entry, id, chunk: OnceLock::new(), ws: OnceLock::new() }
    }

    /// The entry.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The entry's id.
    #[must_use]
    pub fn id(&self) -> Option<Cursor> {
        self.id
    }

    /// The event-stream frame.
    #[must_use]
    pub fn sse(&self) -> Bytes {
        sse::unchunked(self.chunk())
    }

    /// The event-stream frame as one chunk of an HTTP/1.1 body.
    #[must_use]
    pub fn chunk(&self) -> &Bytes {
        self.chunk.get_or_init(|| sse::chunk(&sse::entry_frame(&self.entry, self.id)))
    }

    /// The WebSocket frame, RFC 6455 header included.
    #[must_use]
    pub fn ws(&self) -> &Bytes {
        self.ws.get_or_init(|| ws_frame(&ws::entry_message(&self.entry, self.id)))
    }
}

fn ws_frame(delivery: &Delivery) -> Bytes {
    let mut out = BytesMut::new();
    match delivery {
        Delivery::Text(text) => frame::encode_text(&mut out, text),
        Delivery::Binary(bytes) => frame::encode_binary(&mut out, bytes),
    }
    out.freeze()
}
