//! The door for event streams: `GET {prefix}/sse?topic=…[&after=CURSOR][&connection=NAME]`.
//!
//! Works with a bare `EventSource`. A plain connection of our own server is swept; one over TLS has
//! a small task; over HTTP/2, and in an app's own server, the stream is the body of a response. All
//! say the same words, and in each the cursor stands still while the peer takes nothing.

use std::{convert::Infallible, io, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::{HeaderMap, HeaderValue, Method, Version, header};
use tidewire_core::{Begun, Session};
use tidewire_proto::{Continuity, Next, WireError, plan::Transport, sse};
use tokio::{io::AsyncWriteExt, sync::mpsc, time::timeout};

use crate::{
    answer::Refused,
    app::{App, StreamGuard, restarting},
    handover::{self, Io, Stream as Connection, Taken},
    io::Deadlines,
    path::Trace,
    query::Query,
    sweep::{Arrival, Named},
    wire::Wire,
};

mod events;

use events::EventStream;

/// When a stream that asks for it beats first, after its hello, whatever else it says. Soon and often
/// enough for a client to find out in its first seconds that nothing comes through.
pub(crate) const EARLY_BEATS_MS: [u64; 4] = [250, 500, 1_000, 2_000];

/// The handler.
pub(crate) async fn sse(State(app): State<App>, request: Request) -> Result<Response, Refused> {
    let query = Query::parse(request.uri().query(), request.headers(), app.hub.limits())?;
    let wish = Wish { connection: query.connection()?, beats_early: query.has_early_beats()? };
    if app.is_leaving() {
        return Ok(farewell(&app, &restarting()));
    }
    let begun = match begin(&app, &query, wish, request.headers()).await {
        Ok(begun) => begun,
        Err(error) if is_passing(&error) => return Ok(farewell(&app, &error)),
        Err(error) => return Err(error.into()),
    };
    let handover = handover::of(&request).filter(|_| request.method() == Method::GET);
    let Some(handover) = handover else {
        let is_h2 = request.version() == Version::HTTP_2;
        let stream = EventStream::new(begun, Wire::Stream);
        let body = if is_h2 {
            Body::from_stream(relayed(stream))
        } else {
            Body::from_stream(chunks(stream))
        };
        return Ok(response(body));
    };
    let mut response = response(Body::empty());
    close_after(&mut response);
    let headers = response.headers_mut();
    let wire = if request.version() == Version::HTTP_10 { Wire::Stream } else { Wire::Chunked };
    if wire == Wire::Chunked {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    handover.take(move |taken| stream_on(taken, begun, wire));
    Ok(response)
}

/// What a client wants of its stream beside topics.
struct Wish<'a> {
    connection: Option<&'a str>,
    beats_early: bool,
}

/// A stream that has begun: what it reads, and its first words.
struct Open {
    app: App,
    session: Session,
    hello: String,
    named: Named,
    /// Which plan the hello names.
    told: u32,
    guard: StreamGuard,
}

async fn begin(
    app: &App,
    query: &Query,
    wish: Wish<'_>,
    headers: &HeaderMap,
) -> Result<Open, WireError> {
    let peer = app.admit(headers, query.ticket.as_deref()).await?;
    let connection = wish.connection.map_or_else(|| app.connection_name(), str::to_owned);
    let peer = app.connected(peer, &connection);
    let mut session = app.hub.session(Arc::clone(&app.gate), peer);
    let after = query.after.unwrap_or_else(|| app.hub.fresh(&query.filter));
    let begun = session.subscribe(&query.filter, after).await?;
    let kept = begun.iter().find(|begun| begun.at.is_some());
    let nothing_kept = Begun { continuity: Continuity::New, at: None };
    let Begun { continuity, at } = *kept.unwrap_or(&nothing_kept);
    let plan = app.plan();
    let hello = sse::hello_frame(&sse::Hello {
        connection: &connection,
        beat_ms: app.hub.limits().beat_interval.as_millis() as u64,
        retry_ms: app.retry().as_millis() as u64,
        plan: &plan.tag,
        continuity,
        at,
    });
    let named = Named {
        name: app.paths.name(session.peer().subject.as_deref(), &connection),
        // A gap is told in a frame of its own.
        frames: if matches!(continuity, Continuity::Gap(_)) { 2 } else { 1 },
        beats_early: wish.beats_early,
    };
    let (told, guard) = (plan.number, app.stream_guard(Transport::Sse));
    Ok(Open { app: app.clone(), session, hello, named, told, guard })
}

/// Will the same request do later?
fn is_passing(error: &WireError) -> bool {
    matches!(error.code.next(), Next::Retry | Next::Resume)
}

/// A stream that says goodbye at once. `200`, because a native `EventSource` gives up for ever on
/// any other status; its `retry:` brings the client back.
pub(crate) fn farewell(app: &App, error: &WireError) -> Response {
    response(Body::from(Wire::Stream.bye(error, app.restart_slot())))
}

/// An answer with the head of an event stream.
pub(crate) fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    // Exactly this: some proxies stop streaming at a charset.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Nothing else comes on a connection whose stream has ended.
pub(crate) fn close_after(response: &mut Response) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// The stream on a connection that was taken over: swept, or in a task of its own.
fn stream_on(taken: Taken, begun: Open, wire: Wire) {
    let Taken { stream, head, place, sweep, .. } = taken;
    match (stream, sweep) {
        (Connection::Plain(stream), Some(sweep)) => {
            let Open { app, session, hello, named, told, guard } = begun;
            app.paths.is_swept(named.name);
            let first = [head, wire.event(&hello)].concat().into();
            // What else the peer sent is passed over: there is no other answer on this connection.
            let (input, named) = (bytes::BytesMut::new(), Some(named));
            sweep.receive(Arrival {
                stream,
                wire,
                session,
                first,
                input,
                named,
                told,
                place,
                guard,
            });
        }
        (stream, _) => {
            // Boxed, because a future that holds it holds it twice.
            let events = Box::new(EventStream::new(begun, wire));
            let io = Box::new(stream.into_deadlines(events.limits().slow_reader_timeout));
            tokio::spawn(async move {
                let _place = place;
                write_all(io, head, events).await;
            });
        }
    }
}

/// Writes a stream to the end, or until the peer is gone.
async fn write_all(mut io: Box<Deadlines<Box<dyn Io>>>, head: Bytes, mut events: Box<EventStream>) {
    let mut chunk = head;
    loop {
        if let Err(error) = write(&mut io, &chunk, events.trace()).await {
            return tracing::debug!(%error, "an event stream ended early");
        }
        let next = tokio::select! {
            next = events.next() => next,
            () = gone(&mut io) => return,
        };
        match next {
            Some(next) => chunk = next,
            None => return drop(io.shutdown().await),
        }
    }
}

/// Writes a chunk, and tells how far it has come.
async fn write(io: &mut Deadlines<Box<dyn Io>>, chunk: &[u8], trace: &Trace) -> io::Result<()> {
    trace.is_busy();
    let mut sent = 0;
    while let Some(left) = chunk.get(sent..).filter(|left| !left.is_empty()) {
        let count = io.write(left).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let before = sse::frames_begun(chunk, sent);
        sent += count;
        trace.wrote(sse::frames_begun(chunk, sent) - before);
    }
    io.flush().await?;
    trace.waits();
    Ok(())
}

/// Waits until the peer has closed. What else it sends is passed over: there is no other answer on
/// this connection.
async fn gone(io: &mut Deadlines<Box<dyn Io>>) {
    while handover::read_some(io, |_| {}).await.is_ok_and(|count| count > 0) {}
}

/// The stream as the body of a response: who takes nothing is not asked for.
fn chunks(stream: EventStream) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(stream, |mut stream| async move {
        stream.trace().waits();
        let chunk = stream.next().await?;
        hand_over(&chunk, stream.trace());
        Some((Ok(chunk), stream))
    })
}

/// The same with a small task in front. An HTTP/2 connection may flow while one of its streams takes
/// nothing, so the connection's own deadline does not see that one; here, one chunk waits at most
/// its time, then the stream ends and its session is gone.
fn relayed(mut stream: EventStream) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let (sender, receiver) = mpsc::channel(1);
    let (limit, trace) = (stream.limits().slow_reader_timeout, Arc::clone(stream.trace()));
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
    stream::unfold((receiver, trace), |(mut receiver, trace)| async move {
        trace.waits();
        let chunk = receiver.recv().await?;
        hand_over(&chunk, &trace);
        Some((Ok(chunk), (receiver, trace)))
    })
}

/// hyper takes a chunk. It asks for one only when it has room, so what it has taken counts as
/// written: what the kernel does with it is not seen from here.
fn hand_over(chunk: &[u8], trace: &Trace) {
    trace.is_busy();
    trace.wrote(sse::frames_begun(chunk, chunk.len()));
}
