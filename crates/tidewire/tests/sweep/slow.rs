//! Readers that are slow, among others who are not.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tidewire::{
    Data, EventType, Feature, Features, Limits, MemoryLog, Message, Topic,
    clock::{SeededRandom, SystemClock},
    tidewire_core::{History, log::memory::MemoryBounds},
    tidewire_proto::sse::{Event, Parser},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{Chance, PING, TEXT, narrow, narrow_socket, quiet_server, socket, told};
use crate::support::{
    PATIENCE, Server, is_swept,
    raw::{Raw, masked},
    sse::Stream,
    streams,
    tokens::{self, LATER_MS, SOON_MS, alice, locked},
};

fn message(topic: &str, number: usize, bytes: usize) -> Message {
    Message {
        topic: Topic::parse(topic).unwrap(),
        event: EventType::message(),
        data: Data::json(format!("\"{}{number:0>6}\"", "0".repeat(bytes - 6))).unwrap(),
        key: None,
        item: None,
    }
}

/// A stream on a connection whose kernel takes little.
struct Narrow {
    io: TcpStream,
    parser: Parser,
    events: VecDeque<Event>,
}

impl Narrow {
    async fn open(server: &Server, topic: &str) -> Self {
        let mut io = narrow(server, 4 * 1024).await;
        let request = format!("GET /v1/sse?topic={topic} HTTP/1.0\r\n\r\n");
        io.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.unwrap());
        }
        let mut stream = Self { io, parser: Parser::new(1 << 20), events: VecDeque::new() };
        while stream.events.is_empty() {
            stream.read(1).await;
        }
        assert_eq!(stream.next().await.event, "tidewire.hello");
        stream
    }

    /// Reads at most so many bytes, once.
    async fn read(&mut self, bytes: usize) {
        let mut buffer = vec![0; bytes];
        let read = timeout(PATIENCE, self.io.read(&mut buffer)).await;
        let count = read.expect("bytes in time").unwrap();
        assert!(count > 0, "the stream ended");
        self.events.extend(self.parser.feed(&buffer[..count]).unwrap());
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.read(64 * 1024).await;
        }
    }
}

/// The number in an entry's data.
fn number(data: &Value) -> usize {
    data.as_str().unwrap().parse().unwrap()
}

/// Subscribes without waiting for more than the answer.
async fn subscribe(raw: &mut Raw, topic: &str) {
    let command = json!({"do": "subscribe", "ref": 1, "topic": topic}).to_string();
    raw.send_frame(TEXT, command).await;
    while told(raw).await["ref"] != json!(1) {}
}

/// Publishes 10,000 bytes again and again to `topic`, until the server has nothing more for a reader
/// that takes nothing: by then its side of the connection is full.
async fn fill(server: &Server, topic: &str, count: usize) {
    for start in (0..count).step_by(50) {
        let batch = (start..start + 50).map(|number| message(topic, number, 10_000)).collect();
        server.hub.publish_batch(batch).await.unwrap();
    }
}

