//! Documents over real sockets, in the bytes of the y-websocket protocol. What the messages mean is
//! tested in `tidewire-docs`; the provider of Yjs itself in `packages/browser-tests`.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tidewire::{Feature, Features, Keep, Settings, tidewire_core::History};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};
use yrs::{Doc, GetString, Text, Transact, Update, WriteTxn, updates::decoder::Decode};

use crate::support::{
    PATIENCE, Server, http,
    log::HeldLog,
    tokens::{LATER_MS, ORIGIN, SECRET, SOON_MS, grant, locked, signed, ticket},
    until,
};

fn document() -> Feature {
    let history = History::Kept { age: None, bytes: None };
    Feature { keep: Keep::Document, history, ..Feature::default() }
}

fn declare(settings: &mut Settings) {
    let chat = ("chat".to_owned(), Feature::default());
    let all = BTreeMap::from([("docs".to_owned(), document()), chat]);
    settings.features = Features::declared(all);
}

/// A provider, as far as its bytes go.
struct Provider {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    doc: Doc,
    denied: Vec<String>,
}

impl Provider {
    async fn open(server: &Server, client: u64) -> Self {
        let mut provider = Self::connect(server, "/docs/docs/plan", client).await.unwrap();
        provider.sync().await;
        provider
    }

    async fn connect(server: &Server, path: &str, client: u64) -> Result<Self, u16> {
        Self::connect_from(server, path, client, None).await
    }

    async fn connect_from(
        server: &Server,
        path: &str,
        client: u64,
        origin: Option<&str>,
    ) -> Result<Self, u16> {
        let url = server.at(path).replacen("http", "ws", 1);
        let mut request = url.into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        match connect_async(request).await {
            Ok((socket, _)) => {
                Ok(Self { socket, doc: Doc::with_client_id(client), denied: Vec::new() })
            }
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Says that it has nothing, and takes what there is.
    async fn sync(&mut self) {
        self.say(vec![0, 0, 1, 0]).await;
        while self.hear().await.expect("a step 2").get(..2) != Some(&[0, 1]) {}
    }

    async fn say(&mut self, message: Vec<u8>) {
        self.socket.send(Message::binary(message)).await.unwrap();
    }

    async fn insert(&mut self, text: &str) {
        let update = {
            let mut transaction = self.doc.transact_mut();
            let shared = transaction.get_or_insert_text("text");
            shared.insert(&mut transaction, 0, text);
            transaction.encode_update_v1()
        };
        self.say(message(&[0, 2], &update)).await;
    }

    fn text(&self) -> String {
        let mut transaction = self.doc.transact_mut();
        let shared = transaction.get_or_insert_text("text");
        shared.get_string(&transaction)
    }

    /// The next message; how the socket was closed otherwise.
    async fn hear(&mut self) -> Result<Vec<u8>, (u16, String)> {
        loop {
            let heard = timeout(PATIENCE, self.socket.next()).await.expect("a message in time");
            match heard {
                Some(Ok(Message::Binary(bytes))) => {
                    match &bytes[..] {
                        [0, 1 | 2, rest @ ..] => {
                            let update = Update::decode_v1(buffer(rest)).unwrap();
                            self.doc.transact_mut().apply_update(update).unwrap();
                        }
                        [2, 0, rest @ ..] => {
                            self.denied.push(String::from_utf8(buffer(rest).to_vec()).unwrap());
                        }
                        _ => {}
                    }
                    return Ok(bytes.to_vec());
                }
                Some(Ok(Message::Close(Some(close)))) => {
                    return Err((close.code.into(), close.reason.to_string()));
                }
                Some(Ok(_)) => {}
                _ => return Err((1006, String::new())),
            }
        }
    }

    async fn until(&mut self, text: &str) {
        while self.text() != text {
            self.hear().await.expect("news");
        }
    }

    async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Err(closed) = self.hear().await {
                return closed;
            }
        }
    }
}

