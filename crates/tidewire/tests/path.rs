//! Names of event streams, what the server says it has written to them, and beats that come early:
//! what a client compares with what it has heard. On every way in which a stream is written.

use std::{collections::VecDeque, time::Duration};

use reqwest::Client;
use serde_json::{Value, json};
use tidewire::{
    Data, EventType, Hub, Message, Topic,
    tidewire_proto::sse::{Event, Parser},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};

use crate::support::{
    PATIENCE, Server,
    embedded::Embedded,
    http, http2,
    raw::{Raw, address, handshake},
    sse::Stream,
    tokens::{API_KEY, LATER_MS, SECRET, alice, grant, locked, signed, ticket},
    until,
};

/// A server in which a stream is written in one of the ways there are.
struct Way {
    name: &'static str,
    client: Client,
    url: String,
    hub: Hub,
    _server: Held,
}

enum Held {
    Own(#[expect(dead_code, reason = "it ends when it is dropped")] Box<Server>),
    App(#[expect(dead_code, reason = "it ends when it is dropped")] Embedded),
}

impl Way {
    /// All of them: our own server with HTTP/1.1 (swept, or with a task) and HTTP/2, and an app's.
    async fn all() -> Vec<Self> {
        Self::all_with(|_| {}).await
    }

    async fn all_with(change: fn(&mut tidewire::Settings)) -> Vec<Self> {
        let mut ways = Vec::new();
        for (name, client) in [("HTTP/1.1", http()), ("HTTP/2", http2())] {
            let server = Server::dev_with(change).await;
            let (url, hub) = (server.url.clone(), server.hub.clone());
            ways.push(Self { name, client, url, hub, _server: Held::Own(Box::new(server)) });
        }
        for (name, client) in [("an app", http()), ("an app, HTTP/2", http2())] {
            let app = Embedded::dev_with(change).await;
            let (url, hub) = (app.url.clone(), app.tidewire.hub().clone());
            ways.push(Self { name, client, url, hub, _server: Held::App(app) });
        }
        ways
    }

    async fn open(&self, query: &str) -> (Stream, Value) {
        Stream::connect_by(&self.client, &format!("{}v1/sse?{query}", self.url), &[]).await
    }

    async fn path(&self, connection: &str) -> Option<Value> {
        path(&self.client, &format!("{}v1/path/{connection}", self.url), None).await
    }

    /// Waits until the server says that it has written so many events to a stream, and no more.
    async fn has_written(&self, connection: &str, events: usize) {
        until("what was heard is what was written", async || {
            let written = self.path(connection).await.expect("it is open")["events"].clone();
            assert!(written.as_u64().unwrap() <= events as u64, "{}: {written}", self.name);
            written == json!(events)
        })
        .await;
    }
}

/// What was written to a stream, if one of that name is open.
async fn path(client: &Client, url: &str, token: Option<&str>) -> Option<Value> {
    let request = token.into_iter().fold(client.get(url), reqwest::RequestBuilder::bearer_auth);
    let response = request.send().await.unwrap();
    let status = response.status();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let body: Value = response.json().await.unwrap();
    if status == 404 {
        assert_eq!(body["error"]["code"], "not_found");
        return None;
    }
    assert_eq!(status, 200, "{body}");
    let fields: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["blocked", "connection", "events", "open_ms", "quiet_ms"]);
    assert!(body["quiet_ms"].as_u64() <= body["open_ms"].as_u64(), "{body}");
    Some(body)
}

fn message(topic: &str, bytes: usize) -> Message {
    Message {
        topic: Topic::parse(topic).unwrap(),
        event: EventType::message(),
        data: Data::text("x".repeat(bytes)).unwrap(),
        key: None,
        item: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_the_name_that_its_client_gives_it() {
    for way in Way::all().await {
        for name in ["x2345678", &"aZ09_-".repeat(6)[..32]] {
            assert_eq!(way.path(name).await, None, "{}: not yet", way.name);
            let (stream, hello) = way.open(&format!("topic=chat/a&connection={name}")).await;
            assert_eq!(hello["connection"], name, "{}", way.name);
            let written = way.path(name).await.expect("it is open");
            assert_eq!(written["connection"], name);
            drop(stream);
            until("it is gone", async || way.path(name).await.is_none()).await;
        }
        // Without a name of the client's, the server's own will do.
        let (_stream, hello) = way.open("topic=chat/a").await;
        assert!(way.path(hello["connection"].as_str().unwrap()).await.is_some(), "{}", way.name);
        assert_eq!(way.path("%FF").await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_or_a_wish_that_breaks_a_rule_is_refused() {
    let server = Server::dev().await;
    let long = "x".repeat(33);
    for query in [
        "connection=",
        "connection=x234567",
        "connection=x23456.8",
        "connection=x23456+8",
        "connection=x23456%C3%A9",
        "connection=x2345678%0A",
        &format!("connection={long}"),
        "beats=",
        "beats=late",
        "beats=EARLY",
        "connection=x2345678&beats=250",
    ] {
        let response =
            http().get(server.at(&format!("/sse?topic=chat/a&{query}"))).send().await.unwrap();
        assert_eq!(response.status(), 400, "{query}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["code"], "bad_request", "{query}");
        // A page is no stream: what it has no use for is passed over.
        server.page(&format!("topic=chat/a&{query}")).await;
    }
}

/// The newest of a name has it, wherever its elders are, and for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_goes_over_to_the_newer_stream() {
    const QUERY: &str = "topic=chat/a&connection=x2345678";
    let server = Server::dev().await;
    let (one, two) = (http(), http2());
    for clients in [[&one, &one], [&one, &two], [&two, &one], [&two, &two]] {
        let events = async || {
            let written = path(&one, &server.at("/path/x2345678"), None).await;
            written.map(|written| written["events"].as_u64().unwrap())
        };
        let url = server.at(&format!("/sse?{QUERY}"));
        let (mut older, _) = Stream::connect_by(clients[0], &url, &[]).await;
        for number in 1..=3 {
            server.publish("chat/a", &json!(number)).await;
            assert_eq!(older.data(1).await, [json!(number)]);
        }
        // Its writer counts when it has written, and by then it may have been heard.
        until("its frames are counted", async || events().await == Some(4)).await;
        let (mut newer, hello) = Stream::connect_by(clients[1], &url, &[]).await;
        assert_eq!(hello["connection"], "x2345678");
        until("the name is the newer's", async || events().await == Some(1)).await;
        // Both go on.
        server.publish("chat/a", &json!(4)).await;
        assert_eq!(older.data(1).await, [json!(4)]);
        assert_eq!(newer.data(1).await, [json!(4)]);
        until("the newer's are counted", async || events().await == Some(2)).await;
        drop(newer);
        until("the name is nobody's", async || events().await.is_none()).await;
        server.publish("chat/a", &json!(5)).await;
        assert_eq!(older.data(1).await, [json!(5)]);
        assert_eq!(events().await, None);
        drop(older);
        until("it is gone", async || crate::support::streams(&server).await == 0).await;
    }
}

/// And so does an elder that goes: it takes no name with it that is another's.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_stream_that_ends_leaves_the_name_to_the_newer() {
    const QUERY: &str = "topic=chat/a&connection=x2345678";
    for way in Way::all().await {
        let (older, _) = way.open(QUERY).await;
        let (mut newer, _) = way.open(QUERY).await;
        drop(older);
        // While it goes, and after it has gone: a write to it would fail.
        for number in 2..20 {
            way.hub.publish(message("chat/a", 5)).await.unwrap();
            newer.entry().await;
            way.has_written("x2345678", number).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_another_subject_is_not_there() {
    let (server, _clock) = locked(|_| {}).await;
    let (alice, bob) =
        (alice(LATER_MS), signed(SECRET, "bob", LATER_MS, grant(&["chat/**"], &["**"])));
    let url = server.at("/path/x2345678");
    for client in [http(), http2()] {
        let query = "topic=chat/a&connection=x2345678";
        let by_ticket = format!("{query}&ticket={}", ticket(&server, &alice).await);
        let stream = server.at(&format!("/sse?{by_ticket}"));
        let (of_alice, _) = Stream::connect_by(&client, &stream, &[]).await;
        assert!(path(&client, &url, Some(&alice)).await.is_some());
        for other in [&*bob, API_KEY] {
            assert_eq!(path(&client, &url, Some(other)).await, None);
        }
        // The same name is free for another subject, and takes nothing from anybody.
        let headers = [("authorization", &*format!("Bearer {bob}"))];
        let stream = server.at(&format!("/sse?{query}"));
        let (mut of_bob, _) = Stream::connect_by(&client, &stream, &headers).await;
        crate::support::tokens::publish(&server, "chat/a", &json!(1)).await;
        of_bob.entry().await;
        drop(of_alice);
        until("hers is gone", async || path(&client, &url, Some(&alice)).await.is_none()).await;
        let events = async || path(&client, &url, Some(&bob)).await.unwrap()["events"].clone();
        until("his frames are counted", async || events().await == 2).await;
        drop(of_bob);
        until("his is gone", async || path(&client, &url, Some(&bob)).await.is_none()).await;
        for (token, status) in [(None, 401), (Some("nonsense"), 401), (Some(&*alice), 404)] {
            let request =
                token.into_iter().fold(client.get(&url), reqwest::RequestBuilder::bearer_auth);
            assert_eq!(request.send().await.unwrap().status(), status, "{token:?}");
        }
    }
}

/// A socket and a poll have names too, or none; they are no event streams.
#[tokio::test(flavor = "multi_thread")]
async fn only_event_streams_have_it() {
    let server = Server::dev().await;
    let mut raw = Raw::open(&server).await;
    raw.send(handshake("/v1/socket?connection=x2345678")).await;
    assert_eq!(raw.head().await.status, 101);
    let hello = raw.frame().await.unwrap().json();
    let own = hello["hello"]["connection"].as_str().unwrap();
    for name in [own, "x2345678"] {
        assert_eq!(path(&http(), &server.at(&format!("/path/{name}")), None).await, None);
    }
    let response = http().post(server.at("/path/x2345678")).send().await.unwrap();
    assert_eq!(response.status(), 405);
}

/// Hello, a gap, entries alone and many at once, of one topic and of several, beats, the goodbye:
/// each counts once, for the one that others are served together with, and for the one that is not.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_what_a_reader_has_heard() {
    for way in Way::all_with(|s| s.limits.beat_interval = Duration::from_millis(200)).await {
        let mut readers = Vec::new();
        for (name, query) in [
            ("one-of-two", "topic=chat/a"),
            ("two-of-two", "topic=chat/a"),
            ("of-several", "topic=chat/a&topic=chat/b&topic=notes/c"),
            ("with-a-gap", "topic=chat/a&after=zz.5"),
            ("from-start", "topic=chat/a&after=start"),
        ] {
            let (stream, _) = way.open(&format!("{query}&connection={name}")).await;
            readers.push((name, stream, 1));
        }
        for batch in [1, 1, 7, 300] {
            for topic in ["chat/a", "chat/b"] {
                let batch = (0..batch).map(|number| message(topic, 1 + number * 5)).collect();
                way.hub.publish_batch(batch).await.unwrap();
            }
            // So that each has beaten at least once.
            let mut beats = 0;
            while beats == 0 {
                for (name, stream, heard) in &mut readers {
                    loop {
                        let event = stream.next().await.expect("an event");
                        *heard += 1;
                        if event.event == "tidewire.beat" {
                            beats += 1;
                            break;
                        }
                        assert!(event.event != "tidewire.gap" || *name == "with-a-gap");
                    }
                }
            }
            for (name, stream, heard) in &mut readers {
                // Beats come on, so both are asked until they agree for once.
                until("as much is written as is heard", async || {
                    let written = way.path(name).await.unwrap()["events"].as_u64().unwrap();
                    while *heard < written {
                        stream.next().await.expect("what was written");
                        *heard += 1;
                    }
                    let again = way.path(name).await.unwrap()["events"].as_u64().unwrap();
                    again == *heard
                })
                .await;
            }
        }
        let expected = |reader: usize| readers[reader].2;
        assert!(expected(3) > 310 && expected(2) > 618, "{}", way.name);
    }
}

/// Time since the first write, and since the last.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_how_long_a_stream_is_open_and_how_long_it_is_quiet() {
    let half = Duration::from_millis(500);
    for way in Way::all().await {
        let started = Instant::now();
        let (mut stream, _) = way.open("topic=chat/a&connection=x2345678").await;
        let ask = async |field: &str| {
            let written = way.path("x2345678").await.unwrap();
            Duration::from_millis(written[field].as_u64().unwrap())
        };
        until("it is quiet for a while", async || ask("quiet_ms").await >= half).await;
        assert!(started.elapsed() + Duration::from_millis(10) >= half, "{}", way.name);
        let asked = Instant::now();
        way.hub.publish(message("chat/a", 5)).await.unwrap();
        stream.entry().await;
        until("the write is noted", async || {
            ask("quiet_ms").await <= asked.elapsed() + Duration::from_millis(10)
        })
        .await;
        let open = ask("open_ms").await;
        assert!(open >= half && open <= started.elapsed() + Duration::from_millis(10));
    }
}

/// Four soon after the hello, however much else is said in between.
#[tokio::test(flavor = "multi_thread")]
async fn early_beats_come_at_their_times() {
    let ways = Way::all().await;
    let all = ways.iter().flat_map(|way| [(way, true), (way, false)]);
    let heard = all.map(|(way, is_busy)| async move {
        let asked = Instant::now();
        let (mut stream, _) = way.open("topic=chat/a&connection=x2345678&beats=early").await;
        let (mut plain, _) = way.open("topic=chat/a").await;
        let hello = Instant::now();
        let mut beats = Vec::new();
        while hello.elapsed() < Duration::from_secs(3) {
            if is_busy {
                way.hub.publish(message("chat/a", 5)).await.unwrap();
                assert_ne!(plain.next().await.unwrap().event, "tidewire.beat");
            }
            let wait = Duration::from_millis(if is_busy { 1 } else { 200 });
            while let Ok(event) = timeout(wait, stream.next()).await {
                if event.unwrap().event == "tidewire.beat" {
                    beats.push((asked.elapsed(), hello.elapsed()));
                }
            }
        }
        (way.name, is_busy, beats)
    });
    for (name, is_busy, beats) in futures_util::future::join_all(heard).await {
        let due = [250, 500, 1_000, 2_000].map(Duration::from_millis);
        assert_eq!(beats.len(), due.len(), "{name}, busy: {is_busy}: {beats:?}");
        for ((asked, hello), due) in beats.iter().zip(due) {
            // The hello was said after it was asked for, and before it was heard.
            let (tick, late) = (Duration::from_millis(10), Duration::from_millis(900));
            assert!(*asked + tick >= due, "{name}, busy: {is_busy}: {beats:?}");
            assert!(*hello <= due + late, "{name}, busy: {is_busy}: {beats:?}");
        }
    }
}

/// A client that was away asks for a sign of life, on the stream itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_beats_when_it_is_asked_to() {
    for way in Way::all().await {
        let (mut stream, _) = way.open("topic=chat/a&connection=x2345678").await;
        for _ in 0..2 {
            assert!(way.path("x2345678?beat=now").await.is_some(), "{}", way.name);
            let heard = timeout(PATIENCE, stream.next()).await.expect("in time").unwrap();
            assert_eq!(heard.event, "tidewire.beat", "{}", way.name);
        }
        way.has_written("x2345678", 3).await;
        let url = format!("{}v1/path/x2345678?beat=soon", way.url);
        let refused = way.client.get(url).send().await.unwrap();
        assert_eq!(refused.status(), 400, "{}", way.name);
        assert_eq!(way.path("nobody-7?beat=now").await, None, "{}", way.name);
    }
}

/// A stream on a connection whose kernel takes little.
struct Narrow {
    io: TcpStream,
    parser: Parser,
    events: VecDeque<Event>,
    heard: u64,
}

impl Narrow {
    async fn open(server: &Server, query: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let mut io = socket.connect(address(server).parse().unwrap()).await.unwrap();
        io.write_all(format!("GET /v1/sse?{query} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.unwrap());
        }
        let mut stream =
            Self { io, parser: Parser::new(1 << 20), events: VecDeque::new(), heard: 0 };
        assert_eq!(stream.next().await.event, "tidewire.hello");
        stream
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                self.heard += 1;
                return event;
            }
            let mut buffer = vec![0; 64 * 1024];
            let read = timeout(PATIENCE, self.io.read(&mut buffer)).await;
            let count = read.expect("bytes in time").unwrap();
            assert!(count > 0, "the stream ended");
            self.events.extend(self.parser.feed(&buffer[..count]).unwrap());
        }
    }
}

/// A reader that stops reading: the server says so, and what it says it has written is to the frame
/// what the reader finds when it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_blocked_and_its_events_stop() {
    const EVENTS: usize = 4_000;
    let server = Server::dev().await;
    let url = server.at("/path/x2345678");
    let written = async || path(&http(), &url, None).await.expect("it is open");
    let mut slow = Narrow::open(&server, "topic=chat/a&connection=x2345678").await;
    until("it takes what it is given", async || written().await["blocked"] == false).await;
    for batch in 0..EVENTS / 100 {
        let batch = (0..100).map(|number| message("chat/a", 900 + batch + number)).collect();
        server.hub.publish_batch(batch).await.unwrap();
    }
    until("it is blocked", async || written().await["blocked"] == true).await;
    // Whatever its kernel still takes by and by.
    let mut before = written().await;
    until("nothing goes any more", async || {
        let now = written().await;
        let is_still =
            now["events"] == before["events"] && now["quiet_ms"].as_u64().unwrap() >= 300;
        before = now;
        is_still
    })
    .await;
    server.hub.publish(message("chat/a", 900)).await.unwrap();
    let now = written().await;
    assert_eq!((&now["events"], &now["blocked"]), (&before["events"], &json!(true)));
    let events = now["events"].as_u64().unwrap();
    assert!(events > 1 && events < EVENTS as u64, "{events}");
    // It goes on reading: of what counts as written, something was there of each, and of nothing else.
    while slow.heard < events {
        slow.next().await;
    }
    until("the rest comes too", async || {
        let written = written().await;
        while slow.heard < written["events"].as_u64().unwrap() {
            slow.next().await;
        }
        // The hello, and the one that was published later.
        slow.heard == EVENTS as u64 + 2
            && written["events"] == EVENTS + 2
            && written["blocked"] == false
    })
    .await;
}

/// The same over HTTP/2, where the window of one stream is full and its connection goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_http_2_that_takes_nothing_is_blocked() {
    const EVENTS: u64 = 1_000;
    let server = Server::dev().await;
    let client = Client::builder()
        .http2_prior_knowledge()
        .http2_initial_stream_window_size(65_535)
        .build()
        .unwrap();
    let url = server.at("/path/x2345678");
    let written = async || path(&client, &url, None).await.expect("it is open");
    let stream = server.at("/sse?topic=chat/a&connection=x2345678");
    let (mut slow, _) = Stream::connect_by(&client, &stream, &[]).await;
    for _ in 0..EVENTS / 100 {
        let batch = (0..100).map(|_| message("chat/a", 1_000)).collect();
        server.hub.publish_batch(batch).await.unwrap();
    }
    until("it is blocked", async || {
        let written = written().await;
        written["blocked"] == true && written["quiet_ms"].as_u64().unwrap() >= 300
    })
    .await;
    let events = written().await["events"].as_u64().unwrap();
    assert!(events > 1 && events < EVENTS, "{events}");
    for _ in 0..EVENTS {
        slow.entry().await;
    }
    until("it waits for more", async || written().await["blocked"] == false).await;
    assert_eq!(written().await["events"], EVENTS + 1);
}
