//! `{prefix}/echo`, in `dev` only: sends back every text and binary message. The same codec as the
//! real socket, for conformance suites and latency probes.

use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use tidewire_proto::{Code, frame::Event, plan::Transport};

use tokio::sync::watch;

use super::{
    handshake::{self, Connected},
    line::{Line, Lost},
};
use crate::{
    answer::Refused,
    app::{App, left},
    handover::Taken,
};

/// The handler.
pub(crate) async fn echo(State(app): State<App>, request: Request) -> Result<Response, Refused> {
    let handshake = handshake::check(&request)?;
    let guard = app.stream_guard(Transport::Ws);
    Ok(handshake.accept(request, move |connected| {
        tokio::spawn(async move {
            let _guard = guard;
            let limits = app.hub.limits();
            let (mut line, head, _place) = match connected {
                Connected::Taken(Taken { stream, head, input, place, .. }) => {
                    (Line::new(stream.into_io(), input, limits), head, Some(place))
                }
                Connected::Upgraded(io) => {
                    (Line::new(io, BytesMut::new(), limits), Bytes::new(), None)
                }
            };
            let mut leaving = app.leaving.subscribe();
            let ended = repeat(&mut line, head, &mut leaving).await;
            if let Err(Lost::Broken { close_code, reason }) = ended {
                line.close(close_code, &reason).await;
            }
        });
    }))
}

async fn repeat(
    line: &mut Line,
    head: Bytes,
    leaving: &mut watch::Receiver<bool>,
) -> Result<(), Lost> {
    line.send(head).await?;
    loop {
        let heard = tokio::select! {
            heard = line.hear() => heard?,
            () = left(leaving) => {
                line.close(Code::Restarting.close_code(), Code::Restarting.as_str()).await;
                return Ok(());
            }
        };
        match heard {
            None | Some(Event::Pong(_)) => {}
            Some(Event::Text(text)) => {
                line.send_text(std::str::from_utf8(&text).unwrap_or_default()).await?;
            }
            Some(Event::Binary(bytes)) => line.send_binary(&bytes).await?,
            Some(Event::Ping(payload)) => line.send_pong(&payload).await?,
            Some(Event::Close(close)) => {
                line.answer_close(close).await;
                return Ok(());
            }
        }
    }
}
