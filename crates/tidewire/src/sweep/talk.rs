//! What a swept WebSocket's peer says, and how a swept socket of either kind ends.
//!
//! A [`Talk`] exists only while something is under way: a message that has not all come, publishes
//! that are not answered, or the end. An idle socket has none, and no buffer.

use std::{collections::VecDeque, io, io::Read, net::Shutdown, num::NonZero, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use tidewire_core::Limits;
use tidewire_proto::{
    WireError,
    frame::{self, CloseFrame, Decoder, Event},
};

use super::{
    conn::{Conn, Key, Phase},
    shard::{Done, Shard},
};
use crate::socket::{
    self,
    talk::{self, Heard, PUBLISHES_MAX, SILENT_BEATS_MAX},
};

/// Reads of one socket before others get their turn.
const READS: usize = 8;
/// What one socket says that is heard before others get their turn: 128 KiB hold 20,000 pings.
const EVENTS: usize = 64;

/// What is under way between a socket and its peer.
pub(super) struct Talk {
    decoder: Decoder,
    input: BytesMut,
    // Answers in the order in which they were asked; those that are not there yet are awaited.
    publishes: VecDeque<Option<String>>,
    // The number of the first of them.
    first: u32,
    ending: Option<End>,
}

/// Why a socket ends, and what the peer is told about it.
pub(super) enum End {
    /// The peer closed: its own close frame comes back.
    Closed(Option<CloseFrame>),
    /// The peer broke the protocol: a close frame with the reason.
    Broken(u16, String),
    /// The server ends it, and the peer may come back after a while.
    Bye(WireError, std::time::Duration),
}

impl Talk {
    pub(super) fn new(limits: &Limits, input: BytesMut) -> Self {
        let decoder = talk::decoder(limits);
        Self { decoder, input, publishes: VecDeque::new(), first: 0, ending: None }
    }

    fn is_over(&self) -> bool {
        self.input.is_empty()
            && self.publishes.is_empty()
            && self.ending.is_none()
            && !self.decoder.is_inside_message()
            && !self.decoder.has_ended()
    }
}

impl Conn {
    fn waits_for_answers(&self) -> bool {
        self.is_asking || self.talk.as_ref().is_some_and(|talk| !talk.publishes.is_empty())
    }
}

/// What a look at a socket's input gave.
enum Input {
    Event(Event),
    Broken(u16, String),
    /// Nothing more now.
    Drained,
    /// The peer is gone.
    Ended,
    /// There may be more, but others come first.
    More,
    /// It is not looked at now: something else must happen first.
    Waits,
}

impl Shard {
    /// Hears what the peer has said, as far as it may be heard now.
    pub(super) fn read(&mut self, key: Key) {
        let mut reads = READS;
        for _ in 0..EVENTS {
            match self.next_input(key, &mut reads) {
                Input::Event(event) => self.hear(key, event),
                Input::Broken(code, reason) => self.end(key, End::Broken(code, reason)),
                Input::More => return self.make_ready(key),
                Input::Waits => return,
                Input::Ended => return self.remove(key),
                Input::Drained => {
                    if let Some(conn) = self.conn(key) {
                        conn.is_unread = false;
                        conn.talk.take_if(|talk| talk.is_over());
                    }
                    return;
                }
            }
        }
        self.make_ready(key);
    }

    fn next_input(&mut self, key: Key, reads: &mut usize) -> Input {
        let Self { app, conns, input, .. } = self;
        let Some(conn) = conns.get_mut(key.index as usize) else { return Input::Waits };
        if conn.generation != key.generation {
            return Input::Waits;
        }
        let Conn { stream, phase, session, out, talk, silent_beats, .. } = conn;
        let talk =
            talk.get_or_insert_with(|| Box::new(Talk::new(app.hub.limits(), BytesMut::new())));
        let may_hear = match phase {
            Phase::Open => {
                session.is_some() && out.is_free() && talk.publishes.len() < PUBLISHES_MAX
            }
            Phase::Closing => true,
            Phase::Finishing | Phase::Flushing => false,
        };
        if !may_hear {
            return Input::Waits;
        }
        loop {
            if !talk.input.is_empty() {
                match talk.decoder.feed(&mut talk.input) {
                    Ok(Some(event)) => return Input::Event(event),
                    Ok(None) => {}
                    Err(error) => return Input::Broken(error.close_code(), error.to_string()),
                }
                if talk.input.is_empty() {
                    talk.input = BytesMut::new();
                }
            }
            if *reads == 0 {
                return Input::More;
            }
            *reads -= 1;
            match (&*stream).read(input) {
                Ok(0) => return Input::Ended,
                Ok(count) => {
                    *silent_beats = 0;
                    talk.input.extend_from_slice(input.get(..count).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Input::Drained,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Input::Ended,
            }
        }
    }

    fn hear(&mut self, key: Key, event: Event) {
        let Some(conn) = self.conn(key) else { return };
        if conn.phase == Phase::Closing {
            // What else it says comes too late.
            if matches!(event, Event::Close(_)) {
                self.close(key);
            }
            return;
        }
        match talk::hear(event) {
            Heard::Nothing => {}
            Heard::Answer(bytes) => self.say(key, &bytes),
            Heard::Close(close) => self.end(key, End::Closed(close)),
            Heard::Ask(ask) => {
                let Some(mut session) = conn.session.take() else { return };
                conn.is_asking = true;
                let (inbox, app) = (Arc::clone(&self.inbox), self.app.clone());
                self.runtime.spawn(async move {
                    let (answer, end) = talk::obey(&mut session, app.hub.limits(), ask).await;
                    inbox.bring(Done::Obeyed(key, session, answer, end));
                });
            }
            Heard::Publish(reference, message) => {
                let Conn { session: Some(session), talk: Some(talk), .. } = conn else { return };
                let number = talk.first.wrapping_add(talk.publishes.len() as u32);
                talk.publishes.push_back(None);
                let (publisher, inbox) = (session.publisher(), Arc::clone(&self.inbox));
                let mut publish = Box::pin(talk::publish(publisher, reference, message));
                let _runtime = self.runtime.enter();
                // Begun here and now, so that the log gets them in the order in which they were said.
                match (&mut publish).now_or_never() {
                    Some(answer) => inbox.bring(Done::Published(key, number, answer)),
                    None => drop(self.runtime.spawn(async move {
                        inbox.bring(Done::Published(key, number, publish.await));
                    })),
                }
            }
        }
    }

    /// A publish is answered; the peer hears of it after those that it asked before.
    pub(super) fn answer(&mut self, key: Key, number: u32, answer: String) {
        let Some(conn) = self.conn(key) else { return };
        let Some(talk) = &mut conn.talk else { return };
        let index = number.wrapping_sub(talk.first) as usize;
        let Some(place) = talk.publishes.get_mut(index) else { return };
        *place = Some(answer);
        let mut words = BytesMut::new();
        while let Some(Some(answer)) = talk.publishes.front() {
            if !answer.is_empty() {
                frame::encode_text(&mut words, answer);
            }
            talk.publishes.pop_front();
            talk.first = talk.first.wrapping_add(1);
        }
        self.say_answer(key, &words.freeze());
        self.conclude_if_answered(key);
        self.make_ready(key);
    }

    /// Says what the peer asked for, if it may still be said: nothing comes after a close frame, and
    /// whoever broke the protocol is not understood any more and hears nothing.
    pub(super) fn say_answer(&mut self, key: Key, words: &Bytes) {
        let Some(conn) = self.conn(key) else { return };
        let ending = conn.talk.as_ref().and_then(|talk| talk.ending.as_ref());
        let is_heard = matches!(conn.phase, Phase::Open | Phase::Finishing)
            && !matches!(ending, Some(End::Broken(..)));
        if is_heard {
            self.say(key, words);
        }
    }

    /// One that waits only for its answers has them now.
    pub(super) fn conclude_if_answered(&mut self, key: Key) {
        let Some(conn) = self.conn(key).filter(|conn| conn.phase == Phase::Finishing) else {
            return;
        };
        if !conn.waits_for_answers() {
            self.conclude(key);
        }
    }

    /// Begins to end a socket. What the peer said was said: publishes and commands that are on their
    /// way are answered first. For a while, because the log may be slow.
    pub(super) fn end(&mut self, key: Key, end: End) {
        let until = self.now + super::timers::ticks(self.app.hub.limits().close_timeout);
        let Self { app, conns, .. } = self;
        let conn = conns.get_mut(key.index as usize);
        let Some(conn) = conn.filter(|conn| conn.generation == key.generation) else { return };
        if conn.phase != Phase::Open {
            // It is ending already; one that breaks the protocol meanwhile has said its last.
            conn.is_unread = false;
            return;
        }
        let talk =
            conn.talk.get_or_insert_with(|| Box::new(Talk::new(app.hub.limits(), BytesMut::new())));
        talk.ending = Some(end);
        conn.phase = Phase::Finishing;
        conn.phase_until = NonZero::new(until);
        conn.session = None;
        self.leave_topics(key);
        self.arm(key);
        self.conclude_if_answered(key);
    }

    /// Says the last words.
    pub(super) fn conclude(&mut self, key: Key) {
        let Some(conn) = self.conn(key) else { return };
        let end = conn.talk.as_mut().and_then(|talk| talk.ending.take());
        let (words, phase) = match end {
            None => (Bytes::new(), Phase::Flushing),
            Some(End::Closed(close)) => (talk::close_answer(close), Phase::Flushing),
            Some(End::Broken(code, reason)) => {
                let mut out = BytesMut::new();
                frame::encode_close(&mut out, code, &reason);
                (out.freeze(), Phase::Closing)
            }
            Some(End::Bye(error, slot)) => {
                let is_socket = conn.wire.is_socket();
                let phase = if is_socket { Phase::Closing } else { Phase::Flushing };
                (conn.wire.bye(&error, slot), phase)
            }
        };
        conn.phase = phase;
        conn.phase_until = None;
        self.say(key, &words);
        self.settle(key);
    }

    /// The last words are said; once they are out, the rest of the end.
    pub(super) fn settle(&mut self, key: Key) {
        let until = self.now + super::timers::ticks(self.app.hub.limits().close_timeout);
        let Some(conn) = self.conn(key).filter(|conn| conn.out.is_free()) else { return };
        if conn.phase == Phase::Flushing {
            return self.close(key);
        }
        if conn.phase_until.is_none() {
            conn.phase_until = NonZero::new(until);
            conn.is_unread = true;
            // Whoever broke the protocol sees our half end at once. Its bytes are read on, or its
            // system would throw our close frame away.
            if conn.talk.as_ref().is_some_and(|talk| talk.decoder.has_ended()) {
                let _ = conn.stream.shutdown(Shutdown::Write);
            }
            self.arm(key);
            self.make_ready(key);
        }
    }

    /// Ends the connection in order.
    fn close(&mut self, key: Key) {
        let Self { conns, input, .. } = self;
        if let Some(conn) = conns.get_mut(key.index as usize) {
            let _ = conn.stream.shutdown(Shutdown::Write);
            // Bytes that nobody read would turn the end into a reset.
            let _ = (&conn.stream).read(input);
        }
        self.remove(key);
    }

    /// Says that the server is there. A peer that takes nothing now needs no beat to be found out.
    pub(super) fn beat(&mut self, key: Key) {
        let (now, next) = (self.now, self.now + self.beat);
        let Some(conn) = self.conn(key) else { return };
        if conn.early_beat().is_some_and(|early| early <= now) {
            conn.early_beats += 1;
        }
        conn.beat_at = next;
        let Conn { session: Some(session), out, wire, talk, .. } = conn else { return };
        if !out.is_free() {
            return;
        }
        if wire.is_socket() {
            if talk.as_ref().is_some_and(|talk| talk.publishes.len() >= PUBLISHES_MAX) {
                // The log is slow and the socket is not read meanwhile: its peer cannot be heard.
                conn.silent_beats = 0;
            }
            if conn.silent_beats >= SILENT_BEATS_MAX {
                let slot = self.app.retry();
                return self.end(key, End::Bye(socket::lost(), slot));
            }
            conn.silent_beats += 1;
        }
        let words = wire.beat(session.cursor());
        self.say(key, &words);
    }
}
