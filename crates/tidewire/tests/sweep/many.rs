//! Many sockets, many topics, many who come and go: everybody gets exactly what is theirs.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Value, json};
use tidewire::{Data, EventType, Message, Topic};

use super::{Chance, TEXT, quiet_server, socket, told};
use crate::support::{Server, sse::Stream, streams, until, ws::Socket};

const TOPICS: usize = 6;

fn name(topic: usize) -> String {
    format!("chat/{topic}")
}

/// Publishes so many entries to topics by chance, in batches; gives the numbers that each topic got.
async fn publish(server: &Server, seed: u64, count: usize) -> Vec<Vec<usize>> {
    let (mut chance, mut published) = (Chance(seed), vec![Vec::new(); TOPICS]);
    let mut number = 0;
    while number < count {
        let mut batch = Vec::new();
        for _ in 0..=chance.below(5) {
            let topic = chance.below(TOPICS);
            published[topic].push(number);
            let padding = if chance.below(40) == 0 { 20_000 } else { chance.below(100) };
            batch.push(Message {
                topic: Topic::parse(&name(topic)).unwrap(),
                event: EventType::message(),
                data: Data::json(json!([number, "x".repeat(padding)]).to_string()).unwrap(),
                key: None,
                item: None,
            });
            number += 1;
        }
        server.hub.publish_batch(batch).await.unwrap();
        tokio::task::yield_now().await;
    }
    published
}

/// A reader that comes and goes, with other topics each time, from where it was with each of them.
/// Tells what it has heard of each topic.
struct Wanderer {
    server: Arc<Server>,
    chance: Chance,
    heard: Vec<Vec<usize>>,
    after: Vec<String>,
}

impl Wanderer {
    fn note(&mut self, topic: &str, data: &Value, id: &str) {
        let topic: usize = topic.strip_prefix("chat/").unwrap().parse().unwrap();
        self.heard[topic].push(data[0].as_u64().unwrap() as usize);
        self.after[topic] = id.to_owned();
    }

    /// One socket: subscribes and unsubscribes by chance, and leaves politely or not.
    async fn by_socket(&mut self, turns: usize) {
        let mut socket = Socket::open(&self.server).await;
        let mut open = HashMap::new();
        for _ in 0..turns {
            let topic = self.chance.below(TOPICS);
            if open.remove(&topic).is_some() {
                let left =
                    self.ask(&mut socket, json!({"do": "unsubscribe", "topic": name(topic)})).await;
                assert!(left["ok"].is_object(), "{left}");
                // What came before the answer was still his; from now on nothing does.
                continue;
            }
            let after = self.after[topic].clone();
            let said = json!({"do": "subscribe", "topic": name(topic), "after": after});
            let begun = self.ask(&mut socket, said).await;
            assert_ne!(begun["ok"]["continuity"], "gap", "{begun}");
            assert!(begun["ok"].is_object(), "{begun}");
            open.insert(topic, ());
        }
        if self.chance.below(2) == 0 {
            // Whatever is on its way is thrown away: the cursors know where it goes on.
            drop(socket);
        } else {
            socket.close().await;
        }
    }

    /// Asks, and takes in what comes before the answer.
    async fn ask(&mut self, socket: &mut Socket, mut command: Value) -> Value {
        command["ref"] = json!(7);
        socket.say(&command.to_string()).await;
        loop {
            let heard = socket.hear().await.expect("an answer");
            if heard["ref"] == json!(7) {
                return heard;
            }
            if let Some(topic) = heard["topic"].as_str() {
                self.note(topic, &heard["data"], heard["id"].as_str().unwrap());
            }
        }
    }

    /// One stream of one topic, for some entries.
    async fn by_stream(&mut self, entries: usize) {
        let topic = self.chance.below(TOPICS);
        let query = format!("topic={}&after={}", name(topic), self.after[topic]);
        let (mut stream, hello) = Stream::open(&self.server, &query).await;
        assert_ne!(hello["continuity"], "gap");
        for _ in 0..entries {
            let Ok(event) =
                tokio::time::timeout(std::time::Duration::from_millis(50), stream.entry()).await
            else {
                return;
            };
            let data = serde_json::from_str(&event.data).unwrap();
            self.note(&event.topic.unwrap(), &data, &event.id.unwrap());
        }
    }

