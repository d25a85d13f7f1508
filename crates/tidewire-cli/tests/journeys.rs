//! The journeys of `conformance/journeys.json` by the Rust client, against the finished binary: the
//! readers are its subscriptions, on the door that a journey names, and once more on the one that the
//! server's plan names. It publishes over HTTP only, so the steps that publish on a socket do too.

use std::{collections::HashMap, process::Command};

use script::{Answer, Entries, Expect, Heard, MARK, Message, Open, Page, Place, Seam, Step};
use support::{PATIENCE, Process, tidewire};
use tidewire_client::{
    After, Client, ClientError, ClientOptions, Continuity, Cursor, Data, Delivery, EventType, Item,
    Key, Options, Publish, PublishError, Rung, Status, Subscription, TokenSource, Topic,
};
use tokio::time::timeout;

#[allow(dead_code, reason = "the other runner uses the rest")]
#[path = "../../tidewire/tests/journeys/script.rs"]
mod script;
mod support;

const KEY: &str = "a-key-for-the-journeys-of-this-test";

/// `tidewire serve` over a folder that it finds again after a restart.
struct Server {
    folder: tempfile::TempDir,
    process: Option<Process>,
}

impl Server {
    fn start(features: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "[server]\norigins = [\"https://app.example.com\"]\n\n[auth]\n\
             secret = \"a-secret-that-nobody-uses-in-this-test\"\n\n[[auth.key]]\nname = \"journeys\"\n\
             key = \"{KEY}\"\npublish = [\"**\"]\nsubscribe = [\"**\"]\n\n{features}"
        );
        std::fs::write(folder.path().join("tidewire.toml"), config).expect("a config");
        let mut server = Self { folder, process: None };
        server.process = Some(Process::start(&mut server.command()));
        server
    }

    fn command(&self) -> Command {
        let mut command = tidewire();
        command.args(["serve", "--listen", "127.0.0.1:0", "--config"]);
        command.arg(self.folder.path().join("tidewire.toml"));
        command.arg("--data").arg(self.folder.path().join("log"));
        command
    }

    fn client(&self) -> Client {
        let token = Some(TokenSource::fixed(KEY));
        let url = &self.process.as_ref().expect("it runs").url;
        Client::new(url, ClientOptions { token, ..ClientOptions::default() }).expect("a client")
    }

    fn restart(&mut self, is_kill: bool) {
        let process = self.process.take().expect("it runs");
        if is_kill {
            process.kill();
        } else {
            process.stop();
        }
        self.process = Some(Process::start(&mut self.command()));
    }
}

struct Reader {
    topics: Vec<Topic>,
    live: Option<Subscription>,
    bookmark: Option<Cursor>,
    may_be_a_stream: bool,
}

fn topics(names: &[String]) -> Vec<Topic> {
    names.iter().map(|name| Topic::parse(name).expect("a topic")).collect()
}

fn heard(entry: &Delivery) -> Heard {
    let id = entry.id.map(|id| id.to_string());
    Heard::new(entry.topic.as_str(), entry.event.as_str(), &entry.data, id)
}

fn seam(continuity: &Continuity) -> Seam {
    let (word, gap) = match continuity {
        Continuity::New => ("new", None),
        Continuity::Resumed => ("resumed", None),
        Continuity::Gap { gap, .. } => ("gap", Some(gap.reason.as_str().to_owned())),
    };
    Seam { continuity: word.to_owned(), gap }
}

impl Reader {
    async fn open(client: &Client, open: &Open, after: After, rung: Rung) -> Self {
        let topics = topics(&open.topics);
        let live = client.subscribe(topics.iter().cloned(), Options { after, rung });
        let may_be_a_stream = matches!(rung, Rung::Sse | Rung::Auto);
        let mut reader = Self { topics, live: Some(live), bookmark: None, may_be_a_stream };
        match reader.next().await {
            Item::Continuity(continuity) => assert_eq!(seam(&continuity), open.expect),
            other => panic!("continuity first, not {other:?}"),
        }
        reader
    }

