//! Parts that stream in: in order, once, with an end that everybody hears, whoever is lost.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use futures_util::stream;
use serde_json::{Value, json};
use tidewire::{Feature, Features, Keep, Log, Settings};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::support::{
    PATIENCE, Server, http, http2,
    log::HeldLog,
    raw::{Raw, address},
    sse::Stream,
    tokens, until,
};

mod retry;

fn features() -> Features {
    let keeping = |keep| Feature { keep, ..Feature::default() };
    let passing = Feature { history: tidewire::tidewire_core::History::None, ..Feature::default() };
    Features::declared(BTreeMap::from([
        ("answers".to_owned(), keeping(Keep::Text)),
        ("chat".to_owned(), keeping(Keep::All)),
        ("stats".to_owned(), keeping(Keep::Latest)),
        ("pointers".to_owned(), passing),
    ]))
}

async fn server() -> Server {
    server_with(|_| {}).await
}

async fn server_with(change: impl FnOnce(&mut Settings)) -> Server {
    Server::dev_with(|settings| {
        settings.features = features();
        change(settings);
    })
    .await
}

/// A producer: what it says goes out at once.
struct Pour {
    body: Option<mpsc::Sender<io::Result<Vec<u8>>>>,
    answer: JoinHandle<reqwest::Result<reqwest::Response>>,
}

impl Pour {
    fn open(server: &Server, topic: &str, media: &str, key: Option<&str>) -> Self {
        Self::by(&http(), server, topic, media, key)
    }

    fn by(
        client: &reqwest::Client,
        server: &Server,
        topic: &str,
        media: &str,
        key: Option<&str>,
    ) -> Self {
        let (body, pieces) = mpsc::channel::<io::Result<Vec<u8>>>(16);
        let pieces =
            stream::unfold(pieces, async |mut pieces| Some((pieces.recv().await?, pieces)));
        let mut request = client
            .post(server.at(&format!("/streams/{topic}")))
            .header("content-type", media)
            .body(reqwest::Body::wrap_stream(Box::pin(pieces)));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        Self { body: Some(body), answer: tokio::spawn(request.send()) }
    }

    async fn say(&self, text: impl AsRef<[u8]>) {
        // A server that has answered already reads no more.
        let _ = self.body.as_ref().unwrap().send(Ok(text.as_ref().to_vec())).await;
    }

    /// The body breaks off.
    async fn lose(mut self) {
        let body = self.body.take().unwrap();
        body.send(Err(io::Error::other("lost"))).await.unwrap();
        let _ = tokio::time::timeout(PATIENCE, self.answer).await.expect("an end");
    }

    /// The body is over.
    async fn end(mut self) -> (u16, Value) {
        self.body = None;
        self.answer().await
    }

