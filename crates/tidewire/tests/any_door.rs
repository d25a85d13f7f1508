//! Promise 6: any cursor, any door; and every kind of data looks the same on each.

use serde_json::{Value, json};

use crate::support::{Server, http, id, sse::Stream, ws::Socket};

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_one_door_goes_on_at_every_other() {
    let server = Server::dev().await;
    let (mut stream, _) = Stream::open(&server, "topic=chat/a").await;
    for number in 0..6 {
        server.publish("chat/a", &json!(number)).await;
    }
    stream.data(1).await;
    let from_stream = stream.entry().await.id.unwrap();

    let mut socket = Socket::open(&server).await;
    assert_eq!(socket.subscribe("chat/a", Some(&from_stream)).await["continuity"], "resumed");
    assert_eq!(socket.data(1).await, [json!(2)]);
    let from_socket = id(&socket.entry().await);

    let page = server.page(&format!("topic=chat/a&after={from_socket}&limit=1")).await;
    assert_eq!((&page["entries"][0]["data"], &page["more"]), (&json!(4), &json!(true)));
    let from_page = page["cursor"].as_str().unwrap();

    let server = server.restart().await;
    let header = [("last-event-id", from_page)];
    let (mut stream, hello) = Stream::open_with(&server, "topic=chat/a", &header).await;
    assert_eq!(hello["continuity"], "resumed");
    assert_eq!(stream.data(1).await, [json!(5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_event_id_wins_over_the_url() {
    let server = Server::dev().await;
    let first = id(&server.publish("chat/a", &json!(1)).await);
    let second = id(&server.publish("chat/a", &json!(2)).await);
    server.publish("chat/a", &json!(3)).await;
    let query = format!("topic=chat/a&after={first}");
    let header = [("last-event-id", second.as_str())];
    let (mut stream, _) = Stream::open_with(&server, &query, &header).await;
    assert_eq!(stream.data(1).await, [json!(3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_waits_for_the_next_entry() {
    let server = Server::dev().await;
    let fresh = server.page("topic=chat/a&wait=0").await;
    assert_eq!((&fresh["entries"], &fresh["continuity"]), (&json!([]), &json!("new")));
    let after = fresh["cursor"].as_str().unwrap();
    let query = format!("topic=chat/a&after={after}&wait=15");
    let poll = server.page(&query);
    let publish = async {
        // Not before somebody waits: otherwise this would not be a long-poll.
        crate::support::until("somebody waits", async || streams(&server).await == 1).await;
        server.publish("chat/b", &json!("not this")).await;
        server.publish("chat/a", &json!("this")).await;
    };
    let (page, ()) = tokio::join!(poll, publish);
    assert_eq!(page["entries"][0]["data"], "this");
    assert_eq!(page["continuity"], "resumed");
}

async fn streams(server: &Server) -> u64 {
    let ready = http().get(format!("{}readyz", server.url)).send().await.unwrap();
    ready.json::<Value>().await.unwrap()["streams"].as_u64().unwrap()
}

/// JSON, text and binary, published over each door and read over each door.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_data_arrives_as_it_was_sent() {
    let server = Server::dev().await;
    let post = |kind: &'static str, body: &'static [u8]| {
        http().post(server.at("/topics/chat/a")).header("content-type", kind).body(body).send()
    };
    let (mut stream, _) = Stream::open(&server, "topic=chat/a").await;
    let mut socket = Socket::open(&server).await;
    socket.subscribe("chat/a", None).await;
    assert_eq!(post("application/json", b"{ \"a\" : 1 }").await.unwrap().status(), 201);
    assert_eq!(post("text/plain", b"line\nline").await.unwrap().status(), 201);
    assert_eq!(post("image/png", b"\x00\xff\n").await.unwrap().status(), 201);

    let events = [stream.entry().await, stream.entry().await, stream.entry().await];
    assert_eq!((events[0].data.as_str(), &events[0].encoding), ("{ \"a\" : 1 }", &None));
    assert_eq!(
        (events[1].data.as_str(), events[1].encoding.as_deref()),
        ("line\nline", Some("text"))
    );
    assert_eq!((events[2].data.as_str(), events[2].encoding.as_deref()), ("AP8K", Some("base64")));

    let messages = [socket.entry().await, socket.entry().await, socket.entry().await];
    assert_eq!(messages[0]["data"], json!({"a": 1}));
    assert_eq!(
        (&messages[1]["data"], &messages[1]["encoding"]),
        (&json!("line\nline"), &json!("text"))
    );
    assert_eq!(messages[2]["bytes"], json!([0, 255, 10]), "a binary frame");

    let page = server.page("topic=chat/a").await;
    assert_eq!(page["entries"][2]["data"], "AP8K");
    assert_eq!(page["entries"][2]["encoding"], "base64");
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_published_over_a_socket_is_binary_for_everybody() {
    use futures_util::SinkExt;
    use tokio_tungstenite::tungstenite::Message;
    let server = Server::dev().await;
    let mut socket = Socket::open(&server).await;
    socket.subscribe("pointers/p", None).await;
    let header = r#"{"do":"publish","ref":77,"topic":"pointers/p","event":"move"}"#;
    let mut message = (header.len() as u16).to_be_bytes().to_vec();
    message.extend_from_slice(header.as_bytes());
    message.extend_from_slice(&[1, 2, 3]);
    socket.inner.send(Message::binary(message)).await.unwrap();
    let answer = socket.answer(77).await;
    let entry = socket.entry().await;
    assert_eq!(entry["bytes"], json!([1, 2, 3]));
    assert_eq!((&entry["event"], &entry["id"]), (&json!("move"), &answer["ok"]["id"]));
}
