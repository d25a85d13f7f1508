//! Who hears of a new plan: every stream, socket and waiting poll, each once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use futures_util::{StreamExt, future::BoxFuture};
use serde_json::{Value, json};
use tidewire::{
    Data, EventType, Message, Tidewire, Topic,
    tidewire_proto::{
        plan::Transport,
        sse::{Event, Parser},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{moved, tag};
use crate::support::{
    PATIENCE, Server, http,
    log::HeldLog,
    raw::{Raw, address, handshake},
    sse::Stream,
    streams, until,
    ws::Socket,
};

/// Flips while entries pass.
const FLIPS: usize = 4;

/// What a reader has heard: the numbers of entries, and the tags of plans.
#[derive(Default)]
struct Heard {
    numbers: Vec<u64>,
    tags: Vec<String>,
}

/// How many readers have heard of each flip.
#[derive(Default)]
struct Score([AtomicUsize; FLIPS]);

impl Score {
    fn count(&self, heard: &Heard) {
        self.0[heard.tags.len() - 1].fetch_add(1, Ordering::SeqCst);
    }
}

fn told(data: &Value) -> String {
    let wait_ms = data["wait_ms"].as_u64().expect("a slot");
    assert!(wait_ms <= 1_000, "few readers spread over a second: {wait_ms}");
    data["tag"].as_str().expect("a tag").to_owned()
}

/// Reads until the number `last` has come.
async fn by_stream(mut stream: Stream, last: u64, score: Arc<Score>) -> Heard {
    let mut heard = Heard::default();
    while heard.numbers.last() != Some(&last) {
        let event = stream.next().await.expect("it goes on");
        match event.event.as_str() {
            "message" => heard.numbers.push(event.data.parse().unwrap()),
            "tidewire.beat" => {}
            "tidewire.plan" => {
                assert_eq!(event.id, None, "it moves no bookmark");
                heard.tags.push(told(&serde_json::from_str(&event.data).unwrap()));
                score.count(&heard);
            }
            _ => panic!("{event:?}"),
        }
    }
    heard
}

async fn by_socket(mut socket: Socket, last: u64, score: Arc<Score>) -> Heard {
    let mut heard = Heard::default();
    while heard.numbers.last() != Some(&last) {
        let said = socket.hear().await.expect("it goes on");
        if let Some(number) = said["data"].as_u64() {
            heard.numbers.push(number);
        } else if said["plan"].is_object() {
            heard.tags.push(told(&said["plan"]));
            score.count(&heard);
        } else {
            assert!(said["beat"].is_object() || said["live"].is_object(), "{said}");
        }
    }
    heard
}

/// Long-polls, page after page. A page says which plan is in force; only another is a new one.
async fn by_poll(
    url: String,
    mut after: String,
    first: String,
    last: u64,
    score: Arc<Score>,
) -> Heard {
    let (mut heard, mut known) = (Heard::default(), first);
    while heard.numbers.last() != Some(&last) {
        let url = format!("{url}/v1/events?topic=chat/a&wait=20&after={after}");
        let page: Value = http().get(url).send().await.unwrap().json().await.unwrap();
        let entries = page["entries"].as_array().expect("a page");
        heard.numbers.extend(entries.iter().map(|entry| entry["data"].as_u64().unwrap()));
        after = page["cursor"].as_str().unwrap().to_owned();
        let tag = page["plan"].as_str().expect("a page names the plan");
        if tag != known {
            tag.clone_into(&mut known);
            heard.tags.push(tag.to_owned());
            score.count(&heard);
        }
    }
    heard
}

/// An event stream over HTTP/2.
async fn by_h2(server: &Server, last: u64, score: Arc<Score>) -> BoxFuture<'static, Heard> {
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let response = client.get(server.at("/sse?topic=chat/a")).send().await.unwrap();
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    Box::pin(async move {
        let (mut heard, mut parser) = (Heard::default(), Parser::new(1 << 20));
        let mut bytes = response.bytes_stream();
        while heard.numbers.last() != Some(&last) {
            let chunk = timeout(PATIENCE, bytes.next()).await.expect("bytes in time");
            for event in parser.feed(&chunk.expect("it goes on").unwrap()).unwrap() {
                match event.event.as_str() {
                    "message" => heard.numbers.push(event.data.parse().unwrap()),
                    "tidewire.plan" => {
                        heard.tags.push(told(&serde_json::from_str(&event.data).unwrap()));
                        score.count(&heard);
                    }
                    _ => {}
                }
            }
        }
        // The connection goes with it.
        drop(client);
        heard
    })
}

/// `chat` goes over from one transport to the other and back while entries pass without a pause.
/// Everybody on every door hears each of the tags once, in order, and every entry once, in order.
#[tokio::test(flavor = "multi_thread")]
async fn everybody_hears_each_plan_once_and_every_entry() {
    const LAST: u64 = 1_000_000;
    let mut server = Server::dev().await;
    let first = tag(&server).await;
    let score = Arc::new(Score::default());
    let mut readers: Vec<BoxFuture<'static, Heard>> = Vec::new();
    for _ in 0..3 {
        let (stream, hello) = Stream::open(&server, "topic=chat/a").await;
        assert_eq!(hello["plan"], json!(first));
        readers.push(Box::pin(by_stream(stream, LAST, Arc::clone(&score))));
        let mut socket = Socket::open(&server).await;
        socket.subscribe("chat/a", None).await;
        readers.push(Box::pin(by_socket(socket, LAST, Arc::clone(&score))));
        let url = server.url.trim_end_matches('/').to_owned();
        let start = server.page("topic=chat/a&after=start").await;
        let after = start["cursor"].as_str().unwrap().to_owned();
        readers.push(Box::pin(by_poll(url, after, first.clone(), LAST, Arc::clone(&score))));
    }
    readers.push(by_h2(&server, LAST, Arc::clone(&score)).await);
    let readers: Vec<_> = readers.into_iter().map(tokio::spawn).collect();

    let (mut number, mut tags) = (0, Vec::new());
    for flip in 0..FLIPS {
        let transport = if flip % 2 == 0 { Transport::Sse } else { Transport::Ws };
        let reloaded = server.reload(|settings| moved(settings, transport)).unwrap();
        assert!(reloaded.is_plan_new);
        tags.push(tag(&server).await);
        until("everybody has heard of it", async || {
            server.publish("chat/a", &json!(number)).await;
            number += 1;
            score.0[flip].load(Ordering::SeqCst) == readers.len()
        })
        .await;
    }
    server.publish("chat/a", &json!(LAST)).await;
    let expected: Vec<_> = (0..number).chain([LAST]).collect();
    for reader in readers {
        let heard = reader.await.unwrap();
        assert_eq!(heard.numbers, expected);
        assert_eq!(heard.tags, tags);
    }
    assert!(tags[0] == tags[2] && tags[1] == tags[3] && tags[0] != tags[1], "by what it says");
}

/// A reload that leaves the plan as it was is nobody's news.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_says_the_same_is_not_told() {
    let mut server = Server::dev().await;
    let (mut stream, _) = Stream::open(&server, "topic=chat/a").await;
    let mut socket = Socket::open(&server).await;
    socket.subscribe("chat/a", None).await;
    let before = tag(&server).await;
    let origin = tidewire::config::Origin::parse("https://new.example").unwrap();
    let reloaded = server.reload(|settings| settings.origins.listed = vec![origin]).unwrap();
    assert!(!reloaded.is_plan_new && reloaded.changes.len() == 1);
    let reloaded = server.reload(|_| {}).unwrap();
    assert!(!reloaded.is_plan_new && reloaded.changes.is_empty());
    assert_eq!(tag(&server).await, before);
    for number in 0..20 {
        server.publish("chat/a", &json!(number)).await;
        // Both fail on anything but entries.
        assert_eq!(stream.entry().await.data, number.to_string());
        assert_eq!(socket.entry().await["data"], number);
    }
}

