//! [`EventStream`]: an event stream as chunks of bytes, for who writes them one after another.
//!
//! It pulls from a [`Session`]: while nobody asks for the next chunk, nobody asks for news, and the
//! cursor stands still.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tidewire_core::{Framed, Limits, News, Session};
use tidewire_proto::{Code, WireError};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{EARLY_BEATS_MS, Open};
use crate::{
    app::{App, StreamGuard, access_ended, left, reloaded, restarting},
    manifest::Plan,
    path::{Entered, Trace},
    wire::Wire,
};

/// Most bytes handed to the socket at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// One client's stream: its session, and at most one batch that is partly written.
pub(super) struct EventStream {
    app: App,
    session: Session,
    wire: Wire,
    leaving: watch::Receiver<bool>,
    plan: watch::Receiver<Arc<Plan>>,
    told: u32,
    hello: Option<Bytes>,
    batch: VecDeque<Arc<Framed>>,
    opened_at: Instant,
    beat_at: Instant,
    // How many of the early beats are over: none is to come, or it wants none.
    early_beats: usize,
    ended: bool,
    entered: Entered,
    _guard: StreamGuard,
}

enum Happened {
    News(News),
    Reloaded,
    Beat,
    End(WireError, Duration),
}

impl EventStream {
    pub(super) fn new(open: Open, wire: Wire) -> Self {
        let Open { app, session, hello, named, told, guard } = open;
        let now = Instant::now();
        let mut plan = app.plan.subscribe();
        // There may have been a reload since the hello was made.
        plan.mark_changed();
        Self {
            plan,
            told,
            leaving: app.leaving.subscribe(),
            opened_at: now,
            beat_at: now,
            early_beats: if named.beats_early { 0 } else { EARLY_BEATS_MS.len() },
            entered: Entered::new(&app, named.name),
            _guard: guard,
            hello: Some(wire.event(&hello)),
            batch: VecDeque::new(),
            ended: false,
            session,
            wire,
            app,
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        self.app.hub.limits()
    }

    /// Where it is told what becomes of the bytes.
    pub(super) fn trace(&self) -> &Arc<Trace> {
        self.entered.trace()
    }

    /// The next bytes; nothing when the stream has ended.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            let chunk = if let Some(hello) = self.hello.take() {
                self.opened_at = Instant::now();
                hello
            } else if self.ended {
                return None;
            } else if self.batch.is_empty() {
                match self.happen().await {
                    Happened::News(news) => self.take_news(news),
                    Happened::Reloaded => self.tell_plan(),
                    Happened::Beat => {
                        let is_early = self.early_beat().is_some_and(|at| at <= Instant::now());
                        self.early_beats += usize::from(is_early);
                        self.wire.beat(self.session.cursor())
                    }
                    Happened::End(error, slot) => {
                        self.ended = true;
                        self.wire.bye(&error, slot)
                    }
                }
            } else {
                self.next_of_batch()
            };
            if !chunk.is_empty() {
                let silent = Instant::now() + self.limits().beat_interval;
                self.beat_at = self.early_beat().map_or(silent, |at| at.min(silent));
                return Some(chunk);
            }
        }
    }

    /// When the next of the early beats is due.
    fn early_beat(&self) -> Option<Instant> {
        let after_ms = EARLY_BEATS_MS.get(self.early_beats)?;
        Some(self.opened_at + Duration::from_millis(*after_ms))
    }

    async fn happen(&mut self) -> Happened {
        // News without end must not keep it back.
        if self.early_beat().is_some_and(|at| at <= Instant::now()) {
            return Happened::Beat;
        }
        let Self { app, session, leaving, plan, beat_at, entered, .. } = self;
        // What is read while news are awaited: the peer of a stream never changes.
        let peer = Arc::clone(session.peer());
        tokio::select! {
            biased;
            () = left(leaving) => Happened::End(restarting(), app.restart_slot()),
            () = access_ended(app, &peer) => Happened::End(app.why_ended(&peer), app.retry()),
            () = reloaded(plan) => Happened::Reloaded,
            news = session.next() => match news {
                Ok(news) => Happened::News(news),
                Err(error) => {
                    tracing::error!(%error, "a stream ends because the log cannot be read");
                    Happened::End(WireError::new(Code::Internal, error.to_string()), app.retry())
                }
            },
            () = entered.trace().beat.notified() => Happened::Beat,
            () = sleep_until(*beat_at) => Happened::Beat,
        }
    }

    /// The plan, if it is another than the one that was told last.
    fn tell_plan(&mut self) -> Bytes {
        let plan = Arc::clone(&self.plan.borrow_and_update());
        if std::mem::replace(&mut self.told, plan.number) == plan.number {
            return Bytes::new();
        }
        self.wire.plan(&plan.tag, self.app.plan_slot())
    }

    fn take_news(&mut self, news: News) -> Bytes {
        self.batch.extend(news.entries);
        news.gap.map(|(filter, gap)| self.wire.gap(&filter, &gap)).unwrap_or_default()
    }

    fn next_of_batch(&mut self) -> Bytes {
        let mut chunk = BytesMut::new();
        while let Some(framed) = self.batch.front() {
            let frame = self.wire.entry(framed);
            if chunk.is_empty() && self.batch.len() == 1 {
                // The usual case: the shared frame as it is, not copied.
                self.batch.clear();
                return frame;
            }
            if !chunk.is_empty() && chunk.len() + frame.len() > CHUNK_BYTES {
                break;
            }
            chunk.extend_from_slice(&frame);
            self.batch.pop_front();
        }
        if self.batch.is_empty() {
            self.batch = VecDeque::new();
        }
        chunk.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        guard::{Bed, message, topic},
        sweep::Named,
    };
    use tidewire_proto::{
        plan::Transport,
        sse::{Parser, frames_begun},
    };

    fn stream(bed: &Bed, beats_early: bool) -> EventStream {
        let session = bed.reader(&topic("chat/a"));
        let name = bed.app.paths.name(None, "x2345678");
        let named = Named { name, frames: 1, beats_early };
        let hello = "event: tidewire.hello\ndata: {}\n\n".to_owned();
        let guard = bed.app.stream_guard(Transport::Sse);
        let open = Open { app: bed.app.clone(), session, hello, named, told: 0, guard };
        EventStream::new(open, Wire::Stream)
    }

    /// The events of the next chunk, and when it came.
    async fn next(stream: &mut EventStream, opened: Instant) -> (u128, Vec<String>) {
        let chunk = stream.next().await.unwrap();
        let events = Parser::new(1 << 20).feed(&chunk).unwrap();
        assert_eq!(frames_begun(&chunk, chunk.len()), events.len());
        (opened.elapsed().as_millis(), events.into_iter().map(|event| event.event).collect())
    }

    #[test]
    fn early_beats_come_at_their_times_and_the_others_as_ever() {
        let bed = Bed::new();
        let (mut early, mut plain) = (stream(&bed, true), stream(&bed, false));
        bed.runtime.block_on(async {
            let opened = Instant::now();
            assert_eq!(next(&mut early, opened).await, (0, vec!["tidewire.hello".into()]));
            assert_eq!(next(&mut plain, opened).await, (0, vec!["tidewire.hello".into()]));
            for ms in [250, 500, 1_000, 2_000, 22_000, 42_000] {
                assert_eq!(next(&mut early, opened).await, (ms, vec!["tidewire.beat".into()]));
            }
            let opened = Instant::now();
            // It is silent for long enough already.
            assert_eq!(next(&mut plain, opened).await, (0, vec!["tidewire.beat".into()]));
            assert_eq!(next(&mut plain, opened).await, (20_000, vec!["tidewire.beat".into()]));
        });
    }

    /// News without end do not keep an early beat back; it tells a place up to which all was sent.
    #[test]
    fn news_without_end_do_not_keep_an_early_beat_back() {
        let bed = Bed::new();
        let mut early = stream(&bed, true);
        let (mut beats, mut heard) = (Vec::new(), Vec::new());
        let opened = bed.runtime.block_on(async {
            let opened = Instant::now();
            next(&mut early, opened).await;
            opened
        });
        for _ in 0..300 {
            bed.publish(vec![message(&topic("chat/a")); 2]);
            bed.runtime.block_on(async {
                tokio::time::advance(Duration::from_millis(10)).await;
                let (at, events) = next(&mut early, opened).await;
                if events == ["tidewire.beat"] {
                    beats.push(at);
                }
                heard.extend(events);
            });
        }
        assert_eq!(beats, [250, 500, 1_000, 2_000]);
        assert!(heard.len() > 500, "{}", heard.len());
    }
}
