//! The app decides who may: asked over HTTP, remembered for as long as it says, and never taken for
//! granted.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::{Value, json};
use tidewire::{
    Settings,
    clock::ManualClock,
    config::{Asked, AuthorizeSettings},
};
use tokio::time::Instant;

use crate::support::{
    Server,
    app::{App, Mood},
    http,
    tokens::{API_KEY, LATER_MS, NOW_MS, SECRET, grant, lock, locked, publish, signed},
    until,
    ws::Socket,
};

const ALL: Asked = Asked { connect: true, subscribe: true, publish: true };
const TOPICS: Asked = Asked { connect: false, ..ALL };

fn ask(settings: &mut Settings, app: &App, asks: Asked) {
    let (url, secret) = (app.url(), app.secret());
    let timeout = Duration::from_millis(300);
    settings.auth.authorize = Some(AuthorizeSettings { url, asks, secret, timeout });
}

/// A server that asks this app.
async fn asking(app: &App, asks: Asked) -> (Server, Arc<ManualClock>) {
    locked(|settings| ask(settings, app, asks)).await
}

/// The same without a way to check tokens by itself.
async fn trusting(app: &App, asks: Asked) -> (Server, Arc<ManualClock>) {
    let change = |settings: &mut Settings| {
        ask(settings, app, asks);
        settings.auth.verification = None;
    };
    locked(change).await
}

/// A read, as this bearer; its status, and its code if it was refused.
async fn read(server: &Server, topic: &str, token: &str) -> (u16, String) {
    read_by(&http(), server, topic, token).await
}

/// The same by a client that is there: to make one takes longer than to ask.
async fn read_by(
    client: &reqwest::Client,
    server: &Server,
    topic: &str,
    token: &str,
) -> (u16, String) {
    let request = client.get(server.at(&format!("/events?topic={topic}"))).bearer_auth(token);
    told(request.send().await.unwrap()).await
}

async fn write(server: &Server, topic: &str, token: &str) -> (u16, String) {
    let request = http().post(server.at(&format!("/topics/{topic}"))).bearer_auth(token);
    told(request.body("1").send().await.unwrap()).await
}