/// Entries of 200 KB and small ones. One reader takes byte by byte at first, one pauses, on both
/// wires; others are quick all the time. Everybody gets everything, in order, once.
#[tokio::test(flavor = "multi_thread")]
async fn large_and_small_entries_reach_the_slow_and_the_quick() {
    const COUNT: usize = 300;
    let size = |number: usize| if number % 10 == 3 { 200_000 } else { 10 + number };
    let server = quiet_server().await;
    let mut slow_socket = narrow_socket(&server, 8 * 1024).await;
    subscribe(&mut slow_socket, "chat/a").await;
    let mut slow_stream = Narrow::open(&server, "chat/a").await;
    let (mut quick, _) = Stream::open(&server, "topic=chat/a").await;
    let mut quick_socket = socket(&server).await;
    subscribe(&mut quick_socket, "chat/a").await;

    for start in (0..COUNT).step_by(10) {
        let batch = (start..start + 10).map(|n| message("chat/a", n, size(n))).collect();
        server.hub.publish_batch(batch).await.unwrap();
        for n in start..start + 10 {
            let heard = quick.entry().await;
            assert_eq!(number(&serde_json::from_str(&heard.data).unwrap()), n);
            loop {
                let heard = told(&mut quick_socket).await;
                if heard["topic"].is_string() {
                    assert_eq!(number(&heard["data"]), n);
                    break;
                }
            }
        }
        for _ in 0..300 {
            slow_stream.read(1).await;
        }
    }
    let mut expected = 0;
    while expected < COUNT {
        let heard = told(&mut slow_socket).await;
        if heard["topic"].is_string() {
            assert_eq!(number(&heard["data"]), expected);
            expected += 1;
        }
    }
    for expected in 0..COUNT {
        let heard = slow_stream.next().await;
        assert_eq!(number(&serde_json::from_str(&heard.data).unwrap()), expected);
    }
}

/// News come a few at a time, each few as one write, until a write stops somewhere in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_stops_among_its_entries_goes_on_there() {
    const COUNT: usize = 2_400;
    let server = quiet_server().await;
    let (mut streams, mut sockets) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        streams.push(Narrow::open(&server, "chat/a").await);
        let mut raw = narrow_socket(&server, 4 * 1024).await;
        subscribe(&mut raw, "chat/a").await;
        sockets.push(raw);
    }
    let (mut quick, _) = Stream::open(&server, "topic=chat/a").await;
    for start in (0..COUNT).step_by(6) {
        let batch = (start..start + 6).map(|n| message("chat/a", n, 4_000)).collect();
        server.hub.publish_batch(batch).await.unwrap();
        for _ in 0..6 {
            quick.entry().await;
        }
    }
    for stream in &mut streams {
        for expected in 0..COUNT {
            let heard = stream.next().await;
            assert_eq!(number(&serde_json::from_str(&heard.data).unwrap()), expected);
        }
    }
    for raw in &mut sockets {
        let mut expected = 0;
        while expected < COUNT {
            let heard = told(raw).await;
            if heard["topic"].is_string() {
                assert_eq!(number(&heard["data"]), expected);
                expected += 1;
            }
        }
    }
}

/// A slow socket with subscriptions of kept and of passing features: what is kept comes whole and in
/// the order of the log; what is not comes in order, at most once.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_socket_with_many_subscriptions_keeps_the_order() {
    const COUNT: usize = 4_000;
    let server = Server::dev_with(|settings| {
        let passing = Feature { history: History::None, ..Feature::default() };
        let features = Features::declared([("pointers".to_owned(), passing)].into());
        settings.features = features.with_undeclared(Feature::default());
    })
    .await;
    let topics = ["chat/a", "chat/b", "notes/c", "pointers/p", "pointers/q"];
    let mut raw = narrow_socket(&server, 4 * 1024).await;
    for topic in topics {
        subscribe(&mut raw, topic).await;
    }
    let mut chance = Chance(5);
    let mut kept = Vec::new();
    let mut start = 0;
    while start < COUNT {
        let is_kept = chance.below(3) > 0;
        let end = start + 1 + chance.below(20);
        let batch = (start..end).map(|number| {
            let topic = if is_kept { chance.below(3) } else { 3 + chance.below(2) };
            message(topics[topic], number, 2_000 + chance.below(3_000))
        });
        server.hub.publish_batch(batch.collect()).await.unwrap();
        if is_kept {
            kept.extend(start..end);
        }
        start = end;
    }
    // The last word of each lane, for whoever reads this far.
    let (mut heard, mut passing) = (Vec::new(), Vec::new());
    while heard.len() < kept.len() {
        let said = told(&mut raw).await;
        assert!(said["gap"].is_null(), "{said}");
        if said["topic"].is_string() {
            let lane = if said["id"].is_string() { &mut heard } else { &mut passing };
            lane.push(number(&said["data"]));
        }
    }
    assert!(heard == kept, "in the order of the log");
    assert!(passing.windows(2).all(|pair| pair[0] < pair[1]), "no twin: {passing:?}");
    assert!(!passing.is_empty());
}

