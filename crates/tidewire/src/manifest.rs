//! `GET {prefix}/plan`: each feature's transport and why, for clients, pages and people.

use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use tidewire_core::{Feature, History};
use tidewire_proto::sse::PROTOCOL;

use crate::{
    answer::{Refused, json_response},
    app::App,
    config::units,
};

#[derive(Serialize)]
struct Manifest<'a> {
    protocol: u32,
    beat_ms: u64,
    retry_ms: u64,
    /// Are features let in that the config does not declare?
    undeclared: bool,
    features: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    feature: &'a str,
    transport: &'static str,
    reason: &'static str,
    why: &'static str,
    history: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_bytes: Option<u64>,
    stored: String,
    answers: Answers,
}

#[derive(Serialize)]
struct Answers {
    client_sends: bool,
    binary: bool,
    proxies: &'static str,
}

/// The handler.
pub(crate) async fn plan(State(app): State<App>, headers: HeaderMap) -> Result<Response, Refused> {
    app.admit(&headers, None).await?;
    let limits = app.hub.limits();
    let features = app.hub.features();
    let manifest = Manifest {
        protocol: PROTOCOL,
        beat_ms: limits.beat_interval.as_millis() as u64,
        retry_ms: limits.retry_base.as_millis() as u64,
        undeclared: features.is_open(),
        features: features.iter().map(|(name, feature)| row(name, feature)).collect(),
    };
    let body = serde_json::to_string(&manifest).unwrap_or_default();
    let hash = blake3::hash(body.as_bytes()).to_hex();
    let etag = format!("\"{}\"", hash.get(..16).unwrap_or_default());
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value == etag.as_str());
    let mut response = if known {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        json_response(StatusCode::OK, body)
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    // Kept by the client, asked again each time.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

fn row<'a>(name: &'a str, feature: &Feature) -> Row<'a> {
    let decision = feature.decision();
    let history = match feature.history {
        History::None => "none".to_owned(),
        History::Kept { age: Some(age), .. } => units::show_duration(age),
        History::Kept { age: None, .. } => "forever".to_owned(),
    };
    let history_bytes = match feature.history {
        History::Kept { bytes, .. } => bytes,
        History::None => None,
    };
    let stored = if feature.is_kept() { feature.stored.to_string() } else { "memory".to_owned() };
    Row {
        feature: name,
        transport: decision.transport.as_str(),
        reason: decision.reason.as_str(),
        why: decision.reason.sentence(),
        history,
        history_bytes,
        stored,
        answers: Answers {
            client_sends: feature.answers.client_sends,
            binary: feature.answers.binary,
            proxies: feature.answers.proxies.as_str(),
        },
    }
}