    /// The answer, whether the body is over or not.
    async fn answer(self) -> (u16, Value) {
        let answer = tokio::time::timeout(PATIENCE, self.answer).await.expect("an answer in time");
        let answer = answer.unwrap().unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

/// The same with a body that is there at once.
async fn pour(
    server: &Server,
    topic: &str,
    media: &str,
    key: Option<&str>,
    body: &str,
) -> (u16, Value) {
    let pour = Pour::open(server, topic, media, key);
    if !body.is_empty() {
        pour.say(body).await;
    }
    pour.end().await
}

async fn cancel(server: &Server, topic: &str) -> (u16, Value) {
    let answer = http().post(server.at(&format!("/streams/{topic}/cancel"))).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

const TEXT: &str = "text/plain; charset=utf-8";
const LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";

/// Event and data of each entry.
async fn log(server: &Server, topic: &str) -> Vec<(String, Value)> {
    let entries = server.history(topic, "start").await;
    entries
        .into_iter()
        .map(|entry| (entry["event"].as_str().unwrap().to_owned(), entry["data"].clone()))
        .collect()
}

async fn text(server: &Server, topic: &str) -> String {
    log(server, topic)
        .await
        .iter()
        .filter(|(event, _)| event == "text")
        .filter_map(|(_, data)| data.as_str())
        .collect()
}

fn entry(event: &str, data: Value) -> (String, Value) {
    (event.to_owned(), data)
}

fn lost() -> (String, Value) {
    entry("fail", json!({"message": "the producer was lost"}))
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_heard_while_it_is_said_and_is_one_piece_for_who_comes_late() {
    for client in [http(), http2()] {
        let server = server().await;
        let (mut reader, _) = Stream::open(&server, "topic=answers/1").await;
        let pour = Pour::by(&client, &server, "answers/1", TEXT, None);
        for word in ["Once ", "upon ", "a "] {
            pour.say(word).await;
            let heard = reader.entry().await;
            assert_eq!((heard.event.as_str(), heard.data.as_str()), ("text", word));
            assert_eq!(heard.encoding.as_deref(), Some("text"));
        }
        assert_eq!(
            log(&server, "answers/1").await,
            [entry("text", json!("Once upon a "))],
            "before its end too"
        );
        pour.say("time").await;
        let (status, answer) = pour.end().await;
        assert_eq!((status, &answer["parts"], &answer["ended"]), (200, &json!(5), &json!("end")));
        assert_eq!(
            log(&server, "answers/1").await,
            [entry("text", json!("Once upon a time")), entry("end", json!({}))]
        );
        let last = server.history("answers/1", "start").await.pop().unwrap();
        assert_eq!(answer["id"], last["id"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_character_is_whole_wherever_its_bytes_were_cut() {
    let server = server().await;
    let pour = Pour::open(&server, "answers/1", TEXT, None);
    for byte in "é€😀".bytes() {
        pour.say([byte]).await;
        // Otherwise they would come together.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert_eq!(pour.end().await.0, 200);
    assert_eq!(text(&server, "answers/1").await, "é€😀");
    let (status, answer) = self::pour(&server, "answers/2", TEXT, None, "ab").await;
    assert_eq!((status, &answer["parts"]), (200, &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_and_events_are_parts_of_any_kind() {
    let server = server().await;
    let lines = "\"a\"\n{\"event\":\"tool\",\"data\":{\"n\":1}}\n{\"event\":\"text\",\"item\":\"b\",\"data\":\"x\"}";
    let (status, answer) = pour(&server, "answers/1", LINES, None, lines).await;
    assert_eq!((status, &answer["parts"], &answer["ended"]), (200, &json!(4), &json!("end")));
    assert_eq!(
        log(&server, "answers/1").await,
        [
            entry("text", json!("a")),
            entry("tool", json!({"n": 1})),
            entry("text", json!("x")),
            entry("end", json!({}))
        ]
    );
    assert_eq!(server.history("answers/1", "start").await[2]["item"], "b");

    let events = ": hello\n\nevent: text\ndata: a\n\nevent: end\ndata: {\"tokens\":1}\n\nevent: text\ndata: too late\n\n";
    let (status, answer) = pour(&server, "answers/2", EVENTS, None, events).await;
    assert_eq!((status, &answer["parts"], &answer["ended"]), (200, &json!(2), &json!("end")));
    assert_eq!(
        log(&server, "answers/2").await,
        [entry("text", json!("a")), entry("end", json!({"tokens": 1}))]
    );

    let fails = "\"a\"\n{\"event\":\"fail\",\"data\":{\"message\":\"no more\"}}\n";
    let (status, answer) = pour(&server, "answers/3", LINES, None, fails).await;
    assert_eq!((status, &answer["ended"]), (200, &json!("fail")), "the producer may say so itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_parts_than_a_batch_may_have_come_together_and_in_order() {
    let server = server_with(|s| s.limits.batch_messages_max = 10).await;
    let lines: String = (0..1_003).map(|n| format!("{{\"event\":\"n\",\"data\":{n}}}\n")).collect();
    let (status, answer) = pour(&server, "chat/1", LINES, None, &lines).await;
    assert_eq!((status, &answer["parts"]), (200, &json!(1_004)));
    let numbers: Vec<_> = log(&server, "chat/1").await.into_iter().map(|(_, data)| data).collect();
    assert_eq!(numbers[..1_003], (0..1_003).map(|n| json!(n)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_is_answered_at_once_and_ends_the_stream_for_everybody() {
    for client in [http(), http2()] {
        let server = server().await;
        let (mut reader, _) = Stream::open(&server, "topic=answers/1").await;
        let pour = Pour::by(&client, &server, "answers/1", TEXT, None);
        pour.say("Once ").await;
        assert_eq!(reader.entry().await.data, "Once ");
        let (status, cancelled) = cancel(&server, "answers/1").await;
        assert_eq!((status, cancelled["stored"].as_str()), (201, Some("fsync")));
        let heard = reader.entry().await;
        assert_eq!((heard.event.as_str(), heard.data.as_str()), ("cancel", "{\"by\":null}"));
        // The producer's body is open still.
        let (status, answer) = pour.answer().await;
        assert_eq!(
            (status, answer),
            (200, json!({"parts": 1, "id": cancelled["id"], "ended": "cancel"}))
        );

        for (status, answer) in [
            cancel(&server, "answers/1").await,
            self::pour(&server, "answers/1", TEXT, None, "more").await,
        ] {
            assert_eq!((status, &answer["error"]["code"]), (409, &json!("ended")));
        }
        assert_eq!(
            log(&server, "answers/1").await,
            [entry("text", json!("Once ")), entry("cancel", json!({"by": null}))]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cancels_before_there_is_anything_is_heard_too() {
    let server = server().await;
    assert_eq!(cancel(&server, "answers/1").await.0, 201);
    let (status, answer) = pour(&server, "answers/1", TEXT, None, "Once ").await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("ended")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_a_publisher_says_counts_as_well() {
    let server = server().await;
    let (mut reader, _) = Stream::open(&server, "topic=answers/1").await;
    let pour = Pour::open(&server, "answers/1", TEXT, None);
    pour.say("Once ").await;
    reader.entry().await;
    assert_eq!(server.post("answers/1", "{}", &[("tidewire-event", "end")]).await.status(), 201);
    let (status, answer) = pour.answer().await;
    assert_eq!((status, &answer["ended"]), (200, &json!("end")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_is_lost_has_failed() {
    let server = server().await;
    let (mut reader, _) = Stream::open(&server, "topic=answers/1").await;
    let pour = Pour::open(&server, "answers/1", TEXT, None);
    pour.say("Once ").await;
    reader.entry().await;
    pour.lose().await;
    assert_eq!(reader.entry().await.event, "fail");
    assert_eq!(log(&server, "answers/1").await, [entry("text", json!("Once ")), lost()]);

    // In the middle of a chunk, and without a word.
    let mut raw = Raw::open(&server).await;
    let head = format!(
        "POST /v1/streams/answers/2 HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n",
        address(&server)
    );
    raw.send(head + "5\r\nOnce \r\n9\r\nupo").await;
    until("it is heard", async || text(&server, "answers/2").await == "Once upo").await;
    drop(raw);
    until("it has failed", async || log(&server, "answers/2").await.contains(&lost())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_producer_has_its_longest_wait() {
    const SILENCE: Duration = Duration::from_millis(400);
    let server = server_with(|s| s.limits.producer_timeout = SILENCE).await;
    let pour = Pour::open(&server, "answers/1", LINES, None);
    // Blank lines are no parts, and no silence.
    for _ in 0..4 {
        pour.say("\n").await;
        tokio::time::sleep(SILENCE / 2).await;
    }
    pour.say("\"a\"\n").await;
    let (status, answer) = pour.answer().await;
    assert_eq!(
        (status, &answer["error"]["code"], &answer["parts"]),
        (408, &json!("timeout"), &json!(1))
    );
    assert_eq!(log(&server, "answers/1").await, [entry("text", json!("a")), lost()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_the_middle_is_named_and_what_came_before_is_stored() {
    let server = server_with(|s| s.limits.message_bytes_max = 1_000).await;
    let long = format!("\"{}\"\n", "x".repeat(999));
    for (topic, line, code, status) in [
        ("answers/1", "nonsense\n", "bad_json", 400),
        ("answers/2", "{\"event\":\"open\",\"data\":1}\n", "bad_event", 400),
        ("answers/3", long.as_str(), "too_large", 413),
    ] {
        let (found, answer) =
            pour(&server, topic, LINES, None, &format!("\"a\"\n\"b\"\n{line}\"c\"\n")).await;
        assert_eq!(
            (found, &answer["error"]["code"], &answer["parts"]),
            (status, &json!(code), &json!(2)),
            "{answer}"
        );
        assert!(answer["error"]["message"].as_str().unwrap().starts_with("line 2: "), "{answer}");
        let fail = entry("fail", json!({"message": "the producer sent what is no part"}));
        assert_eq!(log(&server, topic).await, [entry("text", json!("ab")), fail]);
    }
    // The longest line that there may be.
    let fits = format!("\"{}\"\n", "x".repeat(998));
    assert_eq!(pour(&server, "answers/4", LINES, None, &fits).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_stream_is_refused() {
    let server = server().await;
    for (topic, media, status, code) in [
        ("answers/1", "application/json", 400, "bad_request"),
        ("stats/1", TEXT, 400, "bad_request"),
        ("pointers/1", TEXT, 400, "no_history"),
        ("nothing/1", TEXT, 404, "unknown_feature"),
        ("answers//1", TEXT, 400, "bad_topic"),
        ("answers/1/~presence", TEXT, 400, "bad_topic"),
    ] {
        let (found, answer) = pour(&server, topic, media, None, "a").await;
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{topic}");
    }
    assert_eq!(log(&server, "answers/1").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_publish_may_produce_and_cancel_without_reading() {
    let (server, clock) = tokens::locked(|settings| settings.features = features()).await;
    let writes = tokens::signed(
        tokens::SECRET,
        "bob",
        tokens::LATER_MS,
        tokens::grant(&[], &["answers/**"]),
    );
    let reads = tokens::signed(
        tokens::SECRET,
        "eve",
        tokens::LATER_MS,
        tokens::grant(&["answers/**"], &[]),
    );
    let post = |path: &str, token: &str| {
        let (name, value) = tokens::bearer(token);
        http().post(server.at(path)).header(name, value).header("content-type", "text/plain")
    };
    for path in ["/streams/answers/1", "/streams/answers/1/cancel"] {
        let answer = post(path, &reads).body("a").send().await.unwrap();
        assert_eq!(answer.status(), 403, "{path}");
        assert_eq!(http().post(server.at(path)).send().await.unwrap().status(), 401, "{path}");
    }
    assert_eq!(post("/streams/answers/1", &writes).body("a").send().await.unwrap().status(), 200);
    assert_eq!(post("/streams/answers/2/cancel", &writes).send().await.unwrap().status(), 201);
    let reader = tokens::bearer(&reads);
    let page: Value = http()
        .get(server.at("/events?topic=answers/2"))
        .header(reader.0, reader.1)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(page["entries"][0]["data"], json!({"by": "bob"}));

    // Access ends when it ends.
    let soon =
        tokens::signed(tokens::SECRET, "bob", tokens::SOON_MS, tokens::grant(&[], &["answers/**"]));
    let (body, pieces) = mpsc::channel::<io::Result<Vec<u8>>>(1);
    let pieces = stream::unfold(pieces, async |mut pieces| Some((pieces.recv().await?, pieces)));
    let sent = tokio::spawn(
        post("/streams/answers/3", &soon).body(reqwest::Body::wrap_stream(Box::pin(pieces))).send(),
    );
    body.send(Ok(b"a".to_vec())).await.unwrap();
    let filter = "/events?topic=answers/3";
    until("it is stored", async || {
        let (name, value) = tokens::bearer(&reads);
        let page: Value = http()
            .get(server.at(filter))
            .header(name, value)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        page["entries"].as_array().is_some_and(|entries| !entries.is_empty())
    })
    .await;
    clock.advance(Duration::from_secs(2));
    let answer = sent.await.unwrap().unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "token_expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_is_slow_the_producer_waits_and_what_came_meanwhile_is_stored_together() {
    let (held, features) = HeldLog::new();
    let server = Server::dev_on(Arc::clone(&held) as Arc<dyn Log>, features).await;
    held.hold(true);
    let pour = Pour::open(&server, "answers/1", LINES, None);
    pour.say("\"0\"\n").await;
    held.has_begun(1).await;
    for number in 1..10 {
        pour.say(format!("\"{number}\"\n")).await;
    }
    // They are on their way to the server, or there.
    tokio::time::sleep(Duration::from_millis(100)).await;
    held.hold(false);
    assert_eq!(pour.end().await.0, 200);
    assert_eq!(text(&server, "answers/1").await, "0123456789");
    let appends = *held.begun.subscribe().borrow();
    assert!(appends <= 4, "{appends} appends for 11 parts");
}
