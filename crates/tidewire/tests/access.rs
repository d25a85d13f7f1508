//! Promise 8: access ends when it ends; and nobody has it who should not. Which pages may connect is
//! in `origins.rs`.

use std::sync::Arc;

use serde_json::{Value, json};
use tidewire::{Action, Credential, Gate, Peer, Refusal, Topic};
use tokio::time::Instant;

use crate::support::{
    Server, http, id,
    sse::Stream,
    tokens::{
        API_KEY, LATER_MS, READER_KEY, SECRET, SOON_MS, alice, bearer, grant, locked, publish,
        signed, ticket,
    },
    ws::Socket,
};

async fn stream(server: &Server, query: &str, token: &str) -> Stream {
    let (name, value) = bearer(token);
    Stream::open_with(server, query, &[(name, &value)]).await.0
}

async fn socket(server: &Server, token: &str) -> Socket {
    let (name, value) = bearer(token);
    Socket::open_with(server, "", &[(name, &value)]).await.expect("a handshake")
}

/// The refusal of a reader, over plain HTTP.
async fn refused(server: &Server, path: &str, token: Option<&str>) -> (u16, Value) {
    let mut request = http().get(server.at(path));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    answer(request).await
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    if status == 401 {
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
    let body: Value = response.json().await.unwrap();
    (status, body["error"].clone())
}

async fn assert_ends(socket: &mut Socket, code: &str, close: u16) {
    let bye = loop {
        let heard = socket.hear().await.expect("a bye");
        if heard["bye"].is_object() {
            break heard;
        }
    };
    assert_eq!(bye["bye"]["code"], code, "{bye}");
    assert_eq!(socket.hear().await.unwrap()["closed"], close);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_sockets_end_when_their_token_does() {
    let (server, clock) = locked(|_| {}).await;
    let token = alice(SOON_MS);
    let mut stream = stream(&server, "topic=chat/a", &token).await;
    let mut socket = socket(&server, &token).await;
    socket.subscribe("chat/a", None).await;
    publish(&server, "chat/a", &json!(1)).await;
    assert_eq!(stream.data(1).await, [json!(1)]);
    assert_eq!(socket.data(1).await, [json!(1)]);

    clock.set(SOON_MS);
    let ended = Instant::now();
    assert_ends(&mut socket, "token_expired", 4401).await;
    let bye = stream.next().await.unwrap();
    assert_eq!(bye.event, "tidewire.bye");
    assert!(bye.retry_ms.is_some(), "{bye:?}");
    let said: Value = serde_json::from_str(&bye.data).unwrap();
    assert_eq!((&said["code"], &said["next"]), (&json!("token_expired"), &json!("refresh_token")));
    assert!(stream.next().await.is_none());
    assert!(ended.elapsed().as_secs() < 3, "{:?}", ended.elapsed());

    let (status, error) = refused(&server, "/sse?topic=chat/a", Some(&token)).await;
    assert_eq!((status, &error["code"]), (401, &json!("token_expired")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_on_a_live_socket_keeps_it_open() {
    let (server, clock) = locked(|_| {}).await;
    let (mut renewed, mut control) =
        (socket(&server, &alice(SOON_MS)).await, socket(&server, &alice(SOON_MS)).await);
    renewed.subscribe("chat/a", None).await;
    let answer = renewed.ask(json!({"do": "token", "token": alice(LATER_MS)})).await;
    assert_eq!(answer["ok"], json!({}));
    clock.set(SOON_MS);
    // The other one, opened after it with the old token, has been looked at and ended.
    assert_ends(&mut control, "token_expired", 4401).await;
    publish(&server, "chat/a", &json!(1)).await;
    assert_eq!(renewed.data(1).await, [json!(1)]);
    clock.set(LATER_MS);
    assert_ends(&mut renewed, "token_expired", 4401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_good_changes_nothing() {
    let (server, _clock) = locked(|_| {}).await;
    let mut socket = socket(&server, &alice(LATER_MS)).await;
    socket.subscribe("chat/a", None).await;
    let foreign = signed(&SECRET.replace('a', "b"), "alice", LATER_MS, grant(&["**"], &["**"]));
    for (token, code) in [
        ("nonsense".to_owned(), "token_invalid"),
        (foreign, "token_invalid"),
        ("x".repeat(8 * 1024 + 1), "token_invalid"),
        (alice(SOON_MS - 1_000), "token_expired"),
    ] {
        let answer = socket.ask(json!({"do": "token", "token": token})).await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
    publish(&server, "chat/a", &json!(1)).await;
    assert_eq!(socket.data(1).await, [json!(1)]);
}

/// Whoever reads on is somebody else now, or may no longer read what is being read.
#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_that_does_not_cover_what_is_read_ends_the_socket() {
    let (server, _clock) = locked(|_| {}).await;
    for (subject, rights) in [("bob", grant(&["**"], &["**"])), ("alice", grant(&["chat/b"], &[]))]
    {
        let mut socket = socket(&server, &alice(LATER_MS)).await;
        socket.subscribe("chat/a", None).await;
        let token = signed(SECRET, subject, LATER_MS, rights);
        let answer = socket.ask(json!({"do": "token", "token": token})).await;
        assert_eq!(answer["error"]["code"], "forbidden", "{answer}");
        assert_ends(&mut socket, "forbidden", 4403).await;
    }
    // Narrower, but what is read is covered: it goes on, and the narrower rights hold.
    let mut socket = socket(&server, &alice(LATER_MS)).await;
    socket.subscribe("chat/a", None).await;
    let token = signed(SECRET, "alice", LATER_MS, grant(&["chat/a"], &[]));
    assert_eq!(socket.ask(json!({"do": "token", "token": token})).await["ok"], json!({}));
    let other = socket.ask(json!({"do": "subscribe", "topic": "chat/b"})).await;
    assert_eq!(other["error"]["code"], "forbidden", "{other}");
    let said = socket.ask(json!({"do": "publish", "topic": "chat/a", "data": 1})).await;
    assert_eq!(said["error"]["code"], "forbidden", "{said}");
}

/// The token ends while the request waits: what comes then is not for its bearer.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_whose_token_ends_gets_nothing() {
    let (server, clock) = locked(|_| {}).await;
    let token = alice(SOON_MS);
    let waiting = refused(&server, "/events?topic=chat/a&wait=15", Some(&token));
    let end = async {
        let waits = async || crate::support::streams(&server).await == 1;
        crate::support::until("somebody waits", waits).await;
        clock.set(SOON_MS);
        publish(&server, "chat/a", &json!("too late")).await;
    };
    let ((status, error), ()) = tokio::join!(waiting, end);
    assert_eq!((status, &error["code"]), (401, &json!("token_expired")));
}

/// Every way to read or write, by a token that may do neither; the topic exists, or it does not.
#[tokio::test(flavor = "multi_thread")]
async fn every_door_asks_the_gate_and_tells_nothing_of_what_exists() {
    let (server, _clock) = locked(|_| {}).await;
    publish(&server, "notifications/bob", &json!("secret")).await;
    let token = alice(LATER_MS);
    let mut told: [Vec<String>; 2] = Default::default();
    for (told, topic) in told.iter_mut().zip(["notifications/bob", "notifications/nobody"]) {
        let mut errors = Vec::new();
        for path in
            ["/sse?topic=", "/events?topic=", "/events?wait=9&topic=", "/sse?topic=chat/a&topic="]
        {
            errors.push(refused(&server, &format!("{path}{topic}"), Some(&token)).await);
        }
        let post = |path: &str, body: String| {
            answer(http().post(server.at(path)).bearer_auth(&token).body(body))
        };
        errors.push(post(&format!("/topics/{topic}"), "1".to_owned()).await);
        let batch = json!([{"topic": "chat/a", "data": 1}, {"topic": topic, "data": 1}]);
        errors.push(post("/publish", batch.to_string()).await);
        let mut socket = socket(&server, &token).await;
        for command in ["subscribe", "publish"] {
            let answer = socket.ask(json!({"do": command, "topic": topic, "data": 1})).await;
            errors.push((403, answer["error"].clone()));
        }
        for (status, error) in errors {
            assert_eq!((status, &error["code"]), (403, &json!("forbidden")), "{error}");
            told.push(error.to_string().replace(topic, "TOPIC"));
        }
    }
    assert_eq!(told[0], told[1]);
    let (name, value) = bearer(READER_KEY);
    let chat = http().get(server.at("/events?topic=chat/a")).header(name, value).send().await;
    let chat: Value = chat.unwrap().json().await.unwrap();
    assert_eq!(chat["entries"], json!([]), "the good half of the batch was not stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_asks_again_with_todays_rights() {
    let (server, _clock) = locked(|_| {}).await;
    let first = id(&publish(&server, "chat/a", &json!(1)).await);
    let second = id(&publish(&server, "chat/a", &json!(2)).await);
    let mut reader =
        stream(&server, &format!("topic=chat/a&after={first}"), &alice(LATER_MS)).await;
    assert_eq!(reader.entry().await.id.as_deref(), Some(second.as_str()));
    let today = signed(SECRET, "alice", LATER_MS, grant(&["chat/b"], &[]));
    for path in ["/sse", "/events"] {
        let request = http().get(server.at(&format!("{path}?topic=chat/a")));
        let request = request.header("last-event-id", &first).bearer_auth(&today);
        let (status, error) = answer(request).await;
        assert_eq!((status, &error["code"]), (403, &json!("forbidden")), "{path}");
    }
    let mut socket = socket(&server, &today).await;
    let resume = json!({"do": "subscribe", "topic": "chat/a", "after": first});
    assert_eq!(socket.ask(resume).await["error"]["code"], "forbidden");
}

const READING: [&str; 4] =
    ["/sse?topic=chat/a", "/events?topic=chat/a", "/events?topic=chat/a&wait=1", "/plan"];

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_token_every_door_is_closed() {
    let (server, _clock) = locked(|_| {}).await;
    let everything = || grant(&["**"], &["**"]);
    let foreign = signed(&SECRET.to_uppercase(), "alice", LATER_MS, everything());
    let unsigned =
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIiwiZXhwIjo5OTk5OTk5OTk5LCJhdWQiOiJ0aWRld2lyZSJ9.";
    let credentials = [
        (None, "token_missing"),
        (Some(String::from("Bearer nonsense")), "token_invalid"),
        (Some(format!("Bearer {foreign}")), "token_invalid"),
        (Some(format!("Bearer {unsigned}")), "token_invalid"),
        (Some(String::from("Bearer ")), "token_invalid"),
        (Some(String::from("Basic YTpi")), "token_invalid"),
        (Some(String::from("Bearer")), "token_invalid"),
        (Some(format!("Bearer {}", alice(SOON_MS - 1_000))), "token_expired"),
    ];
    for (credential, code) in credentials {
        let mut requests: Vec<_> = READING.iter().map(|path| http().get(server.at(path))).collect();
        for path in ["/topics/chat/a", "/publish", "/tickets"] {
            requests.push(http().post(server.at(path)).body("1"));
        }
        for mut request in requests {
            if let Some(credential) = &credential {
                request = request.header("authorization", credential);
            }
            let (status, error) = answer(request).await;
            let told = (status, &error["code"], &error["next"]);
            assert_eq!(told, (401, &json!(code), &json!("refresh_token")), "{credential:?}");
        }
        let headers: Vec<_> = credential.iter().map(|c| ("authorization", c.as_str())).collect();
        let (status, body) = Socket::open_with(&server, "", &headers).await.err().unwrap();
        assert_eq!((status, &body["error"]["code"]), (401, &json!(code)), "{credential:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_url_is_not_a_token() {
    let (server, _clock) = locked(|_| {}).await;
    let token = alice(LATER_MS);
    for name in ["token", "access_token", "authorization", "jwt"] {
        for path in READING {
            let joint = if path.contains('?') { '&' } else { '?' };
            let path = format!("{path}{joint}{name}={token}");
            let (status, error) = refused(&server, &path, None).await;
            assert_eq!((status, &error["code"]), (401, &json!("token_missing")), "{path}");
        }
        let query = format!("?{name}={token}");
        let (status, body) = Socket::open_with(&server, &query, &[]).await.err().unwrap();
        assert_eq!((status, &body["error"]["code"]), (401, &json!("token_missing")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_programs_key_does_what_it_was_granted() {
    let (server, _clock) = locked(|_| {}).await;
    publish(&server, "chat/a", &json!(1)).await;
    let (status, error) = refused(&server, "/events?topic=chat/a", Some(API_KEY)).await;
    assert_eq!((status, &error["code"]), (403, &json!("forbidden")));
    let mut reader = stream(&server, "topic=chat/a&after=start", READER_KEY).await;
    assert_eq!(reader.data(1).await, [json!(1)]);
    let (status, _) = refused(&server, "/events?topic=board/a", Some(READER_KEY)).await;
    assert_eq!(status, 403);
    let wrong = API_KEY.to_uppercase();
    let (status, error) = refused(&server, "/plan", Some(&wrong)).await;
    assert_eq!((status, &error["code"]), (401, &json!("token_invalid")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_stands_for_its_token_once() {
    let (server, clock) = locked(|_| {}).await;
    publish(&server, "chat/a", &json!(1)).await;
    let token = alice(SOON_MS);
    let (for_stream, for_socket) = (ticket(&server, &token).await, ticket(&server, &token).await);
    let query = format!("topic=chat/a&after=start&ticket={for_stream}");
    let (mut stream, _) = Stream::open(&server, &query).await;
    assert_eq!(stream.data(1).await, [json!(1)]);
    let query = format!("?ticket={for_socket}");
    let mut socket = Socket::open_with(&server, &query, &[]).await.expect("a handshake");
    socket.subscribe("chat/a", None).await;
    let forbidden = socket.ask(json!({"do": "subscribe", "topic": "board/a"})).await;
    assert_eq!(forbidden["error"]["code"], "forbidden", "no more rights than the token's");

    for used in [for_stream.as_str(), for_socket.as_str(), "", "t1-1"] {
        let path = format!("/sse?topic=chat/a&ticket={used}");
        let (status, error) = refused(&server, &path, None).await;
        assert_eq!((status, &error["code"]), (401, &json!("token_invalid")), "{used:?}");
        let again = Socket::open_with(&server, &format!("?ticket={used}"), &[]).await;
        assert_eq!(again.err().unwrap().0, 401);
    }
    // It ends when the token does, used or not.
    let unused = ticket(&server, &token).await;
    clock.set(SOON_MS);
    assert_ends(&mut socket, "token_expired", 4401).await;
    let (status, error) =
        refused(&server, &format!("/sse?topic=chat/a&ticket={unused}"), None).await;
    assert_eq!((status, &error["code"]), (401, &json!("token_expired")));
}

#[tokio::test]
async fn a_ticket_is_not_good_for_long() {
    let (server, _clock) = locked(|_| {}).await;
    let ticket = ticket(&server, &alice(LATER_MS)).await;
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(30)).await;
    tokio::time::resume();
    let path = format!("/sse?topic=chat/a&ticket={ticket}");
    let (status, error) = refused(&server, &path, None).await;
    assert_eq!((status, &error["code"]), (401, &json!("token_invalid")));
}

/// A gate that cannot tell right now.
struct Unavailable;

#[async_trait::async_trait]
impl Gate for Unavailable {
    async fn admit(&self, _: Credential<'_>) -> Result<Arc<Peer>, Refusal> {
        Err(Refusal::Unavailable { why: "the keys cannot be fetched".to_owned() })
    }

    async fn may(&self, _: &Peer, _: Action, _: &Topic) -> Result<(), Refusal> {
        Ok(())
    }
}

/// A native `EventSource` gives up for ever on any status but 200, and this passes.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_gate_cannot_decide_a_stream_is_sent_away_with_a_slot() {
    let server = Server::built(|_| {}, true, |builder| builder.gate(Arc::new(Unavailable))).await;
    let response = http().get(server.at("/sse?topic=chat/a")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let said = response.text().await.unwrap();
    assert!(said.starts_with("retry: ") && said.contains("tidewire.bye"), "{said}");
    assert!(said.contains("gate_unavailable"), "{said}");
    let (status, error) = refused(&server, "/events?topic=chat/a", None).await;
    assert_eq!((status, &error["next"]), (503, &json!("retry")));
    let (status, _) = Socket::open_with(&server, "", &[]).await.err().unwrap();
    assert_eq!(status, 503);
}
