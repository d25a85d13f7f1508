//! Every field of `Limits` holds at its edge. Where each is tested:
//!
//! | Fields | Where |
//! |---|---|
//! | `message_bytes_max` `batch_messages_max` `batch_bytes_max` `topics_per_stream_max` `subscriptions_per_socket_max` `fragments_max` `token_bytes_max` `page_entries_max` `page_bytes_max` `step_bytes_max` `wait_max` `close_timeout` `beat_interval` `idempotency_keys_max` `retry_base` | here |
//! | `connections_max` `connections_per_address_max` `head_bytes_max` `header_fields_max` `head_timeout` `body_timeout` `handshake_timeout` | `connections.rs` |
//! | `producer_timeout` | `streams.rs` |
//! | `presence_lease` `presence_grace` `presence_state_bytes_max` `presence_topics_max` `presence_members_max` `presence_total_max` | `presence.rs`, and `tidewire-core` |
//! | `document_bytes_max` | `documents.rs`, and `tidewire-docs` |
//! | `documents_open_max` `awareness_bytes_max` `awareness_states_max` | `tidewire-docs`, `tests/rooms.rs` |
//! | `slow_reader_timeout` | `slow_reader.rs` |
//! | `drain_timeout` | `drain.rs` |
//! | `idempotency_window` | `clocks.rs`, and the log contract of `tidewire-core` |
//! | `tail_entries_max` `tail_bytes_max` | `tidewire-core`, `tests/walk.rs` |
//! | `append_bytes_pending_max` `recent_bytes_max` `lives_max` | `tidewire-disk` |

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    Server, http, id, log::HeldLog, raw::Raw, sequence, sse::Stream, streams, until, ws::Socket,
};

async fn error(request: reqwest::RequestBuilder) -> (u16, String) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

