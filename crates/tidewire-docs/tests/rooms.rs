//! Documents over a real hub: who edits, who reads, who is slow and who comes late.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tidewire_core::{
    Action, Credential, Feature, Features, Filter, Gate, History, Hub, Keep, Limits, MemoryLog,
    OpenGate, Peer, Refusal,
    clock::{SeededRandom, SystemClock},
    log::memory::MemoryBounds,
};
use tidewire_docs::{Documents, Heard, Visit};
use tidewire_proto::{
    After, Code, Data, Entry, EventType, Message, Topic, WireError, topic::AWARENESS,
};
use yrs::{
    ClientID, Doc, GetString, OffsetKind, Options, ReadTxn, StateVector, Text, Transact, Update,
    WriteTxn,
    updates::{decoder::Decode, encoder::Encode},
};

const PATIENCE: Duration = Duration::from_secs(20);

fn topic() -> Topic {
    Topic::parse("docs/plan").unwrap()
}

fn hub(limits: Limits) -> Hub {
    let document = Feature {
        keep: Keep::Document,
        history: History::Kept { age: None, bytes: None },
        ..Feature::default()
    };
    let chat = ("chat".to_owned(), Feature::default());
    let features = Features::declared(BTreeMap::from([("docs".to_owned(), document), chat]));
    let log = |seed| {
        Arc::new(MemoryLog::new(
            Arc::new(features.clone()),
            &limits,
            MemoryBounds::default(),
            Arc::new(SystemClock),
            &SeededRandom::new(seed),
        ))
    };
    let (kept, passing) = (log(1), log(2));
    Hub::new(kept, passing, features.clone(), limits)
}

/// Everybody reads, nobody writes.
struct Library;

#[async_trait::async_trait]
impl Gate for Library {
    async fn admit(&self, _: Credential<'_>) -> Result<Arc<Peer>, Refusal> {
        Ok(Arc::new(Peer::anybody()))
    }

    async fn may(&self, _: &Peer, action: Action, topic: &Topic) -> Result<(), Refusal> {
        match action {
            Action::Subscribe => Ok(()),
            Action::Publish => Err(Refusal::Forbidden { action, topic: topic.clone() }),
        }
    }
}

/// A client of a document: what the provider of Yjs does.
struct Editor {
    visit: Visit,
    doc: Doc,
    client: u64,
    clock: u64,
    states: BTreeMap<u64, String>,
    denied: Vec<String>,
    heard: usize,
}

impl Editor {
    async fn open(documents: &Documents, client: u64) -> Self {
        Self::admitted(documents, client, Arc::new(OpenGate)).await.unwrap()
    }

    async fn admitted(
        documents: &Documents,
        client: u64,
        gate: Arc<dyn Gate>,
    ) -> Result<Self, WireError> {
        let options = Options {
            offset_kind: OffsetKind::Utf16,
            ..Options::with_client_id(ClientID::new(client))
        };
        let visit = documents.visit(gate, Arc::new(Peer::anybody()), &topic()).await?;
        let (states, denied) = (BTreeMap::new(), Vec::new());
        let doc = Doc::with_options(options);
        let mut editor = Self { visit, doc, client, clock: 0, states, denied, heard: 0 };
        editor.sync().await?;
        Ok(editor)
    }

    /// What a provider does at first.
    async fn sync(&mut self) -> Result<(), WireError> {
        let first = tokio::time::timeout(PATIENCE, self.visit.opened()).await.unwrap()?;
        let have = self.doc.transact().state_vector().encode_v1();
        self.say(message(&[0, 0], &have)).await?;
        for message in first {
            self.take(&message).await?;
        }
        Ok(())
    }

