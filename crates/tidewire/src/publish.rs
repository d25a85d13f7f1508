//! The door for publishers: `POST {prefix}/topics/{topic}` and `POST {prefix}/publish`.
//!
//! The body is read within a time and a size; then door → gate → hub, and the answer says how the
//! entry is kept.

use std::sync::Arc;

use axum::{
    body::{Body, HttpBody},
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tidewire_core::Published;
use tidewire_proto::{Code, Data, WireError, json, message::DataError};
use tokio::time::timeout;

use crate::{
    answer::{Refused, json_response},
    app::App,
    ticket::TICKET_LIFE,
};

/// Publishes the body as the data of one message.
pub(crate) async fn publish(State(app): State<App>, request: Request) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    // The path as it was sent: a topic's own percent signs must not be decoded away.
    let topic = path.split_once("/topics/").map_or("", |(_, topic)| topic);
    let topic = tidewire_proto::Topic::parse_path(topic)
        .map_err(|error| WireError::new(Code::BadTopic, error.to_string()))?;
    let peer = app.admit(&head.headers, None).await?;
    let bytes = read_body(&app, body, app.hub.limits().message_bytes_max).await?;
    let data = data_of(&head.headers, bytes)?;
    let event = text_header(&head.headers, "tidewire-event", Code::BadEvent)?;
    let key = text_header(&head.headers, "idempotency-key", Code::BadKey)?;
    let item = text_header(&head.headers, "tidewire-item", Code::BadItem)?;
    let message = json::message_of(topic.as_str(), event, data, key, item)?;
    let publisher = app.hub.publisher(Arc::clone(&app.gate), peer);
    let mut out = String::new();
    push(&mut out, publisher.publish(message).await?);
    Ok(json_response(StatusCode::CREATED, out))
}

/// Publishes a batch: a JSON array, or one message a line. Stored whole or not at all.
pub(crate) async fn publish_batch(
    State(app): State<App>,
    request: Request,
) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    let peer = app.admit(&head.headers, None).await?;
    let limits = app.hub.limits();
    // Data may be base64, and each message has a few hundred bytes around it.
    let bytes_max = limits.batch_bytes_max / 3 * 4 + limits.batch_messages_max * 512;
    let bytes = read_body(&app, body, bytes_max).await?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| WireError::new(Code::BadUtf8, "a batch is JSON or NDJSON, in UTF-8"))?;
    let batch = json::parse_batch(text, limits.batch_messages_max)?;
    let publisher = app.hub.publisher(Arc::clone(&app.gate), peer);
    let mut out = String::from("{\"results\":[");
    for (index, published) in publisher.publish_batch(batch).await?.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push(&mut out, published);
    }
    out.push_str("]}");
    Ok(json_response(StatusCode::CREATED, out))
}

/// A ticket for whoever shows a token: `POST {prefix}/tickets`.
pub(crate) async fn ticket(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let peer = app.admit(&headers, None).await?;
    let busy = || WireError::new(Code::Busy, "too many tickets wait to be used");
    let ticket = app.tickets.issue(peer).ok_or_else(busy)?;
    let body = format!("{{\"ticket\":\"{ticket}\",\"expires_ms\":{}}}", TICKET_LIFE.as_millis());
    Ok(json_response(StatusCode::CREATED, body))
}

fn push(out: &mut String, published: Published) {
    json::push_published(out, published.id, published.stored, published.duplicate);
}

/// A body, within its size and its time.
pub(crate) async fn read_body(
    app: &App,
    mut body: Body,
    bytes_max: usize,
) -> Result<Bytes, WireError> {
    let limit = app.hub.limits().body_timeout;
    let too_large =
        || WireError::new(Code::TooLarge, format!("the body has at most {bytes_max} bytes"));
    // What is declared need not be waited for.
    if body.size_hint().lower() > bytes_max as u64 {
        discard(app, body);
        return Err(too_large());
    }
    let collected =
        timeout(limit, Limited::new(&mut body, bytes_max).collect()).await.map_err(|_| {
            let message = format!("the body did not arrive within {} s", limit.as_secs());
            WireError::new(Code::Timeout, message)
        })?;
    match collected {
        // Copied, because it may be a small part of what was read from the connection, and would hold
        // all of it for as long as the entry is in memory.
        Ok(body) => Ok(Bytes::copy_from_slice(&body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => {
            discard(app, body);
            Err(too_large())
        }
        Err(error) => Err(WireError::new(Code::BadRequest, format!("the body broke off: {error}"))),
    }
}

/// Reads on for a while what nobody wants. If the connection were closed on a peer that is still
/// sending, its system would throw the answer away (RFC 9112 §9.6).
pub(crate) fn discard(app: &App, mut body: Body) {
    const BYTES_MAX: usize = 8 * 1024 * 1024;
    let limit = app.hub.limits().close_timeout;
    tokio::spawn(async move {
        let discarded = async {
            let mut bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.data_ref().map_or(0, Bytes::len);
                if bytes > BYTES_MAX {
                    break;
                }
            }
        };
        let _ = timeout(limit, discarded).await;
    });
}

/// The body as its content type says: JSON, text, or bytes. Without a type: text if it is UTF-8.
fn data_of(headers: &HeaderMap, bytes: Bytes) -> Result<Data, WireError> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = media.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let data = match media.to_ascii_lowercase().as_str() {
        "application/json" => Data::json(bytes),
        media if media.ends_with("+json") => Data::json(bytes),
        // What `curl -d` says whatever it sends.
        "application/x-www-form-urlencoded" | "" => guess(bytes),
        "application/xml" => Data::text(bytes),
        media if media.starts_with("text/") || media.ends_with("+xml") => Data::text(bytes),
        _ => Ok(Data::binary(bytes)),
    };
    data.map_err(|error| {
        let code = match error {
            DataError::Utf8(_) => Code::BadUtf8,
            DataError::Json(_) => Code::BadJson,
        };
        WireError::new(code, format!("{error} (the Content-Type is {media:?})"))
    })
}

fn guess(bytes: Bytes) -> Result<Data, DataError> {
    Data::json(bytes.clone()).or_else(|_| Data::text(bytes.clone())).or(Ok(Data::Binary(bytes)))
}

pub(crate) fn text_header<'a>(
    headers: &'a HeaderMap,
    name: &str,
    code: Code,
) -> Result<Option<&'a str>, WireError> {
    let text = headers.get(name).map(|value| value.to_str()).transpose();
    text.map_err(|_| WireError::new(code, format!("`{name}` is printable ASCII")))
}
