//! Promise 1: one order for everybody.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Server, id, sequence, sse::Stream, ws::Socket};

/// Ten publishers at once on two topics; every reader, on every door, live or later, sees one order.
#[tokio::test(flavor = "multi_thread")]
async fn every_reader_on_every_door_sees_one_order() {
    const PUBLISHERS: usize = 10;
    const EACH: usize = 20;
    const ALL: usize = PUBLISHERS * EACH;
    let server = Server::dev().await;
    let topics = "topic=chat/a&topic=chat/b";
    let (mut stream, _) = Stream::open(&server, topics).await;
    let mut socket = Socket::open(&server).await;
    socket.subscribe("chat/a", None).await;
    socket.subscribe("chat/b", None).await;

    let publisher = |number: usize| {
        let server = &server;
        async move {
            for turn in 0..EACH {
                let topic = if (number + turn).is_multiple_of(2) { "chat/a" } else { "chat/b" };
                server.publish(topic, &json!([number, turn])).await;
            }
        }
    };
    join_all((0..PUBLISHERS).map(publisher)).await;

    let mut by_stream = Vec::new();
    for _ in 0..ALL {
        by_stream.push(stream.entry().await.id.unwrap());
    }
    let mut by_socket = Vec::new();
    for _ in 0..ALL {
        by_socket.push(socket.entry().await["id"].as_str().unwrap().to_owned());
    }
    let page = server.page(&format!("{topics}&limit=1000")).await;
    let by_page: Vec<_> = page["entries"].as_array().unwrap().iter().map(id).collect();
    assert!(by_page.windows(2).all(|pair| sequence(&pair[0]) < sequence(&pair[1])));
    assert_eq!(by_stream, by_page);
    assert_eq!(by_socket, by_page);
}

/// If A was acknowledged before B was sent, A precedes B, whatever their topics.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_before_sent_means_before() {
    let server = Server::dev().await;
    let mut socket = Socket::open(&server).await;
    for topic in ["t/0", "t/1", "t/2"] {
        socket.subscribe(topic, None).await;
    }
    for number in 0..60 {
        server.publish(&format!("t/{}", number % 3), &json!(number)).await;
    }
    let heard = socket.data(60).await;
    assert_eq!(heard, (0..60).map(|number| json!(number)).collect::<Vec<Value>>());
}

/// Publishes that one socket sends without waiting are stored in the order in which it sent them.
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_keeps_the_order_of_what_it_sends() {
    let server = Server::dev().await;
    let mut socket = Socket::open(&server).await;
    socket.subscribe("chat/a", None).await;
    for number in 0..200 {
        socket.say(&format!(r#"{{"do":"publish","topic":"chat/a","data":{number}}}"#)).await;
    }
    let mut heard = Vec::new();
    while heard.len() < 200 {
        let message = socket.hear().await.unwrap();
        if message["topic"].is_string() {
            heard.push(message["data"].as_u64().unwrap());
        }
    }
    assert_eq!(heard, (0..200).collect::<Vec<_>>());
}
