//! The journeys of `conformance/journeys.json`, which say what they mean: readers that come, go and
//! change doors, and a server in a process of its own that is killed now and then.

mod process;
mod reader;
mod script;

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite;

use self::{
    process::Process,
    reader::{Reader, heard},
    script::{Answer, Entries, Expect, MARK, Message, Page, Place, Seam, Step},
};
use crate::support::{http, ws::Socket};

struct Going {
    process: Process,
    entries: Entries,
    readers: HashMap<String, Reader>,
    marks: usize,
}

/// What is published, as an element of a batch or of a command.
fn as_json(message: &Message) -> Value {
    let mut element = json!({"topic": message.topic});
    for (field, value) in [("event", &message.event), ("key", &message.key)] {
        if let Some(value) = value {
            element[field] = json!(value);
        }
    }
    match message.kind {
        "json" => element["data"] = message.data.clone(),
        "text" => {
            element["data"] = message.data.clone();
            element["encoding"] = json!("text");
        }
        _ => {
            element["data"] = json!(BASE64.encode(message.bytes()));
            element["encoding"] = json!("base64");
        }
    }
    element
}

fn of_json(answer: &Value) -> Answer {
    match answer["error"]["code"].as_str() {
        Some(code) => Answer::Refused(code.to_owned()),
        None => Answer::Stored {
            id: answer["id"].as_str().map(str::to_owned),
            stored: answer["stored"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned(),
            is_duplicate: answer["duplicate"] == true,
        },
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Value {
    request.send().await.unwrap().json().await.unwrap()
}

impl Going {
    async fn publish(&self, door: &str, message: &Message) -> Answer {
        match door {
            "http" => of_json(&self.publish_over_http(message).await),
            "batch" => self.publish_batch(std::slice::from_ref(message)).await.remove(0),
            "ws" => of_json(&self.publish_over_a_socket(message).await),
            other => panic!("no such door: {other}"),
        }
    }

    async fn publish_over_http(&self, message: &Message) -> Value {
        let kind = match message.kind {
            "json" => "application/json",
            "text" => "text/plain",
            _ => "application/octet-stream",
        };
        let url = self.process.at(&format!("/topics/{}", message.topic));
        let mut request = http().post(url).header("content-type", kind).body(message.bytes());
        for (header, value) in
            [("tidewire-event", &message.event), ("idempotency-key", &message.key)]
        {
            if let Some(value) = value {
                request = request.header(header, value);
            }
        }
        answer(request).await
    }

    /// One answer for each message; if the batch is refused, its refusal for each.
    async fn publish_batch(&self, messages: &[Message]) -> Vec<Answer> {
        let body = Value::from(messages.iter().map(as_json).collect::<Vec<_>>());
        let request = http().post(self.process.at("/publish"));
        let answer = answer(request.body(body.to_string())).await;
        let of = |index: usize| match answer["error"].is_object() {
            true => of_json(&answer),
            false => of_json(&answer["results"][index]),
        };
        (0..messages.len()).map(of).collect()
    }

    async fn publish_over_a_socket(&self, message: &Message) -> Value {
        let mut socket = Socket::connect(&self.process.at("/socket"), &[]).await.unwrap();
        let mut command = as_json(message);
        command["do"] = json!("publish");
        let answer = if message.kind == "binary" {
            let fields = command.as_object_mut().unwrap();
            fields.remove("data");
            fields.remove("encoding");
            command["ref"] = json!(1);
            let header = command.to_string();
            let length = (header.len() as u16).to_be_bytes();
            let bytes = [&length[..], header.as_bytes(), &message.bytes()].concat();
            socket.inner.send(tungstenite::Message::binary(bytes)).await.unwrap();
            socket.answer(1).await
        } else {
            socket.ask(command).await
        };
        if answer["ok"].is_object() { answer["ok"].clone() } else { answer }
    }

    async fn publish_all(&mut self, messages: &[Message], expect: &Expect) {
        let answers = self.publish_batch(messages).await;
        for (message, answer) in messages.iter().zip(&answers) {
            self.entries.answered(message, expect, answer);
        }
    }

    /// A place as a step names it.
    fn place(&self, after: &Place) -> String {
        match after {
            Place::Text(text) => text.clone(),
            Place::IdOf(name) => self.entries.id(name),
            Place::BookmarkOf(reader) => self.readers[reader].bookmark.clone().expect("a bookmark"),
        }
    }

    async fn hears(&mut self, name: &str, entries: &[String]) {
        let expected = self.entries.named(entries);
        let at = self.process.at("");
        let reader = self.readers.get_mut(name).unwrap();
        for expected in expected {
            let expected = reader.expected(expected);
            assert_eq!(reader.hear(&at).await, expected, "what {name} hears");
        }
    }

    async fn quiet(&mut self, name: &str) {
        let topic = self.readers[name].topics[0].clone();
        self.marks += 1;
        let mark = Message::mark(&topic, self.marks);
        self.publish("http", &mark).await;
        let at = self.process.at("");
        self.readers.get_mut(name).unwrap().hear_mark(&at, &mark.data).await;
    }

    async fn page(&self, topics: &[String], after: &Place, limit: Option<usize>) -> Value {
        let mut query: Vec<String> = topics.iter().map(|topic| format!("topic={topic}")).collect();
        query.push(format!("after={}", self.place(after)));
        query.extend(limit.map(|limit| format!("limit={limit}")));
        answer(http().get(self.process.at(&format!("/events?{}", query.join("&"))))).await
    }

    async fn page_is(&self, step: &Page) {
        let page = self.page(&step.topics, &step.after, step.limit).await;
        assert_eq!(Seam::said(&page), step.expect, "{page}");
        let entries = page["entries"].as_array().unwrap().iter().map(heard);
        let entries: Vec<_> = entries.filter(|heard| heard.event != MARK).collect();
        assert_eq!(entries, self.entries.named(&step.entries));
        if let Some(more) = step.more {
            assert_eq!(page["more"], more);
        }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Publish { door, message, expect } => {
                let answer = self.publish(door, message).await;
                self.entries.answered(message, expect, &answer);
            }
            Step::PublishAll { messages, expect } => self.publish_all(messages, expect).await,
            Step::Open(open) => {
                let after = self.place(&open.after);
                let reader = Reader::open(&self.process.at(""), open, &after).await;
                self.readers.insert(open.reader.clone(), reader);
            }
            Step::Hears { reader, entries } => self.hears(reader, entries).await,
            Step::Quiet { reader } => self.quiet(reader).await,
            Step::Cut { reader } => self.readers.get_mut(reader).unwrap().cut(),
            Step::Restart { is_kill } => {
                self.readers.values_mut().for_each(Reader::cut);
                self.process.restart(*is_kill).await;
            }
            Step::Page(page) => self.page_is(page).await,
            Step::PageRefused { topics, after, code } => {
                let answer = self.page(topics, after, None).await;
                assert_eq!(answer["error"]["code"], **code);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_journey_arrives() {
    let (features, journeys) = script::read();
    for journey in journeys {
        let process = Process::start(&features).await;
        let (entries, readers) = (Entries::default(), HashMap::new());
        let mut going = Going { process, entries, readers, marks: 0 };
        for (number, step) in journey.steps.iter().enumerate() {
            // Shown only if the journey fails.
            println!("{}: step {number}: {step:?}", journey.name);
            going.step(step).await;
        }
    }
}
