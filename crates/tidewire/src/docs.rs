//! The door for documents: `GET {prefix}/docs/{topic}`, a WebSocket that speaks the y-websocket protocol,
//! so that the provider of Yjs connects as it is.
//!
//! What the messages mean is the business of `tidewire-docs`. Here they are carried, and what cannot go
//! on is said in a way that the provider understands: it sees no HTTP status, reconnects after every
//! close code but 4400–4499, and shows what an `auth` message says.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::HeaderMap;
use tidewire_docs::{Edit, Visit};
use tidewire_proto::{
    Code, Topic, WireError,
    code::Next,
    frame::{self, CloseFrame, DecodeLimits, Decoder, Event, Role},
    plan::Transport,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    answer::Refused,
    app::{App, StreamGuard, access_ended, left, reloaded, restarting},
    handover::Taken,
    manifest::Plan,
    socket::{
        handshake::{self, Connected},
        line::{Line, Lost},
        lost,
        talk::{PUBLISHES_MAX, SILENT_BEATS_MAX},
    },
};

/// A message's kind and the length of what it holds, around the largest update.
const AROUND_BYTES: usize = 64;
/// The codec's word for a message that is too long.
const TOO_LONG: u16 = 1009;

/// The handler.
pub(crate) async fn docs(State(app): State<App>, request: Request) -> Result<Response, Refused> {
    let topic = topic_of(&request);
    let handshake = match handshake::check(&request) {
        Ok(handshake) => handshake,
        // A person who looks with a browser or curl: the nearest of what is wrong.
        Err(error) => {
            app.documents.check(&topic?)?;
            return Err(error.into());
        }
    };
    if app.is_leaving() {
        return Err(restarting().into());
    }
    let ticket = handshake::ticket(&request);
    let visit = enter(&app, request.headers(), ticket.as_deref(), topic).await;
    let guard = app.stream_guard(Transport::Ws);
    Ok(handshake.accept(request, move |connected| {
        tokio::spawn(async move {
            let limits = app.hub.limits();
            let (line, head, _place) = match connected {
                Connected::Taken(Taken { stream, head, input, place, .. }) => {
                    let io = stream.into_io();
                    (Line::with(io, input, decoder(&app), limits), head, Some(place))
                }
                Connected::Upgraded(io) => {
                    let input = BytesMut::new();
                    (Line::with(io, input, decoder(&app), limits), Bytes::new(), None)
                }
            };
            match visit {
                Ok(visit) => Socket::new(app.clone(), line, visit, guard).run(head).await,
                Err(error) => refuse(line, head, &error).await,
            }
        });
    }))
}

/// The document that the path names. Its path is as it was sent: a topic's own percent signs must not
/// be decoded away.
fn topic_of(request: &Request) -> Result<Topic, WireError> {
    let path = request.uri().path();
    let topic = path.split_once("/docs/").map_or("", |(_, topic)| topic);
    Topic::parse_path(topic).map_err(|error| WireError::new(Code::BadTopic, error.to_string()))
}

async fn enter(
    app: &App,
    headers: &HeaderMap,
    ticket: Option<&str>,
    topic: Result<Topic, WireError>,
) -> Result<Visit, WireError> {
    let topic = topic?;
    let peer = app.admit(headers, ticket).await?;
    app.documents.visit(Arc::clone(&app.gate), peer, &topic).await
}

fn decoder(app: &App) -> Decoder {
    let limits = app.hub.limits();
    let message_bytes_max = limits.document_bytes_max.saturating_add(AROUND_BYTES);
    let limits = DecodeLimits { message_bytes_max, fragments_max: limits.fragments_max };
    Decoder::new(Role::Server, limits)
}

/// The close code: 44xx where coming back as one is would not help, and any other where it would.
fn close_code(code: Code) -> u16 {
    match (code.next(), code.close_code()) {
        (Next::GiveUp | Next::RefreshToken, _) => 4000 + code.status(),
        (Next::Retry | Next::Resume, 4400..4500) => Code::Busy.close_code(),
        (Next::Retry | Next::Resume, close_code) => close_code,
    }
}

