//! The limits of connections and requests, and what is said at each (the others: `limits.rs`).

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::support::{
    Server, http,
    raw::{Raw, handshake},
    sse::Stream,
    tokens::{ORIGIN, locked},
    until,
    ws::Socket,
};

const HEAD: &str = "GET /v1/plan HTTP/1.1\r\nHost: localhost\r\n";
const HALF: Duration = Duration::from_millis(500);

/// Waits for the end, and says what came before it and how long it took.
async fn ended(raw: &mut Raw) -> (String, Duration) {
    let started = Instant::now();
    let rest = raw.rest().await;
    (String::from_utf8_lossy(&rest).into_owned(), started.elapsed())
}

fn assert_about(took: Duration, limit: Duration) {
    assert!(took > limit * 8 / 10 && took < limit + Duration::from_secs(3), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_finish_a_request_head_is_closed() {
    let server = Server::dev_with(|s| s.limits.head_timeout = HALF).await;
    for said in ["", "G", "GET /v1/plan HTTP/1.1\r\nHost: localhost\r\n", "PRI * HTTP/2.0\r\n\r\nS"]
    {
        let mut raw = Raw::open(&server).await;
        raw.send(said).await;
        let (_, took) = ended(&mut raw).await;
        assert_about(took, HALF);
    }
}

/// A byte now and then keeps no connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_head_that_trickles_is_closed() {
    let server = Server::dev_with(|s| s.limits.head_timeout = HALF).await;
    let mut raw = Raw::open(&server).await;
    let started = Instant::now();
    for byte in HEAD.as_bytes().iter().chain(b"X-More: ").chain(&[b'x'; 500]) {
        if raw.try_send([*byte]).await.is_err() {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(8), "it is still open");
        // This client's own slowness is what is tested.
        sleep(Duration::from_millis(20)).await;
    }
    assert!(started.elapsed() > HALF);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_and_a_used_one_is_kept() {
    let server = Server::dev_with(|s| s.limits.head_timeout = HALF).await;
    let mut raw = Raw::open(&server).await;
    for _ in 0..3 {
        raw.send(format!("{HEAD}\r\n")).await;
        assert_eq!(raw.answer().await.0.status, 200);
    }
    let (said, took) = ended(&mut raw).await;
    assert_eq!(said, "");
    assert_about(took, HALF);
    // A stream is not idle, however little is said on it.
    let mut stream = Raw::open(&server).await;
    stream.send("GET /v1/sse?topic=chat/a HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    stream.until("tidewire.hello").await;
    let mut socket = Raw::upgraded(&server, "/v1/echo").await;
    let mut control = Raw::open(&server).await;
    ended(&mut control).await;
    server.publish("chat/a", &serde_json::json!("still here")).await;
    stream.until("still here").await;
    socket.send_frame(0x81, "hi").await;
    assert_eq!(socket.frame().await.unwrap().payload, b"hi");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_answered() {
    let server = Server::dev_with(|s| s.limits.body_timeout = HALF).await;
    for path in ["/v1/topics/chat/a", "/v1/publish"] {
        for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
            let mut raw = Raw::open(&server).await;
            let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n1\r\n");
            let started = Instant::now();
            raw.send(head).await;
            let (head, body) = raw.answer().await;
            assert_eq!((head.status, body["error"]["code"].as_str()), (408, Some("timeout")));
            assert_eq!(body["error"]["next"], "retry");
            assert_about(started.elapsed(), HALF);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_head_has_its_most_fields_and_bytes() {
    let server = Server::dev().await;
    let status = async |fields: String| {
        let mut raw = Raw::open(&server).await;
        let _ = raw.try_send(format!("{HEAD}{fields}\r\n")).await;
        raw.head().await.status
    };
    // `Host` is the hundredth.
    let fields = |count: usize| (0..count).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    assert_eq!(status(fields(99)).await, 200);
    assert_eq!(status(fields(100)).await, 431);
    let bytes = |total: usize| {
        let around = HEAD.len() + "x: \r\n\r\n".len();
        format!("x: {}\r\n", "y".repeat(total - around))
    };
    assert_eq!(status(bytes(16 * 1024 - 1)).await, 200);
    assert_eq!(status(bytes(17 * 1024)).await, 431);
}

/// Places for two; each door is asked to let a third in.
async fn assert_full(server: &Server) {
    let (status, body) = Socket::open_with(server, "", &[]).await.err().unwrap();
    assert_eq!((status, &body["error"]["code"]), (503, &"too_many_connections".into()));
    let response = http().get(server.at("/plan")).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["next"], "resume");
    let mut raw = Raw::open(server).await;
    raw.send("GET /v1/sse?topic=chat/a HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let head = raw.head().await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    let (said, took) = ended(&mut raw).await;
    assert!(said.contains("retry: ") && said.contains("event: tidewire.bye"), "{said}");
    assert!(said.contains("too_many_connections"), "{said}");
    assert!(took < Duration::from_secs(2), "and it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_most_connections_each_door_says_so_and_nobody_else_is_disturbed() {
    for of_address in [false, true] {
        let server = Server::dev_with(|s| {
            let limit = if of_address {
                &mut s.limits.connections_per_address_max
            } else {
                &mut s.limits.connections_max
            };
            *limit = 2;
        })
        .await;
        let (mut stream, _) = Stream::open(&server, "topic=chat/a").await;
        let mut socket = Socket::open(&server).await;
        socket.subscribe("chat/a", None).await;
        assert_full(&server).await;
        let publish = serde_json::json!({"do": "publish", "topic": "chat/a", "data": 1});
        assert!(socket.ask(publish).await["ok"].is_object());
        assert_eq!(stream.data(1).await, [1]);
        assert_eq!(socket.data(1).await, [1]);
        // Who leaves makes room.
        socket.close().await;
        until("there is room", async || {
            http().get(server.at("/plan")).send().await.is_ok_and(|r| r.status() == 200)
        })
        .await;
    }
}

/// A page may read its slot only if it is told that it may: else its `EventSource` dies for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_turned_away_may_read_its_slot() {
    let (server, _clock) = locked(|s| s.limits.connections_max = 1).await;
    let _holds = Raw::open(&server).await;
    let mut raw = Raw::open(&server).await;
    let host = format!("Host: localhost\r\nOrigin: {ORIGIN}\r\n\r\n");
    raw.send(format!("GET /v1/sse?topic=chat/a HTTP/1.1\r\n{host}")).await;
    let head = raw.head().await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("access-control-allow-origin"), Some(ORIGIN));
    assert_eq!(head.header("access-control-allow-credentials"), Some("true"));
    let mut raw = Raw::open(&server).await;
    raw.send(format!("GET /v1/sse?topic=chat/a HTTP/1.1\r\n{}", host.replace("app", "evil"))).await;
    let head = raw.head().await;
    assert_eq!((head.status, head.header("access-control-allow-origin")), (403, None));
}

/// One who is told to go and stays does not keep others from being told.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_turned_away_does_not_stay() {
    let server = Server::dev_with(|s| {
        s.limits.connections_max = 1;
        s.limits.head_timeout = HALF;
    })
    .await;
    let (_holds, _) = Stream::open(&server, "topic=chat/a").await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    assert_eq!(client.get(server.at("/plan")).send().await.unwrap().status(), 503);
    let mut stays = Raw::open(&server).await;
    stays.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let (_, took) = ended(&mut stays).await;
    assert!(took < HALF + Duration::from_secs(3), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_comes_with_its_first_words_is_heard() {
    let server = Server::dev().await;
    let mut raw = Raw::open(&server).await;
    let mut bytes = handshake("/v1/echo").into_bytes();
    bytes.extend(crate::support::raw::masked(0x81, b"early"));
    raw.send(bytes).await;
    assert_eq!(raw.head().await.status, 101);
    assert_eq!(raw.frame().await.unwrap().payload, b"early");
}

/// An HTTP/2 connection on which nothing is under way is sent away, though its peer lives; one with
/// an open stream is not.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_http2_connection_is_closed() {
    let server = Server::dev_with(|s| s.limits.head_timeout = HALF).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let stream = client.get(server.at("/sse?topic=chat/a")).send().await.unwrap();
    let mut idle = Raw::open(&server).await;
    idle.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let (_, took) = ended(&mut idle).await;
    assert_about(took, HALF);
    server.publish("chat/a", &Value::from("still open")).await;
    let mut chunks = Box::pin(stream.bytes_stream());
    until("the open stream has heard it", async || {
        let chunk = futures_util::StreamExt::next(&mut chunks).await.unwrap().unwrap();
        String::from_utf8_lossy(&chunk).contains("still open")
    })
    .await;
}