fn large(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_its_largest_size_on_every_door() {
    const MOST: usize = 10_000;
    let server = Server::dev_with(|s| s.limits.message_bytes_max = MOST).await;
    let mut socket = Socket::open(&server).await;
    let batch = |data: &str| format!("[{{\"topic\":\"chat/a\",\"data\":{data}}}]");
    for (bytes, status) in [(MOST, 201), (MOST + 1, 413)] {
        let data = large(bytes);
        let expected = (status, if status == 413 { "too_large" } else { "" }.to_owned());
        let posts = [("/topics/chat/a", data.clone()), ("/publish", batch(&data))];
        for (path, body) in posts {
            assert_eq!(error(http().post(server.at(path)).body(body)).await, expected, "{path}");
        }
        let value: Value = serde_json::from_str(&data).unwrap();
        let answer = socket.ask(json!({"do": "publish", "topic": "chat/a", "data": value})).await;
        assert_eq!(answer["error"]["code"].as_str().unwrap_or_default(), expected.1);
    }
    assert_eq!(server.history("chat/a", "start").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_its_most_messages_and_its_most_bytes() {
    let server = Server::dev_with(|s| {
        s.limits.batch_messages_max = 5;
        s.limits.message_bytes_max = 1_000;
        s.limits.batch_bytes_max = 2_000;
    })
    .await;
    let batch = |count: usize, bytes: usize| {
        let line = format!("{{\"topic\":\"chat/a\",\"data\":{}}}\n", large(bytes));
        http().post(server.at("/publish")).body(line.repeat(count))
    };
    let too_large = (413, "too_large".to_owned());
    assert_eq!(error(batch(5, 10)).await.0, 201);
    assert_eq!(error(batch(6, 10)).await, too_large);
    assert_eq!(error(batch(2, 1_000)).await.0, 201);
    assert_eq!(error(batch(3, 667)).await, too_large);
    assert_eq!(server.history("chat/a", "start").await.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_its_most_topics_and_a_socket_its_most_subscriptions() {
    let server = Server::dev().await;
    let query =
        |count: usize| (0..count).map(|n| format!("topic=chat/{n}")).collect::<Vec<_>>().join("&");
    let (mut stream, _) = Stream::open(&server, &query(64)).await;
    server.publish("chat/63", &json!(1)).await;
    assert_eq!(stream.data(1).await, [json!(1)]);
    for path in ["/sse?", "/events?"] {
        let request = http().get(server.at(&(path.to_owned() + &query(65))));
        assert_eq!(error(request).await, (400, "too_many_topics".to_owned()));
    }
    let mut socket = Socket::open(&server).await;
    for number in 0..128 {
        socket.subscribe(&format!("chat/{number}"), None).await;
    }
    let one_more = json!({"do": "subscribe", "topic": "chat/128"});
    assert_eq!(socket.ask(one_more.clone()).await["error"]["code"], "too_many_topics");
    let left = socket.ask(json!({"do": "unsubscribe", "topic": "chat/0"})).await;
    assert!(left["ok"].is_object());
    assert!(socket.ask(one_more).await["ok"].is_object(), "there is room again");
    server.publish("chat/128", &json!(2)).await;
    server.publish("chat/0", &json!(3)).await;
    server.publish("chat/127", &json!(4)).await;
    assert_eq!(socket.data(2).await, [json!(2), json!(4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_ends_at_its_most_entries_or_bytes() {
    let server = Server::dev_with(|s| {
        s.limits.page_entries_max = 10;
        s.limits.page_bytes_max = 5_000;
    })
    .await;
    for number in 0..12 {
        server.publish("chat/a", &json!(number)).await;
    }
    for _ in 0..12 {
        server.publish("chat/b", &json!("x".repeat(998))).await;
    }
    server.publish("chat/c", &json!("x".repeat(9_000))).await;
    let entries = async |query: &str| {
        let page = server.page(query).await;
        (page["entries"].as_array().unwrap().len(), page["more"].as_bool().unwrap())
    };
    assert_eq!(entries("topic=chat/a&limit=10").await, (10, true));
    assert_eq!(entries("topic=chat/a").await, (10, true), "the default fits under the most");
    let request = http().get(server.at("/events?topic=chat/a&limit=11"));
    assert_eq!(error(request).await, (400, "bad_request".to_owned()));
    assert_eq!(entries("topic=chat/b&limit=10").await, (5, true));
    assert_eq!(entries("topic=chat/c").await.0, 1, "one entry always fits");
    assert_eq!(server.page("topic=chat/a&wait=0&after=start").await["more"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_granted_up_to_its_most() {
    let server = Server::dev_with(|s| s.limits.wait_max = Duration::from_secs(1)).await;
    let started = Instant::now();
    assert_eq!(server.page("topic=chat/a&wait=1").await["entries"], json!([]));
    assert!((950..3_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    let request = http().get(server.at("/events?topic=chat/a&wait=2"));
    assert_eq!(error(request).await, (400, "bad_request".to_owned()));
}

/// What one reader of the past takes from the log at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_takes_no_more_than_a_step_at_once() {
    let (log, features) = HeldLog::new();
    let server = Server::dev_on(log.clone(), features).await;
    for number in 0..100 {
        server.publish("chat/a", &json!(format!("{number:0>2000}"))).await;
    }
    log.reads.lock().unwrap().clear();
    let (mut stream, _) = Stream::open(&server, "topic=chat/a&after=start").await;
    assert_eq!(stream.data(100).await.len(), 100);
    let reads = log.reads.lock().unwrap().clone();
    let step = server.settings.limits.step_bytes_max;
    assert!(reads.len() >= 200_000 / step, "{reads:?}");
    assert!(reads.iter().all(|limit| limit.bytes <= step), "{reads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_beyond_the_most_are_refused_and_known_ones_are_not() {
    let server = Server::dev_with(|s| s.limits.idempotency_keys_max = 2).await;
    let keyed = async |key: &str| {
        let response = server.post("chat/a", "1", &[("idempotency-key", key)]).await;
        (response.status().as_u16(), response.headers().contains_key("retry-after"))
    };
    assert_eq!(keyed("a").await, (201, false));
    assert_eq!(keyed("b").await, (201, false));
    assert_eq!(keyed("c").await, (503, true), "forgetting one early would store a retry twice");
    assert_eq!(keyed("a").await, (201, false));
    server.publish("chat/a", &json!(2)).await;
    assert_eq!(server.history("chat/a", "start").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_its_most_fragments() {
    let server = Server::dev_with(|s| s.limits.fragments_max = 4).await;
    let mut raw = Raw::upgraded(&server, "/v1/echo").await;
    for (first, text) in [(0x01, "a"), (0x00, "b"), (0x00, "c"), (0x80, "d")] {
        raw.send_frame(first, text).await;
    }
    assert_eq!(raw.frame().await.unwrap().payload, b"abcd");
    for first in [0x01, 0x00, 0x00, 0x00, 0x00] {
        raw.send_frame(first, "").await;
    }
    assert_eq!(raw.closed().await, 1008);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_answer_a_close_is_left() {
    let server = Server::dev_with(|s| {
        s.limits.close_timeout = Duration::from_millis(300);
        s.limits.beat_interval = Duration::from_millis(20);
    })
    .await;
    let mut raw = Raw::upgraded(&server, "/v1/socket").await;
    while raw.frame().await.expect("a close frame").first != 0x88 {}
    let closed = Instant::now();
    assert_eq!(raw.frame().await, None);
    assert!((250..3_000).contains(&closed.elapsed().as_millis()), "{:?}", closed.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_at_rest_beats_and_its_beat_moves_the_bookmark() {
    let interval = Duration::from_millis(100);
    let server = Server::dev_with(|s| s.limits.beat_interval = interval).await;
    let (mut stream, hello) = Stream::open(&server, "topic=chat/a").await;
    assert_eq!(hello["beat_ms"], 100);
    let mut socket = Socket::open(&server).await;
    socket.subscribe("chat/a", None).await;
    let elsewhere = id(&server.publish("chat/b", &json!(1)).await);
    let by_stream = loop {
        let beat = stream.next().await.unwrap();
        assert_eq!(beat.event, "tidewire.beat");
        let said: Value = serde_json::from_str(&beat.data).unwrap();
        assert_eq!(said["at"].as_str(), beat.id.as_deref());
        if beat.id.as_deref() == Some(&elsewhere) {
            break beat.id.unwrap();
        }
    };
    loop {
        let heard = socket.hear().await.unwrap();
        if heard["beat"]["at"] == json!(by_stream) {
            break;
        }
        assert!(heard["beat"].is_object() || heard["live"].is_object(), "{heard}");
    }
    // The bookmark of a beat is a cursor like any other.
    let query = format!("topic=chat/a&after={by_stream}");
    let (_, hello) = Stream::open(&server, &query).await;
    assert_eq!(hello["continuity"], "resumed");
    assert_eq!(sequence(hello["at"].as_str().unwrap()), sequence(&by_stream));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_stream_does_not_beat() {
    // Long enough that no slow disk makes a busy stream look idle.
    let interval = Duration::from_secs(2);
    let server = Server::dev_with(|s| s.limits.beat_interval = interval).await;
    let (mut stream, _) = Stream::open(&server, "topic=chat/a").await;
    let started = Instant::now();
    while started.elapsed() < interval * 3 / 2 {
        server.publish("chat/a", &json!(1)).await;
        let event = stream.next().await.unwrap();
        assert_eq!(event.event, "message", "there is no need for a beat now");
    }
}

/// A socket whose peer is gone without a word: no pong comes, and it counts as lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_of_a_socket_is_lost_and_one_that_pongs_is_not() {
    let interval = Duration::from_millis(100);
    let server = Server::dev_with(|s| s.limits.beat_interval = interval).await;
    let (mut silent, mut alive) =
        (Raw::upgraded(&server, "/v1/socket").await, Raw::upgraded(&server, "/v1/socket").await);
    let silence = async {
        let (mut pings, mut bye) = (0, false);
        loop {
            let frame = silent.frame().await.unwrap();
            match frame.first {
                0x89 => pings += 1,
                0x88 => break (pings, bye, frame.close_code()),
                _ => bye |= frame.json()["bye"]["code"] == "connection_lost",
            }
        }
    };
    let pongs = async {
        let mut pings = 0;
        while pings < 8 {
            let frame = alive.frame().await.expect("it is open");
            assert_ne!(frame.first, 0x88);
            if frame.first == 0x89 {
                pings += 1;
                alive.send_frame(0x8a, &frame.payload).await;
            }
        }
    };
    let (lost, ()) = tokio::join!(silence, pongs);
    assert_eq!(lost, (3, true, 4408));
    drop(silent);
    until("one is gone", async || streams(&server).await == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_of_a_client_is_between_one_and_two_times_the_base() {
    let base = Duration::from_millis(5_000);
    let server = Server::dev_with(|s| s.limits.retry_base = base).await;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..8 {
        let (_, hello) = Stream::open(&server, "topic=chat/a").await;
        let retry_ms = hello["retry_ms"].as_u64().unwrap();
        assert!((5_000..=10_000).contains(&retry_ms), "{retry_ms}");
        seen.insert(retry_ms);
    }
    assert!(seen.len() > 4, "{seen:?}");
}