/// Says why, and closes.
async fn refuse(mut line: Line, head: Bytes, error: &WireError) {
    if line.send(head).await.is_ok() {
        end(&mut line, error).await;
    }
}

async fn end(line: &mut Line, error: &WireError) {
    let reason = format!("{}: {}", error.code, error.message);
    if line.send(frames(&[tidewire_docs::denied(&reason)])).await.is_ok() {
        line.close(close_code(error.code), error.code.as_str()).await;
    }
}

fn frames(messages: &[Vec<u8>]) -> Bytes {
    let mut out = BytesMut::new();
    for message in messages {
        frame::encode_binary(&mut out, message);
    }
    out.freeze()
}

struct Socket {
    app: App,
    line: Line,
    visit: Visit,
    leaving: watch::Receiver<bool>,
    plan: watch::Receiver<Arc<Plan>>,
    // One batch is on its way to the log at a time, so that edits are stored as they came; what comes
    // meanwhile is the next.
    storing: Option<BoxFuture<'static, Result<(), WireError>>>,
    waiting: Vec<Edit>,
    beat_at: Instant,
    silent_beats: u8,
    _guard: StreamGuard,
}

/// Why a socket's loop ended.
enum End {
    /// The bytes stopped.
    Gone,
    /// The peer closed.
    Closed(Option<CloseFrame>),
    /// The peer broke the protocol of the frames.
    Broken(u16, String),
    /// The server ends it, for this reason.
    Refused(WireError),
}

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Gone => Self::Gone,
            Lost::Broken { close_code: TOO_LONG, reason } => {
                Self::Refused(WireError::new(Code::TooLarge, reason))
            }
            Lost::Broken { close_code, reason } => Self::Broken(close_code, reason),
        }
    }
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Self::Refused(error)
    }
}

enum Happened {
    Heard(Option<Event>),
    Stored(Result<(), WireError>),
    Changed,
    /// Other settings, or access was taken back: whether it has ended is looked at anew.
    Reloaded,
    Beat,
}

impl Socket {
    fn new(app: App, line: Line, visit: Visit, guard: StreamGuard) -> Box<Self> {
        let beat_at = Instant::now() + app.hub.limits().beat_interval;
        let (leaving, plan) = (app.leaving.subscribe(), app.plan.subscribe());
        let (storing, waiting, silent_beats, _guard) = (None, Vec::new(), 0, guard);
        Box::new(Self {
            app,
            line,
            visit,
            leaving,
            plan,
            storing,
            waiting,
            beat_at,
            silent_beats,
            _guard,
        })
    }

    async fn run(mut self: Box<Self>, head: Bytes) {
        let end = match self.converse(head).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        self.finish_storing().await;
        match end {
            End::Gone => {}
            End::Closed(close) => self.line.answer_close(close).await,
            End::Broken(close_code, reason) => self.line.close(close_code, &reason).await,
            End::Refused(error) => self::end(&mut self.line, &error).await,
        }
    }

    async fn converse(&mut self, head: Bytes) -> Result<Infallible, End> {
        self.line.send(head).await?;
        let first = self.opened().await?;
        self.send(&first).await?;
        loop {
            match self.happen().await? {
                Happened::Heard(heard) => {
                    self.silent_beats = 0;
                    if let Some(event) = heard {
                        self.hear(event).await?;
                    }
                }
                Happened::Stored(stored) => {
                    self.storing = None;
                    stored?;
                    self.store();
                }
                Happened::Changed => {
                    let news = self.visit.news()?;
                    if !news.is_empty() {
                        self.send(&news).await?;
                        // There may be more; whatever else happened has its turn first.
                        self.visit.look_again();
                    }
                }
                Happened::Reloaded => {}
                Happened::Beat => self.beat().await?,
            }
        }
    }

    async fn opened(&mut self) -> Result<Vec<Vec<u8>>, End> {
        let Self { app, visit, leaving, .. } = self;
        let peer = Arc::clone(visit.peer());
        tokio::select! {
            () = left(leaving) => Err(restarting().into()),
            () = access_ended(app, &peer) => Err(app.why_ended(&peer).into()),
            first = visit.opened() => Ok(first?),
        }
    }

