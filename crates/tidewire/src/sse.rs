//! The door for event streams: `GET {prefix}/sse?topic=…[&after=CURSOR]`.
//!
//! Works with a bare `EventSource`. The response's body pulls from a [`Session`]: while the socket
//! takes nothing, nobody asks for news, and the cursor stands still.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{RawQuery, State},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use http::{HeaderMap, HeaderValue, Version, header};
use tidewire_core::{Framed, News, Session};
use tidewire_proto::{After, Code, Continuity, Next, WireError, sse};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    answer::Refused,
    app::{App, StreamGuard, access_ended, left},
    query::Query,
};

/// Most bytes handed to the socket at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The handler.
pub(crate) async fn sse(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    version: Version,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let query = Query::parse(query.as_deref(), &headers, app.hub.limits())?;
    if app.is_leaving() {
        return Ok(farewell(&app, &restarting()));
    }
    let session = match begin(&app, &query, &headers).await {
        Ok(session) => session,
        Err(error) if is_passing(&error) => return Ok(farewell(&app, &error)),
        Err(error) => return Err(error.into()),
    };
    let stream = EventStream::new(app, session);
    let body = if version == Version::HTTP_2 {
        Body::from_stream(relayed(stream))
    } else {
        Body::from_stream(chunks(stream))
    };
    Ok(response(body))
}

/// The stream as the body of a response: who takes nothing is not asked for.
fn chunks(stream: EventStream) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(stream, |mut stream| async move {
        let chunk = stream.next().await?;
        Some((Ok(chunk), stream))
    })
}

/// The same with a small task in front. An HTTP/2 connection may flow while one of its streams takes
/// nothing, so the connection's own deadline does not see that one; here, one chunk waits at most
/// its time, then the stream ends and its session is gone.
fn relayed(mut stream: EventStream) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let (sender, receiver) = mpsc::channel(1);
    let limit = stream.app.hub.limits().slow_reader_timeout;
    tokio::spawn(async move {
        loop {
            let chunk = tokio::select! {
                chunk = stream.next() => chunk,
                () = sender.closed() => return,
            };
            let Some(chunk) = chunk else { return };
            match timeout(limit, sender.send(chunk)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    tracing::info!("an event stream accepted nothing for too long and is closed");
                    return;
                }
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async move {
        let chunk = receiver.recv().await?;
        Some((Ok(chunk), receiver))
    })
}

async fn begin(app: &App, query: &Query, headers: &HeaderMap) -> Result<Session, WireError> {
    let peer = app.admit(headers, query.ticket.as_deref()).await?;
    let mut session = app.hub.session(Arc::clone(&app.gate), peer);
    session.subscribe(&query.filter, query.after.unwrap_or(After::Now)).await?;
    Ok(session)
}

/// Will the same request do later?
fn is_passing(error: &WireError) -> bool {
    matches!(error.code.next(), Next::Retry | Next::Resume)
}

/// A stream that says goodbye at once. `200`, because a native `EventSource` gives up for ever on
/// any other status; its `retry:` brings the client back.
pub(crate) fn farewell(app: &App, error: &WireError) -> Response {
    let retry_ms = app.restart_slot().as_millis() as u64;
    response(Body::from(bye(error, retry_ms)))
}

fn bye(error: &WireError, retry_ms: u64) -> String {
    sse::bye_frame(error.code.as_str(), &error.message, error.code.next().as_str(), retry_ms)
}

fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    // Exactly this: some proxies stop streaming at a charset.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn restarting() -> WireError {
    WireError::new(Code::Restarting, "the server is restarting: come back with your cursor")
}

/// One client's stream: its session, and at most one batch that is partly written.
struct EventStream {
    app: App,
    session: Session,
    leaving: watch::Receiver<bool>,
    hello: Option<Bytes>,
    batch: VecDeque<Arc<Framed>>,
    beat_at: Instant,
    ended: bool,
    _guard: StreamGuard,
}

enum Happened {
    News(News),
    Beat,
    End(WireError, Duration),
}

impl EventStream {
    fn new(app: App, session: Session) -> Self {
        let limits = app.hub.limits();
        let kept = session.subscriptions().iter().find(|subscription| subscription.is_kept());
        let hello = sse::hello_frame(&sse::Hello {
            connection: &app.connection_name(),
            beat_ms: limits.beat_interval.as_millis() as u64,
            retry_ms: app.retry().as_millis() as u64,
            continuity: kept.map_or(Continuity::New, tidewire_core::Subscription::continuity),
            at: session.cursor(),
        });
        Self {
            leaving: app.leaving.subscribe(),
            beat_at: Instant::now() + limits.beat_interval,
            _guard: app.stream_guard(),
            hello: Some(hello.into()),
            batch: VecDeque::new(),
            ended: false,
            session,
            app,
        }
    }

    /// The next bytes; nothing when the stream has ended.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let chunk = if let Some(hello) = self.hello.take() {
                hello
            } else if self.ended {
                return None;
            } else if self.batch.is_empty() {
                match self.happen().await {
                    Happened::News(news) => self.take_news(news),
                    Happened::Beat => sse::beat_frame(self.session.cursor()).into(),
                    Happened::End(error, slot) => {
                        self.ended = true;
                        bye(&error, slot.as_millis() as u64).into()
                    }
                }
            } else {
                self.next_of_batch()
            };
            if !chunk.is_empty() {
                self.beat_at = Instant::now() + self.app.hub.limits().beat_interval;
                return Some(chunk);
            }
        }
    }

    async fn happen(&mut self) -> Happened {
        let Self { app, session, leaving, beat_at, .. } = self;
        // What is read while news are awaited: the peer of a stream never changes.
        let peer = Arc::clone(session.peer());
        tokio::select! {
            biased;
            () = left(leaving) => Happened::End(restarting(), app.restart_slot()),
            () = access_ended(app, &peer) => {
                let message = "the token has expired: get a new one and resume with your cursor";
                Happened::End(WireError::new(Code::TokenExpired, message), app.retry())
            }
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

    fn take_news(&mut self, news: News) -> Bytes {
        self.batch.extend(news.entries);
        news.gap.map(|(_, gap)| sse::gap_frame(&gap).into()).unwrap_or_default()
    }

    fn next_of_batch(&mut self) -> Bytes {
        let mut chunk = BytesMut::new();
        while let Some(framed) = self.batch.front() {
            let frame = framed.sse();
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
