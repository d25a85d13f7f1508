//! A server that is killed while parts stream in: the producer sends the same again with its key, and
//! the stream has each of them once.

#![allow(clippy::unwrap_used)]

use std::{io::Write, net::TcpStream, time::Duration};

use serde_json::{Value, json};
use support::{PATIENCE, Process};
use tokio::time::Instant;

mod support;

/// The head of a producer's request, whose body comes in chunks.
fn open(url: &str, media: &str) -> TcpStream {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/streams/answers/1 HTTP/1.1\r\nHost: {address}\r\nContent-Type: {media}\r\n\
         Idempotency-Key: run\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).unwrap();
}

async fn log(url: &str) -> Vec<(String, Value)> {
    let page: Value = reqwest::get(format!("{url}v1/events?topic=answers/1&after=start"))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let entries = page["entries"].as_array().unwrap().iter();
    entries
        .map(|entry| (entry["event"].as_str().unwrap().to_owned(), entry["data"].clone()))
        .collect()
}

fn text_of(log: &[(String, Value)]) -> String {
    log.iter().filter_map(|(_, data)| data.as_str()).collect()
}

async fn killed_in_the_middle(media: &str, parts: [&str; 3], expected: &[(&str, Value)]) {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::dev(folder.path());
    let mut producer = open(&server.url, media);
    let deadline = Instant::now() + PATIENCE;
    for (count, part) in parts.iter().take(2).enumerate() {
        say(&mut producer, part);
        let said = parts[..=count].concat();
        // Texts come joined, so they are not counted.
        while text_of(&log(&server.url).await) != said && log(&server.url).await.len() <= count {
            assert!(Instant::now() < deadline, "the parts are stored in time");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    // Whether this one is stored, nobody knows.
    say(&mut producer, parts[2]);
    server.kill();

    let server = Process::dev(folder.path());
    let answer = reqwest::Client::new()
        .post(format!("{}v1/streams/answers/1", server.url))
        .header("content-type", media)
        .header("idempotency-key", "run")
        .body(parts.concat())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap()["ended"], "end");
    let log = log(&server.url).await;
    if media == "text/plain" {
        assert_eq!(text_of(&log), parts.concat());
        assert_eq!(log.iter().filter(|(event, _)| event == "end").count(), 1);
    } else {
        let expected: Vec<_> =
            expected.iter().map(|(event, data)| ((*event).to_owned(), data.clone())).collect();
        assert_eq!(log, expected);
    }
    server.kill();
}

#[tokio::test]
async fn text_that_a_killed_server_has_is_not_repeated() {
    for _ in 0..5 {
        killed_in_the_middle("text/plain", ["Once \u{e9}", "upon ", "a time"], &[]).await;
    }
}

#[tokio::test]
async fn lines_that_a_killed_server_has_are_not_repeated() {
    let lines = ["\"a\"\n", "{\"event\":\"n\",\"data\":1}\n", "\"b\"\n"];
    let expected =
        [("text", json!("a")), ("n", json!(1)), ("text", json!("b")), ("end", json!({}))];
    for _ in 0..5 {
        killed_in_the_middle("application/x-ndjson", lines, &expected).await;
    }
}
