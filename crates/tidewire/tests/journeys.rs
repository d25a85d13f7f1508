//! The journeys of `conformance/journeys.json`, which say what they mean: readers that come, go and
//! change doors, and a server in a process of its own that is killed now and then.

mod process;
mod reader;

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use self::{
    process::Process,
    reader::{Heard, Reader},
};
use crate::support::{http, ws::Socket};

/// An entry of a journey: what a reader must hear of it.
#[derive(Clone)]
struct Named {
    heard: Heard,
}

struct Journey {
    process: Process,
    named: HashMap<String, Named>,
    readers: HashMap<String, Reader>,
    marks: usize,
}

/// Bytes from hexadecimal digits.
fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// What was published, as a reader hears it, but for the id.
fn as_heard(publish: &Value) -> Heard {
    let data = ["json", "text", "binary"].into_iter().find(|kind| publish.get(kind).is_some());
    let kind = data.expect("one kind of data");
    let event = publish["event"].as_str().unwrap_or("message").to_owned();
    let topic = publish["topic"].as_str().unwrap().to_owned();
    Heard { topic, event, kind, data: publish[kind].clone(), id: None }
}

/// What was published, as an element of a batch or of a command.
fn as_message(publish: &Value) -> Value {
    let mut message = json!({"topic": publish["topic"]});
    for field in ["event", "key"] {
        if let Some(value) = publish.get(field) {
            message[field] = value.clone();
        }
    }
    let heard = as_heard(publish);
    match heard.kind {
        "json" => message["data"] = heard.data,
        "text" => {
            message["data"] = heard.data;
            message["encoding"] = json!("text");
        }
        _ => {
            message["data"] = json!(BASE64.encode(hex(heard.data.as_str().unwrap())));
            message["encoding"] = json!("base64");
        }
    }
    message
}

async fn answer(request: reqwest::RequestBuilder) -> Value {
    request.send().await.unwrap().json().await.unwrap()
}

impl Journey {
    async fn publish(&self, publish: &Value) -> Value {
        match publish["door"].as_str().unwrap() {
            "http" => self.publish_over_http(publish).await,
            "batch" => {
                let request = http().post(self.process.at("/publish"));
                let answer = answer(request.body(json!([as_message(publish)]).to_string())).await;
                if answer["error"].is_object() { answer } else { answer["results"][0].clone() }
            }
            "ws" => self.publish_over_a_socket(publish).await,
            other => panic!("no such door: {other}"),
        }
    }

    async fn publish_over_http(&self, publish: &Value) -> Value {
        let heard = as_heard(publish);
        let (kind, body) = match heard.kind {
            "json" => ("application/json", heard.data.to_string().into_bytes()),
            "text" => ("text/plain", heard.data.as_str().unwrap().as_bytes().to_vec()),
            _ => ("application/octet-stream", hex(heard.data.as_str().unwrap())),
        };
        let url = self.process.at(&format!("/topics/{}", heard.topic));
        let mut request = http().post(url).header("content-type", kind).body(body);
        for (header, field) in [("tidewire-event", "event"), ("idempotency-key", "key")] {
            if let Some(value) = publish[field].as_str() {
                request = request.header(header, value);
            }
        }
        answer(request).await
    }

    async fn publish_over_a_socket(&self, publish: &Value) -> Value {
        let mut socket = Socket::connect(&self.process.at("/socket"), &[]).await.unwrap();
        let mut command = as_message(publish);
        command["do"] = json!("publish");
        let answer = if publish.get("binary").is_some() {
            let bytes = hex(publish["binary"].as_str().unwrap());
            let fields = command.as_object_mut().unwrap();
            fields.remove("data");
            fields.remove("encoding");
            command["ref"] = json!(1);
            let header = command.to_string();
            let length = (header.len() as u16).to_be_bytes();
            let message = [&length[..], header.as_bytes(), &bytes].concat();
            socket.inner.send(Message::binary(message)).await.unwrap();
            socket.answer(1).await
        } else {
            socket.ask(command).await
        };
        if answer["ok"].is_object() { answer["ok"].clone() } else { answer }
    }

    /// Compares an answer with what is expected of it, and remembers the entry under its name.
    fn published(&mut self, publish: &Value, expect: &Value, answer: &Value) {
        let id = answer["id"].as_str().map(str::to_owned);
        if let Some(code) = expect["refused"].as_str() {
            assert_eq!(answer["error"]["code"], code, "{publish}: {answer}");
            return;
        }
        if let Some(first) = expect["duplicate_of"].as_str() {
            assert_eq!((&id, &answer["duplicate"]), (&self.named[first].heard.id, &json!(true)));
            return;
        }
        assert!(answer["duplicate"].is_null(), "{publish}: {answer}");
        assert!(answer["stored"].is_string(), "{publish}: {answer}");
        assert_eq!(id.is_none(), expect == "ephemeral", "{publish}: {answer}");
        if let Some(name) = publish["as"].as_str() {
            let heard = Heard { id, ..as_heard(publish) };
            self.named.insert(name.to_owned(), Named { heard });
        }
    }

