//! Promise 8, the other half: access ends when it is taken back, on every door, within a second, and
//! after a restart too.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tidewire::{
    Settings,
    clock::ManualClock,
    config::{ApiKey, Secret},
    token::{Claims, mint},
};
use tokio::time::Instant;

use crate::support::{
    Server, http, http2,
    sse::Stream,
    streams,
    tokens::{API_KEY, LATER_MS, NOW_MS, SECRET, bearer, grant, locked, publish, ticket},
    until,
    ws::Socket,
};

/// The key of a program that may take access back, and nothing else.
const MANAGER_KEY: &str = "the key of a program that takes access back";

fn managed(settings: &mut Settings) {
    settings.auth.keys.push(ApiKey {
        name: "manager".to_owned(),
        key: Secret::new(MANAGER_KEY),
        grant: grant(&[], &[]),
        manage: true,
    });
}

async fn server() -> (Server, Arc<ManualClock>) {
    locked(managed).await
}

/// A token of this user, by this name, issued at a time.
fn token(user: &str, id: &str, issued_at_ms: u64) -> String {
    let claims = Claims::new(user, LATER_MS).granting(grant(&["chat/**"], &["chat/**"]));
    mint(&Secret::new(SECRET), &claims.issued_at_ms(issued_at_ms).named(id))
}

