//! How sockets end: with commands under way, with a slow log, when access ends.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tidewire::{Action, Credential, Gate, Peer, Refusal, Topic, clock::ManualClock};
use tokio::{net::TcpStream, sync::watch};

use super::{CLOSE, TEXT, lingering, narrow_socket, socket, told};
use crate::support::{
    PATIENCE, Server, http,
    log::HeldLog,
    raw::{Frame, Raw, address, handshake},
    streams, until,
};

/// A gate that a test can hold. Access ends when the test says.
struct HeldGate {
    held: watch::Sender<bool>,
    asked: watch::Sender<usize>,
    expires_at_ms: Option<u64>,
}

impl HeldGate {
    fn new(expires_at_ms: Option<u64>) -> Arc<Self> {
        let (held, asked) = (watch::Sender::new(false), watch::Sender::new(0));
        Arc::new(Self { held, asked, expires_at_ms })
    }

    async fn was_asked(&self, count: usize) {
        let mut asked = self.asked.subscribe();
        let waited = asked.wait_for(|asked| *asked >= count);
        tokio::time::timeout(PATIENCE, waited).await.expect("a question").unwrap();
    }
}

#[async_trait::async_trait]
impl Gate for HeldGate {
    async fn admit(&self, _: Credential<'_>) -> Result<Arc<Peer>, Refusal> {
        Ok(Arc::new(Peer { expires_at_ms: self.expires_at_ms, ..Peer::anybody() }))
    }

    async fn may(&self, _: &Peer, _: Action, _: &Topic) -> Result<(), Refusal> {
        self.asked.send_modify(|asked| *asked += 1);
        let _ = self.held.subscribe().wait_for(|held| !held).await;
        Ok(())
    }
}

/// Every command is answered, also one that is under way when the server goes down.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_under_way_is_answered_when_the_server_goes_down() {
    let gate = HeldGate::new(None);
    let mut server = Server::built(|_| {}, true, |builder| builder.gate(gate.clone())).await;
    let mut raw = socket(&server).await;
    gate.held.send_replace(true);
    raw.send_frame(TEXT, r#"{"do":"subscribe","ref":5,"topic":"chat/a"}"#).await;
    gate.was_asked(1).await;
    let address = address(&server).to_owned();
    let talk = async {
        until("the server goes down", async || TcpStream::connect(&address).await.is_err()).await;
        gate.held.send_replace(false);
        let answer = told(&mut raw).await;
        assert_eq!(answer["ref"], json!(5), "{answer}");
        assert!(answer["ok"].is_object(), "{answer}");
        loop {
            let frame = raw.frame().await.expect("a bye");
            if frame.first == CLOSE {
                break assert_eq!(frame.close_code(), 1012);
            }
        }
        raw.send_frame(CLOSE, 1012_u16.to_be_bytes()).await;
    };
    tokio::join!(server.stop(), talk);
}

/// A publish that the log answers only after the socket's goodbye: nothing comes after a close.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_after_a_close_frame() {
    let (log, features) = HeldLog::new();
    let mut server = Server::built(
        |settings| {
            settings.features = features;
            settings.limits.close_timeout = Duration::from_secs(1);
            settings.limits.drain_timeout = Duration::from_secs(5);
        },
        true,
        |builder| builder.log(log.clone()),
    )
    .await;
    let mut raw = socket(&server).await;
    log.hold(true);
    raw.send_frame(TEXT, r#"{"do":"publish","ref":1,"topic":"chat/a","data":1}"#).await;
    log.has_begun(1).await;
    let talk = async {
        assert!(told(&mut raw).await["bye"].is_object());
        assert_eq!(raw.frame().await.unwrap().close_code(), 1012);
        log.hold(false);
        // It comes to its end by itself, in silence.
        assert_eq!(raw.frame().await, None::<Frame>);
    };
    tokio::join!(server.stop(), talk);
}

