//! What the past of a topic comes to: of values the newest of each item, texts in one piece, and
//! pages from the back.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tidewire::{Feature, Features, Keep};

use crate::support::{Server, http, id, sequence, sse::Stream, until, ws::Socket};

fn features() -> Features {
    let keeping = |keep| Feature { keep, ..Feature::default() };
    let passing = Feature { history: tidewire::tidewire_core::History::None, ..Feature::default() };
    Features::declared(BTreeMap::from([
        ("stats".to_owned(), keeping(Keep::Latest)),
        ("answers".to_owned(), keeping(Keep::Text)),
        ("chat".to_owned(), keeping(Keep::All)),
        ("pointers".to_owned(), passing),
    ]))
}

async fn server() -> Server {
    Server::dev_with(|settings| settings.features = features()).await
}

async fn set(server: &Server, topic: &str, item: &str, value: impl Into<Value>) -> Value {
    let headers = [("tidewire-item", item)];
    let answer = server.post(topic, &value.into().to_string(), &headers).await;
    assert_eq!(answer.status(), 201);
    answer.json().await.unwrap()
}

fn values(entries: &[Value]) -> Vec<(String, i64)> {
    let value = |entry: &Value| {
        let item = entry["item"].as_str().unwrap_or_default().to_owned();
        (item, entry["data"].as_i64().unwrap())
    };
    entries.iter().map(value).collect()
}

