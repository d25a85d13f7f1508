//! The pages of Workboard, as they were built into this binary, under a policy that lets them run their
//! own script, talk to this machine, and nothing else (CSP Level 3).
//!
//! Knows nothing of what is in them. Invariant: a name with a hash in it is cached for ever, every
//! other name never without asking.

use axum::{
    Router,
    body::Body,
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

/// Every file of `packages/demo/dist`, by its name there.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// `connect-src`: this server, and any port of this machine, because the relay that holds streams back
/// gets a free one when it is asked for.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; font-src 'self'; \
     connect-src 'self' http://127.0.0.1:* ws://127.0.0.1:*; manifest-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A route for each file; the first page also at `/`.
pub(crate) fn routes() -> Router {
    let mut routes = Router::new();
    for &(name, bytes) in FILES {
        let page = Page::new(name, bytes);
        if name == "index.html" {
            let first = page.clone();
            routes = routes.route("/", get(async move |headers: HeaderMap| first.answer(&headers)));
        }
        let path = format!("/{name}");
        routes = routes.route(&path, get(async move |headers: HeaderMap| page.answer(&headers)));
    }
    routes
}

/// Where nothing else is, a person who opens an address gets the first page, which knows its own.
pub(crate) async fn or_first_page(request: Request, next: Next) -> Response {
    let is_for_a_person = request.method() == Method::GET && accepts_html(request.headers());
    let headers = request.headers().clone();
    let response = next.run(request).await;
    if !is_for_a_person || response.status() != StatusCode::NOT_FOUND {
        return response;
    }
    let first = FILES.iter().find(|(name, _)| *name == "index.html");
    first.map_or(response, |&(name, bytes)| Page::new(name, bytes).answer(&headers))
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

#[derive(Clone)]
struct Page {
    name: &'static str,
    bytes: &'static [u8],
    tag: HeaderValue,
}

impl Page {
    fn new(name: &'static str, bytes: &'static [u8]) -> Self {
        let hash = blake3::hash(bytes).to_hex();
        let tag = format!("\"{}\"", hash.get(..16).unwrap_or_default());
        let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
        Self { name, bytes, tag }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let is_known = asked.get(header::IF_NONE_MATCH) == Some(&self.tag);
        let mut response = if is_known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            Response::new(Body::from(Bytes::from_static(self.bytes)))
        };
        let is_hashed = self.name.starts_with("assets/");
        // Not `no-store`: a browser may keep the page itself alive for the way back.
        let cache = if is_hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(self.name)));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        headers.insert(header::ETAG, self.tag.clone());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        response
    }
}

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