/// Access ends while a command is under way: it is seen when the command is done, not at some beat.
#[tokio::test(flavor = "multi_thread")]
async fn access_that_ends_during_a_command_has_ended_after_it() {
    const NOW_MS: u64 = 1_000_000_000;
    let (gate, clock) = (HeldGate::new(Some(NOW_MS + 500)), Arc::new(ManualClock::at(NOW_MS)));
    let of_server = Arc::clone(&clock);
    let server = Server::built(
        |settings| settings.limits.beat_interval = Duration::from_secs(60),
        true,
        |builder| builder.gate(gate.clone()).clock(of_server),
    )
    .await;
    let mut raw = socket(&server).await;
    gate.held.send_replace(true);
    raw.send_frame(TEXT, r#"{"do":"subscribe","ref":5,"topic":"chat/a"}"#).await;
    gate.was_asked(1).await;
    // One that came later and does nothing: when it has been looked at, the other has been too.
    let mut control = socket(&server).await;
    clock.set(NOW_MS + 500);
    assert_eq!(told(&mut control).await["bye"]["code"], "token_expired");
    gate.held.send_replace(false);
    assert_eq!(told(&mut raw).await["ref"], json!(5));
    loop {
        let said = told(&mut raw).await;
        if !said["live"].is_object() {
            break assert_eq!(said["bye"]["code"], "token_expired", "{said}");
        }
    }
}

/// The server goes down while a socket takes nothing. When it reads again it hears whole frames, a
/// goodbye and the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_socket_that_reads_again_hears_its_goodbye() {
    let limit = Duration::from_secs(15);
    let mut server = Server::dev_with(|s| s.limits.drain_timeout = limit).await;
    let mut raw = narrow_socket(&server, 4 * 1024).await;
    raw.send_frame(TEXT, r#"{"do":"subscribe","ref":5,"topic":"chat/a"}"#).await;
    assert_eq!(told(&mut raw).await["ref"], json!(5));
    for _ in 0..40 {
        server.publish("chat/a", &json!("x".repeat(200_000))).await;
    }
    let address = address(&server).to_owned();
    let talk = async {
        until("the server goes down", async || TcpStream::connect(&address).await.is_err()).await;
        let mut has_bye = false;
        loop {
            let frame = raw.frame().await.expect("a close frame, not just the end");
            match frame.first {
                CLOSE => break assert_eq!((frame.close_code(), has_bye), (1012, true)),
                TEXT => has_bye = frame.json()["bye"].is_object(),
                _ => {}
            }
        }
        raw.send_frame(CLOSE, 1012_u16.to_be_bytes()).await;
        assert_eq!(raw.frame().await, None::<Frame>);
    };
    tokio::join!(server.stop(), talk);
}

/// One way for a connection to come and to end.
async fn come_and_go(server: &Server, way: usize) {
    const STREAM: &str = "GET /v1/sse?topic=chat/a HTTP/1.1\r\nHost: localhost\r\n";
    let mut raw = match way {
        0..3 => {
            let mut raw = lingering(server, way == 0).await;
            if way == 2 {
                raw.send_frame(CLOSE, 1000_u16.to_be_bytes()).await;
                assert_eq!(raw.closed().await, 1000);
            }
            return;
        }
        3 => {
            let mut raw = socket(server).await;
            raw.send(b"\x81\x05Hello").await;
            assert_eq!(raw.closed().await, 1002);
            return;
        }
        _ => Raw::open(server).await,
    };
    let request = match way {
        // A stream that is left; one of an old client; one with a body; no more than its head.
        4 => format!("{STREAM}\r\n"),
        5 => STREAM.replace("HTTP/1.1", "HTTP/1.0") + "\r\n",
        6 => format!("{STREAM}Content-Length: 4\r\n\r\nbody"),
        7 => STREAM.replace("GET", "HEAD") + "\r\n",
        // A socket with a body, and a request that is none.
        8 => handshake("/v1/socket").replace("\r\n\r\n", "\r\nContent-Length: 4\r\n\r\nbody"),
        _ => "GET /v1/socket HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
    };
    raw.send(request).await;
    let head = raw.head().await;
    assert_eq!(head.status, [200, 200, 200, 200, 400, 426][way - 4], "way {way}");
    if way < 7 {
        assert!(raw.until("tidewire.hello").await.contains("retry: "));
    }
    if way < 8 {
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
    }
}

const WAYS: usize = 10;

/// Whichever way a connection ends, its place is free again.
#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_end_gives_the_place_back() {
    let server = Server::dev_with(|s| s.limits.connections_max = 4).await;
    for way in 0..WAYS {
        for _ in 0..6 {
            come_and_go(&server, way).await;
            until("it is gone", async || {
                let ready = http().get(format!("{}readyz", server.url)).send().await.unwrap();
                let is_inside = ready.status() == 200;
                is_inside && ready.json::<Value>().await.unwrap()["streams"] == 0
            })
            .await;
        }
    }
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(socket(&server).await);
    }
    until("three are in", async || streams(&server).await == 3).await;
}

/// Sockets of this process that are bound to the server's port: the listener, and each connection.
fn open_sockets(server: &Server) -> usize {
    let port: u16 = address(server).rsplit_once(':').unwrap().1.parse().unwrap();
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let is_ours = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // One that is closed and only remembered by the kernel belongs to no inode.
        fields[1].ends_with(&format!(":{port:04X}")) && fields[9] != "0"
    };
    table.lines().skip(1).filter(is_ours).count()
}

/// A thousand come and go in every way; no descriptor stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_leave_no_descriptor() {
    let server = Server::dev().await;
    for number in 0..1_000 {
        come_and_go(&server, number % WAYS).await;
    }
    until("all are closed", async || open_sockets(&server) == 1).await;
    assert_eq!(streams(&server).await, 0);
}
