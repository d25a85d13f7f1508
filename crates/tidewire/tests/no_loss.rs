//! Promise 3: no loss, or told; no twins. Readers that come and go while publishers go on.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;

use crate::support::{Server, id, sequence, sse::Stream, ws::Socket};

const COUNT: u64 = 600;

/// Reads everything from `start` on, leaving and coming back on the next door every few entries.
async fn wanderer(server: Arc<Server>, seed: u64) -> Vec<u64> {
    let (mut heard, mut after, mut visit) = (Vec::new(), "start".to_owned(), seed);
    while heard.len() < COUNT as usize {
        visit += 1;
        let stay = 1 + (visit * 7919) % 40;
        let before = heard.len();
        match visit % 3 {
            0 => {
                let (mut stream, hello) =
                    Stream::open(&server, &format!("topic=chat/a&after={after}")).await;
                assert_ne!(hello["continuity"], "gap");
                while heard.len() < COUNT as usize && heard.len() - before < stay as usize {
                    let entry = stream.entry().await;
                    heard.push(entry.data.parse().unwrap());
                    after = entry.id.unwrap();
                }
            }
            1 => {
                let mut socket = Socket::open(&server).await;
                let said = socket.subscribe("chat/a", Some(&after)).await;
                assert_ne!(said["continuity"], "gap");
                while heard.len() < COUNT as usize && heard.len() - before < stay as usize {
                    let entry = socket.entry().await;
                    heard.push(entry["data"].as_u64().unwrap());
                    after = id(&entry);
                }
            }
            _ => {
                let page =
                    server.page(&format!("topic=chat/a&after={after}&limit={stay}&wait=10")).await;
                assert_ne!(page["continuity"], "gap");
                for entry in page["entries"].as_array().unwrap() {
                    heard.push(entry["data"].as_u64().unwrap());
                }
                after = page["cursor"].as_str().unwrap().to_owned();
            }
        }
    }
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_change_doors_under_load_miss_nothing_and_see_nothing_twice() {
    let server = Arc::new(Server::dev().await);
    let wanderers: Vec<_> =
        (0..6).map(|seed| tokio::spawn(wanderer(Arc::clone(&server), seed))).collect();
    for number in 0..COUNT {
        server.publish("chat/a", &json!(number)).await;
        // Another topic in between: places of chat/a are not contiguous.
        server.publish("chat/b", &json!("noise")).await;
    }
    for wanderer in wanderers {
        assert_eq!(wanderer.await.unwrap(), (0..COUNT).collect::<Vec<_>>());
    }
}

/// Several topics on one stream, resumed with one `Last-Event-ID`, across a restart.
#[tokio::test(flavor = "multi_thread")]
async fn one_last_event_id_resumes_several_topics_exactly() {
    let server = Server::dev().await;
    let topics = "topic=chat/a&topic=notifications/x&topic=board/tasks";
    let (mut stream, _) = Stream::open(&server, topics).await;
    let mut published = Vec::new();
    for number in 0..30 {
        let topic = ["chat/a", "notifications/x", "board/tasks", "other/topic"][number % 4];
        published.push((topic, id(&server.publish(topic, &json!(number)).await)));
    }
    let mut last = String::new();
    for _ in 0..10 {
        last = stream.entry().await.id.unwrap();
    }
    drop(stream);
    let server = server.restart().await;
    for number in 30..40 {
        let topic = ["chat/a", "notifications/x", "board/tasks", "other/topic"][number % 4];
        published.push((topic, id(&server.publish(topic, &json!(number)).await)));
    }
    let expected: Vec<_> = published
        .iter()
        .filter(|(topic, id)| *topic != "other/topic" && sequence(id) > sequence(&last))
        .map(|(_, id)| id.clone())
        .collect();
    let (mut stream, hello) = Stream::open_with(&server, topics, &[("last-event-id", &last)]).await;
    assert_eq!(hello["continuity"], "resumed");
    let mut heard = Vec::new();
    while heard.len() < expected.len() {
        heard.push(stream.entry().await.id.unwrap());
    }
    assert_eq!(heard, expected);
    assert_eq!(heard.iter().collect::<BTreeSet<_>>().len(), heard.len());
}

/// A feature that keeps nothing delivers live, gives no ids and never moves the bookmark.
#[tokio::test(flavor = "multi_thread")]
async fn ephemeral_events_pass_without_moving_the_bookmark() {
    let server = Server::dev_with(|settings| {
        use tidewire::{Feature, Features, tidewire_core::History};
        let passing = Feature { history: History::None, ..Feature::default() };
        let features = Features::declared([("pointers".to_owned(), passing)].into());
        settings.features = features.with_undeclared(Feature::default());
    })
    .await;
    let (mut stream, _) = Stream::open(&server, "topic=pointers/p&topic=chat/a").await;
    let mut socket = Socket::open(&server).await;
    assert_eq!(socket.subscribe("pointers/p", Some("k3f9.1")).await["continuity"], "new");
    let published = server.publish("pointers/p", &json!({"x": 1})).await;
    assert_eq!(published, json!({"id": null, "stored": "memory"}));
    let kept = id(&server.publish("chat/a", &json!(1)).await);
    // The two lanes are not ordered between each other.
    let mut heard = [stream.entry().await, stream.entry().await];
    heard.sort_by_key(|event| event.id.is_some());
    assert_eq!((heard[0].topic.as_deref(), &heard[0].id), (Some("pointers/p"), &None));
    assert_eq!(heard[1].id.as_deref(), Some(kept.as_str()));
    let by_socket = socket.entry().await;
    assert_eq!(by_socket, json!({"topic":"pointers/p","event":"message","data":{"x":1}}));
    let refused = server.post("pointers/p", "1", &[]).await;
    assert_eq!(refused.status(), 201);
    let page =
        crate::support::http().get(server.at("/events?topic=pointers/p")).send().await.unwrap();
    assert_eq!(page.status(), 400);
    assert_eq!(page.json::<serde_json::Value>().await.unwrap()["error"]["code"], "no_history");
}
