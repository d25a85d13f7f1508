//! Who is at the window: a choice among six people, and a session for it. There is no password, because
//! there is nothing to protect on the machine of its owner.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bytes::Bytes;
use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{body, created, done, ok};
use crate::{
    failure::Failure,
    gate::person_of,
    model::Person,
    store::{Change, PEOPLE, Rows, SESSIONS},
    workboard::Running,
};

/// Sessions that are known; the oldest goes when another is opened.
const SESSIONS_MAX: usize = 1_000;

/// Somebody's session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) person: String,
    at: u64,
}

#[derive(Deserialize)]
pub(super) struct SignIn {
    person: String,
}

/// Who sends this, by the session it shows.
pub(super) async fn signed_in(running: &Running, headers: &HeaderMap) -> Result<Person, Failure> {
    let session = session_of(headers)?;
    let found = running.store.read(move |rows| person_of(rows, &session)).await?;
    found.ok_or(Failure::NotSignedIn)
}

fn session_of(headers: &HeaderMap) -> Result<String, Failure> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|shown| shown.to_str().ok());
    let (scheme, session) = shown.and_then(|shown| shown.split_once(' ')).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Failure::NotSignedIn);
    }
    Ok(session.trim().to_owned())
}

pub(super) async fn people(State(running): State<Arc<Running>>) -> Result<Response, Failure> {
    let people: Vec<Person> = running.store.read(|rows| rows.rows(PEOPLE)).await?;
    Ok(ok(&json!({ "people": people })))
}

pub(super) async fn sign_in(
    State(running): State<Arc<Running>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Failure> {
    let SignIn { person } = body(&headers, &bytes)?;
    let session = running.store.secret();
    let shown = session.clone();
    let person = running.store.write(move |change| open(change, &session, &person)).await?;
    Ok(created(&json!({"session": shown, "person": person})))
}

fn open(change: &Change, session: &str, id: &str) -> Result<Person, Failure> {
    let nobody = || Failure::Bad(format!("nobody here is {id:?}: see `GET /app/api/people`"));
    let person: Person = change.row(PEOPLE, id)?.ok_or_else(nobody)?;
    let known = change.bytes_under(SESSIONS, "")?;
    if known.len() >= SESSIONS_MAX {
        let at = |bytes: &[u8]| serde_json::from_slice::<Session>(bytes).map_or(0, |row| row.at);
        if let Some((oldest, _)) = known.iter().min_by_key(|(_, bytes)| at(bytes)) {
            change.remove(SESSIONS, oldest)?;
        }
    }
    change.put(SESSIONS, session, &Session { person: person.id.clone(), at: change.now_ms })?;
    Ok(person)
}

pub(super) async fn sign_out(
    State(running): State<Arc<Running>>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let session = session_of(&headers)?;
    running.store.write(move |change| change.remove(SESSIONS, &session)).await?;
    Ok(done())
}

pub(super) async fn me(
    State(running): State<Arc<Running>>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let person = signed_in(&running, &headers).await?;
    let server = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": running.started_at_ms,
        "starts": running.starts,
    });
    Ok(ok(&json!({"person": person, "server": server, "can_hurt": true})))
}
