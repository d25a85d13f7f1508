//! The buttons that hurt: what production does to connections, on a machine where nobody minds. They
//! are there because `tidewire dev` is: on loopback only, for who is signed in.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tidewire::{Connected, Features, plan::Transport};

use super::{
    answer::{answer, body, ok},
    session::signed_in,
};
use crate::{failure::Failure, features, windows, workboard::Running};

/// The feature that is moved.
const CHAT: &str = "chat";

#[derive(Deserialize)]
pub(super) struct Window {
    window: String,
}

#[derive(Deserialize)]
pub(super) struct Moved {
    transport: String,
}

/// Ends this life of the server in order; whoever runs it begins the next.
pub(super) async fn restart(
    State(running): State<Arc<Running>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Failure> {
    signed_in(&running, &headers).await?;
    let _: Value = body(&headers, &bytes)?;
    running.restart.notify_one();
    Ok(answer(StatusCode::ACCEPTED, &json!({ "starts": running.starts })))
}

/// Resets every connection of a window, but for the one that this came on.
pub(super) async fn cut(
    State(running): State<Arc<Running>>,
    request: Request,
) -> Result<Response, Failure> {
    let asking = request.extensions().get::<Connected>().cloned();
    let (parts, bytes) = request.into_parts();
    signed_in(&running, &parts.headers).await?;
    let bytes = axum::body::to_bytes(bytes, 1_024).await;
    let bytes = bytes.map_err(|error| Failure::Bad(error.to_string()))?;
    let Window { window } = body(&parts.headers, &bytes)?;
    if !windows::is_name(&window) {
        return Err(Failure::Bad("`window` is 8 to 32 of A-Z a-z 0-9 _ -".into()));
    }
    Ok(ok(&json!({ "cut": running.windows.cut(&window, asking.as_ref()) })))
}

/// The address of a proxy that holds event streams back.
pub(super) async fn buffer(
    State(running): State<Arc<Running>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Failure> {
    signed_in(&running, &headers).await?;
    let _: Value = body(&headers, &bytes)?;
    let address = running.relay().await?;
    Ok(ok(&json!({ "url": format!("http://{address}") })))
}

/// Answers the first question of the chat otherwise, as somebody who edits the config would.
pub(super) async fn chat(
    State(running): State<Arc<Running>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Failure> {
    signed_in(&running, &headers).await?;
    let Moved { transport } = body(&headers, &bytes)?;
    let client_sends = match transport.as_str() {
        "ws" => true,
        "sse" => false,
        _ => return Err(Failure::Bad("`transport` is \"sse\" or \"ws\"".into())),
    };
    let mut settings = running.tidewire.settings();
    settings.features = answered(&settings.features, client_sends);
    let reloaded = running.tidewire.reload(settings);
    let reloaded = reloaded.map_err(|error| Failure::Bad(error.to_string()))?;
    let features = running.tidewire.hub().features();
    let transport = features.named(CHAT).map(|chat| chat.decision().transport);
    let transport = transport.map(Transport::as_str);
    let changed = reloaded.is_plan_new;
    Ok(ok(&json!({"feature": CHAT, "transport": transport, "changed": changed})))
}

fn answered(features: &Features, client_sends: bool) -> Features {
    let mut declared = features::declared(features);
    let chat = declared.entry(CHAT.to_owned()).or_insert_with(features::chat);
    chat.answers.client_sends = client_sends;
    chat.transport = None;
    features::with_undeclared(declared, features)
}
