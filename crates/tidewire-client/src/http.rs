//! Requests and answers over HTTP, as every rung and every question needs them.
//!
//! Invariant: no body is read beyond its bound, and no read waits longer than it was told to.

use std::{error::Error, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::{RequestBuilder, Response, header::CONTENT_TYPE};
use tokio::time::timeout;

use crate::{loss::Loss, retry_after::retry_after, wire};

/// Largest error body that is looked at.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Sends a request and returns its answer if it is a success; a refusal, a stranger's answer, or no
/// answer within `limit` is a [`Loss`].
pub(crate) async fn send(
    request: RequestBuilder,
    token: Option<&str>,
    limit: Duration,
) -> Result<Response, Loss> {
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let response = match timeout(limit, request.send()).await {
        Err(_) => return Err(Loss::NotOpened(limit)),
        Ok(Err(error)) => return Err(unsent(&error)),
        Ok(Ok(response)) => response,
    };
    match response.status().as_u16() {
        204 => Err(Loss::Stop),
        200..=299 => Ok(response),
        status => Err(refusal(status, response, limit).await),
    }
}

fn unsent(error: &reqwest::Error) -> Loss {
    if error.is_builder() {
        // The only part of a request that comes from outside is the token.
        return Loss::Token(format!("it cannot stand in a header: {}", chain(error)));
    }
    if error.is_connect() {
        return Loss::Unreachable(chain(error));
    }
    Loss::Broken(chain(error))
}

async fn refusal(status: u16, response: Response, limit: Duration) -> Loss {
    let wait = retry_after(response.headers());
    let body = body(response, ERROR_BYTES_MAX, limit).await.unwrap_or_default();
    wire::refusal(status, wait, &body)
}

/// The whole body, at most `bytes_max`, with at most `silence` between two pieces.
pub(crate) async fn body(
    mut response: Response,
    bytes_max: usize,
    silence: Duration,
) -> Result<Bytes, Loss> {
    let mut body = BytesMut::new();
    loop {
        match timeout(silence, response.chunk()).await {
            Err(_) => return Err(Loss::Silent(silence)),
            Ok(Err(error)) => return Err(Loss::Broken(chain(&error))),
            Ok(Ok(None)) => return Ok(body.freeze()),
            Ok(Ok(Some(piece))) if body.len() + piece.len() > bytes_max => {
                return Err(Loss::TooLarge(format!("the answer has more than {bytes_max} bytes")));
            }
            Ok(Ok(Some(piece))) => body.extend_from_slice(&piece),
        }
    }
}

/// Is the answer of this media type, whatever its parameters?
pub(crate) fn has_type(response: &Response, expected: &str) -> bool {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(expected)
}

/// An error and what is behind it, as one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = cause.source();
    }
    line
}
