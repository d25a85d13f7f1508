//! The door for event streams: `GET {prefix}/sse?topic=…[&after=CURSOR]`.
//!
//! Works with a bare `EventSource`. A plain connection of our own server is swept; one over TLS has
//! a small task; over HTTP/2, and in an app's own server, the stream is the body of a response. All
//! say the same words, and in each the cursor stands still while the peer takes nothing.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::{HeaderMap, HeaderValue, Method, Version, header};
use tidewire_core::{Begun, Session};
use tidewire_proto::{After, Continuity, Next, WireError, sse};
use tokio::{io::AsyncWriteExt, sync::mpsc, time::timeout};

use crate::{
    answer::Refused,
    app::{App, StreamGuard, restarting},
    handover::{self, Io, Stream as Connection, Taken},
    io::Deadlines,
    query::Query,
    sweep::Arrival,
    wire::Wire,
};

mod events;

use events::EventStream;

/// The handler.
pub(crate) async fn sse(State(app): State<App>, request: Request) -> Result<Response, Refused> {
    let query = Query::parse(request.uri().query(), request.headers(), app.hub.limits())?;
    if app.is_leaving() {
        return Ok(farewell(&app, &restarting()));
    }
    let begun = match begin(&app, &query, request.headers()).await {
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
    let headers = response.headers_mut();
    // Nothing else comes on a connection whose stream has ended.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let wire = if request.version() == Version::HTTP_10 { Wire::Stream } else { Wire::Chunked };
    if wire == Wire::Chunked {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    handover.take(move |taken| stream_on(taken, begun, wire));
    Ok(response)
}

/// A stream that has begun: what it reads, and its first words.
struct Open {
    app: App,
    session: Session,
    hello: String,
    /// Which plan the hello names.
    told: u32,
    guard: StreamGuard,
}

async fn begin(app: &App, query: &Query, headers: &HeaderMap) -> Result<Open, WireError> {
    let peer = app.admit(headers, query.ticket.as_deref()).await?;
    let mut session = app.hub.session(Arc::clone(&app.gate), peer);
    let begun = session.subscribe(&query.filter, query.after.unwrap_or(After::Now)).await?;
    let kept = begun.iter().find(|begun| begun.at.is_some());
    let nothing_kept = Begun { continuity: Continuity::New, at: None };
    let Begun { continuity, at } = *kept.unwrap_or(&nothing_kept);
    let plan = app.plan();
    let hello = sse::hello_frame(&sse::Hello {
        connection: &app.connection_name(),
        beat_ms: app.hub.limits().beat_interval.as_millis() as u64,
        retry_ms: app.retry().as_millis() as u64,
        plan: &plan.tag,
        continuity,
        at,
    });
    let (app, told, guard) = (app.clone(), plan.number, app.stream_guard());
    Ok(Open { app, session, hello, told, guard })
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

fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    // Exactly this: some proxies stop streaming at a charset.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The stream on a connection that was taken over: swept, or in a task of its own.
fn stream_on(taken: Taken, begun: Open, wire: Wire) {
    let Taken { stream, head, place, sweep, .. } = taken;
    match (stream, sweep) {
        (Connection::Plain(stream), Some(sweep)) => {
            let Open { session, hello, told, guard, .. } = begun;
            let first = [head, wire.event(&hello)].concat().into();
            // What else the peer sent is passed over: there is no other answer on this connection.
            let input = bytes::BytesMut::new();
            sweep.receive(Arrival { stream, wire, session, first, input, told, place, guard });
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
        let written = async {
            io.write_all(&chunk).await?;
            io.flush().await
        };
        if let Err(error) = written.await {
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

/// Waits until the peer has closed. What else it sends is passed over: there is no other answer on
/// this connection.
async fn gone(io: &mut Deadlines<Box<dyn Io>>) {
    while handover::read_some(io, |_| {}).await.is_ok_and(|count| count > 0) {}
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
    let limit = stream.limits().slow_reader_timeout;
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
