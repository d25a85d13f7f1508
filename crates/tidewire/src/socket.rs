//! The door for WebSockets: `GET {prefix}/socket`, many subscriptions on one connection.
//!
//! One task a connection (swept sockets come later): it reads commands, pulls news from its
//! [`Session`] and writes both answers. While a write waits for the peer, nothing else is read or
//! asked for, so a slow peer costs one batch.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesOrdered};
use tidewire_core::{Credential, Filter, News, Session};
use tidewire_proto::{
    After, Code, Message, Topic, WireError,
    frame::{CloseFrame, Event},
    json, ws,
    ws::{Command, Request as Asked, RequestError},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    answer::Refused,
    app::{App, StreamGuard, access_ended, left},
};

mod echo;
mod handshake;
mod wire;

pub(crate) use echo::echo;
use wire::{Lost, Wire};

/// Most publishes of one socket that are on their way to the log; beyond it the socket is not read.
const PUBLISHES_MAX: usize = 64;
/// Beats without a word from the peer before it counts as gone.
const SILENT_BEATS_MAX: u32 = 3;

/// The handler.
pub(crate) async fn socket(State(app): State<App>, request: Request) -> Result<Response, Refused> {
    let handshake = handshake::check(&request)?;
    if app.is_leaving() {
        return Err(restarting().into());
    }
    let ticket = handshake::ticket(&request);
    let peer = app.admit(request.headers(), ticket.as_deref()).await?;
    let session = app.hub.session(Arc::clone(&app.gate), peer);
    // From now on, not from when hyper lets go of it: a shutdown in between must see it.
    let guard = app.stream_guard();
    let talk = |wire, app| Socket::new(app, session, wire, guard).run();
    Ok(handshake.accept(app, request, talk))
}

fn restarting() -> WireError {
    WireError::new(Code::Restarting, "the server is restarting: come back with your cursors")
}

struct Socket {
    app: App,
    session: Session,
    wire: Wire,
    leaving: watch::Receiver<bool>,
    // Publishes on their way, answered in the order in which they were asked.
    answers: FuturesOrdered<BoxFuture<'static, String>>,
    beat_at: Instant,
    silent_beats: u32,
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
    Beat,
}

impl Socket {
    fn new(app: App, session: Session, wire: Wire, guard: StreamGuard) -> Self {
        Self {
            leaving: app.leaving.subscribe(),
            answers: FuturesOrdered::new(),
            beat_at: Instant::now() + app.hub.limits().beat_interval,
            silent_beats: 0,
            _guard: guard,
            app,
            session,
            wire,
        }
    }

