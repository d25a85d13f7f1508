//! The same doors over HTTP/1.0, HTTP/1.1, HTTP/2 and TLS.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tidewire::{
    config::Tls,
    tidewire_proto::sse::{Event, Parser},
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{self, ClientConfig, RootCertStore, pki_types::ServerName},
};

use crate::support::{
    PATIENCE, Server, http,
    raw::{Raw, address},
    sse::Stream,
    until,
};

/// A server with a certificate of its own for `localhost`, and what trusts it.
struct Secured {
    server: Server,
    pem: Vec<u8>,
    roots: Arc<RootCertStore>,
    _files: tempfile::TempDir,
}

impl Secured {
    async fn open(change: impl FnOnce(&mut tidewire::Settings)) -> Self {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let files = tempfile::tempdir().unwrap();
        let (certificate, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
        let pem = own.cert.pem().into_bytes();
        std::fs::write(&certificate, &pem).unwrap();
        std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone()).unwrap();
        let server = Server::dev_with(|settings| {
            settings.tls = Some(Tls { certificate, key });
            change(settings);
        })
        .await;
        assert!(server.url.starts_with("https://"));
        Self { server, pem, roots: Arc::new(roots), _files: files }
    }

    fn port(&self) -> &str {
        address(&self.server).split_once(':').unwrap().1
    }

    fn at(&self, path: &str) -> String {
        format!("https://localhost:{}/v1{path}", self.port())
    }

    fn client(&self, is_h2: bool) -> reqwest::Client {
        let certificate = reqwest::Certificate::from_pem(&self.pem).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([certificate]);
        let client = if is_h2 { client } else { client.http1_only() };
        client.build().unwrap()
    }

