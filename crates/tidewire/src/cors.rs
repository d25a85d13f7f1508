//! Which pages may talk to this server: the `Origin` of every request is checked, and CORS answers
//! are given to those that are listed (Fetch standard, "CORS protocol").
//!
//! Programs send no `Origin` and are not concerned. In `dev` the `Host` must be this machine's too,
//! so that no foreign name can be pointed at it.

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tidewire_proto::Code;

use crate::{answer::Refused, app::App};

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, last-event-id, tidewire-event, tidewire-item",
);
const EXPOSED: HeaderValue = HeaderValue::from_static("etag, retry-after");
/// Browsers keep a preflight's answer for two hours at most.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The middleware around every path in `dev`.
pub(crate) async fn check_host(request: Request, next: Next) -> Response {
    if is_loopback_host(&request) {
        return next.run(request).await;
    }
    let message = "`tidewire dev` answers only to localhost and loopback addresses";
    Refused::new(Code::OriginRefused, message).into_response()
}

/// The middleware around the doors.
pub(crate) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    let origin = match origin(&app, request.headers()) {
        Ok(Some(origin)) => origin,
        Ok(None) => return next.run(request).await,
        Err(refused) => return refused.into_response(),
    };
    let is_preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let response = if is_preflight { preflight() } else { next.run(request).await };
    allowed(response, origin)
}

/// The page that asks, if a page asks and it may.
pub(crate) fn origin(app: &App, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refused> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(None) };
    if origin.to_str().is_ok_and(|origin| app.origins.load().allows(origin)) {
        return Ok(Some(origin.clone()));
    }
    let shown = String::from_utf8_lossy(origin.as_bytes());
    let message = format!(
        "pages of {shown:?} may not connect: list the origin under `origins` in `[server]`"
    );
    Err(Refused::new(Code::OriginRefused, message))
}

/// Lets the page of this origin read an answer.
pub(crate) fn allowed(mut response: Response, origin: HeaderValue) -> Response {
    let headers = response.headers_mut();
    // When the bytes of an answer came is for this page too (Resource Timing §4.5): it tells what holds
    // a stream back.
    headers.insert("timing-allow-origin", origin.clone());
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    response
}

fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    response
}

fn is_loopback_host(request: &Request) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    // HTTP/2 says it in the request line.
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let Some(host) = host.or(authority) else { return true };
    let name = host.split(':').next().unwrap_or_default();
    if ["localhost", "127.0.0.1"].iter().any(|usual| name.eq_ignore_ascii_case(usual)) {
        // What nearly everybody says needs no parser. Before an `@` it would be no host but a user.
        return !host.contains('@');
    }
    let origin = format!("http://{host}");
    url::Url::parse(&origin).is_ok_and(|url| crate::config::origin::is_loopback_url(&url))
}