async fn told(response: reqwest::Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

fn good() -> (u16, String) {
    (200, String::new())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn alice() -> String {
    signed(SECRET, "alice", LATER_MS, grant(&["chat/**"], &["chat/**"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_says_who_it_is_and_what_they_may() {
    let app = App::start().await;
    let (server, clock) = trusting(&app, Asked { connect: true, ..Asked::default() }).await;
    app.decides(|question| match question["token"].as_str() {
        Some("session-of-alice") => json!({
            "allow": true, "user": "alice", "expires_in_s": 60, "for_s": 30,
            "subscribe": ["notifications/{sub}"], "publish": ["chat/*"],
        }),
        _ => json!({"allow": false, "why": "nobody is logged in with this"}),
    });
    let token = "session-of-alice";
    assert_eq!(read(&server, "notifications/alice", token).await, good());
    assert_eq!(read(&server, "notifications/bob", token).await, refused(403, "forbidden"));
    assert_eq!(write(&server, "chat/a", token).await.0, 201);
    assert_eq!(write(&server, "board/a", token).await, refused(403, "forbidden"));
    assert_eq!(app.count(), 1, "the answer was good for 30 s");
    assert_eq!(app.told()[0].body, json!({"ask": "connect", "token": token}));
    let request = http().get(server.at("/plan")).bearer_auth("another");
    let body: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(body["error"]["code"], "token_invalid");
    assert!(body["error"]["message"].as_str().unwrap().contains("nobody is logged in"), "{body}");
    // Without a credential nobody is asked.
    let bare = told(http().get(server.at("/plan")).send().await.unwrap()).await;
    assert_eq!((bare, app.count()), (refused(401, "token_missing"), 2));
    // Programs are none of the app's business.
    publish(&server, "chat/a", &json!(1)).await;
    assert_eq!(app.count(), 2);

    let (name, value) = crate::support::tokens::bearer(token);
    let mut socket = Socket::open_with(&server, "", &[(name, &value)]).await.expect("a handshake");
    clock.set(NOW_MS + 61_000);
    let bye = loop {
        let heard = socket.hear().await.expect("a bye");
        if heard["bye"].is_object() {
            break heard;
        }
    };
    assert_eq!(bye["bye"]["code"], "token_expired", "{bye}");
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_asked_on_top_of_what_a_token_grants() {
    let app = App::start().await;
    let (server, _clock) = asking(&app, TOPICS).await;
    app.decides(|question| json!({"allow": question["topic"] != "chat/secret", "for_s": 60}));
    let token = alice();
    assert_eq!(read(&server, "chat/a", &token).await, good());
    assert_eq!(write(&server, "chat/a", &token).await.0, 201);
    let asked: Vec<Value> = app.told().into_iter().map(|told| told.body).collect();
    let question = |ask: &str| json!({"ask": ask, "user": "alice", "topic": "chat/a"});
    assert_eq!(asked, [question("subscribe"), question("publish")]);
    assert_eq!(read(&server, "chat/secret", &token).await, refused(403, "forbidden"));
    let before = app.count();
    assert_eq!(read(&server, "board/a", &token).await, refused(403, "forbidden"));
    assert_eq!(app.count(), before, "what the token does not grant is not asked");
    // A token that says nothing of topics leaves them to the app; one that says little stays so.
    let plain = jsonless_token();
    assert_eq!(read(&server, "board/a", &plain).await, good());
    assert_eq!(read(&server, "chat/secret", &plain).await, refused(403, "forbidden"));
    // In a batch each message is asked, and one no refuses all.
    let batch = json!([{"topic": "chat/a", "data": 1}, {"topic": "chat/secret", "data": 1}]);
    let request = http().post(server.at("/publish")).bearer_auth(&token).body(batch.to_string());
    assert_eq!(told(request.send().await.unwrap()).await, refused(403, "forbidden"));
}

/// A token without the claim `tidewire`, as an identity provider makes it.
fn jsonless_token() -> String {
    let claims = json!({"sub": "alice", "aud": "tidewire", "exp": LATER_MS / 1_000});
    let key = hmac_key();
    let part = |value: &Value| base64_url(value.to_string().as_bytes());
    let text = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(&claims));
    let tag = aws_lc_rs::hmac::sign(&key, text.as_bytes());
    format!("{text}.{}", base64_url(tag.as_ref()))
}

fn hmac_key() -> aws_lc_rs::hmac::Key {
    aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes())
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tokens_are_checked_the_app_hears_only_of_good_ones() {
    let app = App::start().await;
    let (server, _clock) = asking(&app, Asked { connect: true, ..Asked::default() }).await;
    assert_eq!(read(&server, "chat/a", "nonsense").await, refused(401, "token_invalid"));
    let foreign = signed(&SECRET.to_uppercase(), "alice", LATER_MS, grant(&["**"], &[]));
    assert_eq!(read(&server, "chat/a", &foreign).await, refused(401, "token_invalid"));
    assert_eq!(app.count(), 0);
    assert_eq!(read(&server, "chat/a", &alice()).await, good());
    app.says(403, &json!({}));
    assert_eq!(read(&server, "chat/a", &alice()).await, refused(401, "token_invalid"));
    // The refusal is remembered for a moment.
    assert_eq!(read(&server, "chat/a", &alice()).await, refused(401, "token_invalid"));
    assert_eq!(app.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_ask_the_same_at_once_are_one_request() {
    let app = App::start().await;
    let (server, _clock) = asking(&app, TOPICS).await;
    // Long enough for many of them to ask meanwhile.
    app.is(Mood::Late(Duration::from_millis(150), "{\"allow\":true,\"for_s\":60}".to_owned()));
    let (token, client) = (alice(), http());
    let reads = (0..30).map(|_| read_by(&client, &server, "chat/a", &token));
    for told in futures_util::future::join_all(reads).await {
        assert_eq!(told, good());
    }
    assert_eq!(app.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_plain_yes_is_a_no() {
    let app = App::start().await;
    let (server, _clock) = asking(&app, TOPICS).await;
    let token = alice();
    for (status, body) in
        [(500, json!({"allow": true})), (200, json!("yes")), (302, json!({"allow": true}))]
    {
        app.says(status, &body);
        let told = read(&server, "chat/a", &token).await;
        assert_eq!(told, refused(503, "gate_unavailable"), "{status} {body}");
    }
    app.is(Mood::Hangs);
    let begun = Instant::now();
    assert_eq!(read(&server, "chat/a", &token).await, refused(503, "gate_unavailable"));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    app.says(200, &json!({"allow": true}));
    assert_eq!(read(&server, "chat/a", &token).await, good(), "a failure is not remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_dead_is_left_alone_and_found_again() {
    let mut app = App::start().await;
    let (server, _clock) = asking(&app, TOPICS).await;
    let token = alice();
    app.says(500, &json!({}));
    for number in 0..5 {
        let told = read(&server, &format!("chat/{number}"), &token).await;
        assert_eq!(told, refused(503, "gate_unavailable"));
    }
    let asked = app.count();
    assert_eq!(asked, 5);
    app.die().await;
    let client = http();
    let begun = Instant::now();
    for number in 0..50 {
        let told = read_by(&client, &server, &format!("chat/{number}"), &token).await;
        assert_eq!(told, refused(503, "gate_unavailable"));
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    // Programs go on meanwhile.
    publish(&server, "chat/a", &json!(1)).await;
    app.says(200, &json!({"allow": true, "for_s": 60}));
    app.revive().await;
    until("the app is asked again", async || read(&server, "chat/a", &token).await == good()).await;
    assert_eq!(read(&server, "chat/b", &token).await, good());
    assert_eq!(app.count(), asked + 2, "while it was left alone nobody asked");
    let (name, value) = crate::support::tokens::bearer(API_KEY);
    let metrics = http().get(format!("{}metrics", server.url)).header(name, value);
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("tidewire_authorize_total{outcome=\"yes\"} 2"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_questions_wait() {
    let app = App::start().await;
    let (server, _clock) = locked(|settings| {
        ask(settings, &app, TOPICS);
        settings.limits.authorize_requests_max = 1;
        settings.limits.authorize_waiting_max = 2;
        settings.auth.authorize.as_mut().unwrap().timeout = Duration::from_secs(3);
    })
    .await;
    app.is(Mood::Hangs);
    let (token, client) = (alice(), http());
    let begun = Instant::now();
    let read =
        async |topic: &str| (read_by(&client, &server, topic, &token).await, begun.elapsed());
    let topics = ["chat/a", "chat/b", "chat/c", "chat/d", "chat/e"];
    let mut reads: FuturesUnordered<_> = topics.into_iter().map(read).collect();
    let mut told = Vec::new();
    for _ in 0..3 {
        told.extend(reads.next().await);
    }
    let at_once = told.iter().filter(|(_, after)| *after < Duration::from_secs(2)).count();
    assert_eq!(at_once, 3, "two wait, and the others are refused without waiting");
    until("one is asked", async || app.count() > 0).await;
    assert_eq!(app.count(), 1, "one request is under way at a time");
    told.extend(reads.collect::<Vec<_>>().await);
    assert!(told.iter().all(|(told, _)| *told == refused(503, "gate_unavailable")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_asks_another_app_and_forgets_what_the_first_said() {
    let (first, second) = (App::start().await, App::start().await);
    let (mut server, _clock) = asking(&first, TOPICS).await;
    first.says(200, &json!({"allow": true, "for_s": 600}));
    second.says(200, &json!({"allow": false}));
    let token = alice();
    assert_eq!(read(&server, "chat/a", &token).await, good());
    let reloaded = server.reload(|settings| settings.auth.leeway = Duration::from_secs(1));
    assert!(reloaded.is_ok());
    assert_eq!(read(&server, "chat/a", &token).await, good());
    assert_eq!(first.count(), 1, "what has not changed is remembered");
    server.reload(|settings| ask(settings, &second, TOPICS)).unwrap();
    assert_eq!(read(&server, "chat/a", &token).await, refused(403, "forbidden"));
    server.reload(lock).unwrap();
    server.reload(|settings| settings.auth.authorize = None).unwrap();
    assert_eq!(read(&server, "chat/a", &token).await, good());
    assert_eq!((first.count(), second.count()), (1, 1));
}