fn message(kind: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut out = kind.to_vec();
    let mut length = bytes.len();
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

fn buffer(bytes: &[u8]) -> &[u8] {
    let numbers = bytes.iter().position(|byte| *byte < 0x80).unwrap();
    &bytes[numbers + 1..]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_writes_the_other_reads_and_a_restart_changes_nothing() {
    let server = Server::dev_with(declare).await;
    let (mut ann, mut ben) = (Provider::open(&server, 1).await, Provider::open(&server, 2).await);
    ann.insert("hello").await;
    ben.until("hello").await;
    // What is stored comes back to who wrote it: there is no other answer.
    assert_eq!(ann.hear().await.unwrap()[..2], [0, 2]);
    let server = server.restart().await;
    for lost in [&mut ann, &mut ben] {
        assert_eq!(lost.closed().await, (1012, "restarting".to_owned()));
    }
    Provider::open(&server, 3).await.until("hello").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_may_be_as_large_as_the_document_and_no_larger() {
    let server = Server::dev_with(|settings| {
        declare(settings);
        settings.limits.document_bytes_max = 400_000;
    })
    .await;
    let (mut ann, mut ben) = (Provider::open(&server, 1).await, Provider::open(&server, 2).await);
    let large = "x".repeat(300_000);
    ann.insert(&large).await;
    ben.until(&large).await;
    ben.insert(&"y".repeat(100_000)).await;
    assert_eq!(ben.closed().await, (4413, "too_large".to_owned()));
    assert!(ben.denied[0].contains("at most 400000 bytes"), "{:?}", ben.denied);
    // Not even as a message.
    let mut cat = Provider::open(&server, 3).await;
    cat.insert(&"z".repeat(400_100)).await;
    assert_eq!(cat.closed().await, (4413, "too_large".to_owned()));
    assert_eq!(Provider::open(&server, 4).await.text(), large);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_stored_closes_the_socket_and_comes_with_the_next_one() {
    let (log, features) = HeldLog::of(document());
    let server = Server::dev_on(log.clone(), features).await;
    let (mut ann, mut ben) = (Provider::open(&server, 1).await, Provider::open(&server, 2).await);
    ann.insert("hello").await;
    ben.until("hello").await;
    log.is_full.store(true, Ordering::Relaxed);
    ann.insert("not stored, ").await;
    assert_eq!(ann.closed().await, (1013, "disk_full".to_owned()));
    log.is_full.store(false, Ordering::Relaxed);
    assert_eq!(ben.text(), "hello");
    let doc = ann.doc.clone();
    ann = Provider::connect(&server, "/docs/docs/plan", 1).await.unwrap();
    ann.doc = doc;
    // The server says what it has, and is given what it has not.
    let step_1 = ann.hear().await.unwrap();
    assert_eq!(step_1[..2], [0, 0]);
    let have = yrs::StateVector::decode_v1(buffer(&step_1[2..])).unwrap();
    let missing = yrs::ReadTxn::encode_state_as_update_v1(&ann.doc.transact(), &have);
    ann.say(message(&[0, 1], &missing)).await;
    ben.until("not stored, hello").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_said_so_that_a_provider_understands() {
    let server = Server::dev_with(declare).await;
    for (path, code, reason) in [
        ("/docs/chat/general", 4404, "no_document"),
        ("/docs/else/plan", 4404, "unknown_feature"),
        ("/docs/docs//plan", 4400, "bad_topic"),
        ("/docs/docs/plan/~base", 4404, "no_document"),
    ] {
        let mut refused = Provider::connect(&server, path, 1).await.unwrap();
        assert_eq!(refused.closed().await, (code, reason.to_owned()), "{path}");
        assert!(refused.denied[0].starts_with(reason), "{:?}", refused.denied);
    }
    // And a person too, who looks with something else.
    for (path, status) in [("/docs/chat/general", 404), ("/docs/docs/plan", 426)] {
        let response = http().get(server.at(path)).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
    }
    let mut ann = Provider::open(&server, 1).await;
    ann.say(vec![0, 2, 3, 9, 9, 9]).await;
    assert_eq!(ann.closed().await, (4400, "bad_request".to_owned()));
    let mut ann = Provider::open(&server, 1).await;
    ann.socket.send(Message::text("{}")).await.unwrap();
    assert_eq!(ann.closed().await, (4400, "bad_request".to_owned()));
    let refused =
        Provider::connect_from(&server, "/docs/docs/plan", 1, Some("https://evil.example"));
    assert_eq!(refused.await.err(), Some(403));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_a_document_once_and_rights_hold() {
    let (server, _) = locked(declare).await;
    let at = |ticket: &str| format!("/docs/docs/plan?ticket={ticket}");
    let mut nobody = Provider::connect(&server, "/docs/docs/plan", 9).await.unwrap();
    assert_eq!(nobody.closed().await, (4401, "token_missing".to_owned()));
    let token = |subject: &str, subscribe: &[&str], publish: &[&str]| {
        signed(SECRET, subject, LATER_MS, grant(subscribe, publish))
    };
    let writer = ticket(&server, &token("ann", &["docs/**"], &["docs/**"])).await;
    let path = at(&writer);
    let mut ann = Provider::connect_from(&server, &path, 1, Some(ORIGIN)).await.unwrap();
    ann.sync().await;
    ann.insert("hello").await;
    let mut again = Provider::connect(&server, &at(&writer), 1).await.unwrap();
    assert_eq!(again.closed().await, (4401, "token_invalid".to_owned()));
    let stranger = ticket(&server, &token("eve", &["chat/**"], &["docs/**"])).await;
    let mut eve = Provider::connect(&server, &at(&stranger), 2).await.unwrap();
    assert_eq!(eve.closed().await, (4403, "forbidden".to_owned()));
    let reader = ticket(&server, &token("ben", &["docs/**"], &[])).await;
    let mut ben = Provider::connect(&server, &at(&reader), 3).await.unwrap();
    ben.sync().await;
    ben.until("hello").await;
    ben.insert("no ").await;
    while ben.denied.is_empty() {
        ben.hear().await.unwrap();
    }
    assert!(ben.denied[0].contains("not edit"), "{:?}", ben.denied);
    ann.insert("oh ").await;
    ben.until("oh no hello").await;
    assert_eq!(ann.text(), "oh hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn access_ends_when_it_ends() {
    let (server, clock) = locked(declare).await;
    let all = grant(&["docs/**"], &["docs/**"]);
    let token = signed(SECRET, "ann", SOON_MS, all);
    let path = format!("/docs/docs/plan?ticket={}", ticket(&server, &token).await);
    let mut ann = Provider::connect(&server, &path, 1).await.unwrap();
    ann.sync().await;
    clock.set(SOON_MS);
    assert_eq!(ann.closed().await, (4401, "token_expired".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_still_told_that_the_line_is_good() {
    let server = Server::dev_with(|settings| {
        declare(settings);
        settings.limits.beat_interval = Duration::from_millis(50);
    })
    .await;
    let mut ann = Provider::open(&server, 1).await;
    // A provider that hears nothing for 30 s would connect again. It reads, so its pongs go out.
    for _ in 0..6 {
        assert_eq!(ann.hear().await.unwrap(), [1, 1, 0]);
    }
    drop(ann);
    until("nobody is left", || async { crate::support::streams(&server).await == 0 }).await;
}