    async fn wander(mut self, visits: usize) -> Self {
        for _ in 0..visits {
            if self.chance.below(2) == 0 {
                let turns = 1 + self.chance.below(12);
                self.by_socket(turns).await;
            } else {
                let entries = self.chance.below(30);
                self.by_stream(entries).await;
            }
        }
        self
    }

    /// Hears the rest of everything.
    async fn finish(&mut self, published: &[Vec<usize>]) {
        let mut socket = Socket::open(&self.server).await;
        for topic in 0..TOPICS {
            let after = self.after[topic].clone();
            let said = json!({"do": "subscribe", "topic": name(topic), "after": after});
            self.ask(&mut socket, said).await;
        }
        let all: usize = published.iter().map(Vec::len).sum();
        while self.heard.iter().map(Vec::len).sum::<usize>() < all {
            let entry = socket.entry().await;
            self.note(
                entry["topic"].as_str().unwrap(),
                &entry["data"],
                entry["id"].as_str().unwrap(),
            );
        }
    }
}

async fn storm(seed: u64) {
    const WANDERERS: u64 = 24;
    const ENTRIES: usize = 3_000;
    let server = Arc::new(quiet_server().await);
    let wanderers: Vec<_> = (0..WANDERERS)
        .map(|number| {
            let wanderer = Wanderer {
                server: Arc::clone(&server),
                chance: Chance(seed * 1_000 + number + 1),
                heard: vec![Vec::new(); TOPICS],
                after: vec!["start".to_owned(); TOPICS],
            };
            tokio::spawn(wanderer.wander(8))
        })
        .collect();
    let published = publish(&server, seed, ENTRIES).await;
    for (number, wanderer) in wanderers.into_iter().enumerate() {
        let mut wanderer = wanderer.await.unwrap();
        wanderer.finish(&published).await;
        assert!(wanderer.heard == published, "reader {number} of seed {seed}");
    }
    until("everybody has left", async || streams(&server).await == 0).await;
}

/// A property with seeds: a failure names the seed.
#[tokio::test(flavor = "multi_thread")]
async fn readers_that_come_and_go_by_chance_get_exactly_their_entries() {
    for seed in [1, 2, 3] {
        storm(seed).await;
    }
}

/// One socket that subscribes and unsubscribes without waiting for answers, while its topics are
/// published to: what it hears of a topic is in order, without twins, and without holes while it is
/// subscribed.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_subscriptions_on_one_socket_is_obeyed_in_order() {
    const ROUNDS: u64 = 60;
    let server = Arc::new(quiet_server().await);
    let of_publisher = Arc::clone(&server);
    let publisher = tokio::spawn(async move { publish(&of_publisher, 9, 4_000).await });
    let mut raw = socket(&server).await;
    for round in 0..ROUNDS {
        let mut bytes = Vec::new();
        for (step, what) in ["subscribe", "unsubscribe"].iter().enumerate() {
            for topic in 0..TOPICS as u64 {
                let reference = round * 100 + step as u64 * 10 + topic;
                let command = json!({"do": what, "ref": reference, "topic": name(topic as usize)})
                    .to_string();
                bytes.extend(crate::support::raw::masked(TEXT, command.as_bytes()));
            }
        }
        raw.send(bytes).await;
        let (mut answers, mut open) = (Vec::new(), [false; TOPICS]);
        let mut last: [Option<u64>; TOPICS] = [None; TOPICS];
        while answers.len() < 2 * TOPICS {
            let said = told(&mut raw).await;
            if let Some(reference) = said["ref"].as_u64() {
                assert!(said["ok"].is_object(), "{said}");
                answers.push(reference);
                open[(reference % 10) as usize] = reference % 100 < 10;
            } else if let Some(topic) = said["topic"].as_str() {
                let topic: usize = topic.strip_prefix("chat/").unwrap().parse().unwrap();
                let number = said["data"][0].as_u64().unwrap();
                assert!(open[topic], "nothing comes of a topic that is not subscribed");
                assert!(last[topic].is_none_or(|last| last < number));
                last[topic] = Some(number);
            }
        }
        assert!(answers.is_sorted(), "{answers:?}");
    }
    publisher.await.unwrap();
}
