//! Promise 10: bad input gets a clear answer — a code, a sentence, what to do next — and loses
//! nothing: the same connection and every other reader go on.

use std::collections::BTreeMap;

use bytes::Bytes;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tidewire::{Code, Feature, Features, Settings, tidewire_core::History};

use crate::support::{
    Server, http,
    raw::{Raw, masked},
    sse::Stream,
    ws::Socket,
};

/// Two features, one of which keeps nothing; any other is unknown.
fn two_features(settings: &mut Settings) {
    let passing = Feature { history: History::None, ..Feature::default() };
    let declared = [("chat", Feature::default()), ("pointers", passing)];
    let declared = declared.map(|(name, feature)| (name.to_owned(), feature));
    settings.features = Features::declared(BTreeMap::from(declared));
}

fn code(word: &str) -> Code {
    *Code::ALL.iter().find(|code| code.as_str() == word).unwrap()
}

/// An error body is as the table says, whole, and a sentence for people is in it.
fn assert_error(status: Option<u16>, error: &Value, expected: Code, what: &str) {
    assert_eq!(error["code"], expected.as_str(), "{what}: {error}");
    assert_eq!(error["next"], expected.next().as_str(), "{what}: {error}");
    assert!(error["message"].as_str().unwrap().len() > 10, "{what}: {error}");
    assert_eq!(error.as_object().unwrap().len(), 3, "{what}: {error}");
    assert_eq!(status.unwrap_or(expected.status()), expected.status(), "{what}: {error}");
}

async fn assert_refused(request: RequestBuilder, expected: &str, what: &str) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let allow = response.headers().get("allow").cloned();
    assert_eq!(response.headers()["content-type"], "application/json", "{what}");
    assert_eq!(response.headers()["cache-control"], "no-store", "{what}");
    let body: Value = response.json().await.unwrap();
    assert_error(Some(status), &body["error"], code(expected), what);
    // RFC 9110 §15.5.6.
    assert_eq!(allow.is_some(), status == 405, "{what}");
}

/// Something is published after the bad input; whoever was there before it hears exactly that.
struct Witness {
    stream: Stream,
    socket: Socket,
    count: u64,
}

impl Witness {
    async fn of(server: &Server) -> Self {
        let (stream, _) = Stream::open(server, "topic=chat/a").await;
        let mut socket = Socket::open(server).await;
        socket.subscribe("chat/a", None).await;
        Self { stream, socket, count: 0 }
    }

