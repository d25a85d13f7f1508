//! [`Shard`]: the loop of one thread and what it owns.
//!
//! Round by round it takes in what arrived and what came back, fires timers, looks at the sockets
//! that something happened to, and sweeps a slice of the topics that have news. It waits only when
//! there is nothing of all that.

use std::{
    collections::VecDeque, io, net::TcpStream, num::NonZero, sync::Arc, task::Waker, time::Duration,
};

use slab::Slab;
use smallvec::SmallVec;
use tidewire_core::{News, ReadError, Session, Step};
use tidewire_proto::{Code, WireError};
use tokio::{runtime::Handle, sync::watch, time::Instant};

use super::{
    Arrived, Inbox, Items,
    conn::{Conn, Key, Outbox, Phase},
    memo::Memos,
    names::Names,
    poller::{Poller, Readiness},
    reload::Reload,
    talk::{End, Talk},
    timers::ticks,
    topics::{Topics, Visit},
    wheel::{TICK_MS, Tick, Wheel},
};
use crate::{
    app::{App, restarting},
    sse::EARLY_BEATS_MS,
    wire,
};

/// Sockets that are served before others get their turn.
const SLICE: usize = 256;
/// Steps of one socket before others get their turn.
const STEPS: usize = 4;
/// Sessions that read the log at a time; the others wait, and often need not when their turn comes.
const READS_MAX: usize = 32;
/// Bytes read from a socket at once.
const READ_BYTES: usize = 16 * 1024;

pub(super) struct Shard {
    pub(super) app: App,
    pub(super) inbox: Arc<Inbox>,
    // Where what must wait is done.
    pub(super) runtime: Handle,
    leaving: watch::Receiver<bool>,
    is_leaving: bool,
    pub(super) reload: Reload,
    pub(super) poller: Poller,
    pub(super) topics: Topics,
    pub(super) wheel: Wheel<Key>,
    started: Instant,
    pub(super) now: Tick,
    pub(super) conns: Slab<Conn>,
    pub(super) names: Names,
    generation: u32,
    ready: VecDeque<Key>,
    wanting_past: VecDeque<Key>,
    reads: usize,
    // Room that is used again and again.
    pub(super) news: News,
    pub(super) memos: Memos,
    pub(super) input: Box<[u8]>,
    // Waits in ticks.
    pub(super) beat: Tick,
    pub(super) stuck: Tick,
    pub(super) readiness: Vec<Readiness>,
}

/// What a task has done for a socket.
pub(super) enum Done {
    /// Read a page of the log.
    Read(Key, Session, Box<News>, Result<(), ReadError>),
    /// Obeyed a command, with this answer; the socket may end by it.
    Obeyed(Key, Session, String, Option<WireError>),
    /// Published what this socket asked under this number.
    Published(Key, u32, String),
}

impl Shard {
    pub(super) fn new(app: App, inbox: Arc<Inbox>, runtime: Handle) -> io::Result<Self> {
        let waker = Waker::from(Arc::clone(&inbox.wakeup));
        Ok(Self {
            leaving: app.leaving.subscribe(),
            is_leaving: false,
            reload: Reload::new(&app),
            poller: Poller::new(Arc::clone(&inbox.wakeup))?,
            topics: Topics::new(waker),
            inbox,
            runtime,
            wheel: Wheel::new(),
            started: Instant::now(),
            now: 0,
            conns: Slab::new(),
            names: Names::default(),
            generation: 0,
            ready: VecDeque::new(),
            wanting_past: VecDeque::new(),
            reads: 0,
            news: News::default(),
            memos: Memos::default(),
            input: vec![0; READ_BYTES].into(),
            beat: ticks(app.hub.limits().beat_interval),
            stuck: ticks(app.hub.limits().slow_reader_timeout),
            readiness: Vec::new(),
            app,
        })
    }

    pub(super) fn run(mut self) {
        while !self.inbox.is_stopping() {
            let is_busy = self.round();
            let looked = if is_busy {
                self.poller.poll(&mut self.readiness)
            } else {
                self.memos.clear();
                self.poller.sleep(self.next_timer(), &mut self.readiness)
            };
            if let Err(error) = looked {
                return tracing::error!(%error, "a shard cannot watch its sockets and ends");
            }
        }
    }

    /// How long until a timer comes.
    fn next_timer(&self) -> Option<Duration> {
        let at = Duration::from_millis(self.wheel.next()? * TICK_MS);
        Some(at.saturating_sub(self.started.elapsed()))
    }

