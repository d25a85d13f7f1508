//! [`Conn`]: what one swept socket keeps; and [`Outbox`], what has not gone out yet.
//!
//! Most of the time that is a session with its cursor, a name, a few moments, and nothing else. Knows
//! no other socket.
//!
//! Invariant: of entries, an outbox holds the rest of one frame; of words for this peer alone, what
//! was said before it was known that the peer takes no more.

use std::{
    collections::VecDeque,
    io::{self, Write},
    net::TcpStream,
    num::NonZero,
};

use bytes::{Buf, Bytes};
use smallvec::SmallVec;
use tidewire_core::Session;

use super::{
    chunk::Chunk,
    talk::Talk,
    topics::Membership,
    wheel::{TICK_MS, Tick},
};
use crate::{app::StreamGuard, path::StreamName, places::Place, sse::EARLY_BEATS_MS, wire::Wire};

/// Which socket, in this shard: a number that is used again, and which life of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl Key {
    pub(super) fn token(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(super) fn of_token(token: u64) -> Self {
        Self { index: token as u32, generation: (token >> 32) as u32 }
    }
}

/// How far a socket's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// It ends when its publishes are answered.
    Finishing,
    /// Our close frame is said; the peer's is awaited.
    Closing,
    /// It ends when everything is out.
    Flushing,
}

/// One swept socket.
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    pub(super) generation: u32,
    /// Which plan it was told last.
    pub(super) told: u32,
    pub(super) wire: Wire,
    pub(super) phase: Phase,
    /// Beats since the peer was heard.
    pub(super) silent_beats: u8,
    /// How many of the early beats are over: none is to come, or it wants none.
    pub(super) early_beats: u8,
    /// There may be bytes to read.
    pub(super) is_unread: bool,
    /// Its peer is heard before it is told more: last time it was the other way round.
    pub(super) hears_first: bool,
    /// It stands in the row of those to be served.
    pub(super) is_ready: bool,
    /// A command of its peer has borrowed the session.
    pub(super) is_asking: bool,
    /// It stands in the row of those who read the log.
    pub(super) wants_past: bool,
    /// What its event stream is called; others have no name.
    pub(super) name: Option<StreamName>,
    pub(super) opened_at: Tick,
    /// When bytes went out last.
    pub(super) wrote_at: Tick,
    /// No beat before that, unless it is an early one.
    pub(super) beat_at: Tick,
    /// When it is given up, while it takes nothing. Later than now, so never at tick 0.
    pub(super) stuck_until: Option<NonZero<Tick>>,
    /// When its phase ends, at the latest.
    pub(super) phase_until: Option<NonZero<Tick>>,
    /// The tick of the wheel that counts.
    pub(super) armed_at: Tick,
    /// Nothing while a task has borrowed it, and when it is needed no more.
    pub(super) session: Option<Session>,
    pub(super) memberships: SmallVec<[Membership; 2]>,
    pub(super) out: Outbox,
    pub(super) talk: Option<Box<Talk>>,
    pub(super) _place: Place,
    pub(super) _guard: StreamGuard,
}

impl Conn {
    /// When the next of a stream's early beats is due.
    pub(super) fn early_beat(&self) -> Option<Tick> {
        let after_ms = EARLY_BEATS_MS.get(usize::from(self.early_beats))?;
        Some(self.opened_at + after_ms / TICK_MS)
    }

    /// When it beats next. A stream does so only when it was silent for so long, but for its first
    /// seconds.
    pub(super) fn next_beat(&self, interval: Tick) -> Tick {
        if self.wire.is_socket() {
            return self.beat_at;
        }
        let silent = self.beat_at.max(self.wrote_at + interval);
        self.early_beat().map_or(silent, |early| early.min(silent))
    }

    /// Notes whether bytes have gone out since it was noted last, and tells.
    pub(super) fn note_write(&mut self, now: Tick) -> bool {
        let has_moved = self.out.has_moved();
        if has_moved {
            self.wrote_at = now;
        }
        has_moved
    }
}

/// The peer is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// What is to go out and could not yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    // Boxed, because hardly anybody has any.
    rest: Option<Box<Rest>>,
    is_blocked: bool,
    has_moved: bool,
    // Frames of which at least a byte has gone.
    begun: u64,
}

// With how many frames are in it of which nothing has gone.
#[derive(Debug, Default)]
struct Rest(VecDeque<(Bytes, u32)>);

impl Outbox {
    /// Does the socket take more, as far as is known? If not, a readiness event will say so.
    pub(super) fn is_free(&self) -> bool {
        !self.is_blocked
    }

    /// How many frames have gone, or have begun to.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Says something to this peer alone, in so many frames: it goes out now, or waits here for its
    /// turn.
    pub(super) fn say(
        &mut self,
        mut sink: impl Write,
        words: &Bytes,
        frames: u32,
    ) -> Result<(), Gone> {
        if words.is_empty() {
            return Ok(());
        }
        let sent = if self.is_blocked { 0 } else { self.write(&mut sink, words)? };
        let left = if sent > 0 { 0 } else { frames };
        self.begun += u64::from(frames - left);
        if sent < words.len() {
            self.rest.get_or_insert_default().0.push_back((words.slice(sent..), left));
        }
        Ok(())
    }

