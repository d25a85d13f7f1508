//! The live page of `tidewire dev`, under a policy that lets it run its own script, talk to its own
//! server, and nothing else (CSP Level 3).

use axum::{body::Body, extract::State, response::Response};
use http::{HeaderValue, header};
use tidewire_proto::Epoch;

use crate::app::App;

const PAGE: &str = include_str!("live.html");

/// The handler.
pub(crate) async fn live(State(app): State<App>) -> Response {
    let nonce = format!("{}{}", Epoch(app.random.next_u64()), Epoch(app.random.next_u64()));
    let page = PAGE.replacen("<style>", &format!("<style nonce=\"{nonce}\">"), 1).replacen(
        "<script>",
        &format!("<script nonce=\"{nonce}\">"),
        1,
    );
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    let mut response = Response::new(Body::from(page));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    // Not `no-store`: a browser may keep the page itself alive for the way back.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}