    /// One round. True if there is more to do at once.
    pub(super) fn round(&mut self) -> bool {
        self.now = self.started.elapsed().as_millis() as u64 / TICK_MS;
        let Items { arrivals, done, asked } = self.inbox.take();
        self.notice_reload();
        for (stream, arrived) in arrivals {
            self.arrive(stream, arrived);
        }
        for asked in asked {
            self.hear_asked(asked);
        }
        for done in done {
            self.take_back(done);
        }
        if !self.is_leaving && *self.leaving.borrow() {
            self.is_leaving = true;
            let keys: Vec<_> = self.conns.iter().map(|(index, conn)| key(index, conn)).collect();
            keys.into_iter().for_each(|key| self.make_ready(key));
        }
        let mut due = Vec::new();
        self.wheel.advance(self.now, |tick, key| due.push((tick, key)));
        for (tick, key) in due {
            self.fire(tick, key);
        }
        for readiness in std::mem::take(&mut self.readiness) {
            self.notice(readiness);
        }
        // Who is ready again by then has its turn in the next round.
        for _ in 0..SLICE.min(self.ready.len()) {
            let Some(key) = self.ready.pop_front() else { break };
            if let Some(conn) = self.conn(key) {
                conn.is_ready = false;
                self.serve(key);
            }
        }
        self.topics.begin_walks();
        self.sweep();
        self.walk_reload();
        self.start_reads();
        let may_read = !self.wanting_past.is_empty() && self.reads < READS_MAX;
        let is_swept = self.topics.is_quiet() && !self.reload.is_under_way();
        may_read || !self.ready.is_empty() || !is_swept
    }

    pub(super) fn conn(&mut self, key: Key) -> Option<&mut Conn> {
        let conn = self.conns.get_mut(key.index as usize)?;
        (conn.generation == key.generation).then_some(conn)
    }

    pub(super) fn make_ready(&mut self, key: Key) {
        if let Some(conn) = self.conn(key).filter(|conn| !conn.is_ready) {
            conn.is_ready = true;
            self.ready.push_back(key);
        }
    }

    fn arrive(&mut self, stream: TcpStream, arrived: Arrived) {
        let Arrived { wire, session, first, input, named, told, place, guard } = arrived;
        self.generation = self.generation.wrapping_add(1);
        let (opened_at, beat_at) = (self.now, self.now + self.beat);
        let wants_beats = named.as_ref().is_some_and(|named| named.beats_early);
        let talk = (!input.is_empty()).then(|| Talk::new(self.app.hub.limits(), input));
        let vacant = self.conns.vacant_entry();
        let key = Key { index: vacant.key() as u32, generation: self.generation };
        if let Err(error) = self.poller.add(&stream, key.token()) {
            return tracing::warn!(%error, "a socket could not be watched and is closed");
        }
        vacant.insert(Conn {
            stream,
            generation: key.generation,
            told,
            wire,
            phase: Phase::Open,
            silent_beats: 0,
            early_beats: if wants_beats { 0 } else { EARLY_BEATS_MS.len() as u8 },
            is_unread: talk.is_some(),
            is_ready: false,
            is_asking: false,
            wants_past: false,
            hears_first: false,
            name: named.as_ref().map(|named| named.name),
            opened_at,
            wrote_at: opened_at,
            beat_at,
            stuck_until: None,
            phase_until: None,
            armed_at: 0,
            session: Some(session),
            memberships: SmallVec::new(),
            out: Outbox::default(),
            talk: talk.map(Box::new),
            _place: place,
            _guard: guard,
        });
        if let Some(named) = &named {
            self.names.enter(named.name, key.index, &mut self.conns);
        }
        self.enter_topics(key);
        self.say_frames(key, &first, named.map_or(1, |named| named.frames));
        self.arm(key);
        self.make_ready(key);
    }

    /// Makes the shard's lists of readers agree with what the session reads.
    pub(super) fn enter_topics(&mut self, key: Key) {
        self.leave_topics(key);
        let Self { conns, topics, .. } = self;
        let Some(conn) = conns.get_mut(key.index as usize) else { return };
        let tails = conn.session.iter().flat_map(Session::tails);
        conn.memberships = tails.map(|tail| topics.enter(tail, key.index)).collect();
    }

    pub(super) fn leave_topics(&mut self, key: Key) {
        loop {
            let Some(left) = self.conn(key).and_then(|conn| conn.memberships.pop()) else { return };
            let Some(moved) = self.topics.leave(left) else { continue };
            let Some(other) = self.conns.get_mut(moved.member as usize) else { continue };
            let mut places = other.memberships.iter_mut();
            if let Some(place) = places.find(|place| **place == moved.from) {
                *place = moved.to;
            }
            if moved.is_missed {
                let other = Key { index: moved.member, generation: other.generation };
                self.make_ready(other);
            }
        }
    }

    /// The socket is closed, and nothing of it is left.
    pub(super) fn remove(&mut self, key: Key) {
        if self.conn(key).is_some() {
            self.leave_topics(key);
            self.leave_name(key);
            self.conns.remove(key.index as usize);
        }
    }

