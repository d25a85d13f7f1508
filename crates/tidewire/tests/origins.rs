//! Which pages may talk to the server: none that is not listed, on every door; and `dev` answers
//! only to this machine's own names.

use reqwest::Method;
use serde_json::Value;

use crate::support::{
    Server, http,
    raw::{Raw, address, handshake},
    tokens::{LATER_MS, ORIGIN, alice, locked},
};

/// Every door, and a path that is none.
const DOORS: [(&str, &str); 12] = [
    ("GET", "/sse?topic=chat/a&after=start"),
    ("GET", "/socket"),
    ("GET", "/events?topic=chat/a"),
    ("POST", "/topics/chat/a"),
    ("POST", "/publish"),
    ("POST", "/tickets"),
    ("GET", "/plan"),
    ("GET", "/canary?gap=50"),
    ("GET", "/path/x2345678"),
    ("POST", "/path"),
    ("GET", "/nothing"),
    ("DELETE", "/plan"),
];

async fn ask(server: &Server, method: &str, path: &str, origin: &str) -> reqwest::Response {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = http().request(method, server.at(path)).header("origin", origin).body("1");
    request.bearer_auth(alice(LATER_MS)).send().await.unwrap()
}

async fn assert_closed(server: &Server, origin: &str) {
    for (method, path) in DOORS.into_iter().chain([("OPTIONS", "/sse"), ("OPTIONS", "/publish")]) {
        let response = ask(server, method, path, origin).await;
        assert_eq!(response.status(), 403, "{method} {path} from {origin}");
        assert!(!response.headers().contains_key("access-control-allow-origin"), "{origin}");
        assert!(!response.headers().contains_key("timing-allow-origin"), "{origin}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["code"], "origin_refused");
    }
    let mut raw = Raw::open(server).await;
    let upgrade = handshake("/v1/socket");
    raw.send(upgrade.trim_end().to_owned() + &format!("\r\nOrigin: {origin}\r\n\r\n")).await;
    assert_eq!(raw.head().await.status, 403, "a cross-site handshake from {origin}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_origin_is_not_listed_reaches_no_door() {
    let (server, _clock) = locked(|_| {}).await;
    for origin in [
        "https://evil.test",
        "null",
        "",
        "https://app.example.com.evil.test",
        "https://evilapp.example.com",
        "https://sub.app.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com/",
        "https://APP.example.com",
        "https://app.example.com, https://evil.test",
        "https://app.example.com@evil.test",
        "http://localhost:5173",
    ] {
        assert_closed(&server, origin).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_listed_origin_no_page_reaches_any_door() {
    let (server, _clock) = locked(|settings| settings.origins.listed.clear()).await;
    assert_closed(&server, ORIGIN).await;
    assert_closed(&server, server.url.trim_end_matches('/')).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_origin_is_told_so_whatever_the_answer_is() {
    let (server, _clock) = locked(|_| {}).await;
    for (method, path) in DOORS {
        let response = ask(&server, method, path, ORIGIN).await;
        let headers = response.headers();
        assert_ne!(response.status(), 403, "{method} {path}");
        assert_eq!(headers["access-control-allow-origin"], ORIGIN, "{method} {path}");
        assert_eq!(headers["access-control-allow-credentials"], "true");
        assert_eq!(headers["access-control-expose-headers"], "etag, retry-after");
        assert_eq!(headers["timing-allow-origin"], ORIGIN, "{method} {path}");
        assert_eq!(headers["vary"], "origin");
    }
    // Errors too: a page can not read what it is not allowed to see.
    let request = http().get(server.at("/plan")).header("origin", ORIGIN).send().await.unwrap();
    assert_eq!(request.status(), 401);
    assert_eq!(request.headers()["access-control-allow-origin"], ORIGIN);
    let mut raw = Raw::open(&server).await;
    let upgrade = handshake("/v1/socket");
    let token = alice(LATER_MS);
    let more = format!("\r\nOrigin: {ORIGIN}\r\nAuthorization: Bearer {token}\r\n\r\n");
    raw.send(upgrade.trim_end().to_owned() + &more).await;
    assert_eq!(raw.head().await.status, 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_without_a_token() {
    let (server, _clock) = locked(|_| {}).await;
    for (method, path) in DOORS.into_iter().take(10) {
        let request = http()
            .request(Method::OPTIONS, server.at(path))
            .header("origin", ORIGIN)
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "authorization, last-event-id");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 204, "{path}");
        let headers = response.headers();
        assert_eq!(headers["access-control-allow-origin"], ORIGIN);
        assert_eq!(headers["access-control-allow-methods"], "GET, POST");
        let allowed = headers["access-control-allow-headers"].to_str().unwrap();
        for name in ["authorization", "content-type", "idempotency-key", "last-event-id"] {
            assert!(allowed.contains(name), "{allowed}");
        }
        assert_eq!(headers["access-control-max-age"], "7200");
    }
}

/// A name of somebody else's that points at this machine (DNS rebinding): the page's origin is then
/// its own, so only the name tells.
#[tokio::test(flavor = "multi_thread")]
async fn dev_answers_only_to_this_machines_names() {
    let server = Server::dev().await;
    let port = address(&server).split_once(':').unwrap().1.to_owned();
    let paths =
        ["/", "/live", "/healthz", "/readyz", "/v1/plan", "/v1/events?topic=a", "/v1/x", "/x"];
    let status = async |path: &str, host: &str| {
        let mut raw = Raw::open(&server).await;
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        raw.head().await.status
    };
    for path in paths {
        for host in [
            "evil.test",
            &format!("evil.test:{port}"),
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "10.0.0.1",
            "",
            "a b",
        ] {
            assert_eq!(status(path, host).await, 403, "{path} for {host:?}");
        }
        let good = match path {
            "/" => 307,
            _ if path.ends_with('x') => 404,
            _ => 200,
        };
        for host in ["localhost", &format!("127.0.0.1:{port}"), "[::1]:1", "app.localhost:80"] {
            assert_eq!(status(path, host).await, good, "{path} for {host:?}");
        }
    }
    let mut raw = Raw::open(&server).await;
    raw.send(handshake("/v1/echo").replace("localhost", "evil.test")).await;
    assert_eq!(raw.head().await.status, 403);
}

/// What a page of another site can send without asking first.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_site_publishes_nothing_in_dev() {
    let server = Server::dev().await;
    let form = http()
        .post(server.at("/topics/chat/a"))
        .header("origin", "https://evil.test")
        .header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(form.body("a=b").send().await.unwrap().status(), 403);
    assert_eq!(server.history("chat/a", "start").await.len(), 0);
    let own = http().post(server.at("/topics/chat/a")).header("origin", "http://localhost:5173");
    assert_eq!(own.body("1").send().await.unwrap().status(), 201);
}