/// Whoever comes after a reload hears of it in its first words, and not again.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_later_hears_the_tag_at_once() {
    let mut server = Server::dev().await;
    server.reload(|settings| moved(settings, Transport::Poll)).unwrap();
    let now = tag(&server).await;
    for number in 0..10 {
        let (mut stream, hello) = Stream::open(&server, "topic=chat/a").await;
        assert_eq!(hello["plan"], json!(now));
        let mut raw = Raw::upgraded(&server, "/v1/socket").await;
        assert_eq!(raw.frame().await.unwrap().json()["hello"]["plan"], json!(now));
        server.publish("chat/a", &json!(number)).await;
        assert_eq!(stream.entry().await.data, number.to_string());
    }
    assert_eq!(server.page("topic=chat/a&limit=1").await["plan"], json!(now));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_waits_is_answered_at_once_and_loses_nothing() {
    let mut server = Server::dev().await;
    let before = tag(&server).await;
    let url = server.at("/events?topic=chat/a&wait=60");
    let poll = tokio::spawn(http().get(url).send());
    until("somebody waits", async || streams(&server).await == 1).await;
    server.reload(|settings| moved(settings, Transport::Sse)).unwrap();
    let page: Value = poll.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!((&page["entries"], &page["more"]), (&json!([]), &json!(false)));
    assert_eq!(page["plan"], json!(tag(&server).await));
    assert_ne!(page["plan"], json!(before));
    server.publish("chat/a", &json!(1)).await;
    let cursor = page["cursor"].as_str().unwrap();
    let next = server.page(&format!("topic=chat/a&wait=20&after={cursor}")).await;
    assert_eq!((&next["entries"][0]["data"], &next["continuity"]), (&json!(1), &json!("resumed")));
}