    fn notice(&mut self, readiness: Readiness) {
        let key = Key::of_token(readiness.token);
        let Some(conn) = self.conn(key) else { return };
        let has_room = readiness.can_write && !conn.out.is_free();
        if readiness.is_hung_up && !conn.wire.is_socket() {
            return self.remove(key);
        }
        // What else the reader of a stream sends is not looked at.
        conn.is_unread |= readiness.can_read && conn.wire.is_socket();
        if has_room || conn.is_unread {
            self.make_ready(key);
        }
    }

    /// Does for one socket whatever can be done now.
    pub(super) fn serve(&mut self, key: Key) {
        let (now, stuck_until, is_leaving) = (self.now, self.now + self.stuck, self.is_leaving);
        let Some(conn) = self.conn(key) else { return };
        if !conn.out.is_free() {
            if conn.out.flush(&conn.stream).is_err() {
                return self.remove(key);
            }
            let has_moved = conn.note_write(now);
            if !conn.out.is_free() {
                if has_moved {
                    conn.stuck_until = NonZero::new(stuck_until);
                }
                return;
            }
            conn.stuck_until = None;
        }
        match conn.phase {
            Phase::Open if is_leaving => {
                let slot = self.app.restart_slot();
                self.end(key, End::Bye(restarting(), slot));
            }
            // In turns, because each may fill the socket, and then nothing is left for the other.
            Phase::Open if conn.hears_first => {
                conn.hears_first = false;
                self.hear_out(key);
                if self.conn(key).is_some_and(|conn| conn.phase == Phase::Open) {
                    self.step(key);
                }
            }
            Phase::Open => {
                conn.hears_first = conn.is_unread;
                self.step(key);
                self.hear_out(key);
            }
            Phase::Finishing => self.hear_out(key),
            Phase::Closing | Phase::Flushing => {
                self.settle(key);
                self.hear_out(key);
            }
        }
    }

    /// Hears the peer, if it may have said something.
    fn hear_out(&mut self, key: Key) {
        if self.conn(key).is_some_and(|conn| conn.is_unread) {
            self.read(key);
        }
    }

    /// Tells the peer what there is to tell.
    pub(super) fn step(&mut self, key: Key) {
        self.tell_plan(key);
        for _ in 0..STEPS {
            let Self { conns, news, .. } = self;
            let Some(conn) = conns.get_mut(key.index as usize) else { return };
            let Some(session) = conn.session.as_mut().filter(|_| conn.out.is_free()) else {
                return;
            };
            match session.step(news) {
                Step::Quiet => return,
                Step::Past => return self.want_past(key),
                Step::News => self.tell(key),
            }
            if self.conn(key).is_none_or(|conn| conn.phase != Phase::Open) {
                return;
            }
        }
        self.make_ready(key);
    }

    /// Sends what is in `news`; what does not go now is given back.
    fn tell(&mut self, key: Key) {
        let Self { conns, news, memos, .. } = self;
        let Some(conn) = conns.get_mut(key.index as usize) else { return };
        let Conn { stream, wire, out, session: Some(session), .. } = conn else { return };
        let mut told = match &news.gap {
            Some((filter, gap)) => out.say(&*stream, &wire.gap(filter, gap), 1),
            None => Ok(()),
        };
        let mut done = 0;
        let chunk = memos.scratch();
        while told.is_ok() && done < news.entries.len() && out.is_free() {
            chunk.fill(*wire, news.entries.get(done..).unwrap_or_default());
            match out.deliver(&*stream, *wire, chunk) {
                Ok(begun) => done += begun,
                Err(gone) => told = Err(gone),
            }
        }
        chunk.clear();
        if done < news.entries.len() {
            session.give_back(news, done);
        } else if told.is_ok() && !news.live.is_empty() {
            told = out.say(&*stream, &wire.live(session, &news.live), 0);
        }
        self.after_write(key, told.is_err());
    }

    /// A slice of the sweep: topics with news, in turn.
    fn sweep(&mut self) {
        let mut left = SLICE;
        while left > 0 {
            let Some(topic) = self.topics.turn() else { return };
            loop {
                if left == 0 {
                    self.topics.pause(topic);
                    return;
                }
                match self.topics.visit(topic) {
                    Visit::Done => break,
                    Visit::Member(member) => left -= usize::from(self.visit(member)),
                }
            }
        }
    }

