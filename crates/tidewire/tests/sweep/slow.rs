//! Readers that are slow, among others who are not.

use std::time::Duration;

use serde_json::json;
use tidewire::{Data, EventType, Message, Topic};
use tokio::{io::AsyncReadExt, time::{Instant, sleep}};

use super::{narrow_socket, TEXT, socket, told};
use crate::support::{Server, is_swept, streams};

fn text(topic: &str, number: usize, bytes: usize) -> Message {
    Message {
        topic: Topic::parse(topic).unwrap(),
        event: EventType::message(),
        data: Data::json(format!("\"{number:0>bytes$}\"")).unwrap(),
        key: None,
    }
}

/// Somebody who reads little, but reads, is not one who takes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_little_all_the_time_is_not_given_up() {
    let limit = Duration::from_secs(1);
    let server = Server::dev_with(|s| s.limits.slow_reader_timeout = limit).await;
    let mut raw = narrow_socket(&server, 64 * 1024).await;
    raw.send_frame(TEXT, r#"{"do":"subscribe","ref":1,"topic":"chat/a"}"#).await;
    assert!(told(&mut raw).await["ok"].is_object());
    for start in (0..400).step_by(20) {
        let batch = (start..start + 20).map(|number| text("chat/a", number, 50_000)).collect();
        server.hub.publish_batch(batch).await.unwrap();
    }
    let (started, mut buffer) = (Instant::now(), vec![0; 8 * 1024]);
    while started.elapsed() < limit * 4 {
        assert!(raw.io.read(&mut buffer).await.unwrap() > 0, "after {:?}", started.elapsed());
        // The slowness of this client is what is tested.
        sleep(Duration::from_millis(50)).await;
    }
    // What the kernel holds would come in any case. A task is told of room only when there is a lot of
    // it, and gives such a reader up.
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
    let first = server.publish("chat/past", &json!("the past")).await;
    // Somebody keeps the newest of the live topic in memory.
    let mut other = socket(&server).await;
    other.send_frame(TEXT, r#"{"do":"subscribe","ref":1,"topic":"chat/live"}"#).await;
    assert!(told(&mut other).await["ok"].is_object());
    let mut after = String::new();
    for start in (0..1_000).step_by(100) {
        let batch = (start..start + 100).map(|number| text("chat/live", number, 3_000)).collect();
        let published = server.hub.publish_batch(batch).await.unwrap();
        if start == 0 {
            after = published[0].id.unwrap().to_string();
        }
    }
    let _ = first;
    let mut raw = socket(&server).await;
    let live = json!({"do": "subscribe", "ref": 1, "topic": "chat/live", "after": after});
    let past = json!({"do": "subscribe", "ref": 2, "topic": "chat/past", "after": "start"});
    raw.send([&live, &past].map(|say| crate::support::raw::masked(TEXT, say.to_string().as_bytes())).concat()).await;
    let mut before = 0;
    loop {
        let said = told(&mut raw).await;
        if said["topic"] == "chat/past" {
            break;
        }
        before += usize::from(said["topic"] == "chat/live");
    }
    println!("BEFORE {before}");
    assert!(before < 500, "{before} live entries went before it");
}