    async fn happen(&mut self) -> Result<Happened, End> {
        let Self { app, line, visit, leaving, plan, storing, waiting, beat_at, .. } = self;
        let peer = Arc::clone(visit.peer());
        let waiting_bytes: usize = waiting.iter().map(Edit::bytes).sum();
        let may_read =
            waiting.len() < PUBLISHES_MAX && waiting_bytes < app.hub.limits().document_bytes_max;
        let is_stored = async {
            match storing {
                Some(storing) => storing.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = left(leaving) => Err(restarting().into()),
            () = access_ended(app, &peer) => Err(app.why_ended(&peer).into()),
            () = reloaded(plan) => Ok(Happened::Reloaded),
            heard = line.hear(), if may_read => Ok(Happened::Heard(heard?)),
            stored = is_stored => Ok(Happened::Stored(stored)),
            () = visit.changed() => Ok(Happened::Changed),
            () = sleep_until(*beat_at) => Ok(Happened::Beat),
        }
    }

    async fn hear(&mut self, event: Event) -> Result<(), End> {
        let message = match event {
            Event::Binary(message) => message,
            Event::Ping(payload) => return Ok(self.line.send_pong(&payload).await?),
            Event::Pong(_) => return Ok(()),
            Event::Close(close) => return Err(End::Closed(close)),
            Event::Text(_) => {
                let message = "the messages of y-websocket are binary";
                return Err(WireError::new(Code::BadRequest, message).into());
            }
        };
        let heard = self.visit.hear(&message)?;
        self.send(&heard.answers).await?;
        if !heard.states.is_empty() {
            self.visit.announce(heard.states).await?;
        }
        if let Some(edit) = heard.edit {
            self.waiting.push(edit);
            self.store();
        }
        Ok(())
    }

    /// Sends what waits to the log, if nothing is on its way.
    fn store(&mut self) {
        if self.storing.is_none() && !self.waiting.is_empty() {
            let edits = std::mem::take(&mut self.waiting);
            self.storing = Some(Box::pin(self.visit.store(edits)));
        }
    }

    /// What the peer said was said: it is stored, if the log does not take too long. Nobody is told;
    /// a peer that comes back says again what is not there.
    async fn finish_storing(&mut self) {
        let limit = self.app.hub.limits().close_timeout;
        let finished = async {
            while let Some(storing) = &mut self.storing {
                if storing.await.is_err() {
                    return;
                }
                self.storing = None;
                self.store();
            }
        };
        if timeout(limit, finished).await.is_err() {
            tracing::warn!("a socket of a document ends before what it said was stored");
        }
    }

    async fn send(&mut self, messages: &[Vec<u8>]) -> Result<(), End> {
        if !messages.is_empty() {
            self.line.send(frames(messages)).await?;
        }
        Ok(())
    }

    async fn beat(&mut self) -> Result<(), End> {
        if self.silent_beats >= SILENT_BEATS_MAX {
            return Err(lost().into());
        }
        self.silent_beats += 1;
        self.beat_at = Instant::now() + self.app.hub.limits().beat_interval;
        let mut out = BytesMut::new();
        frame::encode_binary(&mut out, &tidewire_docs::beat());
        frame::encode_ping(&mut out, b"");
        Ok(self.line.send(out.freeze()).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// y-websocket 3.1 gives up at 4400–4499 and comes back after everything else.
    #[test]
    fn the_provider_comes_back_where_that_helps() {
        for (code, expected) in [
            (Code::TooLarge, 4413),
            (Code::Forbidden, 4403),
            (Code::TokenExpired, 4401),
            (Code::NoDocument, 4404),
            (Code::BadRequest, 4400),
            (Code::Restarting, 1012),
            (Code::DiskFull, 1013),
            (Code::LogFailed, 1011),
            (Code::Busy, 1013),
            (Code::GateUnavailable, 1013),
            (Code::ConnectionLost, 1013),
        ] {
            assert_eq!(close_code(code), expected, "{code}");
        }
    }
}
