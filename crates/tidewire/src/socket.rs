//! The door for WebSockets: `GET {prefix}/socket`, many subscriptions on one connection.
//!
//! A plain connection of our own server is swept; every other has a task. Both say and obey the same
//! words (`talk`).

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use tidewire_proto::{Code, WireError, plan::Transport, ws};

use crate::{
    answer::Refused,
    app::{App, restarting},
    handover::{Stream, Taken},
    sweep::Arrival,
    wire::{self, Wire},
};

mod echo;
pub(crate) mod handshake;
pub(crate) mod line;
pub(crate) mod talk;
mod task;

pub(crate) use echo::echo;
use task::Socket;

/// The handler.
pub(crate) async fn socket(State(app): State<App>, request: Request) -> Result<Response, Refused> {
    let handshake = handshake::check(&request)?;
    if app.is_leaving() {
        return Err(restarting().into());
    }
    let ticket = handshake::ticket(&request);
    let peer = app.admit(request.headers(), ticket.as_deref()).await?;
    let name = app.connection_name();
    let peer = app.connected(peer, &name);
    let session = app.hub.session(Arc::clone(&app.gate), peer);
    // From now on, not from when hyper lets go of it: a shutdown in between must see it.
    let guard = app.stream_guard(Transport::Ws);
    Ok(handshake.accept(request, move |connected| match connected {
        handshake::Connected::Taken(Taken {
            stream: Stream::Plain(stream),
            head,
            input,
            place,
            sweep: Some(sweep),
        }) => {
            let (hello, told) = hello(&app, &name);
            let first = [head, hello].concat().into();
            let (wire, named) = (Wire::Socket, None);
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
        handshake::Connected::Taken(Taken { stream, head, input, place, .. }) => {
            let socket = Socket::new(app, (session, name), stream.into_io(), input, guard);
            tokio::spawn(async move {
                let _place = place;
                socket.run(head).await;
            });
        }
        handshake::Connected::Upgraded(io) => {
            let socket = Socket::new(app, (session, name), io, bytes::BytesMut::new(), guard);
            tokio::spawn(socket.run(Bytes::new()));
        }
    }))
}

/// What a socket hears first, and which plan it names.
pub(crate) fn hello(app: &App, name: &str) -> (Bytes, u32) {
    let beat_ms = app.hub.limits().beat_interval.as_millis() as u64;
    let retry_ms = app.retry().as_millis() as u64;
    let plan = app.plan();
    let hello = ws::hello(name, beat_ms, retry_ms, &plan.tag);
    (wire::text(&hello), plan.number)
}

/// No pong came back.
pub(crate) fn lost() -> WireError {
    let message = "no pong came back: the connection counts as lost";
    WireError::new(Code::ConnectionLost, message)
}