    /// The next item that means something. Nothing here may lose its connection.
    async fn next(&mut self) -> Item {
        let live = self.live.as_mut().expect("the reader was cut");
        loop {
            let item = timeout(PATIENCE, live.next()).await.expect("an item in time");
            match item.expect("the subscription goes on") {
                Item::Live => {}
                Item::Status(Status::Waiting { why, .. } | Status::Moved { why, .. }) => {
                    panic!("the connection was lost or left: {why}")
                }
                Item::Status(_) => {}
                item => {
                    self.bookmark = live.cursor();
                    return item;
                }
            }
        }
    }

    async fn entry(&mut self) -> Heard {
        match self.next().await {
            Item::Entry(entry) => heard(&entry),
            other => panic!("an entry, not {other:?}"),
        }
    }

    /// The next entry that is no mark.
    async fn hear(&mut self) -> Heard {
        loop {
            let entry = self.entry().await;
            if entry.event != MARK {
                return entry;
            }
        }
    }

    /// The next entry is this mark; older marks may come before.
    async fn hear_mark(&mut self, mark: &Message) {
        loop {
            let entry = self.entry().await;
            assert_eq!(entry.event, MARK, "{entry:?}");
            if entry.data == mark.data {
                return;
            }
        }
    }
}

struct Going {
    server: Server,
    client: Client,
    entries: Entries,
    readers: HashMap<String, Reader>,
    marks: usize,
    // Does the plan choose the door, whatever the journey says?
    by_plan: bool,
}

/// What to publish, or the code for what a client of ours cannot even say.
fn publish(message: &Message) -> Result<Publish, String> {
    let topic = Topic::parse(&message.topic).map_err(|_| "bad_topic")?;
    let data = match message.kind {
        "json" => Data::json(message.bytes()).expect("JSON"),
        "text" => Data::text(message.bytes()).expect("UTF-8"),
        _ => Data::binary(message.bytes()),
    };
    let mut publish = Publish::new(topic, data);
    if let Some(event) = &message.event {
        publish = publish.event(EventType::parse(event).map_err(|_| "bad_event")?);
    }
    if let Some(key) = &message.key {
        publish = publish.key(Key::parse(key).expect("a key"));
    }
    Ok(publish)
}

fn refused(error: PublishError) -> Answer {
    match error {
        PublishError::Refused(refusal) => Answer::Refused(refusal.code),
        other => panic!("an answer, not {other:?}"),
    }
}

fn stored(published: tidewire_client::Published) -> Answer {
    let id = published.id.map(|id| id.to_string());
    Answer::Stored { id, stored: published.stored, is_duplicate: published.duplicate }
}

impl Going {
    async fn publish(&self, door: &str, message: &Message) -> Answer {
        if door == "batch" {
            return self.publish_batch(std::slice::from_ref(message)).await.remove(0);
        }
        match publish(message) {
            Ok(message) => self.client.publish(message).await.map_or_else(refused, stored),
            Err(code) => Answer::Refused(code),
        }
    }

    /// One answer for each message; if the batch is refused, its refusal for each.
    async fn publish_batch(&self, messages: &[Message]) -> Vec<Answer> {
        let batch: Result<Vec<_>, _> = messages.iter().map(publish).collect();
        let code = match batch {
            Ok(batch) => match self.client.publish_batch(batch).await {
                Ok(published) => return published.into_iter().map(stored).collect(),
                Err(PublishError::Refused(refusal)) => refusal.code,
                Err(other) => panic!("an answer, not {other:?}"),
            },
            Err(code) => code,
        };
        messages.iter().map(|_| Answer::Refused(code.clone())).collect()
    }

    fn place(&self, after: &Place) -> After {
        match after {
            Place::Text(text) => After::parse(text).expect("a place"),
            Place::IdOf(name) => After::parse(&self.entries.id(name)).expect("an id"),
            Place::BookmarkOf(reader) => {
                After::Cursor(self.readers[reader].bookmark.expect("a bookmark"))
            }
        }
    }