async fn revoke(server: &Server, key: &str, body: Value) -> (u16, Value) {
    let request = http().post(server.at("/revoke")).bearer_auth(key).body(body.to_string());
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn revoked(server: &Server, body: Value) -> Value {
    let (status, answer) = revoke(server, MANAGER_KEY, body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn read(server: &Server, token: &str) -> (u16, Value) {
    let request = http().get(server.at("/events?topic=chat/a")).bearer_auth(token);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json::<Value>().await.unwrap()["error"].clone())
}

async fn stream(server: &Server, query: &str, token: &str) -> Stream {
    let (name, value) = bearer(token);
    Stream::open_with(server, query, &[(name, &value)]).await.0
}

async fn socket(server: &Server, token: &str) -> Socket {
    let (name, value) = bearer(token);
    Socket::open_with(server, "", &[(name, &value)]).await.expect("a handshake")
}

async fn said(stream: &mut Stream) -> Value {
    loop {
        let event = stream.next().await.expect("a bye");
        if event.event == "tidewire.bye" {
            assert!(event.retry_ms.is_some(), "{event:?}");
            assert!(stream.next().await.is_none());
            return serde_json::from_str(&event.data).unwrap();
        }
    }
}

async fn assert_ends(socket: &mut Socket, code: &str, close: u16) {
    loop {
        let heard = socket.hear().await.expect("a bye");
        if heard["bye"].is_object() {
            assert_eq!(heard["bye"]["code"], code, "{heard}");
            break;
        }
    }
    assert_eq!(socket.hear().await.unwrap()["closed"], close);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_gone_from_every_door_within_a_second() {
    let (server, _clock) = server().await;
    let (alice, bob) = (token("alice", "a1", NOW_MS - 1), token("bob", "b1", NOW_MS - 1));
    let mut swept = stream(&server, "topic=chat/a", &alice).await;
    let (name, value) = bearer(&alice);
    let url = server.at("/sse?topic=chat/a");
    let (mut body, _) = Stream::connect_by(&http2(), &url, &[(name, &value)]).await;
    let mut talking = socket(&server, &alice).await;
    talking.subscribe("chat/a", None).await;
    let mut others = stream(&server, "topic=chat/a", &bob).await;
    let unused = ticket(&server, &alice).await;
    let waiting = async {
        let request = http().get(server.at("/events?topic=chat/a&wait=15")).bearer_auth(&alice);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap()["error"].clone())
    };
    let take_back = async {
        until("everybody is there", async || streams(&server).await == 5).await;
        let begun = Instant::now();
        let answer = revoked(&server, json!({"user": "alice"})).await;
        assert_eq!(answer["stored"], "fsync", "{answer}");
        assert_eq!(answer["until"], NOW_MS / 1_000 + 30 * 24 * 3_600);
        begun
    };
    let ((status, error), begun) = tokio::join!(waiting, take_back);
    assert_eq!(
        (status, &error["code"], &error["next"]),
        (401, &json!("revoked"), &json!("refresh_token"))
    );
    for stream in [&mut swept, &mut body] {
        let said = said(stream).await;
        assert_eq!((&said["code"], &said["next"]), (&json!("revoked"), &json!("refresh_token")));
    }
    assert_ends(&mut talking, "revoked", 4401).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());

    let (status, error) = read(&server, &alice).await;
    assert_eq!((status, &error["code"]), (401, &json!("revoked")));
    let by_ticket = http().get(server.at(&format!("/events?topic=chat/a&ticket={unused}")));
    assert_eq!(by_ticket.send().await.unwrap().status(), 401);
    // Nobody else is, and whoever has a newer token is let in.
    publish(&server, "chat/a", &json!(1)).await;
    assert_eq!(others.data(1).await, [json!(1)]);
    assert_eq!(read(&server, &token("alice", "a2", NOW_MS + 1_000)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_is_taken_back_and_the_users_others_stay() {
    let (server, clock) = server().await;
    let (first, second) = (token("alice", "a1", NOW_MS), token("alice", "a2", NOW_MS));
    let (mut ends, mut stays) = (socket(&server, &first).await, socket(&server, &second).await);
    stays.subscribe("chat/a", None).await;
    revoked(&server, json!({"token": "a1", "until": NOW_MS / 1_000 + 60})).await;
    assert_ends(&mut ends, "revoked", 4401).await;
    assert_eq!(read(&server, &first).await.1["code"], "revoked");
    let renewed = stays.ask(json!({"do": "token", "token": first})).await;
    assert_eq!(renewed["error"]["code"], "revoked", "{renewed}");
    publish(&server, "chat/a", &json!(1)).await;
    assert_eq!(stays.data(1).await, [json!(1)]);
    clock.set(NOW_MS + 60_000);
    assert_eq!(read(&server, &first).await.0, 200, "until then, and no longer");
}

/// It is not a matter of rights: the connection ends, and its client comes back at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_ended_by_its_name_and_may_come_back() {
    let (server, _clock) = server().await;
    let alice = token("alice", "a1", NOW_MS);
    let mut first = stream(&server, "topic=chat/a&connection=tab-one-1", &alice).await;
    let mut second = stream(&server, "topic=chat/a&connection=tab-two-2", &alice).await;
    revoked(&server, json!({"connection": "tab-one-1"})).await;
    let said = said(&mut first).await;
    assert_eq!((&said["code"], &said["next"]), (&json!("dismissed"), &json!("resume")));
    let mut again = stream(&server, "topic=chat/a&connection=tab-one-1", &alice).await;
    // A second look at everybody ends nobody else.
    revoked(&server, json!({"user": "somebody-else"})).await;
    publish(&server, "chat/a", &json!(1)).await;
    assert_eq!(again.data(1).await, [json!(1)]);
    assert_eq!(second.data(1).await, [json!(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_called_as_its_hello_says_and_stays_so_with_a_new_token() {
    let (server, _clock) = server().await;
    let alice = token("alice", "a1", NOW_MS);
    let (name, value) = bearer(&alice);
    let url = server.at("/socket").replacen("http", "ws", 1);
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert(name, value.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let hello: Value =
        serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
    let renew = json!({"do": "token", "ref": 1, "token": token("alice", "a2", NOW_MS)});
    socket.send(Message::text(renew.to_string())).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap();
    assert!(answer.to_text().unwrap().contains("\"ok\""), "{answer}");
    revoked(&server, json!({"connection": hello["hello"]["connection"]})).await;
    let bye = socket.next().await.unwrap().unwrap();
    assert!(bye.to_text().unwrap().contains("dismissed"), "{bye}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_back_stays_so_over_a_restart() {
    let (server, _clock) = server().await;
    revoked(&server, json!({"user": "alice"})).await;
    revoked(&server, json!({"token": "b1"})).await;
    let clock = Arc::new(ManualClock::at(NOW_MS + 1_000));
    let server = server.restart_on(clock).await;
    for (token, status) in [
        (token("alice", "a1", NOW_MS - 1_000), 401),
        (token("alice", "a2", NOW_MS + 1_000), 200),
        (token("bob", "b1", NOW_MS), 401),
        (token("bob", "b2", NOW_MS), 200),
    ] {
        assert_eq!(read(&server, &token).await.0, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_key_that_manages_takes_access_back() {
    let (server, _clock) = server().await;
    let alice = token("alice", "a1", NOW_MS);
    let body = json!({"user": "bob"});
    for (key, status, code) in [
        (API_KEY, 403, "forbidden"),
        (&alice, 403, "forbidden"),
        ("nonsense", 401, "token_invalid"),
    ] {
        let (told, answer) = revoke(&server, key, body.clone()).await;
        assert_eq!((told, &answer["error"]["code"]), (status, &json!(code)), "{answer}");
    }
    let bare = http().post(server.at("/revoke")).body(body.to_string()).send().await.unwrap();
    assert_eq!(bare.status(), 401);
    let (status, answer) = revoke(&server, MANAGER_KEY, json!({"user": "a", "token": "b"})).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("bad_request")));
    // The key of a program is not a token: it goes when the config does not name it any more.
    revoked(&server, json!({"user": "key:worker"})).await;
    publish(&server, "chat/a", &json!(1)).await;
    let dev = Server::dev().await;
    assert_eq!(revoke(&dev, MANAGER_KEY, body).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_revocations_are_in_force() {
    let change = |settings: &mut Settings| {
        managed(settings);
        settings.limits.revocations_max = 2;
    };
    let (server, clock) = locked(change).await;
    let soon = NOW_MS / 1_000 + 5;
    revoked(&server, json!({"user": "one", "until": soon})).await;
    revoked(&server, json!({"user": "two"})).await;
    revoked(&server, json!({"user": "two"})).await;
    let (status, answer) = revoke(&server, MANAGER_KEY, json!({"user": "three"})).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("busy")));
    clock.set(soon * 1_000);
    revoked(&server, json!({"user": "three"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_or_writes_where_revocations_are_kept() {
    let (server, _clock) = server().await;
    for path in ["/events?topic=~tidewire/revocations", "/sse?topic=~tidewire/revocations"] {
        let (name, value) = bearer(API_KEY);
        let response = http().get(server.at(path)).header(name, value).send().await.unwrap();
        assert_eq!(response.status(), 400, "{path}");
    }
    let (name, value) = bearer(API_KEY);
    let headers = [(name, value.as_str())];
    let response = server.post("~tidewire/revocations", "{}", &headers).await;
    assert_eq!(response.status(), 400);
}