    async fn run(mut self) {
        let end = match self.converse().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        self.finish_publishes(&end).await;
        match end {
            End::Gone => {}
            End::Closed(close) => self.wire.answer_close(close).await,
            End::Broken(close_code, reason) => self.wire.close(close_code, &reason).await,
            End::Bye(error, slot) => {
                let bye = ws::bye(&error, slot.as_millis() as u64);
                if self.wire.send_text(&bye).await.is_ok() {
                    self.wire.close(error.code.close_code(), error.code.as_str()).await;
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
                is_heard = is_heard && self.wire.send_text(&answer).await.is_ok();
            }
        };
        if timeout(limit, finished).await.is_err() {
            tracing::warn!("a socket ends before its publishes were answered");
        }
    }

    async fn converse(&mut self) -> Result<std::convert::Infallible, End> {
        let limits = self.app.hub.limits();
        let (beat, retry) = (limits.beat_interval, self.app.retry());
        let hello = ws::hello(
            &self.app.connection_name(),
            beat.as_millis() as u64,
            retry.as_millis() as u64,
        );
        self.wire.send_text(&hello).await?;
        loop {
            match self.happen().await? {
                Happened::Heard(heard) => {
                    self.silent_beats = 0;
                    if let Some(event) = heard? {
                        self.hear(event).await?;
                    }
                }
                Happened::Answered(answer) => self.wire.send_text(&answer).await?,
                Happened::News(news) => self.tell(news).await?,
                Happened::Beat => self.beat(beat).await?,
            }
        }
    }

    async fn happen(&mut self) -> Result<Happened, End> {
        let Self { app, session, wire, leaving, answers, beat_at, .. } = self;
        let peer = Arc::clone(session.peer());
        let may_read = answers.len() < PUBLISHES_MAX;
        tokio::select! {
            () = left(leaving) => Err(End::Bye(restarting(), app.restart_slot())),
            () = access_ended(app, &peer) => {
                let message = "the token has expired: get a new one and resume with your cursors";
                Err(End::Bye(WireError::new(Code::TokenExpired, message), app.retry()))
            }
            heard = wire.hear(), if may_read => Ok(Happened::Heard(heard)),
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
        let asked = match event {
            Event::Text(text) => {
                // The codec gives text only when it is UTF-8.
                ws::parse_text(std::str::from_utf8(&text).unwrap_or_default())
            }
            Event::Binary(bytes) => ws::parse_binary(&bytes),
            Event::Ping(payload) => return Ok(self.wire.send_pong(&payload).await?),
            Event::Pong(_) => return Ok(()),
            Event::Close(close) => return Err(End::Closed(close)),
        };
        let answer = match asked {
            Ok(Asked { reference, command: Command::Publish(message) }) => {
                self.publish(reference, *message);
                return Ok(());
            }
            Ok(Asked { reference, command: Command::Token { token } }) => {
                return self.renew(&reference, &token).await;
            }
            Ok(Asked { reference, command }) => match self.obey(command).await {
                Ok(body) => ws::ok(&reference, &body),
                Err(error) => ws::error(&reference, &error),
            },
            Err(RequestError { reference, error }) => ws::error(&reference, &error),
        };
        Ok(self.wire.send_text(&answer).await?)
    }

    fn publish(&mut self, reference: String, message: Message) {
        let publisher = self.session.publisher();
        self.answers.push_back(Box::pin(async move {
            match publisher.publish(message).await {
                Ok(published) => {
                    let mut body = String::new();
                    json::push_published(
                        &mut body,
                        published.id,
                        published.stored,
                        published.duplicate,
                    );
                    ws::ok(&reference, &body)
                }
                Err(error) => ws::error(&reference, &error),
            }
        }));
    }

    async fn obey(&mut self, command: Command) -> Result<String, WireError> {
        match command {
            Command::Subscribe { topic, after } => self.subscribe(topic, after).await,
            Command::Unsubscribe { topic } => {
                if self.session.unsubscribe(&Filter::from(topic.clone())) {
                    return Ok(format!("{{\"topic\":\"{topic}\"}}"));
                }
                let message = format!("there is no subscription to `{topic}` on this socket");
                Err(WireError::new(Code::NotSubscribed, message))
            }
            // Taken out before: they are answered otherwise.
            Command::Publish(_) | Command::Token { .. } => {
                Err(WireError::new(Code::Internal, "a command came twice"))
            }
        }
    }

    /// Goes on with a new token. One that is not good changes nothing. One that is good, but another
    /// subject's or without the rights to what is being read, ends the socket: access ends when it
    /// ends, and not only when the old token would have.
    async fn renew(&mut self, reference: &str, token: &str) -> Result<(), End> {
        let renewed = self.session.renew(Credential::Bearer(token)).await;
        let answer = match &renewed {
            Ok(()) => ws::ok(reference, "{}"),
            Err(error) => ws::error(reference, error),
        };
        self.wire.send_text(&answer).await?;
        match renewed {
            Err(error) if error.code == Code::Forbidden => Err(End::Bye(error, self.app.retry())),
            _ => Ok(()),
        }
    }

    async fn subscribe(&mut self, topic: Topic, after: After) -> Result<String, WireError> {
        let most = self.app.hub.limits().subscriptions_per_socket_max;
        if self.session.subscriptions().len() >= most {
            let message = format!("one socket has at most {most} subscriptions");
            return Err(WireError::new(Code::TooManyTopics, message));
        }
        let begun = self.session.subscribe(&Filter::from(topic.clone()), after).await?;
        let begun = begun.first();
        let continuity = begun.map_or(json::Continuity::New, |begun| begun.continuity());
        let at = begun.and_then(tidewire_core::Subscription::cursor);
        Ok(ws::subscribed(&topic, &continuity, at))
    }

    async fn tell(&mut self, news: News) -> Result<(), End> {
        if let Some((filter, gap)) = &news.gap {
            for topic in filter.topics() {
                self.wire.send_text(&ws::gap(gap, topic)).await?;
            }
        }
        let frames: Vec<Bytes> = news.entries.iter().map(|framed| framed.ws()).collect();
        drop(news.entries);
        self.wire.send_frames(frames).await?;
        for topic in news.live.iter().flat_map(Filter::topics) {
            let subscriptions = self.session.subscriptions().iter();
            let mut of_topic = subscriptions.filter(|have| have.filter().topics().contains(topic));
            let at = of_topic.next().and_then(tidewire_core::Subscription::cursor);
            self.wire.send_text(&ws::live(topic, at)).await?;
        }
        Ok(())
    }

    async fn beat(&mut self, interval: Duration) -> Result<(), End> {
        if self.answers.len() >= PUBLISHES_MAX {
            // The log is slow and the socket is not read meanwhile: its peer cannot be heard.
            self.silent_beats = 0;
        }
        if self.silent_beats >= SILENT_BEATS_MAX {
            let message = "no pong came back: the connection counts as lost";
            return Err(End::Bye(WireError::new(Code::ConnectionLost, message), self.app.retry()));
        }
        self.silent_beats += 1;
        self.beat_at = Instant::now() + interval;
        self.wire.send_text(&ws::beat(self.session.cursor())).await?;
        Ok(self.wire.send_ping(b"beat").await?)
    }
}
