//! The door for those who examine their path: `GET {prefix}/path/{connection}`, what the server has
//! written to that event stream, and `POST {prefix}/path`, what a client found out.
//!
//! A proxy that holds a stream back shows by nothing but the difference: the server has written
//! something, and the client has not got it. This door tells the server's half.

use axum::{
    body::Body,
    extract::{Path, RawQuery, Request, State, rejection::PathRejection},
    response::Response,
};
use http::{HeaderMap, StatusCode};
use tidewire_proto::Code;

use crate::{
    answer::{Refused, json_response},
    app::App,
    publish::read_body,
};

mod streams;
mod verdict;

pub(crate) use streams::{Entered, Paths, StreamName, Trace};
pub(crate) use verdict::Verdict;

/// A verdict has a few words and 200 characters, each of which may be escaped in 12 bytes.
const VERDICT_BYTES_MAX: usize = 4 * 1024;

/// What was written to this stream. Who asks has the stream's own subject, or hears that there is
/// none.
pub(crate) async fn path(
    State(app): State<App>,
    connection: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let peer = app.admit(&headers, None).await?;
    let wants_beat = wants_beat(query.as_deref().unwrap_or_default())?;
    let unknown = || Refused::new(Code::NotFound, "no event stream of that name is open here");
    let Ok(Path(connection)) = connection else { return Err(unknown()) };
    let name = app.paths.name(peer.subject.as_deref(), &connection);
    let written = app
        .paths
        .written(name, wants_beat)
        .await
        .map_err(|busy| Refused::new(Code::Busy, format!("{busy}: ask again in a moment")))?;
    let written = written.ok_or_else(unknown)?;
    Ok(json_response(StatusCode::OK, written.to_json(&connection)))
}

/// Shall the stream beat now? So a client finds out whether anything comes through that was silent.
fn wants_beat(query: &str) -> Result<bool, Refused> {
    let mut wants = false;
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*key, &*value) {
            ("beat", "now") => wants = true,
            ("beat", _) => {
                let message = format!("`beat` is `now` or left out, not {value:?}");
                return Err(Refused::new(Code::BadRequest, message));
            }
            _ => {}
        }
    }
    Ok(wants)
}

/// Takes a verdict.
pub(crate) async fn verdict(State(app): State<App>, request: Request) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    app.admit(&head.headers, None).await?;
    let bytes = read_body(&app, body, VERDICT_BYTES_MAX).await?;
    let verdict = Verdict::parse(&bytes)?;
    app.metrics.count(&verdict);
    let [word, from, to, by] = verdict.words();
    // As a literal, because it is a client's own text: no line of it can pass for another.
    tracing::info!(verdict = word, from, to, by, detail = ?verdict.detail(), "a path was judged");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
