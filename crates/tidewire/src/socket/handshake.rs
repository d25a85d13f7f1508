//! The opening handshake (RFC 6455 §4.2): what a request must have, and the `101` that answers it.

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use hyper::body::Body as _;
use hyper_util::rt::TokioIo;
use tidewire_proto::{Code, WireError, frame, ws::SUBPROTOCOL};

use crate::handover::{self, Io, Taken};

/// A handshake that may be accepted.
#[derive(Debug)]
pub(crate) struct Handshake {
    accept: String,
    speaks_tidewire: bool,
}

/// Checks a request, header by header.
pub(crate) fn check(request: &Request) -> Result<Handshake, WireError> {
    let headers = request.headers();
    let is_upgrade = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_token(headers, header::CONNECTION, "upgrade")
        && has_token(headers, header::UPGRADE, "websocket");
    if !is_upgrade {
        let message = "this path speaks WebSocket over HTTP/1.1: send `Upgrade: websocket` and \
                       `Connection: upgrade` (a proxy on the way may have removed them)";
        return Err(WireError::new(Code::UpgradeRequired, message));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let message = "the only WebSocket version is 13";
        return Err(WireError::new(Code::UpgradeRequired, message));
    }
    if !request.body().is_end_stream() {
        return Err(WireError::new(Code::BadRequest, "an opening handshake has no body"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    let accept = key.and_then(frame::accept_key).ok_or_else(|| {
        WireError::new(Code::BadRequest, "`Sec-WebSocket-Key` is 16 bytes in base64")
    })?;
    let speaks_tidewire = has_token(headers, header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    Ok(Handshake { accept, speaks_tidewire })
}

/// The `ticket` of the URL, if it has one.
pub(crate) fn ticket(request: &Request) -> Option<String> {
    let query = request.uri().query()?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "ticket").map(|(_, ticket)| ticket.into_owned())
}

/// A connection whose handshake is answered.
pub(crate) enum Connected {
    /// Taken from our own server; the answer is still to be written.
    Taken(Taken),
    /// Upgraded by somebody else's, who answered.
    Upgraded(Box<dyn Io>),
}

impl Handshake {
    /// Answers `101`, and hands the connection on once hyper has let go of it.
    pub(crate) fn accept(
        self,
        mut request: Request,
        then: impl FnOnce(Connected) + Send + 'static,
    ) -> Response {
        if let Some(handover) = handover::of(&request) {
            handover.take(|taken| then(Connected::Taken(taken)));
        } else {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                match upgrade.await {
                    Ok(io) => then(Connected::Upgraded(Box::new(TokioIo::new(io)))),
                    Err(error) => tracing::debug!(%error, "a handshake was not completed"),
                }
            });
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if self.speaks_tidewire {
            let protocol = HeaderValue::from_static(SUBPROTOCOL);
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        response
    }
}

/// Does a comma-separated header have this word?
fn has_token(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(changes: &[(&'static str, Option<&'static str>)]) -> Request {
        let mut request = Request::new(Body::empty());
        let headers = request.headers_mut();
        for (name, value) in [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (name, value) in changes {
            headers.remove(*name);
            if let Some(value) = value {
                headers.insert(*name, HeaderValue::from_static(value));
            }
        }
        request
    }

    #[test]
    fn the_example_of_the_rfc() {
        let handshake = check(&request(&[])).unwrap();
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!handshake.speaks_tidewire);
        let offers = ("sec-websocket-protocol", Some("chat, tidewire.v1"));
        assert!(check(&request(&[offers])).unwrap().speaks_tidewire);
    }

    #[test]
    fn what_is_missing_is_said() {
        for (change, code) in [
            (("connection", None), Code::UpgradeRequired),
            (("upgrade", Some("h2c")), Code::UpgradeRequired),
            (("sec-websocket-version", Some("8")), Code::UpgradeRequired),
            (("sec-websocket-key", Some("short")), Code::BadRequest),
            (("sec-websocket-key", None), Code::BadRequest),
        ] {
            assert_eq!(check(&request(&[change])).unwrap_err().code, code, "{change:?}");
        }
    }
}