    async fn lost_nothing(&mut self, server: &Server) {
        self.count += 1;
        server.publish("chat/a", &json!(self.count)).await;
        assert_eq!(self.stream.data(1).await, [json!(self.count)]);
        assert_eq!(self.socket.data(1).await, [json!(self.count)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_told_what_is_wrong_with_their_url() {
    let server = Server::dev_with(two_features).await;
    let mut witness = Witness::of(&server).await;
    for (query, expected) in [
        ("", "bad_request"),
        ("topic=", "bad_topic"),
        ("topic=/a", "bad_topic"),
        ("topic=chat//a", "bad_topic"),
        ("topic=chat/../a", "bad_topic"),
        ("topic=chat/a%20b", "bad_topic"),
        ("topic=chat/a%0Adata:%20forged", "bad_topic"),
        ("topic=chat/%C3%A9", "bad_topic"),
        ("topic=chat/%FF", "bad_topic"),
        ("topic=chat/a&topic=b%0D", "bad_topic"),
        ("topic=a/b/c/d/e/f/g/h/i", "bad_topic"),
        ("topic=chat/a&after=5", "bad_cursor"),
        ("topic=chat/a&after=K3F9.1", "bad_cursor"),
        ("topic=chat/a&after=k3f9.01", "bad_cursor"),
        ("topic=chat/a&after=k3f9.18446744073709551616", "bad_cursor"),
        ("topic=chat/a&after=%0A", "bad_cursor"),
        ("topic=chat/a&limit=0", "bad_request"),
        ("topic=chat/a&limit=many", "bad_request"),
        ("topic=chat/a&wait=61", "bad_request"),
        ("topic=chat/a&wait=1.5", "bad_request"),
        ("topic=nobody/a", "unknown_feature"),
        ("topic=chat/a&topic=nobody/a", "unknown_feature"),
    ] {
        for path in ["/sse?", "/events?"] {
            let request = http().get(server.at(&format!("{path}{query}")));
            assert_refused(request, expected, query).await;
        }
    }
    let long = "x".repeat(256);
    let request = http().get(server.at(&format!("/sse?topic={long}")));
    assert_refused(request, "bad_topic", "a long topic").await;
    let page = http().get(server.at("/events?topic=pointers/1"));
    assert_refused(page, "no_history", "a page of what keeps nothing").await;
    for id in ["x", "somebody else's 17", "\u{e9}.1"] {
        for path in ["/sse?topic=chat/a", "/events?topic=chat/a"] {
            let request = http().get(server.at(path)).header("last-event-id", id);
            assert_refused(request, "bad_cursor", id).await;
        }
    }
    witness.lost_nothing(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_are_told_what_is_wrong_with_their_message() {
    let server = Server::dev_with(two_features).await;
    let mut witness = Witness::of(&server).await;
    let post = |path: &str| http().post(server.at(&format!("/topics/{path}"))).body("1");
    for (path, expected) in [
        ("chat//a", "bad_topic"),
        ("chat/a%20b%", "bad_topic"),
        ("chat/a/", "bad_topic"),
        ("nobody/a", "unknown_feature"),
        ("a/b/c/d/e/f/g/h/i", "bad_topic"),
    ] {
        assert_refused(post(path), expected, path).await;
    }
    let long = "k".repeat(65);
    for (name, value, expected) in [
        ("tidewire-event", "", "bad_event"),
        ("tidewire-event", "two words", "bad_event"),
        ("tidewire-event", "tidewire.hello", "bad_event"),
        ("tidewire-event", "open", "bad_event"),
        ("tidewire-event", "error", "bad_event"),
        ("tidewire-event", "\u{e9}", "bad_event"),
        ("tidewire-event", long.as_str(), "bad_event"),
        ("idempotency-key", "", "bad_key"),
        ("idempotency-key", "two words", "bad_key"),
        ("idempotency-key", "\u{e9}", "bad_key"),
        ("idempotency-key", long.as_str(), "bad_key"),
    ] {
        assert_refused(post("chat/a").header(name, value), expected, name).await;
    }
    for (kind, body, expected) in [
        ("application/json", &b"{"[..], "bad_json"),
        ("application/json", b"", "bad_json"),
        ("application/json", b"1 2", "bad_json"),
        ("application/json; charset=latin1", b"NaN", "bad_json"),
        ("application/activity+json", b"'single'", "bad_json"),
        ("application/json", b"\"\xff\"", "bad_utf8"),
        ("text/plain", b"\xff", "bad_utf8"),
        ("image/svg+xml", b"\xff", "bad_utf8"),
    ] {
        let request = http().post(server.at("/topics/chat/a")).header("content-type", kind);
        assert_refused(request.body(body), expected, kind).await;
    }
    let first = server.post("chat/a", "0", &[("idempotency-key", "k")]).await;
    assert_eq!(first.status(), 201);
    assert_eq!(witness.stream.data(1).await, [json!(0)]);
    assert_eq!(witness.socket.data(1).await, [json!(0)]);
    let again = post("chat/a").header("idempotency-key", "k").header("tidewire-event", "other");
    assert_refused(again, "key_conflict", "another body").await;
    witness.lost_nothing(&server).await;
    assert_eq!(server.history("chat/a", "start").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_batch_names_its_message_and_stores_nothing() {
    let server = Server::dev_with(two_features).await;
    let mut witness = Witness::of(&server).await;
    let good = r#"{"topic":"chat/a","data":1}"#;
    for (bad, expected) in [
        (r#"{"topic":"chat/a"}"#, "bad_request"),
        (r#"{"topic":"a b","data":1}"#, "bad_topic"),
        (r#"{"topic":"chat/a\n","data":1}"#, "bad_topic"),
        (r#"{"topic":"chat/a","data":1,"event":"a\nid: 9"}"#, "bad_event"),
        (r#"{"topic":"chat/a","data":1,"event":"tidewire.beat"}"#, "bad_event"),
        (r#"{"topic":"chat/a","data":1,"key":""}"#, "bad_key"),
        (r#"{"topic":"chat/a","data":"!","encoding":"base64"}"#, "bad_json"),
        (r#"{"topic":"chat/a","data":"a","encoding":"rot13"}"#, "bad_json"),
        (r#"{"topic":"chat/a","data":1,"surprise":2}"#, "bad_json"),
        (r#"{"topic":"chat/a","topic":"chat/b","data":2}"#, "bad_json"),
        (r#"{"topic":"nobody/a","data":1}"#, "unknown_feature"),
        (r#"{"topic":"pointers/1","data":1}"#, "batch_mixed"),
        ("7", "bad_json"),
    ] {
        for body in [format!("[{good},{bad}]"), format!("{good}\n\n{bad}\n")] {
            let request = http().post(server.at("/publish")).body(body);
            assert_refused(request, expected, bad).await;
        }
    }
    for (body, expected) in [
        (&b"nonsense"[..], "bad_json"),
        (b"[", "bad_json"),
        (b"[1,", "bad_json"),
        (b"\"\xff\"", "bad_utf8"),
    ] {
        let request = http().post(server.at("/publish")).body(body);
        assert_refused(request, expected, &String::from_utf8_lossy(body)).await;
    }
    witness.lost_nothing(&server).await;
    assert_eq!(server.history("chat/a", "start").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_methods_that_are_none_are_told() {
    let server = Server::dev().await;
    for path in ["/", "/ws", "/sse/", "/topics", "/topics/", "/sse%0A", "/tickets/x", "/%FF"] {
        let path = server.at(path);
        assert_refused(http().get(&path), "not_found", &path).await;
    }
    assert_refused(http().get(format!("{}nothing", server.url)), "not_found", "outside").await;
    for (method, path) in [
        ("POST", "/sse?topic=chat/a"),
        ("DELETE", "/socket"),
        ("PUT", "/topics/chat/a"),
        ("GET", "/topics/chat/a"),
        ("GET", "/publish"),
        ("GET", "/tickets"),
        ("POST", "/plan"),
        ("PATCH", "/events?topic=chat/a"),
        ("OPTIONS", "/events?topic=chat/a"),
        ("BREW", "/plan"),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = http().request(method, server.at(path));
        assert_refused(request, "method_not_allowed", path).await;
    }
    assert_refused(http().get(server.at("/socket")), "upgrade_required", "no upgrade").await;
    // Bytes that are no path at all reach no door; the connection is told by its status.
    for path in ["/v1/topics/chat/%FF", "/v1/topics/chat/a%0Aid:1"] {
        let mut raw = Raw::open(&server).await;
        raw.send(format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1"))
            .await;
        // A byte that is percent-encoded is a character of a topic like any other.
        assert_eq!(raw.answer().await.0.status, 201, "{path}");
    }
    let page = server.page("topic=chat/a%250Aid:1").await;
    assert_eq!(page["entries"][0]["topic"], "chat/a%0Aid:1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_asked_for_without_a_body() {
    let server = Server::dev().await;
    let mut raw = Raw::open(&server).await;
    for path in ["/v1/sse?topic=chat/a", "/v1/plan", "/v1/events?topic=chat/a", "/v1/sse"] {
        raw.send(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert_eq!(raw.head().await.status, if path == "/v1/sse" { 400 } else { 200 });
    }
    // The next answer follows at once, so there was no body.
    raw.send("GET /v1/plan HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(raw.answer().await.1["protocol"], 1);
    let none = async || crate::support::streams(&server).await == 0;
    crate::support::until("no stream was left open", none).await;
}

/// Declared too large: answered before it is sent. Sent in chunks: answered when it is too much. In
/// both cases the answer arrives, though the sender is still sending.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_answered_at_once() {
    let server = Server::dev().await;
    for path in ["/v1/topics/chat/a", "/v1/publish"] {
        let mut raw = Raw::open(&server).await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n");
        raw.send(format!("{head}Content-Length: 9999999999\r\nExpect: 100-continue\r\n\r\n")).await;
        let (head, body) = raw.answer().await;
        assert_error(Some(head.status), &body["error"], Code::TooLarge, "declared");
    }
    for _ in 0..5 {
        let body = Bytes::from(vec![b'x'; 5_000_000]);
        let declared = http().post(server.at("/topics/chat/a")).body(body.clone());
        assert_refused(declared, "too_large", "declared and sent").await;
        let chunks = (0..500)
            .map(move |n| Ok::<_, std::io::Error>(body.slice(n * 9_000..n * 9_000 + 9_000)));
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
        let chunked = http().post(server.at("/topics/chat/a")).body(body);
        assert_refused(chunked, "too_large", "in chunks").await;
    }
    assert_eq!(server.history("chat/a", "start").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_answers_every_bad_command_under_its_ref_and_goes_on() {
    let server = Server::dev_with(two_features).await;
    let mut witness = Witness::of(&server).await;
    for (command, expected) in [
        (json!({}), "bad_request"),
        (json!({"do": "dance"}), "unknown_command"),
        (json!({"do": "subscribe"}), "bad_request"),
        (json!({"do": "subscribe", "topic": "a b"}), "bad_topic"),
        (json!({"do": "subscribe", "topic": "chat/b", "after": "x"}), "bad_cursor"),
        (json!({"do": "subscribe", "topic": "chat/a"}), "already_subscribed"),
        (json!({"do": "subscribe", "topic": "nobody/a"}), "unknown_feature"),
        (json!({"do": "unsubscribe", "topic": "chat/b"}), "not_subscribed"),
        (json!({"do": "unsubscribe"}), "bad_request"),
        (json!({"do": "publish", "data": 1}), "bad_request"),
        (json!({"do": "publish", "topic": "chat/a"}), "bad_request"),
        (json!({"do": "publish", "topic": "chat/a\n", "data": 1}), "bad_topic"),
        (json!({"do": "publish", "topic": "chat/a", "data": 1, "event": "a\nb"}), "bad_event"),
        (
            json!({"do": "publish", "topic": "chat/a", "data": 1, "event": "tidewire.x"}),
            "bad_event",
        ),
        (json!({"do": "publish", "topic": "chat/a", "data": 1, "key": "\n"}), "bad_key"),
        (
            json!({"do": "publish", "topic": "chat/a", "data": "%", "encoding": "base64"}),
            "bad_json",
        ),
        (json!({"do": "publish", "topic": "nobody/a", "data": 1}), "unknown_feature"),
        (json!({"do": "publish", "topic": "chat/a", "data": "x".repeat(262_143)}), "too_large"),
        (json!({"do": "token"}), "bad_request"),
    ] {
        let answer = witness.socket.ask(command.clone()).await;
        assert_error(None, &answer["error"], code(expected), &command["do"].to_string());
    }
    witness.lost_nothing(&server).await;
    // What has no readable `ref` is answered under `null`.
    for (text, expected) in [("nonsense", "bad_json"), ("[]", "bad_json"), ("", "bad_json")] {
        witness.socket.say(text).await;
        let heard = witness.socket.hear().await.unwrap();
        assert_eq!(heard["ref"], Value::Null);
        assert_error(None, &heard["error"], code(expected), text);
    }
    // A `ref` is any JSON, and comes back as it is.
    for reference in ["{\"a\": [1, 2]}", "\"\\u0000\"", "1e3"] {
        witness.socket.say(&format!("{{\"ref\":{reference},\"do\":\"dance\"}}")).await;
        let heard = witness.socket.hear().await.unwrap();
        assert_eq!(heard["ref"], serde_json::from_str::<Value>(reference).unwrap());
    }
    witness.lost_nothing(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_answers_every_bad_binary_message_and_goes_on() {
    let server = Server::dev().await;
    let mut raw = Raw::upgraded(&server, "/v1/socket").await;
    raw.frame().await.unwrap();
    for (message, expected) in [
        (&b""[..], "bad_request"),
        (b"\x00", "bad_request"),
        (b"\x00\x05{}", "bad_request"),
        (b"\x00\x02{}", "bad_request"),
        (b"\x00\x01\xff", "bad_utf8"),
        (b"\x00\x01{", "bad_json"),
        (b"\x00\x20{\"do\":\"subscribe\",\"topic\":\"a/b\"}", "bad_request"),
    ] {
        raw.send(masked(0x82, message)).await;
        let answer = raw.frame().await.unwrap().json();
        assert_error(None, &answer["error"], code(expected), &format!("{message:?}"));
    }
    let header = br#"{"do":"publish","ref":1,"topic":"chat/a"}"#;
    raw.send_frame(0x82, [&[0, header.len() as u8], &header[..], b"bytes"].concat()).await;
    assert!(raw.frame().await.unwrap().json()["ok"].is_object());
    assert_eq!(server.history("chat/a", "start").await[0]["data"], "Ynl0ZXM=");
}

/// Whatever somebody publishes, a reader of the stream sees one event, and its fields are the
/// server's.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_published_forges_a_field() {
    let server = Server::dev().await;
    let (mut stream, _) = Stream::open(&server, "topic=chat/a").await;
    let forged = "x\n\nevent: tidewire.bye\rid: 9.9\r\ndata: y\nretry: 1\n\n";
    let send = http().post(server.at("/topics/chat/a")).header("content-type", "text/plain");
    assert_eq!(send.body(forged).send().await.unwrap().status(), 201);
    let json = "[\n\n1,\r\"event: x\"\r\n]";
    assert_eq!(server.post("chat/a", json, &[]).await.status(), 201);
    let event = stream.entry().await;
    assert_eq!(event.data, forged.replace("\r\n", "\n").replace('\r', "\n"));
    assert_eq!((event.event.as_str(), event.retry_ms), ("message", None));
    assert_ne!(event.id.as_deref(), Some("9.9"));
    let event = stream.entry().await;
    assert_eq!(serde_json::from_str::<Value>(&event.data).unwrap(), json!([1, "event: x"]));
    // A header with a line end is not even a request.
    let mut raw = Raw::open(&server).await;
    raw.send(
        "POST /v1/topics/chat/a HTTP/1.1\r\nHost: localhost\r\nTidewire-Event: a\rid: 9\r\n\
         Content-Length: 1\r\n\r\n1",
    )
    .await;
    assert_eq!(raw.head().await.status, 400);
}
