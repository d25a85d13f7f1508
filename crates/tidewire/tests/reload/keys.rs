//! What a reload may change, key by key, and what needs a restart.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tidewire::{
    Feature, Features, Settings,
    config::{ApiKey, Origin, Secret, Tls, Verification},
    tidewire_core::History,
    tidewire_proto::plan::{Answers, Transport},
};

use super::{moved, plan, tag};
use crate::support::{
    Server, http, id,
    sse::Stream,
    streams,
    tokens::{
        API_KEY, LATER_MS, READER_KEY, SECRET, alice, bearer, grant, locked, publish, signed,
    },
    until,
    ws::Socket,
};

fn declared<const N: usize>(features: [(&str, Feature); N]) -> Features {
    let features = features.map(|(name, feature)| (name.to_owned(), feature));
    Features::declared(BTreeMap::from(features))
}

fn passing() -> Feature {
    Feature { history: History::None, ..Feature::default() }
}

fn keeping(bytes: u64) -> Feature {
    Feature { history: History::Kept { age: None, bytes: Some(bytes) }, ..Feature::default() }
}

/// The status and the code of a publish.
async fn published(server: &Server, topic: &str) -> (u16, Value) {
    let response = server.post(topic, "1", &[]).await;
    let status = response.status().as_u16();
    (status, response.json::<Value>().await.unwrap()["error"]["code"].clone())
}

