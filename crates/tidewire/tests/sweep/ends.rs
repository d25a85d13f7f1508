//! How sockets end: with commands under way, with a slow log, when access ends.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tidewire::{Action, Credential, Gate, Peer, Refusal, Topic, clock::ManualClock};
use tokio::{net::TcpStream, sync::watch};

use super::{CLOSE, TEXT, socket, told};
use crate::support::{Server, PATIENCE, log::HeldLog, raw::{Frame, address}, until};

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