fn pairs(pairs: &[(&str, i64)]) -> Vec<(String, i64)> {
    pairs.iter().map(|(item, value)| ((*item).to_owned(), *value)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_reader_has_the_value_of_each_item_and_then_the_changes() {
    let server = server().await;
    for round in 0..30 {
        set(&server, "stats/eu", "cpu", round).await;
        set(&server, "stats/eu", "disk", 100 + round).await;
    }
    set(&server, "stats/eu", "cpu", 77).await;
    // No place is named, on each door.
    let (mut stream, hello) = Stream::open(&server, "topic=stats/eu").await;
    assert_eq!(hello["continuity"], "new");
    assert_eq!(stream.data(2).await, [json!(129), json!(77)]);
    let mut socket = Socket::open(&server).await;
    socket.subscribe("stats/eu", None).await;
    let first = [socket.entry().await, socket.entry().await];
    assert_eq!(values(&first), pairs(&[("disk", 129), ("cpu", 77)]));
    let page = server.page("topic=stats/eu").await;
    let entries = page["entries"].as_array().unwrap();
    assert_eq!(values(entries), pairs(&[("disk", 129), ("cpu", 77)]));
    let back = server.page("topic=stats/eu&last=3").await;
    assert_eq!(values(back["entries"].as_array().unwrap()).len(), 3, "the log as it is");
    set(&server, "stats/eu", "disk", 130).await;
    assert_eq!(stream.data(1).await, [json!(130)]);
    assert_eq!(socket.entry().await["data"], 130);
    // Among others that are read from now on, only what changes.
    let (mut mixed, _) = Stream::open(&server, "topic=stats/eu&topic=chat/a").await;
    set(&server, "stats/eu", "cpu", 78).await;
    assert_eq!(mixed.data(1).await, [json!(78)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fell_behind_has_each_items_newest_value_once() {
    let server = server().await;
    let first = set(&server, "stats/eu", "cpu", 0).await;
    set(&server, "stats/eu", "disk", 100).await;
    for round in 1..=40 {
        set(&server, "stats/eu", "cpu", round).await;
        set(&server, "chat/a", "x", round).await;
    }
    let after = format!("topic=stats/eu&after={}", id(&first));
    let (mut stream, hello) = Stream::open(&server, &after).await;
    assert_eq!(hello["continuity"], "resumed");
    assert_eq!(stream.data(2).await, [json!(100), json!(40)]);
    // Together with a topic of which every entry counts, in one log order.
    let (mut both, _) = Stream::open(&server, &format!("{after}&topic=chat/a")).await;
    let mut said = Vec::new();
    while said.len() < 42 {
        let event = both.entry().await;
        said.push(sequence(event.id.as_deref().unwrap()));
    }
    assert!(said.is_sorted_by(|a, b| a < b), "{said:?}");
    // By pages of one, each a place to go on from.
    let (mut cursor, mut seen) = (id(&first), Vec::new());
    for _ in 0..2 {
        let page = server.page(&format!("topic=stats/eu&limit=1&after={cursor}")).await;
        seen.extend(values(page["entries"].as_array().unwrap()));
        cursor = page["cursor"].as_str().unwrap().to_owned();
    }
    assert_eq!(seen, pairs(&[("disk", 100), ("cpu", 40)]));
}

/// So many that there are bases: what a new reader has is the same, also after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_base_changes_nothing_of_what_is_read() {
    let mut server = server().await;
    let set_all = async |server: &Server, from: usize, to: usize| {
        for first in (from..to).step_by(500) {
            let message = |number: usize| {
                let item = format!("i{}", number % 7);
                json!({"topic": "stats/eu", "item": item, "data": number})
            };
            let batch: Vec<_> = (first..(first + 500).min(to)).map(message).collect();
            let url = server.at("/publish");
            let answer = http().post(url).json(&batch).send().await.unwrap();
            let (status, answer) = (answer.status(), answer.text().await.unwrap());
            assert!(status.is_success(), "{answer}");
        }
    };
    let read = async |server: &Server| {
        let page = server.page("topic=stats/eu").await;
        values(page["entries"].as_array().unwrap())
    };
    let expected = |count: i64| {
        (count - 7..count).map(|number| (format!("i{}", number % 7), number)).collect::<Vec<_>>()
    };
    set_all(&server, 0, 2_600).await;
    assert_eq!(read(&server).await, expected(2_600));
    let newest = || sequence_of_newest(&server);
    let before = newest().await;
    until("a base is stored", async || newest().await > 2_600).await;
    assert!(before >= 2_600);
    server = server.restart().await;
    assert_eq!(read(&server).await, expected(2_600));
    set_all(&server, 2_600, 2_700).await;
    assert_eq!(read(&server).await, expected(2_700));
    let (mut stream, _) = Stream::open(&server, "topic=stats/eu").await;
    assert_eq!(stream.data(7).await.last(), Some(&json!(2_699)));
}

async fn sequence_of_newest(server: &Server) -> u64 {
    let page = server.page("topic=stats/eu&last=1").await;
    sequence(page["cursor"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_late_to_a_text_has_it_in_one_piece() {
    let server = server().await;
    let part = async |text: &str| {
        let request = http().post(server.at("/topics/answers/1"));
        let request = request.header("content-type", "text/plain").header("tidewire-event", "text");
        let answer = request.body(text.to_owned()).send().await.unwrap();
        id(&answer.json().await.unwrap())
    };
    let (mut early, _) = Stream::open(&server, "topic=answers/1").await;
    let mut ids = Vec::new();
    for word in ["Once ", "upon ", "a ", "time"] {
        ids.push(part(word).await);
    }
    let heard: Vec<_> = early.data_as_text(4).await;
    assert_eq!(heard.concat(), "Once upon a time");
    // While somebody reads, and when nobody has.
    let (mut late, _) = Stream::open(&server, "topic=answers/1&after=start").await;
    let whole = late.entry().await;
    assert_eq!(
        (whole.data.as_str(), whole.id.as_deref()),
        ("Once upon a time", ids.last().map(|id| &**id))
    );
    let (mut middle, _) = Stream::open(&server, &format!("topic=answers/1&after={}", ids[1])).await;
    assert_eq!(middle.entry().await.data, "a time");
    drop((early, late, middle));
    let page = server.page("topic=answers/1").await;
    let texts: Vec<_> =
        page["entries"].as_array().unwrap().iter().map(|entry| &entry["data"]).collect();
    assert_eq!(texts, [&json!("Once upon a time")]);
    let (mut late, _) = Stream::open(&server, "topic=answers/1&after=start").await;
    assert_eq!(late.entry().await.data, "Once upon a time");
    part(" there").await;
    assert_eq!(late.entry().await.data, " there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_from_the_back_leads_further_back_and_on() {
    let server = server().await;
    for number in 0..25 {
        server.publish("chat/a", &json!(number)).await;
        server.publish("chat/b", &json!(0)).await;
    }
    let numbers = |page: &Value| {
        let entries = page["entries"].as_array().unwrap();
        entries.iter().map(|entry| entry["data"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let newest = server.page("topic=chat/a&last=10").await;
    assert_eq!(numbers(&newest), (15..25).collect::<Vec<_>>());
    assert_eq!((&newest["earlier"], &newest["more"]), (&json!(true), &json!(false)));
    let mut page = newest.clone();
    let mut seen = numbers(&newest);
    while page["earlier"] == true {
        let before = page["entries"][0]["id"].as_str().unwrap().to_owned();
        page = server.page(&format!("topic=chat/a&last=10&before={before}")).await;
        seen.splice(0..0, numbers(&page));
    }
    assert_eq!(seen, (0..25).collect::<Vec<_>>());
    server.publish("chat/a", &json!(25)).await;
    let cursor = newest["cursor"].as_str().unwrap();
    let (mut stream, _) = Stream::open(&server, &format!("topic=chat/a&after={cursor}")).await;
    assert_eq!(stream.data(1).await, [json!(25)]);
    for (query, code) in [
        ("topic=chat/a&last=10&before=zz.5", "bad_cursor"),
        ("topic=pointers/a&last=10", "no_history"),
    ] {
        let answer = http().get(server.at(&format!("/events?{query}"))).send().await.unwrap();
        let error: Value = answer.json().await.unwrap();
        assert_eq!(error["error"]["code"], code, "{error}");
    }
}

/// A reader that takes nothing for a while, and a hundred thousand movements of three pointers.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_pointers_has_where_each_is_now() {
    let server = server().await;
    let mut slow = Socket::open(&server).await;
    slow.subscribe("pointers/board", None).await;
    for first in (0..30_000).step_by(1_000) {
        let message = |number: usize| {
            let item = ["ann", "bo", "cy"][number % 3];
            json!({"topic": "pointers/board", "item": item, "data": {"at": number, "pad": "x".repeat(200)}})
        };
        let batch: Vec<_> = (first..first + 1_000).map(message).collect();
        let url = server.at("/publish");
        assert!(http().post(url).json(&batch).send().await.unwrap().status().is_success());
    }
    let mut last = BTreeMap::new();
    let mut heard = 0;
    while last.values().max() != Some(&29_999) {
        let entry =
            tokio::time::timeout(Duration::from_secs(20), slow.entry()).await.expect("in time");
        assert!(entry.get("id").is_none(), "no bookmark moves");
        let (item, at) =
            (entry["item"].as_str().unwrap().to_owned(), entry["data"]["at"].as_i64().unwrap());
        assert!(last.insert(item, at).is_none_or(|before| before < at), "never back");
        heard += 1;
    }
    assert_eq!(last.into_values().collect::<Vec<_>>(), [29_997, 29_998, 29_999]);
    assert!(heard < 30_000, "{heard}: what a newer one had replaced was not sent");
}

/// What is sent sixty times a second needs no answer; what fails has one.
#[tokio::test(flavor = "multi_thread")]
async fn a_publish_without_a_ref_is_answered_only_if_it_fails() {
    let server = server().await;
    let mut socket = Socket::open(&server).await;
    let nameless = |topic: &str| json!({"do": "publish", "topic": topic, "item": "ann", "data": 1});
    socket.say(&nameless("pointers/board").to_string()).await;
    socket.say(&nameless("nothing/here").to_string()).await;
    let answer = loop {
        let heard = socket.hear().await.expect("an answer");
        if heard.get("ref").is_some() {
            break heard;
        }
    };
    assert_eq!(answer["ref"], Value::Null);
    assert_eq!(answer["error"]["code"], "unknown_feature");
    let answer = socket.ask(json!({"do": "ping"})).await;
    assert_eq!(answer["ok"], json!({}), "nothing came between");
}