/// Retention takes what a slow reader has not read yet: it is told, and goes on behind the gap
/// without another hole.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_whose_place_was_trimmed_is_told_of_the_gap() {
    const COUNT: usize = 2_000;
    let features = Features::default().with_undeclared(Feature::default());
    let bounds = MemoryBounds { entries_max: 200, ..MemoryBounds::default() };
    let log = MemoryLog::new(
        Arc::new(features.clone()),
        &Limits::default(),
        bounds,
        Arc::new(SystemClock),
        &SeededRandom::new(7),
    );
    let server = Server::dev_on(Arc::new(log), features).await;
    let mut raw = narrow_socket(&server, 4 * 1024).await;
    subscribe(&mut raw, "chat/a").await;
    let mut stream = Narrow::open(&server, "chat/a").await;
    fill(&server, "chat/a", COUNT).await;

    let mut holes = Holes::default();
    while holes.last != Some(COUNT - 1) {
        let said = told(&mut raw).await;
        if said["gap"].is_object() {
            let gap = (&said["gap"]["reason"], &said["gap"]["topic"]);
            assert_eq!(gap, (&json!("trimmed"), &json!("chat/a")));
            holes.was_told = true;
        } else if said["topic"].is_string() {
            holes.note(number(&said["data"]));
        }
    }
    assert!(holes.count > 0);
    let mut holes = Holes::default();
    while holes.last != Some(COUNT - 1) {
        let event = stream.next().await;
        if event.event == "tidewire.gap" {
            assert!(event.data.contains("\"trimmed\""), "{event:?}");
            holes.was_told = true;
        } else {
            holes.note(number(&serde_json::from_str(&event.data).unwrap()));
        }
    }
    assert!(holes.count > 0);
}

/// What is missing between entries, and whether it was told.
#[derive(Default)]
struct Holes {
    last: Option<usize>,
    was_told: bool,
    count: usize,
}

impl Holes {
    fn note(&mut self, number: usize) {
        let next = self.last.map_or(0, |last| last + 1);
        assert!(number >= next, "{number} again");
        assert_eq!(number > next, self.was_told, "a hole is told, and nothing else is: {number}");
        self.count += usize::from(number > next);
        (self.last, self.was_told) = (Some(number), false);
    }
}

/// Access ends while a socket takes nothing: it hears the rest of what had begun, and that it ended;
/// nothing that was published since.
#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_socket_whose_token_ends_hears_no_more() {
    let (server, clock) = locked(|_| {}).await;
    for is_renewed in [false, true] {
        clock.set(tokens::NOW_MS);
        let stream = narrow(&server, 4 * 1024).await;
        let mut raw = Raw::over(stream);
        let token = format!("\r\nAuthorization: Bearer {}\r\n\r\n", alice(SOON_MS));
        let request = crate::support::raw::handshake("/v1/socket");
        raw.send(request.replace("\r\n\r\n", &token)).await;
        assert_eq!(raw.head().await.status, 101);
        told(&mut raw).await;
        subscribe(&mut raw, "chat/a").await;
        let mut control = socket_of_alice(&server).await;
        fill(&server, "chat/a", 1_000).await;
        if is_renewed {
            let command = json!({"do": "token", "ref": 9, "token": alice(LATER_MS)}).to_string();
            raw.send_frame(TEXT, command).await;
            let mut heard = 0;
            while heard < 1_000 {
                let said = told(&mut raw).await;
                assert!(said["error"].is_null(), "{said}");
                heard += usize::from(said["topic"].is_string());
            }
            raw.send_frame(TEXT, r#"{"do":"unsubscribe","ref":1,"topic":"chat/a"}"#).await;
            while told(&mut raw).await["ref"] != json!(1) {}
        }
        clock.set(SOON_MS);
        // One that came later and is not blocked: when it was looked at, the other was too.
        while told(&mut control).await["bye"].is_null() {}
        if is_renewed {
            subscribe(&mut raw, "chat/a").await;
            continue;
        }
        fill(&server, "chat/a", 50).await;
        let (mut heard, mut ended) = (0, None);
        while ended.is_none() {
            let frame = raw.frame().await.expect("a close frame");
            if frame.first == 0x88 {
                ended = Some(frame.close_code());
            } else if frame.first != PING {
                heard += usize::from(frame.json()["topic"].is_string());
            }
        }
        assert_eq!(ended, Some(4401));
        assert!(heard < 1_000, "it was blocked, and heard {heard} entries");
    }
}

