//! What a peer sends: in pieces, early, a lot at once, behind a request that takes the connection.

use std::time::Duration;

use serde_json::{Value, json};

use super::{BINARY, CLOSE, PING, PONG, TEXT, answered, lingering, quiet_server, socket, told};
use crate::support::{
    Server,
    log::HeldLog,
    raw::{Frame, Raw, handshake, masked},
    streams, until,
};

fn publish(reference: usize, topic: &str) -> Vec<u8> {
    let command = json!({"do": "publish", "ref": reference, "topic": topic, "data": reference});
    masked(TEXT, command.to_string().as_bytes())
}

fn publish_bytes(reference: usize, topic: &str, bytes: usize) -> Vec<u8> {
    let header = format!(r#"{{"do":"publish","ref":{reference},"topic":"{topic}"}}"#);
    let body = vec![b'x'; bytes];
    masked(BINARY, &[&[0, header.len() as u8], header.as_bytes(), &body].concat())
}

/// Commands of every kind, pings, and a message in fragments; and how many answers they have.
fn talk(topic: &str) -> (Vec<u8>, usize) {
    let fragmented =
        json!({"do": "publish", "ref": 2, "topic": topic, "data": "κόσμε"}).to_string();
    let (first, rest) = fragmented.as_bytes().split_at(fragmented.len() - 6);
    let subscribe = json!({"do": "subscribe", "ref": 4, "topic": "chat/other"}).to_string();
    let unsubscribe = json!({"do": "unsubscribe", "ref": 5, "topic": "chat/other"}).to_string();
    let frames = [
        publish(1, topic),
        masked(0x01, first),
        masked(PING, b"between"),
        masked(0x00, b""),
        masked(0x80, rest),
        publish_bytes(3, topic, 130),
        masked(PONG, b""),
        masked(TEXT, subscribe.as_bytes()),
        masked(TEXT, unsubscribe.as_bytes()),
        masked(PING, b"the end"),
    ];
    (frames.concat(), 5)
}

/// Cut once at every byte. The server has read what was before the cut: it has answered the ping
/// that came in the same piece.
#[tokio::test(flavor = "multi_thread")]
async fn commands_cut_at_any_byte_are_obeyed_alike() {
    let server = quiet_server().await;
    let (bytes, answers) = talk("chat/000");
    for cut in 0..=bytes.len() {
        let topic = format!("chat/{cut:0>3}");
        let bytes = talk(&topic).0;
        let mut raw = socket(&server).await;
        raw.send([&masked(PING, b"cut"), &bytes[..cut]].concat()).await;
        assert_eq!(raw.frame().await, Some(Frame::new(PONG, "cut")));
        raw.send(&bytes[cut..]).await;
        assert_eq!(answered(&mut raw, answers).await, [1, 2, 3, 4, 5], "cut at {cut}");
    }
    // And where it is cut again and again.
    for piece in [1, 2, 3, 7] {
        let topic = format!("chat/in-{piece}");
        let mut raw = socket(&server).await;
        for bytes in talk(&topic).0.chunks(piece) {
            raw.send(bytes).await;
        }
        assert_eq!(answered(&mut raw, answers).await, [1, 2, 3, 4, 5], "in pieces of {piece}");
    }
    for topic in ["chat/000", "chat/077", "chat/in-1", "chat/in-7"] {
        let stored = server.history(topic, "start").await;
        assert_eq!((&stored[0]["data"], &stored[1]["data"]), (&json!(1), &json!("κόσμε")));
        assert_eq!(stored.len(), 3, "{topic}");
    }
}

/// While publishes are under way the socket is not read, and a large message gathers in the kernel.
/// It is read to its end without another word from the peer.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_that_waited_is_read_to_its_end() {
    const LARGE: usize = 250_000;
    let (log, features) = HeldLog::new();
    let server = Server::built(
        |settings| {
            settings.features = features;
            // No beat comes to its help.
            settings.limits.beat_interval = Duration::from_secs(60);
        },
        true,
        |builder| builder.log(log.clone()),
    )
    .await;
    let mut raw = socket(&server).await;
    // The kernel learns how much room this connection wants.
    for number in 0..40 {
        raw.send(publish_bytes(number, "chat/a", LARGE)).await;
        assert!(told(&mut raw).await["ok"].is_object());
    }
    log.hold(true);
    for reference in 100..164 {
        raw.send(publish(reference, "chat/b")).await;
    }
    log.has_begun(40 + 64).await;
    raw.send(publish_bytes(200, "chat/a", LARGE)).await;
    log.hold(false);
    for reference in (100..164).chain([200]) {
        assert_eq!(told(&mut raw).await["ref"], json!(reference));
    }
}

