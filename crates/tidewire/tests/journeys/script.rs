//! `conformance/journeys.json` as steps: what a runner does and what must come of it, not how.
//!
//! Two runners share this file: the readers of this suite, who speak the wire by hand, and those of
//! `tidewire-cli`, who are the Rust client. So it knows of neither.

use std::collections::HashMap;

use serde_json::{Value, json};
use tidewire::tidewire_proto::Data;

/// The event type of marks, which everybody passes over but the one who waits for it.
pub(crate) const MARK: &str = "mark";

/// An entry as it is heard, the same on every door.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    pub(crate) topic: String,
    pub(crate) event: String,
    pub(crate) kind: &'static str,
    pub(crate) data: Value,
    pub(crate) id: Option<String>,
}

impl Heard {
    pub(crate) fn new(topic: &str, event: &str, data: &Data, id: Option<String>) -> Self {
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

    /// What a reader of an event stream hears of it: there is no line end but LF.
    pub(crate) fn on_a_stream(mut self) -> Self {
        if self.kind == "text" {
            let text = self.data.as_str().unwrap().replace("\r\n", "\n").replace('\r', "\n");
            self.data = json!(text);
        }
        self
    }
}

/// A message that a journey publishes.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) event: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) kind: &'static str,
    pub(crate) data: Value,
    /// How the journey calls its entry.
    pub(crate) name: Option<String>,
}

impl Message {
    fn read(step: &Value) -> Self {
        let kind = ["json", "text", "binary"].into_iter().find(|kind| step.get(kind).is_some());
        let kind = kind.expect("one kind of data");
        Self {
            topic: text(&step["topic"]),
            event: maybe(&step["event"]),
            key: maybe(&step["key"]),
            kind,
            data: step[kind].clone(),
            name: maybe(&step["as"]),
        }
    }

    /// A mark with this number.
    pub(crate) fn mark(topic: &str, number: usize) -> Self {
        let (topic, event) = (topic.to_owned(), Some(MARK.to_owned()));
        Self { topic, event, key: None, kind: "json", data: json!(number), name: None }
    }

    /// Its data, as bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self.kind {
            "json" => self.data.to_string().into_bytes(),
            "text" => self.data.as_str().unwrap().as_bytes().to_vec(),
            _ => hex(self.data.as_str().unwrap()),
        }
    }

    fn heard(&self, id: Option<String>) -> Heard {
        let event = self.event.clone().unwrap_or_else(|| "message".to_owned());
        Heard { topic: self.topic.clone(), event, kind: self.kind, data: self.data.clone(), id }
    }
}

/// What must come of a publish.
#[derive(Debug, Clone)]
pub(crate) enum Expect {
    New,
    DuplicateOf(String),
    Ephemeral,
    Refused(String),
}

impl Expect {
    fn read(expect: &Value) -> Self {
        match (expect.as_str(), expect.as_object()) {
            (None | Some("new"), None) => Self::New,
            (Some("ephemeral"), _) => Self::Ephemeral,
            (_, Some(fields)) if fields.contains_key("duplicate_of") => {
                Self::DuplicateOf(text(&expect["duplicate_of"]))
            }
            (_, Some(fields)) if fields.contains_key("refused") => {
                Self::Refused(text(&expect["refused"]))
            }
            _ => panic!("no such expectation: {expect}"),
        }
    }
}

/// What came of a publish.
#[derive(Debug)]
pub(crate) enum Answer {
    Stored { id: Option<String>, stored: String, is_duplicate: bool },
    Refused(String),
}

/// Where a reader begins.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Text(String),
    IdOf(String),
    BookmarkOf(String),
}

impl Place {
    fn read(after: &Value) -> Self {
        match (maybe(&after["id_of"]), maybe(&after["bookmark_of"])) {
            (Some(name), _) => Self::IdOf(name),
            (_, Some(reader)) => Self::BookmarkOf(reader),
            (None, None) => Self::Text(text(after)),
        }
    }
}

/// What is said of the seam: `new`, `resumed`, or `gap` and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seam {
    pub(crate) continuity: String,
    pub(crate) gap: Option<String>,
}

impl Seam {
    fn read(expect: &Value) -> Self {
        match maybe(&expect["gap"]) {
            Some(reason) => Self { continuity: "gap".to_owned(), gap: Some(reason) },
            None => Self { continuity: text(expect), gap: None },
        }
    }

    /// As a hello, an answer or a page says it.
    pub(crate) fn said(said: &Value) -> Self {
        Self { continuity: text(&said["continuity"]), gap: maybe(&said["gap"]["reason"]) }
    }
}

#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) reader: String,
    pub(crate) door: String,
    pub(crate) topics: Vec<String>,
    pub(crate) after: Place,
    pub(crate) expect: Seam,
}

