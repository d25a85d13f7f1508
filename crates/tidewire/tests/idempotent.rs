//! Promise 5: a retry is stored once, whatever happened in between.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Server, http, sse::Stream, ws::Socket};

async fn keyed(server: &Server, topic: &str, body: &str, key: &str) -> (u16, Value) {
    let response = server.post(topic, body, &[("idempotency-key", key)]).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_gets_the_first_answer_and_is_not_delivered() {
    let server = Server::dev().await;
    let (mut stream, _) = Stream::open(&server, "topic=chat/a").await;
    let (_, first) = keyed(&server, "chat/a", "1", "k").await;
    let (status, again) = keyed(&server, "chat/a", "1", "k").await;
    assert_eq!((status, &again["id"], &again["duplicate"]), (201, &first["id"], &json!(true)));
    assert_eq!(again["stored"], first["stored"]);
    let (status, conflict) = keyed(&server, "chat/a", "2", "k").await;
    assert_eq!((status, &conflict["error"]["code"]), (409, &json!("key_conflict")));
    let (status, other_topic) = keyed(&server, "chat/b", "2", "k").await;
    assert_eq!((status, &other_topic["duplicate"]), (201, &Value::Null), "a key is its topic's");
    server.publish("chat/a", &json!("end")).await;
    assert_eq!(stream.data(2).await, [json!(1), json!("end")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_survive_a_restart() {
    let server = Server::dev().await;
    let (_, first) = keyed(&server, "chat/a", "1", "k").await;
    let server = server.restart().await;
    let (_, again) = keyed(&server, "chat/a", "1", "k").await;
    assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)));
    let (status, _) = keyed(&server, "chat/a", "2", "k").await;
    assert_eq!(status, 409);
    assert_eq!(server.history("chat/a", "start").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_keys_at_the_same_moment_are_one_entry() {
    let server = Server::dev().await;
    let answers = join_all((0..50).map(|_| keyed(&server, "chat/a", "1", "k"))).await;
    let first = answers.iter().filter(|(_, answer)| answer["duplicate"].is_null()).count();
    assert_eq!(first, 1);
    assert!(answers.iter().all(|(_, answer)| answer["id"] == answers[0].1["id"]));
    assert_eq!(server.history("chat/a", "start").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_all_or_nothing() {
    let server = Server::dev().await;
    keyed(&server, "chat/a", "1", "used").await;
    let batch = json!([
        {"topic": "chat/a", "data": 10},
        {"topic": "chat/a", "data": 11, "key": "used"},
    ]);
    let send = |body: String| http().post(server.at("/publish")).body(body).send();
    let refused = send(batch.to_string()).await.unwrap();
    assert_eq!(refused.status(), 409);
    let body: Value = refused.json().await.unwrap();
    assert!(body["error"]["message"].as_str().unwrap().contains("message 1"), "{body}");
    assert_eq!(server.history("chat/a", "start").await.len(), 1, "nothing of it was stored");

    let lines = "{\"topic\":\"chat/a\",\"data\":20}\n{\"topic\":\"chat/b\",\"data\":21}\n";
    let stored = send(lines.to_owned()).await.unwrap();
    assert_eq!(stored.status(), 201);
    let body: Value = stored.json().await.unwrap();
    assert_eq!(body["results"].as_array().unwrap().len(), 2);
}

/// A lost answer on a socket: the same key over another door finds the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_on_another_door_is_the_same_retry() {
    let server = Server::dev().await;
    let mut socket = Socket::open(&server).await;
    let publish = json!({"do":"publish","topic":"chat/a","data":{"text":"hi"},"key":"m1"});
    let first = socket.ask(publish).await;
    let (_, again) = keyed(&server, "chat/a", "{\"text\":\"hi\"}", "m1").await;
    assert_eq!((&again["id"], &again["duplicate"]), (&first["ok"]["id"], &json!(true)));
}