/// More publishes than may be under way, and the end behind them: all is stored, and all is answered
/// in order before the end is.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_before_the_end_is_stored_and_answered_in_order() {
    const COUNT: usize = 150;
    for is_closed in [true, false] {
        let (log, features) = HeldLog::new();
        let server = Server::dev_on(log.clone(), features).await;
        let mut raw = socket(&server).await;
        log.hold(true);
        let mut bytes: Vec<u8> = (0..COUNT).flat_map(|n| publish(n, "chat/a")).collect();
        if is_closed {
            bytes.extend(masked(CLOSE, &1000_u16.to_be_bytes()));
        }
        raw.send(bytes).await;
        log.has_begun(64).await;
        if !is_closed {
            tokio::io::AsyncWriteExt::shutdown(&mut raw.io).await.unwrap();
        }
        log.hold(false);
        if is_closed {
            for reference in 0..COUNT {
                assert_eq!(told(&mut raw).await["ref"], json!(reference));
            }
            assert_eq!(raw.frame().await.unwrap().close_code(), 1000);
        }
        until("all is stored", async || server.history("chat/a", "start").await.len() >= COUNT)
            .await;
        let stored = server.history("chat/a", "start").await;
        let mut stored: Vec<_> =
            stored.iter().map(|entry| entry["data"].as_u64().unwrap()).collect();
        // What is under way at one time may be stored in any order, and here 64 were.
        stored.sort_unstable();
        assert_eq!(stored, (0..COUNT as u64).collect::<Vec<_>>());
        until("it is gone", async || streams(&server).await == 0).await;
    }
}

/// The connection dies at any place in a frame, by a FIN or a RST: nobody else notices, and nothing
/// of it is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_dies_in_the_middle_of_a_frame_is_gone() {
    let server = quiet_server().await;
    let mut other = socket(&server).await;
    other.send_frame(TEXT, r#"{"do":"subscribe","ref":1,"topic":"chat/a"}"#).await;
    assert!(told(&mut other).await["ok"].is_object());
    let (bytes, _) = talk("chat/dead");
    for is_reset in [true, false] {
        for cut in (0..bytes.len()).step_by(9) {
            let mut raw = lingering(&server, is_reset).await;
            raw.send([&masked(PING, b"cut"), &bytes[..cut]].concat()).await;
            while raw.frame().await.expect("a pong").first != PONG {}
            drop(raw);
        }
    }
    until("they are gone", async || streams(&server).await == 1).await;
    server.publish("chat/a", &json!("still here")).await;
    loop {
        if told(&mut other).await["data"] == "still here" {
            break;
        }
    }
}

/// Commands that come in the packet of the handshake, whole or in part.
#[tokio::test(flavor = "multi_thread")]
async fn words_behind_the_handshake_are_heard() {
    let server = quiet_server().await;
    let (bytes, answers) = talk("chat/early");
    for cut in (0..=bytes.len()).step_by(7) {
        let mut raw = Raw::open(&server).await;
        raw.send([handshake("/v1/socket").as_bytes(), &bytes[..cut]].concat()).await;
        assert_eq!(raw.head().await.status, 101);
        assert!(raw.frame().await.unwrap().json()["hello"].is_object());
        raw.send(&bytes[cut..]).await;
        assert_eq!(answered(&mut raw, answers).await, [1, 2, 3, 4, 5], "cut at {cut}");
    }
}

/// A stream takes its connection. A request behind it is passed over, however long, and the stream
/// ends in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_behind_a_streams_is_passed_over() {
    for (version, more) in [("1.1", 1), ("1.1", 200), ("1.0", 1)] {
        let mut server = quiet_server().await;
        let mut raw = Raw::open(&server).await;
        let stream = format!("GET /v1/sse?topic=chat/a HTTP/{version}\r\nHost: localhost\r\n\r\n");
        let publish = "POST /v1/topics/chat/a HTTP/1.1\r\nHost: localhost\r\n\
                       Content-Length: 6\r\n\r\n\"late\"";
        raw.send(format!("{stream}{}", publish.repeat(more))).await;
        assert_eq!(raw.head().await.status, 200);
        raw.until("tidewire.hello").await;
        // And some come later.
        raw.send(publish.repeat(more)).await;
        server.publish("chat/a", &json!("to the reader")).await;
        raw.until("to the reader").await;
        let stored: Vec<Value> = server.history("chat/a", "start").await;
        assert_eq!(stored.len(), 1, "{stored:?}");
        let (rest, ()) = tokio::join!(raw.rest(), server.stop());
        let rest = String::from_utf8(rest).unwrap();
        assert!(rest.contains("tidewire.bye") && !rest.contains("HTTP/1.1"), "{rest}");
        assert!(version == "1.0" || rest.ends_with("0\r\n\r\n"), "{rest}");
    }
}
