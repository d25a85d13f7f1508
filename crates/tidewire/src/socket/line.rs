//! [`Line`]: a connection with a task of its own that speaks in whole messages.
//!
//! Framing is the codec's; here bytes are read and written, with a bound on every wait. Knows
//! nothing of commands or topics.

use std::{io, sync::Arc, time::Duration};

use super::talk::{close_answer, decoder};
use crate::handover::{Io, read_some};
use bytes::{Bytes, BytesMut};
use tidewire_core::{Framed, Limits};
use tidewire_proto::frame::{self, CloseFrame, Decoder, Event};
use tokio::{io::AsyncWriteExt, time::timeout};

/// Most bytes handed to the socket at once.
const WRITE_BYTES: usize = 64 * 1024;
/// A connection in whole messages.
pub(crate) struct Line {
    io: Box<dyn Io>,
    decoder: Decoder,
    input: BytesMut,
    slow_reader_timeout: Duration,
    close_timeout: Duration,
}

/// Why a connection cannot go on.
#[derive(Debug)]
pub(crate) enum Lost {
    /// It ended, or nothing could be written for too long.
    Gone,
    /// The peer broke the protocol.
    Broken {
        /// What to close with.
        close_code: u16,
        /// Why, in a sentence.
        reason: String,
    },
}

impl Line {
    /// `input` is what the peer sent already.
    pub(crate) fn new(io: Box<dyn Io>, input: BytesMut, limits: &Limits) -> Self {
        Self::with(io, input, decoder(limits), limits)
    }

    /// The same, with messages of another size.
    pub(crate) fn with(
        io: Box<dyn Io>,
        input: BytesMut,
        decoder: Decoder,
        limits: &Limits,
    ) -> Self {
        Self {
            io,
            decoder,
            input,
            slow_reader_timeout: limits.slow_reader_timeout,
            close_timeout: limits.close_timeout,
        }
    }

    /// Waits for bytes or for the rest of a message. `None`: bytes came, but no message is whole.
    /// Cancel-safe.
    pub(crate) async fn hear(&mut self) -> Result<Option<Event>, Lost> {
        if let Some(event) = self.decode()? {
            return Ok(Some(event));
        }
        let Self { io, input, .. } = self;
        match read_some(io, |bytes| input.extend_from_slice(bytes)).await {
            Ok(0) | Err(_) => Err(Lost::Gone),
            Ok(_) => self.decode(),
        }
    }

    fn decode(&mut self) -> Result<Option<Event>, Lost> {
        if self.input.is_empty() {
            return Ok(None);
        }
        let event = self.decoder.feed(&mut self.input).map_err(|error| Lost::Broken {
            close_code: error.close_code(),
            reason: error.to_string(),
        })?;
        if self.input.is_empty() {
            // An idle connection keeps no buffer of its last message.
            self.input = BytesMut::new();
        }
        Ok(event)
    }

    pub(crate) async fn send_text(&mut self, text: &str) -> Result<(), Lost> {
        let mut out = BytesMut::with_capacity(text.len() + 10);
        frame::encode_text(&mut out, text);
        self.write(&out).await
    }

    pub(crate) async fn send_binary(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        let mut out = BytesMut::with_capacity(bytes.len() + 10);
        frame::encode_binary(&mut out, bytes);
        self.write(&out).await
    }

    pub(crate) async fn send_pong(&mut self, payload: &[u8]) -> Result<(), Lost> {
        let mut out = BytesMut::new();
        frame::encode_pong(&mut out, payload);
        self.write(&out).await
    }

    /// Writes whole frames.
    pub(crate) async fn send(&mut self, frames: Bytes) -> Result<(), Lost> {
        self.write(&frames).await
    }

    /// Writes entries, several at a time.
    pub(crate) async fn send_entries(&mut self, entries: &[Arc<Framed>]) -> Result<(), Lost> {
        if let [framed] = entries {
            return self.write(framed.ws()).await;
        }
        let mut out = BytesMut::new();
        for framed in entries {
            let frame = framed.ws();
            if !out.is_empty() && out.len() + frame.len() > WRITE_BYTES {
                self.write(&out).await?;
                out.clear();
            }
            out.extend_from_slice(frame);
        }
        self.write(&out).await
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Lost> {
        while !bytes.is_empty() {
            let written = timeout(self.slow_reader_timeout, self.io.write(bytes)).await;
            match written {
                Ok(Ok(count)) if count > 0 => bytes = bytes.get(count..).unwrap_or_default(),
                Ok(_) => return Err(Lost::Gone),
                Err(_) => {
                    tracing::info!("a socket accepted nothing for too long and is closed");
                    return Err(Lost::Gone);
                }
            }
        }
        timeout(self.slow_reader_timeout, self.io.flush())
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|_| Lost::Gone)
    }

    /// Closes (RFC 6455 §7.1.2) with this code.
    pub(crate) async fn close(&mut self, code: u16, reason: &str) {
        let mut out = BytesMut::new();
        frame::encode_close(&mut out, code, reason);
        if self.write(&out).await.is_ok() {
            self.end().await;
        }
    }

    /// Our close frame is out: waits for the peer's half, for a while.
    pub(crate) async fn end(&mut self) {
        let limit = self.close_timeout;
        // Whoever broke the protocol is not understood any more: our half ends at once, so that the
        // peer sees it. Its bytes are read on, or its system would throw our close frame away.
        let is_broken = self.decoder.has_ended();
        if is_broken {
            let _ = timeout(limit, self.io.shutdown()).await;
        }
        let peers_half = async {
            loop {
                match self.hear().await {
                    Ok(Some(Event::Close(_))) | Err(Lost::Gone) => return,
                    // What else it says comes too late.
                    Ok(_) | Err(Lost::Broken { .. }) => {}
                }
            }
        };
        let _ = timeout(limit, peers_half).await;
        if !is_broken {
            let _ = timeout(limit, self.io.shutdown()).await;
        }
    }

    /// Answers the peer's close with its own code (RFC 6455 §5.5.1) and ends the connection.
    pub(crate) async fn answer_close(&mut self, close: Option<CloseFrame>) {
        let _ = self.write(&close_answer(close)).await;
        let _ = timeout(self.close_timeout, self.io.shutdown()).await;
    }
}