/// The status and the code of a stream that is asked for.
async fn opened(server: &Server, topic: &str) -> (u16, Value) {
    let url = server.at(&format!("/sse?topic={topic}"));
    let response = http().get(url).send().await.unwrap();
    let status = response.status().as_u16();
    if status == 200 {
        return (status, Value::Null);
    }
    (status, response.json::<Value>().await.unwrap()["error"]["code"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_says_what_the_settings_say() {
    let mut server = Server::dev().await;
    let before = plan(&server).await;
    let row = |plan: &Value| {
        let mut rows = plan["features"].as_array().unwrap().iter();
        rows.find(|row| row["feature"] == "chat").unwrap().clone()
    };
    assert_eq!(
        (&row(&before)["transport"], &row(&before)["reason"]),
        (&json!("ws"), &json!("client_sends"))
    );
    for (name, expected) in [
        ("topics_per_stream_max", 64),
        ("subscriptions_per_socket_max", 128),
        ("message_bytes_max", 262_144),
        ("page_entries_max", 1_000),
    ] {
        assert_eq!(before[name], json!(expected), "{name}");
    }
    let answers = Answers { binary: true, ..Answers::default() };
    let reloaded = server.reload(|settings| {
        let chat = Feature { answers, ..keeping(1 << 30) };
        settings.features = declared([("chat", chat)]).with_undeclared(Feature::default());
    });
    let said: Vec<_> = reloaded.unwrap().changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "feature.board: sse, history 7d → not declared",
            "feature.chat.client_sends: true → false",
            "feature.chat.binary: false → true",
            "feature.chat.history: 7d → forever",
            "feature.chat.history_bytes: no bound → 1GiB",
            "feature.chat.presence: true → false",
            "feature.notifications: sse, history 7d → not declared",
        ]
    );
    let after = plan(&server).await;
    assert_eq!(
        (&row(&after)["reason"], &row(&after)["history"]),
        (&json!("binary"), &json!("forever"))
    );
    assert_ne!(after["tag"], before["tag"]);
    assert_eq!(after["peer"], before["peer"], "it is the same who asks");
}

/// The tag is what all hear; `peer` tells whose plan it is; the `ETag` covers both.
#[tokio::test(flavor = "multi_thread")]
async fn the_tag_is_everybodys_and_the_peer_is_ones_own() {
    let (mut server, _clock) = locked(|_| {}).await;
    let url = server.at("/plan");
    let get = async |token: &str, known: Option<&str>| {
        let mut request = http().get(&url).bearer_auth(token);
        if let Some(known) = known {
            request = request.header("if-none-match", known);
        }
        request.send().await.unwrap()
    };
    let heard = async |token: &str| {
        let response = get(token, None).await;
        let etag = response.headers()["etag"].to_str().unwrap().to_owned();
        (response.json::<Value>().await.unwrap(), etag)
    };
    let (mine, etag) = heard(&alice(LATER_MS)).await;
    let (later, same) = heard(&alice(LATER_MS + 60_000)).await;
    assert_eq!((&mine, &etag), (&later, &same), "another token with the same rights");
    let (other, others) = heard(&signed(SECRET, "bob", LATER_MS, grant(&["chat/**"], &[]))).await;
    assert_eq!(mine["tag"], other["tag"]);
    assert_ne!((&mine["peer"], &etag), (&other["peer"], &others));
    assert_eq!(get(&alice(LATER_MS), Some(&etag)).await.status(), 304);
    assert_eq!(get(&alice(LATER_MS), Some(&others)).await.status(), 200);
    server.reload(|settings| moved(settings, Transport::Sse)).unwrap();
    let now = get(&alice(LATER_MS), Some(&etag)).await;
    assert_eq!(now.status(), 200, "the plan is another");
    let now: Value = now.json().await.unwrap();
    assert_ne!(now["tag"], mine["tag"]);
    assert_eq!(now["peer"], mine["peer"]);
}

/// A feature comes: its topics are known at once. It goes: who reads it stays, and hears of the rest;
/// nobody else comes, and nothing is published. It comes back, and who stayed hears on.
#[tokio::test(flavor = "multi_thread")]
async fn features_come_and_go() {
    let unknown = (404, json!("unknown_feature"));
    let chat = || ("chat", Feature::default());
    let mut server = Server::dev_with(|settings| settings.features = declared([chat()])).await;
    assert_eq!(opened(&server, "new/a").await, unknown);
    let with_new = |settings: &mut Settings| {
        settings.features = declared([chat(), ("new", Feature::default()), ("live", passing())]);
    };
    server.reload(with_new).unwrap();
    let (mut stream, _) = Stream::open(&server, "topic=new/a&topic=chat/a&topic=live/a").await;
    let mut socket = Socket::open(&server).await;
    socket.subscribe("new/a", None).await;
    socket.subscribe("chat/a", None).await;
    let kept = id(&server.publish("new/a", &json!(1)).await);
    server.publish("live/a", &json!(2)).await;
    assert_eq!(stream.data(2).await, [json!(1), json!(2)]);
    assert_eq!(socket.data(1).await, [json!(1)]);

    server.reload(|settings| settings.features = declared([chat()])).unwrap();
    assert_eq!(opened(&server, "new/a").await, unknown);
    assert_eq!(published(&server, "new/a").await, unknown);
    let refused = socket.ask(json!({"do": "publish", "topic": "new/a", "data": 1})).await;
    assert_eq!(refused["error"]["code"], "unknown_feature");
    assert_eq!(stream.next().await.unwrap().event, "tidewire.plan");
    assert!(socket.hear().await.unwrap()["plan"].is_object());
    server.publish("chat/a", &json!(3)).await;
    assert_eq!((stream.data(1).await, socket.data(1).await), (vec![json!(3)], vec![json!(3)]));

    server.reload(with_new).unwrap();
    assert_eq!(stream.next().await.unwrap().event, "tidewire.plan");
    server.publish("new/a", &json!(4)).await;
    assert_eq!(stream.data(1).await, [json!(4)]);
    let heard = server.history("new/a", "start").await;
    assert_eq!(heard.len(), 2, "what was kept is there again");
    assert_eq!(heard[0]["id"], json!(kept));
}

/// Who reads is bound to the log that keeps, or to the one that passes on: a feature can not go over.
#[tokio::test(flavor = "multi_thread")]
async fn a_feature_does_not_go_over_to_the_other_log() {
    let mut server = Server::dev_with(|settings| {
        settings.features = declared([("kept", Feature::default()), ("live", passing())]);
    })
    .await;
    let before = plan(&server).await;
    let refused = server.reload(|settings| {
        settings.features = declared([("kept", passing()), ("live", Feature::default())]);
    });
    let problems = refused.unwrap_err().problems;
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["feature.kept.history", "feature.live.history"]);
    assert!(problems.iter().all(|problem| problem.to_string().contains("needs a restart")));
    assert_eq!(plan(&server).await, before, "nothing is another");

    // It goes, and comes back as the other kind: that would leave who reads it with nothing to hear.
    let (stream, _) = Stream::open(&server, "topic=live/a").await;
    server.reload(|settings| settings.features = declared([])).unwrap();
    let as_kept = |settings: &mut Settings| {
        settings.features = declared([("live", Feature::default())]);
    };
    let problems = server.reload(as_kept).unwrap_err().problems;
    assert_eq!(problems[0].key, "feature.live.history");
    drop(stream);
    until("nobody reads it any more", async || streams(&server).await == 0).await;
    server.reload(as_kept).unwrap();
    server.publish("live/a", &json!(1)).await;
    assert_eq!(server.history("live/a", "start").await.len(), 1);
}

