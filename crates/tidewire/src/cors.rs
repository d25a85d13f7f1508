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
    "authorization, content-type, idempotency-key, last-event-id, tidewire-event",
);
const EXPOSED: HeaderValue = HeaderValue::from_static("etag, retry-after");
/// Browsers keep a preflight's answer for two hours at most.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The middleware.
pub(crate) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    if app.dev && !is_loopback_host(request.headers(), &request) {
        let message = "`tidewire dev` answers only to localhost and loopback addresses";
        return Refused::new(Code::OriginRefused, message).into_response();
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let Some(origin) = origin else { return next.run(request).await };
    let allowed = origin.to_str().is_ok_and(|origin| app.origins.allows(origin));
    if !allowed {
        let shown = String::from_utf8_lossy(origin.as_bytes()).into_owned();
        let message = format!(
            "pages of {shown:?} may not connect: list the origin under `origins` in `[server]`"
        );
        return Refused::new(Code::OriginRefused, message).into_response();
    }
    let is_preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_preflight { preflight() } else { next.run(request).await };
    let headers = response.headers_mut();
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

fn is_loopback_host(headers: &HeaderMap, request: &Request) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    // HTTP/2 says it in the request line.
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let Some(host) = host.or(authority) else { return true };
    let origin = format!("http://{host}");
    url::Url::parse(&origin).is_ok_and(|url| crate::config::origin::is_loopback_url(&url))
}