fn large(number: usize) -> Message {
    Message {
        topic: Topic::parse("chat/a").unwrap(),
        event: EventType::message(),
        data: Data::json(format!("\"{number:0>10000}\"")).unwrap(),
        key: None,
        item: None,
    }
}

/// A connection whose kernel takes little.
async fn narrow(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    socket.connect(address(server).parse().unwrap()).await.unwrap()
}

/// The tags among what a reader hears, up to the entry of this number; entries must be whole.
fn check(tags: &[String], numbers: &[usize], before: &str, now: &str) {
    assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>(), "nothing is lost or comes twice");
    assert_eq!(tags.last().map(String::as_str), Some(now), "{tags:?}");
    // It may have been told of the first before it was full; never of one again.
    assert!(tags.len() == 1 || tags == [before, now], "{tags:?}");
}

/// Readers that take nothing while the plan changes twice hear of the newest when they read again,
/// among everything that was published.
#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_hears_of_it_when_it_reads_again() {
    const COUNT: usize = 2_000;
    // In memory, so that the disk is not what is tried.
    let (log, _) = HeldLog::new();
    let mut server = Server::built(|_| {}, true, |builder| builder.log(log)).await;
    let mut stream = narrow(&server).await;
    stream.write_all(b"GET /v1/sse?topic=chat/a HTTP/1.0\r\n\r\n").await.unwrap();
    let mut socket = Raw::over(narrow(&server).await);
    socket.send(handshake("/v1/socket")).await;
    assert_eq!(socket.head().await.status, 101);
    let subscribe = json!({"do": "subscribe", "ref": 1, "topic": "chat/a"}).to_string();
    socket.send_frame(0x81, subscribe).await;
    while socket.frame().await.unwrap().json()["ref"] != json!(1) {}
    until("both are open", async || streams(&server).await == 2).await;

    for start in (0..COUNT).step_by(50) {
        server.hub.publish_batch((start..start + 50).map(large).collect()).await.unwrap();
    }
    server.reload(|settings| moved(settings, Transport::Poll)).unwrap();
    let before = tag(&server).await;
    server.reload(|settings| moved(settings, Transport::Sse)).unwrap();
    let now = tag(&server).await;

    let (mut tags, mut numbers) = (Vec::new(), Vec::new());
    while numbers.len() < COUNT || tags.last() != Some(&now) {
        let frame = socket.frame().await.expect("it goes on");
        if frame.first != 0x81 {
            continue;
        }
        let said = frame.json();
        if let Some(data) = said["data"].as_str() {
            numbers.push(data.parse().unwrap());
        } else if said["plan"].is_object() {
            tags.push(told(&said["plan"]));
        }
    }
    check(&tags, &numbers, &before, &now);

    let (mut tags, mut numbers) = (Vec::new(), Vec::new());
    let (mut parser, mut buffer) = (Parser::new(1 << 20), vec![0; 64 * 1024]);
    let mut is_head = true;
    while numbers.len() < COUNT || tags.last() != Some(&now) {
        let count = timeout(PATIENCE, stream.read(&mut buffer)).await.expect("in time").unwrap();
        assert!(count > 0, "the stream ended");
        let mut bytes = &buffer[..count];
        if std::mem::take(&mut is_head) {
            // The head comes in one piece: it is the first write.
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
            bytes = &bytes[end + 4..];
        }
        for event in parser.feed(bytes).unwrap() {
            match event.event.as_str() {
                "message" => numbers.push(event.data.trim_matches('"').parse().unwrap()),
                "tidewire.plan" => {
                    tags.push(told(&serde_json::from_str(&event.data).unwrap()));
                }
                _ => {}
            }
        }
    }
    check(&tags, &numbers, &before, &now);
}

/// In an app's own server, where nothing is swept.
#[tokio::test(flavor = "multi_thread")]
async fn readers_of_an_app_that_embeds_it_hear_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings =
        tidewire::Settings::for_dev("127.0.0.1:0".parse().unwrap(), folder.path().into());
    let tidewire = Tidewire::builder(settings.clone()).dev().open().await.unwrap();
    let app = Router::new().merge(tidewire.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let (mut stream, hello) = Stream::connect(&format!("{url}/v1/sse?topic=chat/a"), &[]).await;
    let mut socket = Socket::connect(&format!("{url}/v1/socket"), &[]).await.unwrap();
    moved(&mut settings, Transport::Poll);
    assert!(tidewire.reload(settings).unwrap().is_plan_new);
    let Event { event, data, .. } = stream.next().await.unwrap();
    assert_eq!(event, "tidewire.plan");
    let heard = told(&serde_json::from_str(&data).unwrap());
    assert_ne!(json!(heard), hello["plan"]);
    assert_eq!(told(&socket.hear().await.unwrap()["plan"]), heard);
    serving.abort();
    timeout(Duration::from_secs(5), tidewire.close()).await.unwrap();
}
