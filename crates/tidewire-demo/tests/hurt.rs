//! The buttons that hurt do what they say.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{PATIENCE, Server, http, until};

/// Asks for an event stream on a connection of its own, and reads its head and hello.
async fn stream(url: &str, query: &str) -> TcpStream {
    let mut socket = ask(url, &format!("/v1/sse?{query}")).await;
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("tidewire.hello") {
        let count = timeout(PATIENCE, socket.read_buf(&mut read)).await.expect("a hello").unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&read));
    }
    socket
}

async fn ask(url: &str, path: &str) -> TcpStream {
    let address = url.trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// Reads to the end, whichever that is.
async fn end(mut socket: TcpStream) -> std::io::Result<usize> {
    let mut rest = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("an end")
}

#[tokio::test]
async fn a_cut_resets_the_connections_of_one_window_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let ann = server.sign_in("ann").await;
    let first = stream(&server.url, "topic=board/app&window=window-1").await;
    let second = stream(&server.url, "topic=chat/app&window=window-1").await;
    let mut other = stream(&server.url, "topic=board/app&window=window-2").await;
    assert_eq!(ann.post("/hurt/cut", json!({"window": "window-1"})).await, json!({"cut": 2}));
    for cut in [first, second] {
        let error = end(cut).await.expect_err("a reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    // Their streams are gone on the server's side too, soon.
    until("one stream is left", async || {
        let ready = http().get(format!("{}/readyz", server.url)).send().await.unwrap();
        (ready.json::<Value>().await.unwrap()["streams"] == 1).then_some(())
    })
    .await;
    ann.post("/boards/app/tasks", json!({"title": "Heard by the other window"})).await;
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("Heard by the other window") {
        timeout(PATIENCE, other.read_buf(&mut read)).await.expect("an event").unwrap();
    }
    assert_eq!(ann.post("/hurt/cut", json!({"window": "window-1"})).await, json!({"cut": 0}));
    server.end().await;
}

#[tokio::test]
async fn the_relay_holds_an_event_stream_back_until_its_end_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let ann = server.sign_in("ann").await;
    let asked = ann.post("/hurt/buffer", json!({})).await;
    let relay = asked["url"].as_str().unwrap();
    assert_eq!(ann.post("/hurt/buffer", json!({})).await["url"], relay, "one for all");
    // A plain request passes, and one with a body.
    let plan = http().get(format!("{relay}/v1/plan")).send().await.unwrap();
    assert_eq!(plan.status(), 200);
    let publish = http().post(format!("{relay}/v1/topics/chat/app")).json(&json!({"text": "hi"}));
    assert_eq!(publish.send().await.unwrap().status(), 201);
    // The canary sends its three events within half a second; behind the relay they come at its end.
    let mut canary = ask(relay, "/v1/canary").await;
    let mut first = vec![0; 64 * 1024];
    let count = timeout(PATIENCE, canary.read(&mut first)).await.expect("the canary").unwrap();
    let mut all = String::from_utf8_lossy(&first[..count]).into_owned();
    timeout(PATIENCE, canary.read_to_string(&mut all)).await.expect("an end").unwrap();
    assert_eq!(all.matches("event:").count(), 3, "{all}");

    // An endless stream says nothing at all, though the server has written to it.
    let mut held =
        ask(relay, "/v1/sse?topic=chat/app&connection=held_back_1&window=window-1").await;
    let written = format!("{}/v1/path/held_back_1", server.url);
    until("the server has written", async || {
        let path = http().get(&written).send().await.unwrap();
        let frames = path.json::<Value>().await.unwrap()["events"].as_u64();
        (frames >= Some(1)).then_some(())
    })
    .await;
    let mut byte = [0];
    let nothing = timeout(Duration::from_millis(300), held.read(&mut byte)).await;
    assert!(nothing.is_err(), "a byte came through: {nothing:?}");
    // A cut is felt through the relay.
    assert_eq!(ann.post("/hurt/cut", json!({"window": "window-1"})).await, json!({"cut": 1}));
    let error = end(held).await.expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let relay = relay.to_owned();
    server.end().await;

    // After a restart it is there again, on its port.
    let server = Server::start(folder.path()).await;
    let ann = crate::support::Client { url: server.url.clone(), ..ann };
    until("the relay is back", async || {
        let plan = http().get(format!("{relay}/v1/plan")).send().await.ok()?;
        plan.status().is_success().then_some(())
    })
    .await;
    assert_eq!(ann.post("/hurt/buffer", json!({})).await["url"], relay);
    server.end().await;
}

#[tokio::test]
async fn a_websocket_passes_the_relay() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let ann = server.sign_in("ann").await;
    let asked = ann.post("/hurt/buffer", json!({})).await;
    let address = asked["url"].as_str().unwrap().trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(&address).await.unwrap();
    let request = format!(
        "GET /v1/socket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: tidewire.v1\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("\"hello\"") {
        let count = timeout(PATIENCE, socket.read_buf(&mut read)).await.expect("a hello").unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&read));
    }
    assert!(String::from_utf8_lossy(&read).starts_with("HTTP/1.1 101"));
    server.end().await;
}

#[tokio::test]
async fn the_chat_moves_to_event_streams_and_back_as_a_config_change_would() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let ann = server.sign_in("ann").await;
    let planned = async || {
        let plan = http().get(format!("{}/v1/plan", server.url)).send().await.unwrap();
        let plan: Value = plan.json().await.unwrap();
        let features = plan["features"].as_array().unwrap().clone();
        let chat = features.into_iter().find(|row| row["feature"] == "chat").unwrap();
        chat["transport"].as_str().unwrap().to_owned()
    };
    assert_eq!(planned().await, "ws");
    for (transport, changed) in [("sse", true), ("sse", false), ("ws", true)] {
        let moved = ann.post("/hurt/chat", json!({ "transport": transport })).await;
        let expected = json!({"feature": "chat", "transport": transport, "changed": changed});
        assert_eq!(moved, expected);
        assert_eq!(planned().await, transport);
    }
    let bad = ann.send(Method::POST, "/hurt/chat", &json!({"transport": "pigeon"})).await;
    assert_eq!(bad.status(), 400);
    server.end().await;
}

#[tokio::test]
async fn a_restart_is_asked_for_and_nothing_more_is_done_here() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let ann = server.sign_in("ann").await;
    let asked = ann.send(Method::POST, "/hurt/restart", &json!({})).await;
    assert_eq!(asked.status(), 202);
    timeout(PATIENCE, server.app.restart_wanted()).await.expect("whoever runs it is told");
    server.end().await;
}
