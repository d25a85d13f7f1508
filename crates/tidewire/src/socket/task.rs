//! A WebSocket with a task of its own: over TLS, in an app's own server, or where nothing is swept.
//!
//! It reads commands, pulls news from its [`Session`] and writes both answers. While a write waits
//! for the peer, nothing else is read or asked for, so a slow peer costs one batch.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesOrdered};
use tidewire_core::{News, Session};
use tidewire_proto::{
    Code, WireError,
    frame::{CloseFrame, Event},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{
    hello,
    line::{Line, Lost},
    talk::{self, Heard, PUBLISHES_MAX, SILENT_BEATS_MAX},
};
use crate::{
    app::{App, StreamGuard, access_ended, left, reloaded, restarting},
    handover::Io,
    manifest::Plan,
    wire::{self, Wire},
};

pub(super) struct Socket {
    app: App,
    session: Session,
    name: String,
    line: Line,
    leaving: watch::Receiver<bool>,
    plan: watch::Receiver<Arc<Plan>>,
    told: u32,
    // Publishes on their way, answered in the order in which they were asked.
    answers: FuturesOrdered<BoxFuture<'static, String>>,
    beat_at: Instant,
    silent_beats: u8,
    _guard: StreamGuard,
}

/// Why a socket's loop ended, and what the peer is told about it.
enum End {
    /// The bytes stopped: nobody is there to be told anything.
    Gone,
    /// The peer closed: its own close frame comes back.
    Closed(Option<CloseFrame>),
    /// The peer broke the protocol: a close frame with the reason.
    Broken(u16, String),
    /// The server ends it: `bye`, then a close frame.
    Bye(WireError, Duration),
}

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Gone => Self::Gone,
            Lost::Broken { close_code, reason } => Self::Broken(close_code, reason),
        }
    }
}

enum Happened {
    Heard(Result<Option<Event>, Lost>),
    Answered(String),
    News(News),
    Reloaded,
    Beat,
}

impl Socket {
    pub(super) fn new(
        app: App,
        (session, name): (Session, String),
        io: Box<dyn Io>,
        input: BytesMut,
        guard: StreamGuard,
    ) -> Box<Self> {
        // Boxed, because a future that holds it holds it twice.
        Box::new(Self {
            leaving: app.leaving.subscribe(),
            plan: app.plan.subscribe(),
            told: 0,
            line: Line::new(io, input, app.hub.limits()),
            answers: FuturesOrdered::new(),
            beat_at: Instant::now() + app.hub.limits().beat_interval,
            silent_beats: 0,
            _guard: guard,
            app,
            session,
            name,
        })
    }

    /// Talks until the end. `head` goes out before anything else.
    pub(super) async fn run(mut self: Box<Self>, head: Bytes) {
        let end = match self.converse(head).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        self.finish_publishes(&end).await;
        match end {
            End::Gone => {}
            End::Closed(close) => self.line.answer_close(close).await,
            End::Broken(close_code, reason) => self.line.close(close_code, &reason).await,
            End::Bye(error, slot) => {
                if self.line.send(Wire::Socket.bye(&error, slot)).await.is_ok() {
                    self.line.end().await;
                }
            }
        }
    }

    /// What the peer said was said: publishes that are on their way are carried through, and
    /// answered if there is somebody to hear it. For a while, because the log may be slow.
    async fn finish_publishes(&mut self, end: &End) {
        let limit = self.app.hub.limits().close_timeout;
        let mut is_heard = matches!(end, End::Closed(_) | End::Bye(..));
        let finished = async {
            while let Some(answer) = self.answers.next().await {
                let is_said = !answer.is_empty() && is_heard;
                is_heard =
                    is_heard && (!is_said || self.line.send(wire::text(&answer)).await.is_ok());
            }
        };
        if timeout(limit, finished).await.is_err() {
            tracing::warn!("a socket ends before its publishes were answered");
        }
    }

