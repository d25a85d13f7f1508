//! Going down: everybody is told when to come back, what was accepted is answered, and it ends.

use std::{collections::HashSet, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    time::Instant,
};

use crate::support::{
    Server, http,
    log::HeldLog,
    raw::{Raw, address, handshake},
    sse::Stream,
    streams, until,
    ws::Socket,
};

/// Goes down while `during` happens; says how long it took.
async fn stop(server: &mut Server, during: impl Future<Output = ()>) -> Duration {
    let started = Instant::now();
    let stopped = async {
        server.stop().await;
        started.elapsed()
    };
    tokio::join!(stopped, during).0
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_hears_a_goodbye_with_a_slot_of_its_own() {
    const EACH: usize = 12;
    let mut server = Server::dev().await;
    let (mut readers, mut sockets) = (Vec::new(), Vec::new());
    for _ in 0..EACH {
        readers.push(Stream::open(&server, "topic=chat/a").await.0);
        sockets.push(Socket::open(&server).await);
    }
    let took = stop(&mut server, async {
        let mut slots = HashSet::new();
        for stream in &mut readers {
            let bye = stream.next().await.expect("a bye");
            assert_eq!(bye.event, "tidewire.bye");
            let said: Value = serde_json::from_str(&bye.data).unwrap();
            let told = (&said["code"], &said["next"]);
            assert_eq!(told, (&json!("restarting"), &json!("resume")));
            assert_eq!(bye.retry_ms, said["retry_ms"].as_u64(), "`retry:` says it to a browser");
            assert!((1_000..=2_000).contains(&bye.retry_ms.unwrap()), "{bye:?}");
            slots.insert(bye.retry_ms.unwrap());
            assert!(stream.next().await.is_none(), "and it ends");
        }
        for socket in &mut sockets {
            let bye = socket.hear().await.unwrap();
            assert_eq!(bye["bye"]["code"], "restarting", "{bye}");
            slots.insert(bye["bye"]["retry_ms"].as_u64().unwrap());
            assert_eq!(socket.hear().await.unwrap()["closed"], 1012);
            assert!(socket.hear().await.is_none());
        }
        assert!(slots.len() > EACH, "the slots differ: {slots:?}");
    })
    .await;
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_news_is_answered_at_once() {
    let mut server = Server::dev().await;
    let url = server.at("/events?topic=chat/a&wait=60");
    let poll = tokio::spawn(http().get(url).send());
    until("somebody waits", async || streams(&server).await == 1).await;
    let took = stop(&mut server, async {
        let page: Value = poll.await.unwrap().unwrap().json().await.unwrap();
        assert_eq!((&page["entries"], &page["more"]), (&json!([]), &json!(false)));
        assert!(page["cursor"].is_string());
    })
    .await;
    assert!(took < Duration::from_secs(2), "{took:?}");
}

/// The log is slow, and the server goes down: whoever has published still hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn publishes_under_way_are_answered() {
    let (log, features) = HeldLog::new();
    let mut server = Server::dev_on(log.clone(), features).await;
    let mut socket = Socket::open(&server).await;
    log.hold(true);
    let (url, address) = (server.at("/topics/chat/a"), address(&server).to_owned());
    let post = tokio::spawn(http().post(url).body("1").send());
    socket.say(r#"{"do":"publish","ref":7,"topic":"chat/a","data":2}"#).await;
    log.has_begun(2).await;
    stop(&mut server, async {
        until("the server goes down", async || TcpStream::connect(&address).await.is_err()).await;
        log.hold(false);
        assert_eq!(post.await.unwrap().unwrap().status(), 201);
        let answer = socket.answer(7).await;
        assert!(answer["ok"]["id"].is_string(), "{answer}");
        assert_eq!(socket.hear().await.unwrap()["bye"]["code"], "restarting");
    })
    .await;
}

/// A peer that says something and goes: what it said was said.
#[tokio::test(flavor = "multi_thread")]
async fn a_publish_before_a_close_is_published_and_answered() {
    let server = Server::dev().await;
    for number in 0..20 {
        let mut raw = Raw::upgraded(&server, "/v1/socket").await;
        assert!(raw.frame().await.unwrap().json()["hello"].is_object());
        let command = json!({"do": "publish", "ref": 1, "topic": "chat/a", "data": number});
        let mut bytes = crate::support::raw::masked(0x81, command.to_string().as_bytes());
        bytes.extend(crate::support::raw::masked(0x88, &1000_u16.to_be_bytes()));
        raw.send(bytes).await;
        assert!(raw.frame().await.unwrap().json()["ok"]["id"].is_string());
        assert_eq!(raw.frame().await.unwrap().close_code(), 1000);
    }
    assert_eq!(server.history("chat/a", "start").await.len(), 20);
}

/// Clients that never read, never finish a request, or never say anything at all.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_holds_the_server_up() {
    let limit = Duration::from_secs(2);
    let mut server = Server::dev_with(|s| s.limits.drain_timeout = limit).await;
    let mut stuck = Vec::new();
    for request in [
        handshake("/v1/socket"),
        handshake("/v1/echo"),
        "GET /v1/sse?topic=chat/a HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "POST /v1/topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1".to_owned(),
        "GET /v1/pl".to_owned(),
        String::new(),
    ] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let mut stream = socket.connect(address(&server).parse().unwrap()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stuck.push(stream);
    }
    until("the streams are open", async || streams(&server).await == 3).await;
    for _ in 0..40 {
        server.publish("chat/a", &json!("x".repeat(200_000))).await;
    }
    let took = stop(&mut server, async {}).await;
    assert!(took < limit + Duration::from_secs(1), "{took:?}");
}

/// Connections on which nothing happens do not even take the time that is allowed.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_go_at_once() {
    let limit = Duration::from_secs(20);
    let mut server = Server::dev_with(|s| s.limits.drain_timeout = limit).await;
    let (_silent, mut kept) = (Raw::open(&server).await, Raw::open(&server).await);
    kept.send("GET /v1/plan HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(kept.answer().await.0.status, 200);
    let mut echo = Raw::upgraded(&server, "/v1/echo").await;
    until("the echo is counted", async || streams(&server).await == 1).await;
    let took = stop(&mut server, async {
        assert_eq!(kept.rest().await, b"");
        assert_eq!(echo.closed().await, 1012);
    })
    .await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// While a slow log holds up all the publishes that a socket may have under way, the socket is not
/// read. Its peer is not to blame for that silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_log_does_not_make_a_peer_count_as_lost() {
    let (log, features) = HeldLog::new();
    let interval = Duration::from_millis(50);
    let server = Server::built(
        |settings| {
            settings.features = features;
            settings.limits.beat_interval = interval;
        },
        true,
        |builder| builder.log(log.clone()),
    )
    .await;
    let mut socket = Socket::open(&server).await;
    log.hold(true);
    for reference in 1..=64 {
        socket.say(&format!(r#"{{"do":"publish","ref":{reference},"topic":"a","data":1}}"#)).await;
    }
    log.has_begun(64).await;
    for _ in 0..10 {
        // Ten beats, and a peer without a word counts as lost at the fourth.
        let heard = socket.hear().await.unwrap();
        assert!(heard["beat"].is_object(), "{heard}");
    }
    log.hold(false);
    assert!(socket.answer(64).await["ok"].is_object());
}
