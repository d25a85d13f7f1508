//! A peer for the bench: what a good axum program for live events looks like. One
//! `tokio::sync::broadcast` channel per topic; each reader is a task with a receiver.
//!
//! Set for speed: release build with link-time optimisation, no log, `TCP_NODELAY`, no compression,
//! small WebSocket buffers (the default is 128 KiB for each socket), the text shared and not copied.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, RwLock};

use axum::Router;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use futures_util::{Stream, StreamExt};
use tokio::net::TcpSocket;
use tokio::sync::broadcast::{self, Receiver, Sender, error::RecvError};
use tokio_stream::wrappers::BroadcastStream;

/// Events that a slow reader may be behind before it loses the oldest.
const CHANNEL_EVENTS: usize = 1024;
/// Pending connections: thousands come at once in the bench.
const BACKLOG: u32 = 4096;
const SOCKET_READ_BYTES: usize = 1024;

type Topics = Arc<RwLock<HashMap<String, Sender<Utf8Bytes>>>>;

#[tokio::main]
async fn main() -> io::Result<()> {
    let app = Router::new()
        .route("/sse/{*topic}", get(sse))
        .route("/ws/{*topic}", get(ws))
        .route("/pub/{*topic}", post(publish))
        .with_state(Topics::default());
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener = socket.listen(BACKLOG)?;
    println!("http://{} {}", listener.local_addr()?, std::process::id());
    let listener = listener.tap_io(|tcp| drop(tcp.set_nodelay(true)));
    axum::serve(listener, app).await
}

async fn publish(
    State(topics): State<Topics>,
    Path(topic): Path<String>,
    text: String,
) -> StatusCode {
    // An error means that nobody listens, which is no error here.
    drop(sender(&topics, topic).send(text.into()));
    StatusCode::NO_CONTENT
}

async fn sse(
    State(topics): State<Topics>,
    Path(topic): Path<String>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let texts = BroadcastStream::new(sender(&topics, topic).subscribe());
    Sse::new(texts.filter_map(async |text| Some(Ok(Event::default().data(text.ok()?.as_str())))))
}

async fn ws(
    State(topics): State<Topics>,
    Path(topic): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let texts = sender(&topics, topic).subscribe();
    upgrade
        .read_buffer_size(SOCKET_READ_BYTES)
        .write_buffer_size(0)
        .on_upgrade(|socket| carry(socket, texts))
        .into_response()
}

/// Sends what comes to the channel, until the other side leaves.
async fn carry(mut socket: WebSocket, mut texts: Receiver<Utf8Bytes>) {
    loop {
        tokio::select! {
            text = texts.recv() => match text {
                Ok(text) => if socket.send(Message::Text(text)).await.is_err() { return },
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            heard = socket.recv() => if !matches!(heard, Some(Ok(_))) { return },
        }
    }
}

fn sender(topics: &Topics, topic: String) -> Sender<Utf8Bytes> {
    if let Some(sender) = topics.read().expect("no reader panics").get(&topic) {
        return sender.clone();
    }
    let mut topics = topics.write().expect("no writer panics");
    topics.entry(topic).or_insert_with(|| broadcast::channel(CHANNEL_EVENTS).0).clone()
}