#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) topics: Vec<String>,
    pub(crate) after: Place,
    pub(crate) limit: Option<usize>,
    pub(crate) expect: Seam,
    pub(crate) entries: Vec<String>,
    pub(crate) more: Option<bool>,
}

/// One step; the file says what each means.
#[derive(Debug)]
pub(crate) enum Step {
    Publish { door: String, message: Message, expect: Expect },
    PublishAll { messages: Vec<Message>, expect: Expect },
    Open(Open),
    Hears { reader: String, entries: Vec<String> },
    Quiet { reader: String },
    Cut { reader: String },
    Restart { is_kill: bool },
    Page(Page),
    PageRefused { topics: Vec<String>, after: Place, code: String },
}

impl Step {
    fn read(step: &Value) -> Self {
        let (verb, what) = step.as_object().unwrap().iter().next().unwrap();
        let (reader, expect) = (maybe(&what["reader"]), &what["expect"]);
        let reader = || reader.clone().expect("a reader");
        match verb.as_str() {
            "publish" => Self::Publish {
                door: text(&what["door"]),
                message: Message::read(what),
                expect: Expect::read(expect),
            },
            "publish_all" => Self::PublishAll {
                messages: what["messages"].as_array().unwrap().iter().map(Message::read).collect(),
                expect: Expect::read(expect),
            },
            "open" => Self::Open(Open {
                reader: reader(),
                door: text(&what["door"]),
                topics: texts(&what["topics"]),
                after: Place::read(&what["after"]),
                expect: Seam::read(expect),
            }),
            "hears" => Self::Hears { reader: reader(), entries: texts(&what["entries"]) },
            "quiet" => Self::Quiet { reader: reader() },
            "cut" => Self::Cut { reader: reader() },
            "restart" => Self::Restart { is_kill: what == "kill" },
            "page" => Self::Page(Page {
                topics: texts(&what["topics"]),
                after: Place::read(&what["after"]),
                limit: what["limit"].as_u64().map(|limit| limit as usize),
                expect: Seam::read(expect),
                entries: texts(&what["entries"]),
                more: what["more"].as_bool(),
            }),
            "page_refused" => Self::PageRefused {
                topics: texts(&what["topics"]),
                after: Place::read(&what["after"]),
                code: text(&what["code"]),
            },
            other => panic!("no such step: {other}"),
        }
    }
}

/// One journey.
#[derive(Debug)]
pub(crate) struct Journey {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

/// The features that the server has, as a config, and the journeys.
pub(crate) fn read() -> (String, Vec<Journey>) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/journeys.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let journeys = all["journeys"].as_array().unwrap().iter().map(|journey| Journey {
        name: text(&journey["name"]),
        steps: journey["steps"].as_array().unwrap().iter().map(Step::read).collect(),
    });
    (text(&all["features"]), journeys.collect())
}

/// The entries of a journey by their names: what a reader must hear of each.
#[derive(Debug, Default)]
pub(crate) struct Entries(HashMap<String, Heard>);

impl Entries {
    /// Compares an answer with what is expected of it, and remembers the entry under its name.
    pub(crate) fn answered(&mut self, message: &Message, expect: &Expect, answer: &Answer) {
        match (expect, answer) {
            (Expect::Refused(expected), Answer::Refused(code)) => {
                assert_eq!(code, expected, "{message:?}");
            }
            (Expect::DuplicateOf(first), Answer::Stored { id, is_duplicate, .. }) => {
                assert_eq!((id, is_duplicate), (&self.0[first].id, &true), "{message:?}");
            }
            (Expect::New | Expect::Ephemeral, Answer::Stored { id, stored, is_duplicate }) => {
                assert!(!is_duplicate && !stored.is_empty(), "{message:?}: {answer:?}");
                let is_ephemeral = matches!(expect, Expect::Ephemeral);
                assert_eq!(id.is_none(), is_ephemeral, "{message:?}: {answer:?}");
                if let Some(name) = &message.name {
                    self.0.insert(name.clone(), message.heard(id.clone()));
                }
            }
            _ => panic!("{expect:?} of {message:?}, not {answer:?}"),
        }
    }

    pub(crate) fn named(&self, names: &[String]) -> Vec<Heard> {
        names.iter().map(|name| self.0[name].clone()).collect()
    }

    /// The place of an entry.
    pub(crate) fn id(&self, name: &str) -> String {
        self.0[name].id.clone().expect("an id")
    }
}

/// Bytes from hexadecimal digits.
fn hex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

fn maybe(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn text(value: &Value) -> String {
    maybe(value).unwrap_or_else(|| panic!("a text, not {value}"))
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(text).collect()
}