    async fn converse(&mut self, head: Bytes) -> Result<std::convert::Infallible, End> {
        self.line.send(head).await?;
        let (hello, told) = hello(&self.app, &self.name);
        self.told = told;
        // There may have been a reload since this was made.
        self.plan.mark_changed();
        self.line.send(hello).await?;
        loop {
            match self.happen().await? {
                Happened::Heard(heard) => {
                    self.silent_beats = 0;
                    if let Some(event) = heard? {
                        self.hear(event).await?;
                    }
                }
                Happened::Answered(answer) if answer.is_empty() => {}
                Happened::Answered(answer) => self.line.send(wire::text(&answer)).await?,
                Happened::News(news) => self.tell(news).await?,
                Happened::Reloaded => self.tell_plan().await?,
                Happened::Beat => self.beat().await?,
            }
        }
    }

    async fn happen(&mut self) -> Result<Happened, End> {
        let Self { app, session, line, leaving, plan, answers, beat_at, .. } = self;
        let peer = Arc::clone(session.peer());
        let may_read = answers.len() < PUBLISHES_MAX;
        tokio::select! {
            () = left(leaving) => Err(End::Bye(restarting(), app.restart_slot())),
            () = access_ended(app, &peer) => Err(End::Bye(app.why_ended(&peer), app.retry())),
            () = reloaded(plan) => Ok(Happened::Reloaded),
            heard = line.hear(), if may_read => Ok(Happened::Heard(heard)),
            Some(answer) = answers.next() => Ok(Happened::Answered(answer)),
            news = session.next() => match news {
                Ok(news) => Ok(Happened::News(news)),
                Err(error) => {
                    tracing::error!(%error, "a socket ends because the log cannot be read");
                    let error = WireError::new(Code::Internal, error.to_string());
                    Err(End::Bye(error, app.retry()))
                }
            },
            () = sleep_until(*beat_at) => Ok(Happened::Beat),
        }
    }

    async fn hear(&mut self, event: Event) -> Result<(), End> {
        match talk::hear(event) {
            Heard::Nothing => Ok(()),
            Heard::Answer(bytes) => Ok(self.line.send(bytes).await?),
            Heard::Close(close) => Err(End::Closed(close)),
            Heard::Publish(reference, message) => {
                let publisher = self.session.publisher();
                self.answers.push_back(Box::pin(talk::publish(publisher, reference, message)));
                Ok(())
            }
            Heard::Ask(ask) => {
                let limits = self.app.hub.limits();
                let (answer, end) = talk::obey(&mut self.session, limits, ask).await;
                self.line.send(wire::text(&answer)).await?;
                match end {
                    Some(error) => Err(End::Bye(error, self.app.retry())),
                    None => Ok(()),
                }
            }
        }
    }

    async fn tell(&mut self, news: News) -> Result<(), End> {
        if let Some((filter, gap)) = &news.gap {
            self.line.send(Wire::Socket.gap(filter, gap)).await?;
        }
        self.line.send_entries(&news.entries).await?;
        Ok(self.line.send(Wire::Socket.live(&self.session, &news.live)).await?)
    }

    /// Tells the plan, if it is another than the one that was told last.
    async fn tell_plan(&mut self) -> Result<(), End> {
        let plan = Arc::clone(&self.plan.borrow_and_update());
        if std::mem::replace(&mut self.told, plan.number) == plan.number {
            return Ok(());
        }
        Ok(self.line.send(Wire::Socket.plan(&plan.tag, self.app.plan_slot())).await?)
    }

    async fn beat(&mut self) -> Result<(), End> {
        if self.answers.len() >= PUBLISHES_MAX {
            // The log is slow and the socket is not read meanwhile: its peer cannot be heard.
            self.silent_beats = 0;
        }
        if self.silent_beats >= SILENT_BEATS_MAX {
            return Err(End::Bye(super::lost(), self.app.retry()));
        }
        self.silent_beats += 1;
        self.beat_at = Instant::now() + self.app.hub.limits().beat_interval;
        Ok(self.line.send(Wire::Socket.beat(self.session.cursor())).await?)
    }
}
