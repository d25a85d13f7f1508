//! A reader of a journey, at any door: it hears entries, and keeps its bookmark.

use std::collections::VecDeque;

use serde_json::{Value, json};
use tidewire::tidewire_proto::{Data, json::parse_data, sse::Event};
use tokio::time::{Instant, timeout_at};

use crate::support::{PATIENCE, http, sse::Stream, ws::Socket};

/// The event type of marks, which everybody passes over but the one who waits for it.
pub(super) const MARK: &str = "mark";

/// An entry as it is heard, the same on every door.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Heard {
    pub(super) topic: String,
    pub(super) event: String,
    pub(super) kind: &'static str,
    pub(super) data: Value,
    pub(super) id: Option<String>,
}

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

/// What is said first is what is expected: a word, or a gap and its reason.
pub(super) fn assert_continuity(said: &Value, expect: &Value) {
    match expect["gap"].as_str() {
        Some(reason) => {
            assert_eq!(said["continuity"], "gap", "{said}");
            assert_eq!(said["gap"]["reason"], reason, "{said}");
        }
        None => assert_eq!(&said["continuity"], expect, "{said}"),
    }
}

impl Heard {
    fn new(topic: &str, event: &str, data: &Data, id: Option<String>) -> Self {
        let (kind, data) = match data {
            Data::Json(bytes) => ("json", serde_json::from_slice(bytes).unwrap()),
            Data::Text(_) => ("text", json!(data.as_text())),
            Data::Binary(bytes) => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                ("binary", json!(digits))
            }
        };
        Self { topic: topic.to_owned(), event: event.to_owned(), kind, data, id }
    }

    /// From an entry of a page, or a message of a socket.
    pub(super) fn of_json(entry: &Value) -> Self {
        let data = match entry["bytes"].as_array() {
            Some(bytes) => {
                Data::binary(bytes.iter().map(|b| b.as_u64().unwrap() as u8).collect::<Vec<_>>())
            }
            None => parse_data(&entry["data"].to_string(), entry["encoding"].as_str()).unwrap(),
        };
        let id = entry["id"].as_str().map(str::to_owned);
        Self::new(entry["topic"].as_str().unwrap(), entry["event"].as_str().unwrap(), &data, id)
    }

    fn of_event(event: Event) -> Self {
        let quoted = json!(event.data).to_string();
        let raw = if event.encoding.is_some() { &quoted } else { &event.data };
        let data = parse_data(raw, event.encoding.as_deref()).unwrap();
        Self::new(event.topic.as_deref().unwrap(), &event.event, &data, event.id)
    }
}

impl Reader {
    pub(super) async fn open(at: &str, step: &Value, after: &str) -> Self {
        let topics = step["topics"].as_array().unwrap().iter();
        let topics: Vec<_> = topics.map(|topic| topic.as_str().unwrap().to_owned()).collect();
        let expect = &step["expect"];
        let (door, bookmark) = match step["door"].as_str().unwrap() {
            "sse" => {
                let url = format!("{at}/sse?{}&after={after}", query(&topics));
                let (mut stream, hello) = Stream::connect(&url, &[]).await;
                assert_continuity(&hello, expect);
                if hello["continuity"] == "gap" {
                    assert_eq!(stream.next().await.unwrap().event, "tidewire.gap");
                }
                (Door::Stream(Box::new(stream)), hello["at"].as_str().map(str::to_owned))
            }
            "ws" => {
                let mut socket = Socket::connect(&format!("{at}/socket"), &[]).await.unwrap();
                let mut bookmark = None;
                for topic in &topics {
                    let begun = socket.subscribe(topic, Some(after)).await;
                    if let Some(at) = begun["at"].as_str() {
                        assert_continuity(&begun, expect);
                        bookmark = Some(at.to_owned());
                    }
                }
                (Door::Socket(Box::new(socket)), bookmark)
            }
            _ => {
                let page = poll(at, &topics, after).await;
                assert_continuity(&page, expect);
                let early: VecDeque<_> = page["entries"].as_array().unwrap().clone().into();
                let cursor = page["cursor"].as_str().unwrap().to_owned();
                let bookmark = early.is_empty().then(|| cursor.clone());
                (Door::Poll { cursor, early }, bookmark)
            }
        };
        let is_stream = matches!(door, Door::Stream(_));
        Self { topics, bookmark, door, is_stream }
    }

    /// Drops the connection without a goodbye.
    pub(super) fn cut(&mut self) {
        self.door = Door::Cut;
    }

    /// What this reader hears of an entry: a stream has no line end but LF.
    pub(super) fn expected(&self, mut entry: Heard) -> Heard {
        if self.is_stream && entry.kind == "text" {
            let text = entry.data.as_str().unwrap().replace("\r\n", "\n").replace('\r', "\n");
            entry.data = json!(text);
        }
        entry
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
            Door::Stream(stream) => Heard::of_event(stream.entry().await),
            Door::Socket(socket) => Heard::of_json(&socket.entry().await),
            Door::Poll { cursor, early } => loop {
                if let Some(entry) = early.pop_front() {
                    break Heard::of_json(&entry);
                }
                let page = timeout_at(deadline, poll(at, &self.topics, cursor)).await;
                let page = page.expect("an entry in time");
                assert_continuity(&page, &json!("resumed"));
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
