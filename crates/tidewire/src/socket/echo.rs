//! `{prefix}/echo`, in `dev` only: sends back every text and binary message. The same codec as the
//! real socket, for conformance suites and latency probes.

use axum::{
    extract::{Request, State},
    response::Response,
};
use tidewire_proto::{Code, frame::Event};

use tokio::sync::watch;

use super::{
    handshake,
    wire::{Lost, Wire},
};
use crate::{
    answer::Refused,
    app::{App, left},
};

/// The handler.
pub(crate) async fn echo(State(app): State<App>, request: Request) -> Result<Response, Refused> {
    let handshake = handshake::check(&request)?;
    let guard = app.stream_guard();
    Ok(handshake.accept(app, request, |mut wire, app| async move {
        let _guard = guard;
        let mut leaving = app.leaving.subscribe();
        if let Err(Lost::Broken { close_code, reason }) = repeat(&mut wire, &mut leaving).await {
            wire.close(close_code, &reason).await;
        }
    }))
}

async fn repeat(wire: &mut Wire, leaving: &mut watch::Receiver<bool>) -> Result<(), Lost> {
    loop {
        let heard = tokio::select! {
            heard = wire.hear() => heard?,
            () = left(leaving) => {
                wire.close(Code::Restarting.close_code(), Code::Restarting.as_str()).await;
                return Ok(());
            }
        };
        match heard {
            None | Some(Event::Pong(_)) => {}
            Some(Event::Text(text)) => {
                wire.send_text(std::str::from_utf8(&text).unwrap_or_default()).await?;
            }
            Some(Event::Binary(bytes)) => wire.send_binary(&bytes).await?,
            Some(Event::Ping(payload)) => wire.send_pong(&payload).await?,
            Some(Event::Close(close)) => {
                wire.answer_close(close).await;
                return Ok(());
            }
        }
    }
}