/// `dev` takes undeclared features as kept: one that is declared as passing on is fine unless
/// somebody reads it.
#[tokio::test(flavor = "multi_thread")]
async fn a_feature_that_was_undeclared_may_pass_on_unless_it_is_read() {
    let mut server = Server::dev().await;
    let with_live = |settings: &mut Settings| {
        settings.features = declared([("live", passing())]).with_undeclared(Feature::default());
    };
    let mut socket = Socket::open(&server).await;
    socket.subscribe("live/a", None).await;
    let problems = server.reload(with_live).unwrap_err().problems;
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().contains("needs a restart"), "{}", problems[0]);
    let answer = socket.ask(json!({"do": "unsubscribe", "topic": "live/a"})).await;
    assert!(answer["ok"].is_object());
    server.reload(with_live).unwrap();
    assert_eq!(published(&server, "live/a").await, (201, Value::Null));
    assert_eq!(server.publish("live/a", &json!(1)).await["stored"], "memory");
}

/// Each is named, and of the rest of the settings nothing is taken up either.
#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_refused_whole() {
    let mut server = Server::dev().await;
    let before = tag(&server).await;
    let refused = server.reload(|settings| {
        settings.file = Some("tidewire.toml".into());
        settings.listen = "127.0.0.1:1".parse().unwrap();
        settings.prefix = "/live".to_owned();
        settings.data = "elsewhere".into();
        settings.tls = Some(Tls { certificate: "c.pem".into(), key: "k.pem".into() });
        settings.limits.wait_max = Duration::from_secs(1);
        settings.limits.beat_interval = Duration::from_secs(1);
        // These could be taken up.
        settings.origins.listed = vec![Origin::parse("https://new.example").unwrap()];
        moved(settings, Transport::Sse);
    });
    let problems = refused.unwrap_err().problems;
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "server.listen",
            "server.prefix",
            "server.data",
            "server.tls",
            "limits.wait_max",
            "limits.beat_interval"
        ]
    );
    for problem in &problems {
        let said = problem.to_string();
        assert!(said.starts_with("tidewire.toml: ") && said.contains("needs a restart"), "{said}");
    }
    assert_eq!(tag(&server).await, before);
    let page = http().get(server.at("/plan")).header("origin", "https://new.example");
    assert_eq!(page.send().await.unwrap().status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_is_shorter_now_takes_what_is_too_much() {
    let mut server = Server::dev_with(|settings| {
        settings.features = declared([("feed", Feature::default())]);
    })
    .await;
    let megabyte = json!("x".repeat(250_000));
    let first = id(&server.publish("feed/a", &megabyte).await);
    for _ in 0..12 {
        server.publish("feed/a", &megabyte).await;
    }
    let told = async |server: &Server| {
        let page = server.page(&format!("topic=feed/a&after={first}&limit=1")).await;
        page["continuity"].clone()
    };
    assert_eq!(told(&server).await, "resumed");
    server.reload(|settings| settings.features = declared([("feed", keeping(1 << 20))])).unwrap();
    until("the oldest have gone", async || {
        server.publish("feed/a", &megabyte).await;
        told(&server).await == "gap"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_pages_may_connect() {
    let mut server = Server::dev().await;
    let asks = async |server: &Server, origin: &str| {
        let request = http().get(server.at("/plan")).header("origin", origin);
        request.send().await.unwrap().status().as_u16()
    };
    let listed = |origin: &str| vec![Origin::parse(origin).unwrap()];
    for (now, before) in
        [("https://a.example", "https://b.example"), ("https://b.example", "https://a.example")]
    {
        server.reload(|settings| settings.origins.listed = listed(now)).unwrap();
        assert_eq!((asks(&server, now).await, asks(&server, before).await), (200, 403));
    }
}

const OTHER_SECRET: &str = "another secret of the tests, long enough for HS256";

async fn stream(server: &Server, token: &str) -> Stream {
    let (name, value) = bearer(token);
    Stream::open_with(server, "topic=chat/a", &[(name, &value)]).await.0
}

async fn plan_status(server: &Server, token: &str) -> u16 {
    http().get(server.at("/plan")).bearer_auth(token).send().await.unwrap().status().as_u16()
}

/// Tokens are checked by the new secret; whoever is in stays until the token ends.
#[tokio::test(flavor = "multi_thread")]
async fn new_tokens_are_checked_by_the_new_secret_and_old_streams_go_on() {
    let (mut server, _clock) = locked(|_| {}).await;
    let old = alice(LATER_MS);
    let new = signed(OTHER_SECRET, "alice", LATER_MS, grant(&["chat/**"], &["chat/**"]));
    let mut before = stream(&server, &old).await;
    let (name, value) = bearer(&old);
    let mut socket = Socket::open_with(&server, "", &[(name, &value)]).await.unwrap();
    socket.subscribe("chat/a", None).await;
    assert_eq!(plan_status(&server, &new).await, 401);
    let verification = Verification::Secret(Secret::new(OTHER_SECRET));
    let reloaded = server.reload(|settings| settings.auth.verification = Some(verification));
    let said: Vec<_> = reloaded.unwrap().changes.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["auth.secret: a shared secret → another: a shared secret"]);

    assert_eq!((plan_status(&server, &old).await, plan_status(&server, &new).await), (401, 200));
    let mut after = stream(&server, &new).await;
    publish(&server, "chat/a", &json!(1)).await;
    assert_eq!((before.data(1).await, after.data(1).await), (vec![json!(1)], vec![json!(1)]));
    assert_eq!(socket.data(1).await, [json!(1)]);
    let sent = socket.ask(json!({"do": "publish", "topic": "chat/a", "data": 2})).await;
    assert!(sent["ok"]["id"].is_string(), "{sent}");
    let refused = socket.ask(json!({"do": "token", "token": old})).await;
    assert_eq!(refused["error"]["code"], "token_invalid");
    let renewed = socket.ask(json!({"do": "token", "token": new})).await;
    assert_eq!(renewed["ok"], json!({}));
}

/// An API key has no end of its own: a reload is it. What it opened ends, whatever reads it.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_api_key_opened_ends_with_the_key() {
    let (mut server, _clock) = locked(|_| {}).await;
    let mut token = stream(&server, &alice(LATER_MS)).await;
    let mut kept = stream(&server, READER_KEY).await;
    // What is left as it is, is no news for anybody.
    server.reload(|settings| settings.origins.listed.clear()).unwrap();
    publish(&server, "chat/a", &json!(1)).await;
    assert_eq!((kept.data(1).await, token.data(1).await), (vec![json!(1)], vec![json!(1)]));
    let (name, value) = bearer(READER_KEY);
    let mut socket = Socket::open_with(&server, "", &[(name, &value)]).await.unwrap();
    socket.subscribe("chat/a", None).await;
    let url = server.at("/events?topic=chat/a&wait=60");
    let poll = tokio::spawn(http().get(url).bearer_auth(READER_KEY).send());
    until("it waits", async || streams(&server).await == 4).await;

    server.reload(|settings| settings.auth.keys.retain(|key| key.name == "worker")).unwrap();
    let bye = kept.next().await.unwrap();
    assert_eq!(bye.event, "tidewire.bye");
    assert!(bye.data.contains("token_expired"), "{}", bye.data);
    assert!(kept.next().await.is_none());
    let mut said = socket.hear().await.unwrap();
    while said["live"].is_object() {
        said = socket.hear().await.unwrap();
    }
    assert_eq!(said["bye"]["code"], "token_expired", "{said}");
    assert_eq!(poll.await.unwrap().unwrap().status(), 200);
    assert_eq!(plan_status(&server, READER_KEY).await, 401);
    publish(&server, "chat/a", &json!(2)).await;
    assert_eq!(token.data(1).await, [json!(2)], "nobody else is concerned");

    // Back with other rights; and then those are taken from what is open.
    let with = |subscribe: &[&str]| ApiKey {
        name: "reader".to_owned(),
        key: Secret::new(READER_KEY),
        grant: grant(subscribe, &[]),
        manage: false,
    };
    server.reload(|settings| settings.auth.keys.push(with(&["chat/**"]))).unwrap();
    let mut again = stream(&server, READER_KEY).await;
    let narrower = with(&["board/**"]);
    server.reload(|settings| *settings.auth.keys.last_mut().unwrap() = narrower).unwrap();
    assert_eq!(again.next().await.unwrap().event, "tidewire.bye");
    assert_eq!(plan_status(&server, READER_KEY).await, 200);
    assert_eq!(plan_status(&server, API_KEY).await, 200);
}
