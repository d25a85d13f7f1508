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

use super::Open;
use crate::{
    app::{App, StreamGuard, access_ended, expired, left, reloaded, restarting},
    manifest::Plan,
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
    beat_at: Instant,
    ended: bool,
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
        let Open { app, session, hello, told, guard } = open;
        let mut plan = app.plan.subscribe();
        // There may have been a reload since the hello was made.
        plan.mark_changed();
        Self {
            plan,
            told,
            leaving: app.leaving.subscribe(),
            beat_at: Instant::now() + app.hub.limits().beat_interval,
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

    /// The next bytes; nothing when the stream has ended.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            let chunk = if let Some(hello) = self.hello.take() {
                hello
            } else if self.ended {
                return None;
            } else if self.batch.is_empty() {
                match self.happen().await {
                    Happened::News(news) => self.take_news(news),
                    Happened::Reloaded => self.tell_plan(),
                    Happened::Beat => self.wire.beat(self.session.cursor()),
                    Happened::End(error, slot) => {
                        self.ended = true;
                        self.wire.bye(&error, slot)
                    }
                }
            } else {
                self.next_of_batch()
            };
            if !chunk.is_empty() {
                self.beat_at = Instant::now() + self.limits().beat_interval;
                return Some(chunk);
            }
        }
    }

    async fn happen(&mut self) -> Happened {
        let Self { app, session, leaving, plan, beat_at, .. } = self;
        // What is read while news are awaited: the peer of a stream never changes.
        let peer = Arc::clone(session.peer());
        tokio::select! {
            biased;
            () = left(leaving) => Happened::End(restarting(), app.restart_slot()),
            () = access_ended(app, &peer) => Happened::End(expired(), app.retry()),
            () = reloaded(plan) => Happened::Reloaded,
            news = session.next() => match news {
                Ok(news) => Happened::News(news),
                Err(error) => {
                    tracing::error!(%error, "a stream ends because the log cannot be read");
                    Happened::End(WireError::new(Code::Internal, error.to_string()), app.retry())
                }
            },
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