    async fn open(&mut self, open: &Open) {
        let rung = match open.door.as_str() {
            _ if self.by_plan => Rung::Auto,
            "sse" => Rung::Sse,
            "ws" => Rung::Ws,
            "poll" => Rung::Poll,
            other => panic!("no such door: {other}"),
        };
        let reader = Reader::open(&self.client, open, self.place(&open.after), rung).await;
        self.readers.insert(open.reader.clone(), reader);
    }

    async fn hears(&mut self, name: &str, entries: &[String]) {
        let reader = self.readers.get_mut(name).expect("a reader");
        for mut expected in self.entries.named(entries) {
            let mut heard = reader.hear().await;
            if reader.may_be_a_stream {
                (expected, heard) = (expected.on_a_stream(), heard.on_a_stream());
            }
            assert_eq!(heard, expected, "what {name} hears");
        }
    }

    async fn quiet(&mut self, name: &str) {
        self.marks += 1;
        let mark = Message::mark(self.readers[name].topics[0].as_str(), self.marks);
        self.publish("http", &mark).await;
        self.readers.get_mut(name).expect("a reader").hear_mark(&mark).await;
    }

    async fn page(&self, step: &Page) {
        let (topics, limit) = (topics(&step.topics), step.limit.unwrap_or(100));
        let page = self.client.page(&topics, self.place(&step.after), limit).await;
        let page = page.expect("a page");
        assert_eq!(seam(&page.continuity), step.expect);
        let entries = page.entries.iter().map(heard);
        let entries: Vec<_> = entries.filter(|heard| heard.event != MARK).collect();
        assert_eq!(entries, self.entries.named(&step.entries));
        assert!(step.more.is_none_or(|more| more == page.more), "{page:?}");
    }

    async fn page_refused(&self, names: &[String], after: &Place, code: &str) {
        if let Place::Text(text) = after
            && After::parse(text).is_err()
        {
            // The client cannot ask after what is no place.
            return assert_eq!(code, "bad_cursor");
        }
        match self.client.page(&topics(names), self.place(after), 100).await {
            Err(ClientError::Refused(refusal)) => assert_eq!(refusal.code, code),
            other => panic!("a refusal, not {other:?}"),
        }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Publish { door, message, expect } => {
                let answer = self.publish(door, message).await;
                self.entries.answered(message, expect, &answer);
            }
            Step::PublishAll { messages, expect } => self.publish_all(messages, expect).await,
            Step::Open(open) => self.open(open).await,
            Step::Hears { reader, entries } => self.hears(reader, entries).await,
            Step::Quiet { reader } => self.quiet(reader).await,
            Step::Cut { reader } => self.readers.get_mut(reader).expect("a reader").live = None,
            Step::Restart { is_kill } => {
                self.readers.values_mut().for_each(|reader| reader.live = None);
                self.server.restart(*is_kill);
                self.client = self.server.client();
            }
            Step::Page(page) => self.page(page).await,
            Step::PageRefused { topics, after, code } => {
                self.page_refused(topics, after, code).await;
            }
        }
    }

    async fn publish_all(&mut self, messages: &[Message], expect: &Expect) {
        let answers = self.publish_batch(messages).await;
        for (message, answer) in messages.iter().zip(&answers) {
            self.entries.answered(message, expect, answer);
        }
    }
}

async fn every_journey(by_plan: bool) {
    let (features, journeys) = script::read();
    assert!(journeys.len() > 5, "{} journeys", journeys.len());
    for journey in journeys {
        let server = Server::start(&features);
        let (client, entries, readers) = (server.client(), Entries::default(), HashMap::new());
        let mut going = Going { server, client, entries, readers, marks: 0, by_plan };
        for (number, step) in journey.steps.iter().enumerate() {
            // Shown only if the journey fails.
            println!("{}: step {number}: {step:?}", journey.name);
            going.step(step).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_journey_arrives_on_the_door_that_it_names() {
    every_journey(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_journey_arrives_on_the_door_that_the_plan_names() {
    every_journey(true).await;
}
