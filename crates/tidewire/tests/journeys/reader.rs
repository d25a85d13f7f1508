//! A reader of a journey, at any door: it hears entries, and keeps its bookmark.

use std::collections::VecDeque;

use serde_json::{Value, json};
use tidewire::tidewire_proto::{Data, json::parse_data, sse::Event};
use tokio::time::{Instant, timeout_at};

use super::script::{Heard, MARK, Open, Seam};
use crate::support::{PATIENCE, http, sse::Stream, ws::Socket};

enum Door {
    Stream(Box<Stream>),
    Socket(Box<Socket>),
    Poll { cursor: String, early: VecDeque<Value> },
    Cut,
}

pub(super) struct Reader {
    pub(super) topics: Vec<String>,
    pub(super) bookmark: Option<String>,
    door: Door,
    is_stream: bool,
}

/// From an entry of a page, or a message of a socket.
pub(super) fn heard(entry: &Value) -> Heard {
    let data = match entry["bytes"].as_array() {
        Some(bytes) => {
            Data::binary(bytes.iter().map(|b| b.as_u64().unwrap() as u8).collect::<Vec<_>>())
        }
        None => parse_data(&entry["data"].to_string(), entry["encoding"].as_str()).unwrap(),
    };
    let id = entry["id"].as_str().map(str::to_owned);
    Heard::new(entry["topic"].as_str().unwrap(), entry["event"].as_str().unwrap(), &data, id)
}

fn of_event(event: Event) -> Heard {
    let quoted = json!(event.data).to_string();
    let raw = if event.encoding.is_some() { &quoted } else { &event.data };
    let data = parse_data(raw, event.encoding.as_deref()).unwrap();
    Heard::new(event.topic.as_deref().unwrap(), &event.event, &data, event.id)
}

impl Reader {
    pub(super) async fn open(at: &str, step: &Open, after: &str) -> Self {
        let Open { topics, expect, .. } = step;
        let (door, bookmark) = match step.door.as_str() {
            "sse" => {
                let url = format!("{at}/sse?{}&after={after}", query(topics));
                let (mut stream, hello) = Stream::connect(&url, &[]).await;
                assert_eq!(&Seam::said(&hello), expect, "{hello}");
                if hello["continuity"] == "gap" {
                    assert_eq!(stream.next().await.unwrap().event, "tidewire.gap");
                }
                (Door::Stream(Box::new(stream)), hello["at"].as_str().map(str::to_owned))
            }
            "ws" => {
                let mut socket = Socket::connect(&format!("{at}/socket"), &[]).await.unwrap();
                let mut bookmark = None;
                for topic in topics {
                    let begun = socket.subscribe(topic, Some(after)).await;
                    if let Some(at) = begun["at"].as_str() {
                        assert_eq!(&Seam::said(&begun), expect, "{begun}");
                        bookmark = Some(at.to_owned());
                    }
                }
                (Door::Socket(Box::new(socket)), bookmark)
            }
            _ => {
                let page = poll(at, topics, after).await;
                assert_eq!(&Seam::said(&page), expect, "{page}");
                let early: VecDeque<_> = page["entries"].as_array().unwrap().clone().into();
                let cursor = page["cursor"].as_str().unwrap().to_owned();
                let bookmark = early.is_empty().then(|| cursor.clone());
                (Door::Poll { cursor, early }, bookmark)
            }
        };
        let is_stream = matches!(door, Door::Stream(_));
        Self { topics: topics.clone(), bookmark, door, is_stream }
    }

    /// Drops the connection without a goodbye.
    pub(super) fn cut(&mut self) {
        self.door = Door::Cut;
    }

    /// What this reader hears of an entry.
    pub(super) fn expected(&self, entry: Heard) -> Heard {
        if self.is_stream { entry.on_a_stream() } else { entry }
    }

    /// The next entry that is no mark.
    pub(super) async fn hear(&mut self, at: &str) -> Heard {
        loop {
            let heard = self.hear_any(at).await;
            if heard.event != MARK {
                return heard;
            }
        }
    }

    /// The next entry is this mark; older marks may come before.
    pub(super) async fn hear_mark(&mut self, at: &str, data: &Value) {
        loop {
            let heard = self.hear_any(at).await;
            assert_eq!(heard.event, MARK, "{heard:?}");
            if heard.data == *data {
                return;
            }
        }
    }

    async fn hear_any(&mut self, at: &str) -> Heard {
        let deadline = Instant::now() + PATIENCE;
        let heard = match &mut self.door {
            Door::Stream(stream) => of_event(stream.entry().await),
            Door::Socket(socket) => heard(&socket.entry().await),
            Door::Poll { cursor, early } => loop {
                if let Some(entry) = early.pop_front() {
                    break heard(&entry);
                }
                let page = timeout_at(deadline, poll(at, &self.topics, cursor)).await;
                let page = page.expect("an entry in time");
                assert_eq!(page["continuity"], "resumed", "{page}");
                early.extend(page["entries"].as_array().unwrap().iter().cloned());
                page["cursor"].as_str().unwrap().clone_into(cursor);
            },
            Door::Cut => panic!("the reader was cut"),
        };
        self.bookmark = heard.id.clone().or(self.bookmark.take());
        heard
    }
}

async fn poll(at: &str, topics: &[String], after: &str) -> Value {
    let url = format!("{at}/events?{}&after={after}&wait=1", query(topics));
    let response = http().get(url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

fn query(topics: &[String]) -> String {
    topics.iter().map(|topic| format!("topic={topic}")).collect::<Vec<_>>().join("&")
}
