//! The WebSocket rung.

use std::time::Duration;

use tidewire_client::{
    After, Client, ClientError, ClientOptions, Continuity, Data, Item, Rung, Subscription,
    TokenSource,
};

use crate::fake::{Fake, Socket, at, continuity, entry, id, next, subscribe, time_of, waiting};

async fn opened(fake: &Fake, names: &[&str], after: After) -> (Subscription, Socket) {
    let live = subscribe(&fake.client(), names, after, Rung::Ws);
    let mut socket = fake.request().await.socket().await;
    socket.hello().await;
    (live, socket)
}

/// Answers a subscription, and checks what was asked.
async fn accept(socket: &mut Socket, topic: &str, after: &str, answer: &str) {
    let command = socket.command().await;
    assert_eq!(command["do"], "subscribe");
    assert_eq!((&command["topic"], &command["after"]), (&topic.into(), &after.into()));
    let reference = &command["ref"];
    socket.send(&format!(r#"{{"ref":{reference},"ok":{{"topic":"{topic}",{answer}}}}}"#)).await;
}

#[tokio::test(start_paused = true)]
async fn it_subscribes_and_yields_text_and_binary() {
    let fake = Fake::start().await;
    let options = ClientOptions { token: Some(TokenSource::fixed("secret")), ..Fake::options() };
    let client = Client::new(&fake.url(), options).unwrap();
    let mut live = subscribe(&client, &["chat/a"], After::Now, Rung::Ws);
    let call = fake.request().await;
    assert_eq!(call.line(), "GET /app/v1/socket");
    assert_eq!(call.header("authorization"), Some("Bearer secret"));
    assert_eq!(call.header("sec-websocket-protocol"), Some("tidewire.v1"));
    let mut socket = call.socket().await;
    socket.hello().await;
    accept(&mut socket, "chat/a", "now", r#""continuity":"new","at":"e.10""#).await;
    socket.entry("chat/a", "e.11", "null").await;
    let header = r#"{"topic":"chat/a","event":"p","id":"e.12"}"#;
    let mut binary = (header.len() as u16).to_be_bytes().to_vec();
    binary.extend_from_slice(header.as_bytes());
    binary.extend_from_slice(&[0, 255]);
    socket.send_binary(binary).await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
    assert_eq!(next(&mut live).await, Ok(Item::Live));
    assert_eq!(entry(&mut live).await.data, Data::Json("null".into()));
    let second = entry(&mut live).await;
    assert_eq!((second.id, second.data), (Some(at("e.12")), Data::binary(vec![0, 255])));
}

#[tokio::test(start_paused = true)]
async fn topics_that_catch_up_come_in_one_order() {
    let fake = Fake::start().await;
    let (mut live, mut socket) = opened(&fake, &["a", "b"], After::Cursor(at("e.1"))).await;
    accept(&mut socket, "a", "e.1", r#""continuity":"resumed","at":"e.1""#).await;
    socket.entry("a", "e.2", "1").await;
    socket.entry("a", "e.5", "1").await;
    accept(&mut socket, "b", "e.1", r#""continuity":"resumed","at":"e.1""#).await;
    socket.entry("b", "e.3", "1").await;
    socket.send(r#"{"live":{"topic":"b","at":"e.6"}}"#).await;
    socket.entry("a", "e.6", "1").await;
    socket.entry("b", "e.8", "1").await;
    socket.entry("a", "e.7", "1").await;
    socket.send(r#"{"live":{"topic":"a","at":"e.8"}}"#).await;
    assert_eq!(continuity(&mut live).await, Continuity::Resumed);
    for expected in ["e.2", "e.3", "e.5", "e.6", "e.7", "e.8"] {
        assert_eq!(id(&mut live).await, expected);
    }
    assert_eq!(next(&mut live).await, Ok(Item::Live));
}

#[tokio::test(start_paused = true)]
async fn each_topic_goes_on_from_its_own_place() {
    let fake = Fake::start().await;
    let (mut live, mut socket) = opened(&fake, &["a", "b", "pointers"], After::Now).await;
    accept(&mut socket, "a", "now", r#""continuity":"new","at":"e.10""#).await;
    accept(&mut socket, "b", "now", r#""continuity":"new","at":"e.10""#).await;
    accept(&mut socket, "pointers", "now", r#""continuity":"new""#).await;
    socket.entry("a", "e.12", "1").await;
    socket.send(r#"{"topic":"pointers","event":"message","data":1}"#).await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
    assert_eq!(id(&mut live).await, "e.12");
    assert_eq!(id(&mut live).await, "none");
    let bye =
        r#"{"bye":{"code":"restarting","message":"back soon","next":"resume","retry_ms":900}}"#;
    socket.send(bye).await;
    socket.close(1012).await;
    let (call, waited) = time_of(fake.request()).await;
    assert_eq!(waited, Duration::from_millis(900));
    let mut socket = call.socket().await;
    socket.hello().await;
    accept(&mut socket, "a", "e.12", r#""continuity":"resumed","at":"e.12""#).await;
    let gap = r#"{"reason":"trimmed","oldest":"e.11","newest":"e.20"}"#;
    accept(&mut socket, "b", "e.10", &format!(r#""continuity":"gap","gap":{gap},"at":"e.11""#))
        .await;
    accept(&mut socket, "pointers", "now", r#""continuity":"new""#).await;
    let Continuity::Gap { topic: Some(topic), .. } = continuity(&mut live).await else { panic!() };
    assert_eq!(topic.as_str(), "b");
    for name in ["a", "b"] {
        socket.send(&format!(r#"{{"live":{{"topic":"{name}","at":"e.20"}}}}"#)).await;
    }
    socket.send(r#"{"beat":{"at":"e.30"}}"#).await;
    socket.entry("b", "e.31", "1").await;
    assert_eq!(id(&mut live).await, "e.31");
    drop(socket);
    let mut socket = fake.request().await.socket().await;
    socket.hello().await;
    accept(&mut socket, "a", "e.30", r#""continuity":"resumed","at":"e.30""#).await;
}

#[tokio::test(start_paused = true)]
async fn refusals_and_close_codes_say_what_to_do() {
    let fake = Fake::start().await;
    let (mut live, mut socket) = opened(&fake, &["a"], After::Now).await;
    socket.command().await;
    let error = r#"{"code":"forbidden","message":"not you","next":"give_up"}"#;
    socket.send(&format!(r#"{{"ref":0,"error":{error}}}"#)).await;
    assert!(matches!(next(&mut live).await, Err(ClientError::Refused(_))));
    // A close without a goodbye.
    let (mut live, mut socket) = opened(&fake, &["a"], After::Now).await;
    socket.close(4_401).await;
    assert!(matches!(next(&mut live).await, Err(ClientError::Unauthorized(_))));
    let (mut live, mut socket) = opened(&fake, &["a"], After::Now).await;
    socket.close(1_011).await;
    let (why, _) = waiting(&mut live).await;
    assert_eq!(why, "the connection ended");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_may_be_refused() {
    let fake = Fake::start().await;
    let mut live = subscribe(&fake.client(), &["a"], After::Now, Rung::Ws);
    fake.request().await.answer(503, "retry-after: 3\r\n", "").await;
    let (_, wait) = waiting(&mut live).await;
    assert!(wait >= Duration::from_secs(3) && wait < Duration::from_secs(4), "{wait:?}");
    fake.request().await.refuse(403, "origin_refused", "give_up").await;
    let Err(ClientError::Refused(refusal)) = next(&mut live).await else { panic!("an end") };
    assert_eq!(refusal.code, "origin_refused");
    let mut live = subscribe(&fake.client(), &["a"], After::Now, Rung::Ws);
    fake.request().await.answer(404, "", "").await;
    assert!(matches!(next(&mut live).await, Err(ClientError::Foreign(_))));
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_loss_and_a_twin_the_end() {
    let fake = Fake::start().await;
    let (mut live, mut socket) = opened(&fake, &["a"], After::Now).await;
    accept(&mut socket, "a", "now", r#""continuity":"new","at":"e.1""#).await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
    let ((why, _), silent) = time_of(waiting(&mut live)).await;
    assert_eq!(silent, Duration::from_secs(43));
    assert!(why.contains("not even a beat"), "{why}");
    let mut socket = fake.request().await.socket().await;
    socket.hello().await;
    accept(&mut socket, "a", "e.1", r#""continuity":"resumed","at":"e.1""#).await;
    socket.entry("a", "e.1", "1").await;
    socket.send(r#"{"live":{"topic":"a","at":"e.1"}}"#).await;
    assert_eq!(continuity(&mut live).await, Continuity::Resumed);
    assert!(matches!(next(&mut live).await, Err(ClientError::Disorder(_))));
}

#[tokio::test(start_paused = true)]
async fn topics_too_far_apart_catch_up_by_pages() {
    let fake = Fake::start().await;
    let (mut live, mut socket) = opened(&fake, &["a", "b"], After::Cursor(at("e.1"))).await;
    accept(&mut socket, "a", "e.1", r#""continuity":"resumed","at":"e.1""#).await;
    accept(&mut socket, "b", "e.1", r#""continuity":"resumed","at":"e.1""#).await;
    let big = format!("\"{}\"", "x".repeat(1 << 20));
    let flood = async {
        // The last one is the one too many: after it nobody reads.
        for number in 3..11 {
            socket.entry("a", &format!("e.{number}"), &big).await;
        }
    };
    let (call, ()) = tokio::join!(fake.request(), flood);
    assert!(call.line().starts_with("GET /app/v1/events?topic=a&topic=b&after=e.1&wait=0"));
    let entries = r#"[{"topic":"b","event":"message","id":"e.2","data":1},{"topic":"a","event":"message","id":"e.3","data":1}]"#;
    call.json(
        200,
        &format!(r#"{{"entries":{entries},"cursor":"e.12","more":false,"continuity":"resumed"}}"#),
    )
    .await;
    let mut socket = fake.request().await.socket().await;
    socket.hello().await;
    accept(&mut socket, "a", "e.12", r#""continuity":"resumed","at":"e.12""#).await;
    let mut ids = Vec::new();
    while ids.len() < 2 {
        if let Item::Entry(entry) = next(&mut live).await.unwrap() {
            ids.push(entry.id.unwrap().to_string());
        }
    }
    assert_eq!(ids, ["e.2", "e.3"]);
}
