//! What a WebSocket's peer sends: in pieces, early, a lot at once.

use super::{BINARY, TEXT, socket, told};
use crate::support::{
    Server,
    log::HeldLog,
    raw::masked,
};
use serde_json::json;
use std::time::Duration;

fn publish_bytes(reference: usize, bytes: usize) -> Vec<u8> {
    let header = format!(r#"{{"do":"publish","ref":{reference},"topic":"chat/a"}}"#);
    let body = vec![b'x'; bytes];
    masked(BINARY, &[&[0, header.len() as u8], header.as_bytes(), &body].concat())
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
        raw.send(publish_bytes(number, LARGE)).await;
        assert!(told(&mut raw).await["ok"].is_object());
    }
    log.hold(true);
    for reference in 100..164 {
        let command = format!(r#"{{"do":"publish","ref":{reference},"topic":"a","data":1}}"#);
        raw.send_frame(TEXT, command).await;
    }
    log.has_begun(40 + 64).await;
    raw.send(publish_bytes(200, LARGE)).await;
    log.hold(false);
    for reference in (100..164).chain([200]) {
        assert_eq!(told(&mut raw).await["ref"], json!(reference));
    }
}
