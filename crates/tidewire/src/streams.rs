//! The door for producers: `POST {prefix}/streams/{topic}` takes parts for as long as they come, and
//! `POST {prefix}/streams/{topic}/cancel` asks for no more of them.
//!
//! A stream is a topic, so readers need no door of their own. This door publishes as any publisher
//! does, and hears `cancel` as any reader does: with a cursor that walks the log.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use tidewire_core::{Action, Keep, Peer, log::Filter};
use tidewire_proto::{
    Code, Cursor, Data, EventType, Key, Message, Topic, WireError, json,
    parts::{Ended, Form},
};
use tokio::sync::Semaphore;

use crate::{
    answer::{Refused, json_response},
    app::App,
    publish::text_header,
};

mod place;
mod producer;
mod retry;

use place::place;
use producer::{Producer, Report};

/// Streams whose producer was lost and may come back, at a time: each is a small task for at most
/// `producer_timeout`. With more, they fail at once.
const LINGERING_MAX: usize = 1_024;

/// What the door keeps between requests.
pub(crate) struct Lingering(Arc<Semaphore>);

impl Default for Lingering {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LINGERING_MAX)))
    }
}

/// The handler of both.
pub(crate) async fn streams(State(app): State<App>, request: Request) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().split_once("/streams/").map_or("", |(_, path)| path);
    match path.strip_suffix("/cancel") {
        Some(topic) => Ok(cancel(&app, &head.headers, topic).await?),
        None => Ok(produce(app, &head.headers, path, body).await?),
    }
}

async fn produce(
    app: App,
    headers: &HeaderMap,
    path: &str,
    body: Body,
) -> Result<Response, WireError> {
    let (peer, topic) = allowed(&app, headers, path).await?;
    let form = form_of(headers)?;
    let keys = keys_of(headers)?;
    let filter = Filter::from(topic.clone());
    // Watched before it is looked at: what comes in between is heard.
    let watch = producer::watch(&app, &peer, &filter).await?;
    let place = place(&app, &filter).await?;
    if let Some((ended, id)) = place.ended {
        // A retry whose first answer was lost has its answer; anybody else comes too late.
        return match keys {
            Some(_) => Ok(answer(&Report { parts: 0, id: Some(id), outcome: Ok(ended) })),
            None => Err(too_late(&topic, ended)),
        };
    }
    let skip = match (&keys, form) {
        (Some(_), Form::Text) => retry::stored_text(&app, &filter).await?,
        _ => None,
    };
    let producer = Producer::new(app, peer, topic, watch, (form, keys, skip), place.newest);
    // Of its own: a handler ends with its connection, and somebody must say then that it was lost.
    let report = tokio::spawn(producer.run(body)).await;
    let report = report.map_err(|error| WireError::new(Code::Internal, error.to_string()))?;
    Ok(answer(&report))
}

async fn cancel(app: &App, headers: &HeaderMap, path: &str) -> Result<Response, WireError> {
    let (peer, topic) = allowed(app, headers, path).await?;
    if let Some((ended, _)) = place(app, &Filter::from(topic.clone())).await?.ended {
        return Err(too_late(&topic, ended));
    }
    let by = serde_json::json!({ "by": peer.subject });
    let data = Data::Json(by.to_string().into());
    let published = app.hub.publish(message(&topic, Ended::Cancel, data, None)?).await?;
    let mut out = String::new();
    json::push_published(&mut out, published.id, published.stored, published.duplicate);
    Ok(json_response(StatusCode::CREATED, out))
}

/// Who may publish to which stream.
async fn allowed(
    app: &App,
    headers: &HeaderMap,
    path: &str,
) -> Result<(Arc<Peer>, Topic), WireError> {
    let topic = Topic::parse_path(path)
        .map_err(|error| WireError::new(Code::BadTopic, error.to_string()))?;
    if topic.is_reserved() {
        let message = format!("`{topic}` is the server's own: nobody else publishes there");
        return Err(WireError::new(Code::BadTopic, message));
    }
    let peer = app.admit(headers, None).await?;
    app.gate.may(&peer, Action::Publish, &topic).await.map_err(WireError::from)?;
    match app.hub.features().keep(&topic) {
        Keep::All | Keep::Text => Ok((peer, topic)),
        Keep::Latest | Keep::Document => {
            let message = format!(
                "feature `{}` keeps values or documents: a stream of parts needs `keep = \"text\"` \
                 or `\"all\"`",
                topic.feature()
            );
            Err(WireError::new(Code::BadRequest, message))
        }
    }
}

fn form_of(headers: &HeaderMap) -> Result<Form, WireError> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = media.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    Form::of_media(media).ok_or_else(|| {
        let message = format!(
            "a stream is text/plain, application/x-ndjson or text/event-stream, not {media:?}"
        );
        WireError::new(Code::BadRequest, message)
    })
}

/// What the keys of all parts begin with.
fn keys_of(headers: &HeaderMap) -> Result<Option<String>, WireError> {
    let Some(prefix) = text_header(headers, "idempotency-key", Code::BadKey)? else {
        return Ok(None);
    };
    // The longest that will come of it.
    let longest = Key::parse(&format!("{prefix}.{}", u64::MAX));
    if prefix.is_empty() || longest.is_err() {
        let message = "the key of a stream is 1 to 43 printable ASCII characters: those of its parts \
                       are longer";
        return Err(WireError::new(Code::BadKey, message));
    }
    Ok(Some(prefix.to_owned()))
}

fn too_late(topic: &Topic, ended: Ended) -> WireError {
    let message = format!("`{topic}` has ended with `{}`: a stream ends once", ended.as_str());
    WireError::new(Code::Ended, message)
}

fn message(
    topic: &Topic,
    ended: Ended,
    data: Data,
    key: Option<Key>,
) -> Result<Message, WireError> {
    let event = EventType::parse(ended.as_str())
        .map_err(|error| WireError::new(Code::Internal, error.to_string()))?;
    Ok(Message { topic: topic.clone(), event, data, key, item: None })
}

fn answer(report: &Report) -> Response {
    let id = |id: Option<Cursor>| id.map_or("null".to_owned(), |id| format!("\"{id}\""));
    let stored = format!("\"parts\":{},\"id\":{}", report.parts, id(report.id));
    match &report.outcome {
        Ok(ended) => {
            let body = format!("{{{stored},\"ended\":\"{}\"}}", ended.as_str());
            json_response(StatusCode::OK, body)
        }
        Err(error) => {
            let mut body = String::from("{\"error\":");
            json::push_error(&mut body, error);
            body.push_str(&format!(",{stored}}}"));
            let mut response = Refused(error.clone()).into_response();
            *response.body_mut() = Body::from(body);
            response
        }
    }
}