async fn socket_of_alice(server: &Server) -> Raw {
    let mut raw = Raw::open(server).await;
    let token = format!("\r\nAuthorization: Bearer {}\r\n\r\n", alice(SOON_MS));
    raw.send(crate::support::raw::handshake("/v1/socket").replace("\r\n\r\n", &token)).await;
    assert_eq!(raw.head().await.status, 101);
    told(&mut raw).await;
    raw
}

/// Somebody who reads little, but reads, is not one who takes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_little_all_the_time_is_not_given_up() {
    let limit = Duration::from_secs(2);
    let server = Server::dev_with(|s| s.limits.slow_reader_timeout = limit).await;
    let mut raw = narrow_socket(&server, 64 * 1024).await;
    subscribe(&mut raw, "chat/a").await;
    fill(&server, "chat/a", 2_000).await;
    let (started, mut buffer) = (Instant::now(), vec![0; 8 * 1024]);
    while started.elapsed() < limit * 3 {
        assert!(raw.io.read(&mut buffer).await.unwrap() > 0, "after {:?}", started.elapsed());
        // The slowness of this client is what is tested.
        sleep(Duration::from_millis(25)).await;
    }
    // What the kernel holds would come in any case. A task is told of room only when there is a lot
    // of it, and gives such a reader up.
    assert!(streams(&server).await == 1 || !is_swept());
}

/// Live news of one topic do not keep a reader from the past of another.
#[tokio::test(flavor = "multi_thread")]
async fn the_past_of_a_topic_has_its_turn_between_live_news_of_another() {
    let server = Server::dev_with(|s| {
        s.limits.tail_bytes_max = 4 << 20;
        s.limits.tail_entries_max = 10_000;
    })
    .await;
    server.publish("chat/past", &json!("the past")).await;
    // Somebody keeps the newest of the live topic in memory.
    let mut other = socket(&server).await;
    subscribe(&mut other, "chat/live").await;
    let mut after = None;
    for start in (0..1_000).step_by(100) {
        let batch = (start..start + 100).map(|number| message("chat/live", number, 3_000));
        let published = server.hub.publish_batch(batch.collect()).await.unwrap();
        after = after.or(published[0].id);
    }
    // The kernel takes little, so most of the live topic still waits when the second command is read.
    let mut raw = narrow_socket(&server, 8 * 1024).await;
    let after = after.unwrap().to_string();
    let live = json!({"do": "subscribe", "ref": 1, "topic": "chat/live", "after": after});
    let past = json!({"do": "subscribe", "ref": 2, "topic": "chat/past", "after": "start"});
    let both = [&live, &past].map(|command| masked(TEXT, command.to_string().as_bytes()));
    raw.send(both.concat()).await;
    let mut all = 0;
    while told(&mut raw).await["ref"] != json!(2) {
        all += 1;
    }
    let mut before = 0;
    while told(&mut raw).await["topic"] != "chat/past" {
        before += 1;
    }
    all += before;
    assert!(before < 300, "{before} words went before it, once it was asked for");
    assert!(all < 900, "{all} words went before it: the test did not hold the live ones up");
}
