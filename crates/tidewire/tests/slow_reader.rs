//! Promise 7: nobody waits for the slow, and the slow cost a bounded number of bytes.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tidewire::{Data, EventType, Message, Topic};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::support::{PATIENCE, Server, sse::Stream};

const EVENTS: u64 = 100_000;

/// A client whose kernel takes little, so that the server's side fills quickly.
async fn raw_stream(server: &Server, query: &str) -> TcpStream {
    let address = server.url.trim_start_matches("http://").trim_end_matches('/');
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let request = format!("GET /v1/sse?{query} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

fn message(number: u64) -> Message {
    Message {
        topic: Topic::parse("chat/a").unwrap(),
        event: EventType::message(),
        data: Data::json(format!("\"{number:0>100}\"")).unwrap(),
        key: None,
        item: None,
    }
}

/// Resident memory of this process, which is server and test in one.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A reader stops reading while 100,000 events pass, then reads them all, in order; meanwhile others
/// are served, and memory stays flat.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_pauses_gets_everything_when_it_reads_again() {
    let server = Server::dev().await;
    let mut slow = raw_stream(&server, "topic=chat/a").await;
    // It reads its hello, so it is subscribed, and then nothing.
    let mut head = [0; 512];
    let got = slow.read(&mut head).await.unwrap();
    let mut text = head[..got].to_vec();
    let (mut quick, _) = Stream::open(&server, "topic=quick/one").await;

    let before = resident_bytes();
    for start in (0..EVENTS).step_by(1_000) {
        let batch = (start..start + 1_000).map(message).collect();
        server.hub.publish_batch(batch).await.unwrap();
        if start % 20_000 == 0 {
            server.publish("quick/one", &json!(start)).await;
            assert_eq!(quick.data(1).await, [json!(start)], "nobody waits for the slow");
        }
    }
    let grown = resident_bytes().saturating_sub(before);
    // 100,000 entries of 102 bytes: what may stay in memory is the newest of the log and one tail.
    assert!(grown < 100 * 1024 * 1024, "memory grew by {grown} bytes");

    let mut expected = 0;
    let mut buffer = vec![0; 64 * 1024];
    while expected < EVENTS {
        let count = tokio::time::timeout(PATIENCE, slow.read(&mut buffer)).await.unwrap().unwrap();
        assert!(count > 0, "the stream ended after {expected} entries");
        text.extend_from_slice(&buffer[..count]);
        let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in text[..end].split(|byte| *byte == b'\n') {
            if let Some(number) = line.strip_prefix(b"data: \"") {
                let number: u64 = std::str::from_utf8(&number[..100]).unwrap().parse().unwrap();
                assert_eq!(number, expected);
                expected += 1;
            }
        }
        text.drain(..end);
    }
}

/// Readers that never read cost a bounded number of bytes each.
#[tokio::test(flavor = "multi_thread")]
async fn readers_that_never_read_cost_a_bounded_number_of_bytes() {
    const READERS: u64 = 200;
    let server = Server::dev().await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(raw_stream(&server, "topic=chat/a").await);
    }
    let started = || async { server.hub.newest() };
    let _ = started().await;
    let before = resident_bytes();
    // 40 MB pass by.
    for _ in 0..100 {
        let message = |_| Message { data: Data::Binary(Bytes::from(vec![7; 4_096])), ..message(0) };
        server.hub.publish_batch((0..100).map(message).collect()).await.unwrap();
    }
    let grown = resident_bytes().saturating_sub(before);
    let each = grown / READERS;
    assert!(each < 640 * 1024, "{each} bytes for each reader that never reads");
}

/// A peer that takes nothing for the stated time is closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_for_the_stated_time_is_closed() {
    let limit = Duration::from_secs(1);
    let server = Server::dev_with(|settings| settings.limits.slow_reader_timeout = limit).await;
    let mut slow = raw_stream(&server, "topic=chat/a").await;
    let mut head = [0; 64];
    slow.read_exact(&mut head).await.unwrap();
    let batch =
        || (0..500).map(|_| Message { data: Data::Binary(vec![7; 8_192].into()), ..message(0) });
    for _ in 0..4 {
        server.hub.publish_batch(batch().collect()).await.unwrap();
    }
    nobody_is_left(&server).await;
}

/// The same for one stream of an HTTP/2 connection whose other streams go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_takes_nothing_ends_though_its_connection_flows() {
    let limit = Duration::from_secs(1);
    let server = Server::dev_with(|settings| settings.limits.slow_reader_timeout = limit).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let open = |topic: &str| client.get(server.at(&format!("/sse?topic={topic}"))).send();
    let unread = open("chat/a").await.unwrap();
    assert_eq!(unread.version(), reqwest::Version::HTTP_2);
    for _ in 0..4 {
        let batch =
            (0..100).map(|_| Message { data: Data::Binary(vec![7; 8_192].into()), ..message(0) });
        server.hub.publish_batch(batch.collect()).await.unwrap();
    }
    // Requests on the same connection are answered meanwhile, so the connection itself is well.
    crate::support::until("the server has let go of it", async || {
        let ready = client.get(format!("{}readyz", server.url)).send().await.unwrap();
        ready.json::<serde_json::Value>().await.unwrap()["streams"] == 0
    })
    .await;
    drop(unread);
}

async fn nobody_is_left(server: &Server) {
    crate::support::until("the server has let go of it", async || {
        let ready = crate::support::http().get(format!("{}readyz", server.url)).send().await;
        let ready: serde_json::Value = ready.unwrap().json().await.unwrap();
        ready["streams"] == 0
    })
    .await;
}
