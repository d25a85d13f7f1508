//! The door for presence: `POST {prefix}/presence` says where a member is, `GET
//! {prefix}/presence/{topic}` who is there.
//!
//! What a member says may come as a page's last words (`fetch` with `keepalive`), so the media type is
//! not looked at. Knows no lease.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use tidewire_core::Limits;
use tidewire_proto::{
    Code, Topic, WireError,
    presence::{self, MEMBER_BYTES_MAX},
    topic::TOPIC_BYTES_MAX,
};

use crate::{
    answer::{Refused, json_response},
    app::App,
    publish::read_body,
};

/// A member says where it is, and where it is no more.
pub(crate) async fn announce(
    State(app): State<App>,
    request: Request,
) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    let peer = app.admit(&head.headers, None).await?;
    let bytes = read_body(&app, body, announcement_bytes_max(app.hub.limits())).await?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| WireError::new(Code::BadUtf8, "an announcement is JSON, in UTF-8"))?;
    let said = presence::parse(text)?;
    let announced = app.hub.publisher(Arc::clone(&app.gate), peer).announce(&said).await?;
    Ok(json_response(StatusCode::OK, announced.to_json()))
}

/// Who is in a topic.
pub(crate) async fn members(State(app): State<App>, request: Request) -> Result<Response, Refused> {
    // The path as it was sent: a topic's own percent signs must not be decoded away.
    let path = request.uri().path();
    let topic = path.split_once("/presence/").map_or("", |(_, topic)| topic);
    let topic = Topic::parse_path(topic)
        .map_err(|error| WireError::new(Code::BadTopic, error.to_string()))?;
    let peer = app.admit(request.headers(), None).await?;
    let members = app.hub.publisher(Arc::clone(&app.gate), peer).members(&topic).await?;
    Ok(json_response(StatusCode::OK, members.to_json(&topic)))
}

/// Room for as many topics as a member may enter, each with its state, and as many to leave.
fn announcement_bytes_max(limits: &Limits) -> usize {
    // Quotes, colons and commas; a state may have some blanks around it.
    const AROUND: usize = 64;
    let here = TOPIC_BYTES_MAX + limits.presence_state_bytes_max + AROUND;
    let gone = TOPIC_BYTES_MAX + AROUND;
    MEMBER_BYTES_MAX + AROUND + limits.presence_topics_max.saturating_mul(here + gone)
}