    async fn connect(&self, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(address(&self.server)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

/// Events of a response, as they come.
struct Events {
    response: reqwest::Response,
    parser: Parser,
    early: std::collections::VecDeque<Event>,
}

impl Events {
    async fn open(client: &reqwest::Client, url: &str) -> Self {
        let response = client.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut events = Self { response, parser: Parser::new(1 << 20), early: Default::default() };
        assert_eq!(events.next().await.event, "tidewire.hello");
        events
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.early.pop_front() {
                return event;
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("in time").unwrap();
            self.early.extend(self.parser.feed(&chunk.expect("more")).unwrap());
        }
    }
}

async fn publish(client: &reqwest::Client, url: &str, data: u64) -> reqwest::Response {
    let response = client.post(url).body(data.to_string()).send().await.unwrap();
    assert_eq!(response.status(), 201);
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streams_head_is_exactly_as_specified() {
    let server = Server::dev().await;
    let mut raw = Raw::open(&server).await;
    raw.send("GET /v1/sse?topic=chat/a HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let head = raw.head().await;
    assert_eq!((head.status, head.version.as_str()), (200, "HTTP/1.1"));
    for (name, value) in [
        ("content-type", Some("text/event-stream")),
        ("cache-control", Some("no-store, no-transform")),
        ("x-accel-buffering", Some("no")),
        ("transfer-encoding", Some("chunked")),
        ("content-length", None),
        ("content-encoding", None),
        // Nothing else comes on this connection after the stream.
        ("connection", Some("close")),
    ] {
        assert_eq!(head.header(name), value, "{name}");
    }
    assert!(raw.until("\n\n").await.contains("retry: "), "it speaks at once");
}

/// Without chunks the end of the connection is the end of the stream.
#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_is_served_too() {
    let mut server = Server::dev().await;
    let mut raw = Raw::open(&server).await;
    raw.send("GET /v1/sse?topic=chat/a HTTP/1.0\r\n\r\n").await;
    let head = raw.head().await;
    assert_eq!((head.status, head.header("transfer-encoding")), (200, None));
    raw.until("tidewire.hello").await;
    server.publish("chat/a", &json!("to an old client")).await;
    raw.until("data: \"to an old client\"\n").await;
    let (rest, ()) = tokio::join!(raw.rest(), server.stop());
    assert!(String::from_utf8(rest).unwrap().contains("tidewire.bye"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_a_row_on_one_connection_are_answered_in_order() {
    let server = Server::dev().await;
    let mut raw = Raw::open(&server).await;
    let post = |n: usize| {
        format!(
            "POST /v1/topics/chat/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n{n}"
        )
    };
    let bad = "GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let page = "GET /v1/events?topic=chat/a HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let all: Vec<String> = vec![post(1), bad.to_owned(), post(2), page.to_owned()];
    raw.send(all.concat()).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(raw.answer().await.0.status);
    }
    assert_eq!(statuses, [201, 404, 201]);
    let (_, page) = raw.answer().await;
    assert_eq!((&page["entries"][0]["data"], &page["entries"][1]["data"]), (&json!(1), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_by_prior_knowledge_carries_many_streams_on_one_connection() {
    const STREAMS: u64 = 60;
    // One connection is all that there may be.
    let server = Server::dev_with(|s| s.limits.connections_max = 1).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let mut all = Vec::new();
    for number in 0..STREAMS {
        let url = server.at(&format!("/sse?topic=chat/all&topic=chat/{number}"));
        let events = Events::open(&client, &url).await;
        assert_eq!(events.response.version(), reqwest::Version::HTTP_2);
        let headers = events.response.headers();
        assert_eq!(headers["content-type"], "text/event-stream");
        assert_eq!(headers["cache-control"], "no-store, no-transform");
        assert!(!headers.contains_key("transfer-encoding"));
        all.push(events);
    }
    publish(&client, &server.at("/topics/chat/all"), 7).await;
    for (number, events) in all.iter_mut().enumerate() {
        publish(&client, &server.at(&format!("/topics/chat/{number}")), number as u64).await;
        assert_eq!(events.next().await.data, "7");
        assert_eq!(events.next().await.data, number.to_string());
    }
    let upgrade = client.get(server.at("/socket")).send().await.unwrap();
    assert_eq!(upgrade.status(), 426, "a WebSocket needs HTTP/1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_streams_hear_the_goodbye() {
    let mut server = Server::dev().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let mut one = Events::open(&client, &server.at("/sse?topic=chat/a")).await;
    let mut two = Events::open(&client, &server.at("/sse?topic=chat/a")).await;
    let started = Instant::now();
    let heard = async {
        for events in [&mut one, &mut two] {
            let bye = events.next().await;
            assert_eq!(bye.event, "tidewire.bye");
            assert!(bye.retry_ms.is_some());
            let rest = timeout(PATIENCE, events.response.chunk()).await.expect("the end in time");
            assert!(rest.unwrap().is_none_or(|rest| rest.is_empty()), "it ends");
        }
    };
    tokio::join!(server.stop(), heard);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_chooses_http_2_or_1_by_what_the_client_offers() {
    let secured = Secured::open(|_| {}).await;
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let stream = secured.connect(offered).await.unwrap();
        let alpn =
            stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8(name.into()).unwrap());
        assert_eq!(alpn.as_deref(), chosen, "{offered:?}");
    }
    assert!(secured.connect(&["spdy/3"]).await.is_err());
    for (is_h2, version) in [(true, reqwest::Version::HTTP_2), (false, reqwest::Version::HTTP_11)] {
        let client = secured.client(is_h2);
        let url = secured.at("/sse?topic=chat/a&connection=over-tls");
        let mut events = Events::open(&client, &url).await;
        assert_eq!(events.response.version(), version);
        publish(&client, &secured.at("/topics/chat/a"), 1).await;
        assert_eq!(events.next().await.data, "1");
        until("hello and entry are counted", async || {
            let written = client.get(secured.at("/path/over-tls")).send().await.unwrap();
            let written: Value = written.json().await.unwrap();
            written["events"] == 2 && written["blocked"] == false
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_over_tls_talks() {
    use tokio_tungstenite::{client_async, tungstenite::Message};
    let secured = Secured::open(|_| {}).await;
    let stream = secured.connect(&["http/1.1"]).await.unwrap();
    let url = format!("wss://localhost:{}/v1/socket", secured.port());
    let (mut socket, _) = client_async(url, stream).await.unwrap();
    let mut hear = async |expected: &str| {
        let message = timeout(PATIENCE, socket.next()).await.expect("in time").unwrap().unwrap();
        let heard: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        assert!(!heard[expected].is_null(), "{heard}");
        let data = "x".repeat(100_000);
        let command = json!({"do": "publish", "ref": 1, "topic": "chat/a", "data": data});
        socket.send(Message::text(command.to_string())).await.unwrap();
        heard
    };
    hear("hello").await;
    hear("ok").await;
    hear("ok").await;
}

/// The goodbye of TLS must not be waited for without end.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_finish_a_tls_handshake_is_closed() {
    let limit = Duration::from_millis(500);
    let secured = Secured::open(|s| {
        s.limits.handshake_timeout = limit;
        s.limits.drain_timeout = Duration::from_secs(20);
    })
    .await;
    for said in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut raw = Raw::open(&secured.server).await;
        raw.send(said).await;
        let started = Instant::now();
        raw.rest().await;
        let took = started.elapsed();
        assert!(took > limit / 2 && took < limit + Duration::from_secs(3), "{took:?}");
    }
    // Plain HTTP is not even answered.
    let mut raw = Raw::open(&secured.server).await;
    raw.send("GET /v1/plan HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(!String::from_utf8_lossy(&raw.rest().await).contains("200 OK"));
}

/// A handshake that hangs does not hold up a shutdown.
#[tokio::test(flavor = "multi_thread")]
async fn a_tls_handshake_under_way_holds_no_shutdown_up() {
    let mut secured = Secured::open(|s| s.limits.drain_timeout = Duration::from_secs(20)).await;
    let _silent = Raw::open(&secured.server).await;
    // Accepted in order: when this one is answered, the silent one is inside.
    let client = secured.client(false);
    assert_eq!(client.get(secured.at("/plan")).send().await.unwrap().status(), 200);
    drop(client);
    let started = Instant::now();
    secured.server.stop().await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

/// What one door wrote over one version of HTTP, every other reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_http_2_goes_on_over_http_1() {
    let server = Server::dev().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let mut events = Events::open(&client, &server.at("/sse?topic=chat/a")).await;
    publish(&http(), &server.at("/topics/chat/a"), 1).await;
    let cursor = events.next().await.id.unwrap();
    publish(&client, &server.at("/topics/chat/a"), 2).await;
    let (mut stream, hello) = Stream::open(&server, &format!("topic=chat/a&after={cursor}")).await;
    assert_eq!(hello["continuity"], "resumed");
    assert_eq!(stream.data(1).await, [json!(2)]);
}
