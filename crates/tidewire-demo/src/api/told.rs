//! What somebody was notified of: pages of Tidewire's log, which has it already, and the newest one
//! that was seen, which only the app knows.

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use tidewire::{Cursor, Filter, Topic, tidewire_core::framed::Framed};

use super::{
    answer::{asked, body, done, number, ok},
    session::signed_in,
};
use crate::{
    failure::Failure,
    store::{Rows, SEEN},
    workboard::Running,
};

/// Notifications in an answer that asks for no number.
const LAST_DEFAULT: u64 = 30;
/// And at most.
const LAST_MAX: u64 = 100;

#[derive(Deserialize)]
pub(super) struct Seen {
    id: String,
}

pub(super) async fn notifications(
    State(running): State<Arc<Running>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let person = signed_in(&running, &headers).await?;
    let asked = |name: &str| asked(query.as_deref(), name);
    let last = asked("last").map_or(Ok(LAST_DEFAULT), |last| number(&last))?.clamp(1, LAST_MAX);
    let before = asked("before").map(|before| place(&before)).transpose()?;
    let topic = Topic::parse(&format!("notifications/{}", person.id));
    let filter = Filter::from(topic.map_err(|error| Failure::Store(error.to_string()))?);
    let limit = usize::try_from(last).unwrap_or(usize::MAX);
    let page = running.tidewire.hub().history_back(&filter, before, limit).await;
    let page = page.map_err(|error| Failure::Store(error.to_string()))?;
    let seen: Option<String> = running.store.read(move |rows| rows.row(SEEN, &person.id)).await?;
    let seen_at = seen.as_deref().and_then(|seen| Cursor::parse(seen).ok());
    let is_new =
        |framed: &&Arc<Framed>| seen_at.is_none_or(|seen| framed.entry().sequence > seen.sequence);
    let unread = page.entries.iter().filter(is_new).count();
    let entries = page.entries.iter().map(|framed| shown(framed));
    Ok(ok(&json!({
        "entries": entries.collect::<Vec<_>>(),
        "seen": seen,
        "unread": unread,
        "earlier": page.earlier,
    })))
}

fn shown(framed: &Framed) -> Value {
    let entry = framed.entry();
    // Anybody may publish in dev, also what is not JSON.
    let data: Option<Value> = entry.data.as_text().and_then(|text| serde_json::from_str(text).ok());
    let id = framed.id().map(|id| id.to_string());
    json!({"id": id, "event": entry.event.as_str(), "data": data, "at_ms": entry.at_ms})
}

pub(super) async fn seen(
    State(running): State<Arc<Running>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Failure> {
    let person = signed_in(&running, &headers).await?;
    let Seen { id } = body(&headers, &bytes)?;
    let cursor = place(&id)?;
    let see = move |change: &crate::store::Change| {
        let before: Option<String> = change.row(SEEN, &person.id)?;
        let before = before.and_then(|before| Cursor::parse(&before).ok());
        // Another window may have seen more.
        if before.is_some_and(|before| before.sequence >= cursor.sequence) {
            return Ok(());
        }
        change.put(SEEN, &person.id, &cursor.to_string())
    };
    running.store.write(see).await?;
    Ok(done())
}

fn place(text: &str) -> Result<Cursor, Failure> {
    Cursor::parse(text).map_err(|error| Failure::Bad(error.to_string()))
}