    /// Writes frames, if the socket takes any. Tells how many have gone, or have begun to.
    pub(super) fn deliver(
        &mut self,
        mut sink: impl Write,
        wire: Wire,
        chunk: &Chunk,
    ) -> Result<usize, Gone> {
        if self.is_blocked {
            return Ok(0);
        }
        let sent = self.write(&mut sink, chunk.bytes())?;
        if sent == chunk.bytes().len() {
            self.begun = self.begun.wrapping_add(chunk.count() as u64);
            return Ok(chunk.count());
        }
        let (begun, rest) = chunk.cut(wire, sent);
        self.begun += begun as u64;
        if !rest.is_empty() {
            self.rest.get_or_insert_default().0.push_back((rest, 0));
        }
        Ok(begun)
    }

    /// Has the socket taken anything since this was asked last?
    fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// Tries again with what waits.
    pub(super) fn flush(&mut self, mut sink: impl Write) -> Result<(), Gone> {
        self.is_blocked = false;
        while let Some((mut words, frames)) = self.rest.as_mut().and_then(|rest| rest.0.pop_front())
        {
            let sent = self.write(&mut sink, &words)?;
            let left = if sent > 0 { 0 } else { frames };
            self.begun += u64::from(frames - left);
            if sent < words.len() {
                words.advance(sent);
                self.rest.get_or_insert_default().0.push_front((words, left));
                return Ok(());
            }
        }
        self.rest = None;
        Ok(())
    }

    /// What waits here.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.rest.iter().flat_map(|rest| rest.0.iter()).map(|(bytes, _)| bytes.len()).sum()
    }

    /// Writes until the socket takes no more; only its refusal says so.
    fn write(&mut self, sink: &mut impl Write, bytes: &[u8]) -> Result<usize, Gone> {
        let mut sent = 0;
        while let Some(left) = bytes.get(sent..).filter(|left| !left.is_empty()) {
            match sink.write(left) {
                Ok(0) => return Err(Gone),
                Ok(count) => {
                    self.has_moved = true;
                    sent += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
        }
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::chunk::tests::framed, *};

    /// A socket that takes so many bytes, and then so many more each time it is writable again.
    struct Narrow {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for &mut Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            // Not all that there is room for at once: a kernel may do that too.
            let count = bytes.len().min(self.room).min(7);
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Three entries and two words, through a socket that stops at every byte, and every so many
    /// bytes after that: what arrives is whole and in order, and what of it has begun is known.
    #[test]
    fn a_write_that_stops_at_any_byte_loses_and_repeats_nothing() {
        let entries: Vec<_> =
            [(1, "one"), (2, "the second"), (3, "")].map(|(n, text)| framed(n, text)).into();
        for wire in [Wire::Chunked, Wire::Socket] {
            let frames: Vec<u8> = entries.iter().flat_map(|one| wire.entry(one)).collect();
            let whole = [b"hello ".as_slice(), &frames, b" bye"].concat();
            let lengths = entries.iter().map(|one| wire.entry(one).len());
            let begins: Vec<_> = std::iter::once(6)
                .chain(lengths)
                .scan(0, |place, length| {
                    *place += length;
                    Some(*place)
                })
                .collect();
            let check = |out: &Outbox, sink: &Narrow| {
                let taken = sink.taken.len();
                let begun = begins.iter().filter(|begin| **begin < taken).count();
                assert_eq!(out.begun(), u64::from(taken > 0) + begun as u64, "{wire:?}: {taken}");
            };
            for first in 0..=whole.len() {
                for then in [1, 2, 40, 1_000] {
                    let mut sink = Narrow { taken: Vec::new(), room: first };
                    let mut out = Outbox::default();
                    out.say(&mut sink, &Bytes::from("hello "), 1).unwrap();
                    check(&out, &sink);
                    let (mut done, mut chunk) = (0, Chunk::default());
                    while done < entries.len() {
                        chunk.fill(wire, &entries[done..]);
                        done += out.deliver(&mut sink, wire, &chunk).unwrap();
                        check(&out, &sink);
                        while !out.is_free() {
                            let held = out.held_bytes();
                            assert!(held <= 6 + wire.entry(&entries[1]).len(), "{held}");
                            sink.room = then;
                            out.flush(&mut sink).unwrap();
                            check(&out, &sink);
                        }
                    }
                    out.say(&mut sink, &Bytes::from(" bye"), 1).unwrap();
                    while !out.is_free() {
                        sink.room = then;
                        out.flush(&mut sink).unwrap();
                        assert!(out.has_moved());
                        check(&out, &sink);
                    }
                    assert_eq!(sink.taken, whole, "{wire:?}: {first} bytes, then {then}");
                    assert!(out.rest.is_none());
                }
            }
        }
    }

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_peer_that_is_gone_is_told_from_one_that_is_slow() {
        let mut out = Outbox::default();
        assert_eq!(out.say(Broken, &Bytes::from("x"), 1), Err(Gone));
        let mut chunk = Chunk::default();
        chunk.fill(Wire::Socket, &[framed(1, "x")]);
        assert_eq!(out.deliver(Broken, Wire::Socket, &chunk), Err(Gone));
    }

    #[test]
    fn a_socket_without_news_is_small() {
        // Most of it is the session with one subscription. What is measured is in the benches.
        assert!(size_of::<Conn>() <= 288, "{}", size_of::<Conn>());
    }
}