    /// Sends a subscriber everything newer than its cursor. False if there was nothing.
    fn visit(&mut self, member: u32) -> bool {
        let Self { conns, news, memos, .. } = self;
        let Some(conn) = conns.get_mut(member as usize) else { return false };
        let key = key(member as usize, conn);
        let Conn { stream, wire, out, session: Some(session), phase: Phase::Open, .. } = conn
        else {
            return false;
        };
        if !out.is_free() {
            return false;
        }
        let Some((tail, after)) = session.sole() else {
            self.serve(key);
            return true;
        };
        if tail.newest() <= after {
            return false;
        }
        let Some(memo) = memos.of(tail, *wire, after, session, news) else {
            self.serve(key);
            return true;
        };
        let sent = out.deliver(&*stream, *wire, &memo.chunk);
        let told = sent.map(|begun| {
            let whole = begun == memo.chunk.count();
            let last = begun.checked_sub(1).and_then(|last| memo.chunk.entry(last));
            match last {
                _ if whole => session.advance_sole(memo.through),
                Some(last) => session.advance_sole(last.entry().sequence),
                None => {}
            }
            whole && memo.is_cut
        });
        let has_more = told == Ok(true);
        self.after_write(key, told.is_err());
        if has_more {
            self.make_ready(key);
        }
        true
    }

    /// Says something to this peer alone.
    pub(super) fn say(&mut self, key: Key, words: &bytes::Bytes) {
        self.say_frames(key, words, 1);
    }

    fn say_frames(&mut self, key: Key, words: &bytes::Bytes, frames: u32) {
        let Some(conn) = self.conn(key) else { return };
        let told = conn.out.say(&conn.stream, words, frames);
        self.after_write(key, told.is_err());
    }

    fn after_write(&mut self, key: Key, is_gone: bool) {
        let (now, stuck_until) = (self.now, self.now + self.stuck);
        let Some(conn) = self.conn(key) else { return };
        if is_gone {
            return self.remove(key);
        }
        let has_moved = conn.note_write(now);
        if !conn.out.is_free() && (conn.stuck_until.is_none() || has_moved) {
            conn.stuck_until = NonZero::new(stuck_until);
            self.arm(key);
        }
    }

    fn want_past(&mut self, key: Key) {
        if let Some(conn) = self.conn(key).filter(|conn| !conn.wants_past) {
            conn.wants_past = true;
            self.wanting_past.push_back(key);
        }
    }

    /// Lets some of those who want to read the log do so. Those who could be served meanwhile,
    /// because another has read for them, are.
    fn start_reads(&mut self) {
        let mut left = SLICE;
        while self.reads < READS_MAX && left > 0 {
            left -= 1;
            let Some(key) = self.wanting_past.pop_front() else { return };
            let Some(conn) = self.conn(key) else { continue };
            conn.wants_past = false;
            // One that takes nothing now asks again when it does.
            let may = conn.phase == Phase::Open && conn.out.is_free();
            let Some(session) = conn.session.take_if(|session| may && session.needs_past()) else {
                self.make_ready(key);
                continue;
            };
            self.reads += 1;
            self.read_past(key, session);
        }
    }

    fn read_past(&self, key: Key, mut session: Session) {
        let inbox = Arc::clone(&self.inbox);
        self.runtime.spawn(async move {
            let mut news = Box::<News>::default();
            let read = session.past(&mut news).await;
            inbox.bring(Done::Read(key, session, news, read));
        });
    }

    fn take_back(&mut self, done: Done) {
        match done {
            Done::Read(key, session, news, read) => {
                self.reads -= 1;
                if !self.return_session(key, session) {
                    return;
                }
                match read {
                    Ok(()) => {
                        self.news = *news;
                        self.tell(key);
                        // One that takes no more is served when its socket says that there is room,
                        // or the log would be read for it again and again.
                        if self.conn(key).is_some_and(|conn| conn.out.is_free()) {
                            self.make_ready(key);
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, "a reader ends because the log cannot be read");
                        let error = WireError::new(Code::Internal, error.to_string());
                        self.end(key, End::Bye(error, self.app.retry()));
                    }
                }
            }
            Done::Obeyed(key, session, answer, error) => {
                let Some(conn) = self.conn(key) else { return };
                conn.is_asking = false;
                self.say_answer(key, &wire::text(&answer));
                if !self.return_session(key, session) {
                    return self.conclude_if_answered(key);
                }
                self.enter_topics(key);
                match error {
                    Some(error) => self.end(key, End::Bye(error, self.app.retry())),
                    None => self.make_ready(key),
                }
            }
            Done::Published(key, number, answer) => self.answer(key, number, answer),
        }
    }

    /// False if the socket does not need it any more.
    fn return_session(&mut self, key: Key, session: Session) -> bool {
        let Some(conn) = self.conn(key).filter(|conn| conn.phase == Phase::Open) else {
            return false;
        };
        conn.session = Some(session);
        // While it was away, nobody could look when its access ends.
        self.arm(key);
        true
    }
}

pub(super) fn key(index: usize, conn: &Conn) -> Key {
    Key { index: index as u32, generation: conn.generation }
}