    async fn publish_all(&mut self, step: &Value) {
        let messages = step["messages"].as_array().unwrap();
        let body = Value::from(messages.iter().map(as_message).collect::<Vec<_>>());
        let request = http().post(self.process.at("/publish")).body(body.to_string());
        let answer = answer(request).await;
        for (index, message) in messages.iter().enumerate() {
            let of_message =
                if answer["error"].is_object() { &answer } else { &answer["results"][index] };
            self.published(message, &step["expect"], of_message);
        }
    }

    /// A place as a step names it.
    fn place(&self, after: &Value) -> String {
        if let Some(name) = after["id_of"].as_str() {
            return self.named[name].heard.id.clone().expect("an id");
        }
        if let Some(reader) = after["bookmark_of"].as_str() {
            return self.readers[reader].bookmark.clone().expect("a bookmark");
        }
        after.as_str().unwrap().to_owned()
    }

    fn names(&self, names: &Value) -> Vec<Heard> {
        let names = names.as_array().unwrap().iter();
        names.map(|name| self.named[name.as_str().unwrap()].heard.clone()).collect()
    }

    async fn hears(&mut self, step: &Value) {
        let expected = self.names(&step["entries"]);
        let name = step["reader"].as_str().unwrap();
        let at = self.process.at("");
        let reader = self.readers.get_mut(name).unwrap();
        for expected in expected {
            let expected = reader.expected(expected);
            assert_eq!(reader.hear(&at).await, expected, "what {name} hears");
        }
    }

    async fn quiet(&mut self, step: &Value) {
        let name = step["reader"].as_str().unwrap();
        let topic = self.readers[name].topics[0].clone();
        self.marks += 1;
        let data = json!(self.marks);
        let mark = json!({"door": "http", "topic": topic, "event": reader::MARK, "json": data});
        self.publish(&mark).await;
        let at = self.process.at("");
        self.readers.get_mut(name).unwrap().hear_mark(&at, &data).await;
    }

    async fn page(&self, step: &Value) -> Value {
        let mut query: Vec<String> = step["topics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|topic| format!("topic={}", topic.as_str().unwrap()))
            .collect();
        query.push(format!("after={}", self.place(&step["after"])));
        query.extend(step["limit"].as_u64().map(|limit| format!("limit={limit}")));
        answer(http().get(self.process.at(&format!("/events?{}", query.join("&"))))).await
    }

    async fn step(&mut self, step: &Value) {
        let (verb, what) = step.as_object().unwrap().iter().next().unwrap();
        match verb.as_str() {
            "publish" => {
                let answer = self.publish(what).await;
                self.published(what, &what["expect"], &answer);
            }
            "publish_all" => self.publish_all(what).await,
            "open" => {
                let after = self.place(&what["after"]);
                let reader = Reader::open(&self.process.at(""), what, &after).await;
                self.readers.insert(what["reader"].as_str().unwrap().to_owned(), reader);
            }
            "hears" => self.hears(what).await,
            "quiet" => self.quiet(what).await,
            "cut" => self.readers.get_mut(what["reader"].as_str().unwrap()).unwrap().cut(),
            "restart" => {
                self.readers.values_mut().for_each(Reader::cut);
                self.process.restart(what == "kill").await;
            }
            "page" => {
                let page = self.page(what).await;
                reader::assert_continuity(&page, &what["expect"]);
                let entries = page["entries"].as_array().unwrap().iter().map(Heard::of_json);
                let heard: Vec<_> = entries.filter(|heard| heard.event != reader::MARK).collect();
                assert_eq!(heard, self.names(&what["entries"]));
                if let Some(more) = what.get("more") {
                    assert_eq!(&page["more"], more);
                }
            }
            "page_refused" => {
                assert_eq!(self.page(what).await["error"]["code"], what["code"]);
            }
            other => panic!("no such step: {other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_journey_arrives() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/journeys.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let features = all["features"].as_str().unwrap();
    for journey in all["journeys"].as_array().unwrap() {
        let process = Process::start(features).await;
        let (named, readers) = (HashMap::new(), HashMap::new());
        let mut going = Journey { process, named, readers, marks: 0 };
        for (number, step) in journey["steps"].as_array().unwrap().iter().enumerate() {
            // Shown only if the journey fails.
            println!("{}: step {number}: {step}", journey["name"]);
            going.step(step).await;
        }
    }
}