    async fn say(&mut self, message: Vec<u8>) -> Result<(), WireError> {
        let Heard { answers, edit, states } = self.visit.hear(&Bytes::from(message))?;
        if let Some(edit) = edit {
            self.visit.store(vec![edit]).await?;
        }
        self.visit.announce(states).await?;
        for answer in answers {
            Box::pin(self.take(&answer)).await?;
        }
        Ok(())
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        match bytes {
            [0, 0, rest @ ..] => {
                let wanted = StateVector::decode_v1(buffer(rest).0).unwrap();
                let update = self.doc.transact().encode_state_as_update_v1(&wanted);
                self.say(message(&[0, 1], &update)).await?;
            }
            [0, 1 | 2, rest @ ..] => {
                self.heard += 1;
                let update = Update::decode_v1(buffer(rest).0).unwrap();
                self.doc.transact_mut().apply_update(update).unwrap();
            }
            [1, rest @ ..] => {
                let (count, mut rest) = number(buffer(rest).0);
                for _ in 0..count {
                    let (client, after) = number(rest);
                    let (clock, after) = number(after);
                    let (json, after) = buffer(after);
                    rest = after;
                    let json = String::from_utf8(json.to_vec()).unwrap();
                    if client == self.client && json == "null" {
                        // "Never let a remote client remove this local state."
                        self.clock = clock + 1;
                        let own = self.states[&client].clone();
                        self.announce(&own, self.clock).await?;
                    } else {
                        self.states.insert(client, json);
                    }
                }
            }
            [2, 0, rest @ ..] => {
                self.denied.push(String::from_utf8(buffer(rest).0.to_vec()).unwrap());
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    }

    /// Edits, and stores what was edited.
    async fn insert(&mut self, at: u32, text: &str) -> Result<(), WireError> {
        let update = self.edit(at, 0, text);
        self.say(message(&[0, 2], &update)).await
    }

    async fn remove(&mut self, at: u32, count: u32) -> Result<(), WireError> {
        let update = self.edit(at, count, "");
        self.say(message(&[0, 2], &update)).await
    }

    fn edit(&mut self, at: u32, removed: u32, text: &str) -> Vec<u8> {
        let mut transaction = self.doc.transact_mut();
        let shared = transaction.get_or_insert_text("text");
        shared.remove_range(&mut transaction, at, removed);
        shared.insert(&mut transaction, at, text);
        transaction.encode_update_v1()
    }

    async fn announce(&mut self, json: &str, clock: u64) -> Result<(), WireError> {
        self.states.insert(self.client, json.to_owned());
        let mut update = vec![1, self.client as u8, clock as u8, json.len() as u8];
        update.extend_from_slice(json.as_bytes());
        self.say(message(&[1], &update)).await
    }

    fn text(&self) -> String {
        let mut transaction = self.doc.transact_mut();
        let shared = transaction.get_or_insert_text("text");
        shared.get_string(&transaction)
    }

    /// Takes news until this is so.
    async fn until(&mut self, what: impl Fn(&Self) -> bool) {
        let hears = async {
            while !what(self) {
                let news = self.visit.news().unwrap();
                if news.is_empty() {
                    self.visit.changed().await;
                }
                for message in news {
                    self.take(&message).await.unwrap();
                }
            }
        };
        let heard = tokio::time::timeout(PATIENCE, hears).await;
        assert!(heard.is_ok(), "{:?} {:?}", self.text(), self.states);
    }
}

fn message(kind: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut out = kind.to_vec();
    let mut length = bytes.len();
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

fn number(mut bytes: &[u8]) -> (u64, &[u8]) {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first().unwrap();
        bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        shift += 7;
        if *first < 0x80 {
            return (number, bytes);
        }
    }
}

fn buffer(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = number(bytes);
    rest.split_at(length as usize)
}

async fn stored(hub: &Hub) -> usize {
    let page = hub.history(&Filter::from(topic()), After::Start, 1_000).await.unwrap();
    page.entries.len()
}

async fn base_of(hub: &Hub) -> Arc<Entry> {
    let found = async {
        loop {
            if let Some(base) = hub.newest_base(&topic()).await.unwrap() {
                return base;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("a base")
}

#[tokio::test]
async fn two_editors_of_one_document_agree() {
    let hub = hub(Limits::default());
    let documents = Documents::new(hub.clone());
    let (mut ann, mut ben) = (Editor::open(&documents, 1).await, Editor::open(&documents, 2).await);
    ann.insert(0, "hello").await.unwrap();
    ben.insert(0, "WORLD").await.unwrap();
    for editor in [&mut ann, &mut ben] {
        editor.until(|have| have.text().len() == 10).await;
    }
    assert_eq!(ann.text(), ben.text());
    assert_eq!(stored(&hub).await, 2);
    assert_eq!(documents.open(), 1);
    drop((ann, ben));
    assert_eq!(documents.open(), 0);
    let late = Editor::open(&documents, 3).await;
    assert_eq!(late.text().len(), 10);
}

#[tokio::test]
async fn what_was_written_without_a_connection_comes_with_the_next_one_and_only_once() {
    let hub = hub(Limits::default());
    let documents = Documents::new(hub.clone());
    let mut ann = Editor::open(&documents, 1).await;
    ann.insert(0, "hello").await.unwrap();
    ann.remove(0, 1).await.unwrap();
    let _lost = ann.edit(4, 0, " again");
    for reconnects in 0..3 {
        // The document knows what it has through the log.
        ann.until(|_| true).await;
        let late = Editor::open(&documents, 10 + reconnects).await;
        ann.visit =
            documents.visit(Arc::new(OpenGate), Arc::new(Peer::anybody()), &topic()).await.unwrap();
        ann.sync().await.unwrap();
        ann.until(|have| have.heard > 0).await;
        let mut late = late;
        late.until(|have| have.text() == "ello again").await;
        assert_eq!(stored(&hub).await, 3, "what is known is not stored again");
    }
}

#[tokio::test]
async fn a_base_stands_for_what_came_before() {
    let hub = hub(Limits::default());
    let documents = Documents::new(hub.clone());
    let mut ann = Editor::open(&documents, 1).await;
    for n in 0..250 {
        ann.insert(n, "x").await.unwrap();
    }
    ann.remove(0, 240).await.unwrap();
    let base = base_of(&hub).await;
    assert_eq!(base.topic.as_str(), "docs/plan/~base");
    assert!(base.data.bytes().len() < 1_000, "{}", base.data.bytes().len());
    ann.insert(10, "end").await.unwrap();
    drop(ann);
    assert_eq!(Editor::open(&documents, 2).await.text(), format!("{}end", "x".repeat(10)));
    // One that cannot be read is passed over.
    let message = Message {
        topic: base.topic.clone(),
        event: base.event.clone(),
        data: Data::binary(&b"\x01nonsense, and more"[..]),
        key: None,
        item: None,
    };
    hub.publish_own(vec![message]).await.unwrap();
    assert_eq!(Editor::open(&documents, 3).await.text(), format!("{}end", "x".repeat(10)));
}

/// 1 MB in 10,000 updates. `--nocapture` shows how long opening takes before and after the base.
#[tokio::test]
async fn a_long_document_opens_without_a_base_and_with_one() {
    let hub = hub(Limits::default());
    let documents = Documents::new(hub.clone());
    let doc = Doc::with_client_id(1);
    let line = "x".repeat(100);
    for _ in 0..100 {
        let update = |_| {
            let mut transaction = doc.transact_mut();
            let shared = transaction.get_or_insert_text("text");
            shared.push(&mut transaction, &line);
            Message {
                topic: topic(),
                event: EventType::parse("update").unwrap(),
                data: Data::binary(transaction.encode_update_v1()),
                key: None,
                item: None,
            }
        };
        hub.publish_own((0..100).map(update).collect()).await.unwrap();
    }
    assert!(hub.newest_base(&topic()).await.unwrap().is_none());
    for when in ["without a base", "with a base"] {
        let from = tokio::time::Instant::now();
        let late = Editor::open(&documents, 2).await;
        eprintln!("open {when} in {:?}", from.elapsed());
        assert_eq!(late.text().len(), 1_000_000);
        drop(late);
        base_of(&hub).await;
    }
}

#[tokio::test]
async fn who_may_only_read_changes_nothing_and_is_told_once() {
    let hub = hub(Limits::default());
    let documents = Documents::new(hub.clone());
    let mut ann = Editor::open(&documents, 1).await;
    ann.insert(0, "hello").await.unwrap();
    let mut reader = Editor::admitted(&documents, 2, Arc::new(Library)).await.unwrap();
    reader.until(|have| have.text() == "hello").await;
    reader.insert(0, "no ").await.unwrap();
    reader.insert(0, "no ").await.unwrap();
    assert_eq!(reader.denied.len(), 1, "{:?}", reader.denied);
    reader.announce("{\"name\":\"reader\"}", 1).await.unwrap();
    ann.until(|have| have.states.contains_key(&2)).await;
    ann.insert(5, "!").await.unwrap();
    reader.until(|have| have.text() == "no no hello!").await;
    assert_eq!(ann.text(), "hello!");
    assert_eq!(stored(&hub).await, 2);
}

#[tokio::test]
async fn a_document_has_its_most_bytes() {
    let hub = hub(Limits { document_bytes_max: 1_000, ..Limits::default() });
    let documents = Documents::new(hub.clone());
    let mut ann = Editor::open(&documents, 1).await;
    ann.insert(0, &"x".repeat(900)).await.unwrap();
    let mut ben = Editor::open(&documents, 2).await;
    ben.until(|have| have.text().len() == 900).await;
    let error = ben.insert(0, &"y".repeat(100)).await.unwrap_err();
    assert_eq!(error.code, Code::TooLarge);
    assert_eq!(stored(&hub).await, 1);
    // It still has what was refused, and makes room.
    ben.edit(200, 700, "");
    ben.visit =
        documents.visit(Arc::new(OpenGate), Arc::new(Peer::anybody()), &topic()).await.unwrap();
    ben.sync().await.unwrap();
    ann.until(|have| have.text().len() == 300).await;
    assert_eq!(ann.text(), ben.text());
    // Where nothing fits in any more, what makes room does.
    for _ in 0..100 {
        if ann.insert(0, &"z".repeat(20)).await.is_err() {
            break;
        }
    }
    let full = ann.text().len() - 20;
    let mut cat = Editor::open(&documents, 3).await;
    cat.until(|have| have.text().len() == full).await;
    cat.remove(0, 100).await.unwrap();
    ben.until(|have| have.text().len() == full - 100).await;
    cat.insert(0, "again").await.unwrap();
    ben.until(|have| have.text().starts_with("again")).await;
}

#[tokio::test]
async fn a_slow_reader_is_given_the_difference_in_one_piece() {
    let hub = hub(Limits { tail_entries_max: 10, ..Limits::default() });
    let documents = Documents::new(hub.clone());
    let (mut ann, mut slow) =
        (Editor::open(&documents, 1).await, Editor::open(&documents, 2).await);
    let before = slow.heard;
    for n in 0..100 {
        ann.insert(n, "x").await.unwrap();
    }
    let own = ann.heard;
    ann.until(|have| have.heard > own).await;
    slow.until(|have| have.text().len() == 100).await;
    assert!(slow.heard - before <= 11, "{}", slow.heard - before);
}

#[tokio::test]
async fn what_is_no_update_is_passed_over() {
    let hub = hub(Limits::default());
    let entry = |data: Data, event: &str| Message {
        topic: topic(),
        event: EventType::parse(event).unwrap(),
        data,
        key: None,
        item: None,
    };
    let documents = Documents::new(hub.clone());
    let mut ann = Editor::open(&documents, 1).await;
    ann.insert(0, "hello").await.unwrap();
    let batch = vec![
        entry(Data::binary(&b"nonsense"[..]), "update"),
        entry(Data::binary(&[0, 0][..]), "message"),
        entry(Data::text("text").unwrap(), "update"),
    ];
    hub.publish_own(batch).await.unwrap();
    ann.insert(5, "!").await.unwrap();
    ann.until(|have| have.heard >= 2).await;
    drop(ann);
    assert_eq!(Editor::open(&documents, 2).await.text(), "hello!");
}

#[tokio::test]
async fn nobody_publishes_to_a_document_past_its_door() {
    let hub = hub(Limits::default());
    let message = Message {
        topic: topic(),
        event: EventType::parse("update").unwrap(),
        data: Data::binary(&[0, 0][..]),
        key: None,
        item: None,
    };
    let error = WireError::from(hub.publish(message).await.unwrap_err());
    assert_eq!(error.code, Code::BadRequest);
    assert_eq!(stored(&hub).await, 0);
}

#[tokio::test]
async fn what_is_no_message_ends_the_visit() {
    let documents = Documents::new(hub(Limits::default()));
    let mut ann = Editor::open(&documents, 1).await;
    for bad in [&[9][..], &[0, 2, 3, 9, 9, 9], &[0, 0, 2, 9, 9], &[]] {
        let error = ann.say(bad.to_vec()).await.unwrap_err();
        assert_eq!(error.code, Code::BadRequest, "{bad:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn states_are_told_to_who_is_there_and_who_comes_and_end_with_their_client() {
    let documents = Documents::new(hub(Limits::default()));
    let mut ann = Editor::open(&documents, 1).await;
    ann.announce("{\"name\":\"ann\"}", 1).await.unwrap();
    let mut ben = Editor::open(&documents, 2).await;
    ben.until(|have| have.states.contains_key(&1)).await;
    ben.announce("{\"name\":\"ben\"}", 1).await.unwrap();
    ann.until(|have| have.states.contains_key(&2)).await;
    drop(ben);
    ann.until(|have| have.states[&2] == "null").await;
    // A page that comes back with the clock it had is told, and counts on.
    let mut ben = Editor::open(&documents, 2).await;
    ben.announce("{\"name\":\"ben\"}", 1).await.unwrap();
    ann.until(|have| have.states[&2] != "null").await;
    // Whoever is not heard for half a minute has gone.
    tokio::time::advance(Duration::from_secs(31)).await;
    ann.until(|have| have.states[&1] == "null" || have.states[&2] == "null").await;
}

#[tokio::test]
async fn a_state_has_its_most_bytes_and_a_document_its_most_states() {
    let limits = Limits { awareness_bytes_max: 20, awareness_states_max: 2, ..Limits::default() };
    let documents = Documents::new(hub(limits));
    let mut ann = Editor::open(&documents, 1).await;
    let state = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    ann.announce(&state(21), 1).await.unwrap();
    ann.announce("{no json", 2).await.unwrap();
    assert_eq!(ann.denied.len(), 2);
    ann.announce(&state(20), 3).await.unwrap();
    let mut ben = Editor::open(&documents, 2).await;
    ben.until(|have| have.states.contains_key(&1)).await;
    ben.announce("{}", 1).await.unwrap();
    ann.until(|have| have.states.contains_key(&2)).await;
    let mut cat = Editor::open(&documents, 3).await;
    cat.announce("{}", 1).await.unwrap();
    ann.announce("[]", 4).await.unwrap();
    ben.until(|have| have.states[&1] == "[]").await;
    assert!(!ben.states.contains_key(&3));
}

#[tokio::test]
async fn so_many_documents_are_open_and_no_more() {
    let hub = hub(Limits { documents_open_max: 2, ..Limits::default() });
    let documents = Documents::new(hub.clone());
    let visit = async |name: &str| {
        let topic = Topic::parse(name).unwrap();
        documents.visit(Arc::new(OpenGate), Arc::new(Peer::anybody()), &topic).await
    };
    let one = visit("docs/1").await.unwrap();
    let _two = visit("docs/2").await.unwrap();
    let _again = visit("docs/2").await.unwrap();
    assert_eq!(visit("docs/3").await.err().unwrap().code, Code::Busy);
    drop(one);
    visit("docs/3").await.unwrap();
    assert_eq!(visit("chat/a").await.err().unwrap().code, Code::NoDocument);
    assert_eq!(visit("else/a").await.err().unwrap().code, Code::UnknownFeature);
    let awareness = format!("docs/1/{AWARENESS}");
    assert_eq!(visit(&awareness).await.err().unwrap().code, Code::NoDocument);
}
