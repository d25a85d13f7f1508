//! Bodies and errors as HTTP. An error has the form of the house: a code, a sentence, what to do next.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tidewire::Key;

use crate::{
    failure::Failure,
    model::Person,
    store::{ANSWERED, Change, META, Rows},
};

/// How long a request's key is remembered: longer than any client tries again.
const ANSWERED_MS: u64 = 3_600 * 1_000;
/// Between two looks for what is older.
const FORGET_EVERY_MS: u64 = ANSWERED_MS / 6;

/// An answer that no cache keeps.
pub(super) fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let body = match serde_json::to_vec(body) {
        Ok(body) => body,
        Err(error) => return Failure::from(error).into_response(),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer that all is well.
pub(super) fn ok(body: &impl Serialize) -> Response {
    answer(StatusCode::OK, body)
}

/// Something that was made.
pub(super) fn created(body: &impl Serialize) -> Response {
    answer(StatusCode::CREATED, body)
}

/// Done, and there is nothing to say.
pub(super) fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// An error without a failure of ours.
pub(super) fn refused(code: &str, status: u16, message: &str) -> Response {
    let next = match code {
        "token_missing" | "token_invalid" => "refresh_token",
        "busy" | "internal" => "retry",
        _ => "give_up",
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let error = json!({"code": code, "message": message, "next": next});
    answer(status, &json!({ "error": error }))
}

/// What went wrong.
pub(super) fn failed(failure: &Failure) -> Response {
    let message = failure.to_string();
    let (code, status) = match failure {
        Failure::Bad(_) => ("bad_request", 400),
        Failure::NotSignedIn => ("token_invalid", 401),
        Failure::NotFound(_) => ("not_found", 404),
        Failure::TooLarge(_) => ("too_large", 413),
        Failure::Busy(_) => ("busy", 503),
        Failure::Conflict(task) => {
            let error = json!({"code": "conflict", "message": message, "next": "give_up"});
            return answer(StatusCode::CONFLICT, &json!({"error": error, "task": task}));
        }
        Failure::Store(_) => {
            tracing::error!(%message, "a request to Workboard failed");
            ("internal", 500)
        }
    };
    refused(code, status, &message)
}

/// A body of JSON. A form of another page cannot send one: it has no such type.
pub(super) fn body<T: DeserializeOwned>(headers: &HeaderMap, body: &Bytes) -> Result<T, Failure> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(|kind| kind.trim().starts_with("application/json")) {
        return Err(Failure::Bad("send JSON, with `Content-Type: application/json`".into()));
    }
    serde_json::from_slice(body).map_err(|error| Failure::Bad(format!("the body: {error}")))
}

/// What a query says of one name.
pub(super) fn asked(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// A number.
pub(super) fn number(text: &str) -> Result<u64, Failure> {
    text.parse().map_err(|_| Failure::Bad(format!("{text:?} is not a number")))
}

/// The key by which a creating request may be repeated, as the store knows it.
pub(super) fn key_of(headers: &HeaderMap, by: &Person) -> Result<Option<String>, Failure> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().ok().and_then(|key| Key::parse(key).ok());
    let bad = || Failure::Bad("`Idempotency-Key` is 1 to 64 printable characters".into());
    let key = key.ok_or_else(bad)?;
    Ok(Some(format!("{}/{key}", by.id)))
}

/// Makes something, or finds what the same key has made before. Says which it was.
pub(super) fn once(
    change: &Change,
    key: Option<&str>,
    make: impl FnOnce() -> Result<Value, Failure>,
) -> Result<(Value, bool), Failure> {
    let Some(key) = key else { return Ok((make()?, true)) };
    forget_old(change)?;
    if let Some((_, made)) = change.row::<(u64, Value)>(ANSWERED, key)? {
        return Ok((made, false));
    }
    let made = make()?;
    change.put(ANSWERED, key, &(change.now_ms, &made))?;
    Ok((made, true))
}

fn forget_old(change: &Change) -> Result<(), Failure> {
    let last: u64 = change.row(META, "forgot_at")?.unwrap_or_default();
    if change.now_ms.saturating_sub(last) < FORGET_EVERY_MS {
        return Ok(());
    }
    change.put(META, "forgot_at", &change.now_ms)?;
    for (key, bytes) in change.bytes_under(ANSWERED, "")? {
        let (at, _): (u64, Value) = serde_json::from_slice(&bytes)?;
        if at + ANSWERED_MS < change.now_ms {
            change.remove(ANSWERED, &key)?;
        }
    }
    Ok(())
}
