//! The canary: three events, apart as they were asked for, under the head of an event stream, and
//! then the end.

use std::{collections::BTreeMap, time::Duration};

use reqwest::header::HeaderMap;
use serde_json::Value;
use tidewire::tidewire_proto::sse::Parser;
use tokio::time::{Instant, timeout};

use crate::support::{
    PATIENCE, Server,
    embedded::Embedded,
    http, http2,
    raw::Raw,
    tokens::{API_KEY, LATER_MS, alice, locked},
    until,
};

/// How much later than asked an event may come on a machine that has other things to do.
const LATE: Duration = Duration::from_millis(900);

/// The events of a canary with the time at which each came, and how long it took altogether.
async fn heard(client: &reqwest::Client, url: &str) -> (Vec<(Duration, String)>, Duration) {
    let started = Instant::now();
    let mut response = client.get(url).send().await.unwrap();
    assert_eq!(response.status(), 200, "{url}");
    let (mut parser, mut events) = (Parser::new(1 << 16), Vec::new());
    while let Some(chunk) = timeout(PATIENCE, response.chunk()).await.expect("in time").unwrap() {
        let came = started.elapsed();
        for event in parser.feed(&chunk).unwrap() {
            assert_eq!((event.event.as_str(), event.id), ("tidewire.canary", None));
            events.push((came, event.data));
        }
    }
    (events, started.elapsed())
}

async fn assert_apart(client: &reqwest::Client, url: &str, gap_ms: u64) {
    let gap = Duration::from_millis(gap_ms);
    let (events, took) = heard(client, url).await;
    let data: Vec<_> = events.iter().map(|(_, data)| data.as_str()).collect();
    assert_eq!(data, [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#], "{url}");
    let first = events[0].0;
    assert!(first < LATE, "{url}: the first at once, not after {first:?}");
    for (number, (came, _)) in (0..).zip(&events) {
        let due = gap * number;
        assert!(*came >= due && *came < due + LATE, "{url}: {came:?}, not {due:?}");
    }
    assert!(took < gap * 2 + LATE, "{url} ends with its last event, not after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_events_come_apart_as_they_were_asked_for() {
    let server = Server::dev().await;
    let app = Embedded::dev().await;
    for client in [http(), http2()] {
        assert_apart(&client, &server.at("/canary"), 250).await;
        assert_apart(&client, &server.at("/canary?gap=400&x=y"), 400).await;
        assert_apart(&client, &app.at("/canary?gap=100"), 100).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_from_50_to_2000_ms_and_nothing_else() {
    let server = Server::dev().await;
    for gap in ["50", "2000"] {
        let response = http().get(server.at(&format!("/canary?gap={gap}"))).send().await.unwrap();
        assert_eq!(response.status(), 200, "{gap}");
    }
    for gap in ["49", "2001", "0", "-1", "", "1.5", "250ms", "18446744073709551616"] {
        let response = http().get(server.at(&format!("/canary?gap={gap}"))).send().await.unwrap();
        assert_eq!(response.status(), 400, "{gap}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["code"], "bad_request");
        assert!(body["error"]["message"].as_str().unwrap().contains("from 50 to 2000"), "{body}");
    }
}

/// What a proxy does with a stream it does with a canary: nothing in the head tells them apart.
#[tokio::test(flavor = "multi_thread")]
async fn its_head_is_that_of_an_event_stream() {
    async fn head(client: &reqwest::Client, url: &str) -> BTreeMap<String, String> {
        let request = client.get(url).header("origin", "http://localhost:5173");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let plain = |headers: &HeaderMap| {
            let texts = headers.iter().filter(|(name, _)| *name != "date");
            texts.map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect()
        };
        plain(response.headers())
    }
    let server = Server::dev().await;
    let app = Embedded::dev().await;
    for client in [http(), http2()] {
        let stream = head(&client, &server.at("/sse?topic=chat/a")).await;
        assert_eq!(stream["content-type"], "text/event-stream");
        assert_eq!(stream["cache-control"], "no-store, no-transform");
        assert_eq!(head(&client, &server.at("/canary")).await, stream);
        let stream = head(&client, &app.at("/sse?topic=chat/a")).await;
        assert_eq!(head(&client, &app.at("/canary")).await, stream);
    }
    // The head that is really sent: a client's library may keep some of it for itself.
    let mut heads = Vec::new();
    for path in ["/v1/sse?topic=chat/a", "/v1/canary"] {
        let mut raw = Raw::open(&server).await;
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        let head = raw.until("\r\n\r\n").await;
        let mut lines: Vec<_> = head.lines().map(str::to_ascii_lowercase).collect();
        lines.retain(|line| !line.starts_with("date:"));
        lines.sort();
        heads.push(lines);
    }
    assert_eq!(heads[0], heads[1]);
    assert!(heads[0].contains(&"connection: close".to_owned()), "{heads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_for_whoever_may_come_in() {
    let (server, _clock) = locked(|_| {}).await;
    let status = async |token: Option<&str>| {
        let request = http().get(server.at("/canary?gap=50"));
        let request = token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(None).await, 401);
    assert_eq!(status(Some("nonsense")).await, 401);
    assert_eq!(status(Some(&alice(LATER_MS))).await, 200);
    assert_eq!(status(Some(API_KEY)).await, 200);
}

/// Nobody reads it, and yet its connection ends and makes room for another.
#[tokio::test(flavor = "multi_thread")]
async fn it_ends_though_nobody_reads_it() {
    let server = Server::dev_with(|settings| settings.limits.connections_max = 1).await;
    let health = async || {
        http().get(format!("{}healthz", server.url)).send().await.unwrap().status().as_u16()
    };
    let mut raw = Raw::open(&server).await;
    raw.send("GET /v1/canary?gap=200 HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    until("it is inside", async || health().await == 503).await;
    until("it has ended", async || health().await == 200).await;
    let all = String::from_utf8(raw.rest().await).unwrap();
    assert_eq!(all.matches("event: tidewire.canary").count(), 3, "{all}");
    assert!(all.ends_with("0\r\n\r\n"), "{all}");
}
