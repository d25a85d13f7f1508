//! Who is here: members come by HTTP or on a socket, stay for as long as they are heard, and everybody
//! who may read the topic is told. The table itself and its clock are tested in `tidewire-core`.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tidewire::{Feature, Features, Settings};
use tokio::time::Instant;

use crate::support::{
    Server, http,
    sse::Stream,
    tokens::{LATER_MS, ORIGIN, SECRET, alice, bearer, grant, locked, signed},
    until,
    ws::Socket,
};

/// Short enough to wait for, and long enough for a slow machine to renew within it.
const SHORT: Duration = Duration::from_millis(300);
const TAB: &str = "tab-0001";
const OTHER: &str = "tab-0002";

fn present(settings: &mut Settings) {
    let chat = Feature { presence: true, ..Feature::default() };
    let names = ["chat", "docs"].map(|name| (name.to_owned(), chat.clone()));
    let features = BTreeMap::from(names).into_iter();
    let news = ("news".to_owned(), Feature::default());
    settings.features = Features::declared(features.chain([news]).collect());
}

async fn server(change: impl FnOnce(&mut Settings)) -> Server {
    Server::dev_with(|settings| {
        present(settings);
        change(settings);
    })
    .await
}

async fn said(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// What a member says over HTTP, and the answer.
async fn announce(server: &Server, token: &str, body: &Value) -> (u16, Value) {
    let request = http().post(server.at("/presence")).bearer_auth(token);
    said(request.body(body.to_string())).await
}

/// The same, which must be granted.
async fn announced(server: &Server, body: Value) -> Value {
    let (status, answer) = announce(server, "nobody", &body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn is_in(server: &Server, member: &str, topic: &str, state: Value) -> Value {
    announced(server, json!({"member": member, "here": {topic: state}})).await
}

async fn members(server: &Server, topic: &str) -> Value {
    let (status, answer) = said(http().get(server.at(&format!("/presence/{topic}")))).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn names(members: &Value) -> Vec<&str> {
    let all = members["members"].as_array().unwrap();
    all.iter().map(|one| one["member"].as_str().unwrap()).collect()
}

/// The next change on a stream: its type and its data.
async fn change(stream: &mut Stream) -> (String, Value) {
    let event = stream.entry().await;
    (event.event, serde_json::from_str(&event.data).unwrap())
}

async fn stream(server: &Server) -> Stream {
    Stream::open(server, "topic=chat/a/~presence").await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_who_listens_hears_who_comes_changes_and_goes() {
    let server = server(|_| {}).await;
    let (mut stream, hello) = Stream::open(&server, "topic=chat/a&topic=chat/a/~presence").await;
    assert_eq!(hello["continuity"], "new");
    let mut socket = Socket::open(&server).await;
    let begun = socket.subscribe("chat/a/~presence", Some("start")).await;
    assert_eq!(begun, json!({"topic": "chat/a/~presence", "continuity": "new"}), "it has no place");

    let answer = is_in(&server, TAB, "chat/a", json!({"name": "Ann"})).await;
    assert_eq!(answer, json!({"lease_ms": 30_000, "renew_ms": 10_000, "unknown": []}));
    let there = members(&server, "chat/a").await;
    let (life, version) = (there["life"].clone(), there["version"].as_u64().unwrap());
    let member = json!({"member": TAB, "user": null, "state": {"name": "Ann"}});
    assert_eq!(there["members"], json!([member]));
    assert_eq!(there["topic"], "chat/a");
    assert_eq!(members(&server, "chat%2Fa").await, there, "a path may be encoded more");

    let event = stream.entry().await;
    assert_eq!((event.event.as_str(), event.topic.as_deref()), ("join", Some("chat/a/~presence")));
    assert_eq!((event.id, event.item.as_deref()), (None, Some(TAB)));
    let mut data = member.clone();
    (data["life"], data["version"]) = (life.clone(), json!(version));
    assert_eq!(serde_json::from_str::<Value>(&event.data).unwrap(), data);
    let heard = socket.entry().await;
    let on_socket = json!({
        "topic": "chat/a/~presence", "event": "join", "item": TAB, "data": data
    });
    assert_eq!(heard, on_socket);

    // A renewal, with or without the state that is there, is nobody's news.
    is_in(&server, TAB, "chat/a", Value::Null).await;
    is_in(&server, TAB, "chat/a", json!({"name": "Ann"})).await;
    is_in(&server, TAB, "chat/a", json!({"name": "Ann", "away": true})).await;
    let (event, data) = change(&mut stream).await;
    assert_eq!((event.as_str(), &data["state"]), ("change", &json!({"name": "Ann", "away": true})));
    assert!(data["version"].as_u64().unwrap() > version);
    assert_eq!(data["life"], life);
    announced(&server, json!({"member": TAB, "gone": ["chat/a", "chat/never"]})).await;
    let (event, data) = change(&mut stream).await;
    assert_eq!((event.as_str(), &data["why"]), ("leave", &json!("left")));
    assert_eq!(data.get("state"), None);
    assert_eq!(names(&members(&server, "chat/a").await), Vec::<&str>::new());
    // What is said in the topic itself goes on beside it.
    server.publish("chat/a", &json!("hello")).await;
    assert_eq!(stream.data(1).await, [json!("hello")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_of_one_user_are_two_members() {
    let (server, _) = locked(present).await;
    let token = alice(LATER_MS);
    for (member, state) in [(TAB, 1), (OTHER, 2)] {
        let body = json!({"member": member, "here": {"chat/a": state}});
        assert_eq!(announce(&server, &token, &body).await.0, 200);
    }
    // Another user's tab may have the same name, and is another member.
    let bob = signed(SECRET, "bob", LATER_MS, grant(&["chat/**"], &[]));
    let body = json!({"member": TAB, "here": {"chat/a": 3}});
    assert_eq!(announce(&server, &bob, &body).await.0, 200);
    let members = async || {
        let request = http().get(server.at("/presence/chat/a")).bearer_auth(&token);
        said(request).await.1["members"].clone()
    };
    let of = |user: &str, member: &str, state: u64| json!({"member": member, "user": user, "state": state});
    let [first, second, third] = [of("alice", TAB, 1), of("alice", OTHER, 2), of("bob", TAB, 3)];
    assert_eq!(members().await, json!([first, second, third]));
    let goodbye = json!({"member": TAB, "gone": ["*"]});
    assert_eq!(announce(&server, &token, &goodbye).await.0, 200);
    assert_eq!(members().await, json!([second, third]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_heard_no_more_is_lost_when_the_lease_ends() {
    let server = server(|settings| settings.limits.presence_lease = SHORT).await;
    let mut stream = stream(&server).await;
    let before = Instant::now();
    let answer = is_in(&server, TAB, "chat/a", json!(1)).await;
    assert_eq!((&answer["lease_ms"], &answer["renew_ms"]), (&json!(300), &json!(100)));
    assert_eq!(change(&mut stream).await.0, "join");
    let (event, data) = change(&mut stream).await;
    assert_eq!((event.as_str(), &data["why"]), ("leave", &json!("lost")));
    assert!(before.elapsed() >= SHORT);
    // It was asleep and comes back: it is asked for its state.
    let answer = is_in(&server, TAB, "chat/a", Value::Null).await;
    assert_eq!(answer["unknown"], json!(["chat/a"]));
    assert_eq!(names(&members(&server, "chat/a").await), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_knows_nobody_and_says_so() {
    let server = server(|_| {}).await;
    is_in(&server, TAB, "chat/a", json!(1)).await;
    let before = members(&server, "chat/a").await;
    let server = server.restart().await;
    let body = json!({"member": TAB, "here": {"chat/a": null, "docs/a": {"x": 1}}});
    assert_eq!(announced(&server, body).await["unknown"], json!(["chat/a"]));
    let after = members(&server, "chat/a").await;
    assert_ne!(after["life"], before["life"], "versions begin anew");
    is_in(&server, TAB, "chat/a", json!(1)).await;
    assert_eq!(names(&members(&server, "chat/a").await), [TAB]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_goes_takes_its_members_along_unless_they_come_back_in_time() {
    let grace = Duration::from_secs(2);
    let server = server(|settings| settings.limits.presence_grace = grace).await;
    let mut stream = stream(&server).await;
    let here = |state: Value| json!({"do": "presence", "member": TAB, "here": {"chat/a": state}});
    let mut socket = Socket::open(&server).await;
    let answer = socket.ask(here(json!(1))).await;
    assert_eq!(answer["ok"]["unknown"], json!([]), "{answer}");
    assert_eq!(change(&mut stream).await.0, "join");
    // The line breaks, and another socket is there in time.
    drop(socket);
    let mut socket = Socket::open(&server).await;
    assert_eq!(socket.ask(here(Value::Null)).await["ok"]["unknown"], json!([]));
    tokio::time::sleep(grace + Duration::from_millis(500)).await;
    is_in(&server, OTHER, "chat/a", json!(2)).await;
    let (event, data) = change(&mut stream).await;
    assert_eq!((event.as_str(), &data["member"]), ("join", &json!(OTHER)), "and nothing before");
    // The other came over HTTP, so no socket's end concerns it. This one goes in good order.
    let before = Instant::now();
    socket.close().await;
    let (event, data) = change(&mut stream).await;
    assert_eq!((event.as_str(), &data["member"]), ("leave", &json!(TAB)));
    assert_eq!(data["why"], "lost");
    assert!(before.elapsed() < Duration::from_secs(15), "long before its lease ends");
    assert_eq!(names(&members(&server, "chat/a").await), [OTHER]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_has_moved_to_http_does_not_go_with_its_old_socket() {
    let server = server(|settings| settings.limits.presence_grace = Duration::from_millis(1)).await;
    let mut socket = Socket::open(&server).await;
    let mut others = Socket::open(&server).await;
    for (socket, member) in [(&mut socket, TAB), (&mut others, OTHER)] {
        let here = json!({"do": "presence", "member": member, "here": {"chat/a": 1, "docs/a": 1}});
        assert!(socket.ask(here).await["ok"].is_object());
    }
    is_in(&server, TAB, "chat/a", Value::Null).await;
    drop((socket, others));
    until("the sockets' members are gone", async || {
        members(&server, "docs/a").await["members"] == json!([])
    })
    .await;
    until("the other is gone here too", async || names(&members(&server, "chat/a").await) == [TAB])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_asks_and_says_the_same_as_http() {
    let server = server(|_| {}).await;
    let mut socket = Socket::open(&server).await;
    let ask = json!({"do": "presence", "topic": "chat/a"});
    let nobody = socket.ask(ask.clone()).await["ok"].clone();
    assert_eq!(nobody["members"], json!([]));
    for (command, code) in [
        (json!({"do": "presence"}), "bad_request"),
        (json!({"do": "presence", "topic": "news/a"}), "no_presence"),
        (json!({"do": "presence", "topic": "chat/a/~presence"}), "bad_topic"),
        (json!({"do": "presence", "member": "short"}), "bad_request"),
        (json!({"do": "presence", "member": TAB, "here": {"news/a": 1}}), "no_presence"),
        (
            json!({"do": "presence", "member": TAB, "here": {"chat/a": 1}, "topic": "x"}),
            "bad_request",
        ),
    ] {
        let answer = socket.ask(command.clone()).await;
        assert_eq!(answer["error"]["code"], code, "{command}");
    }
    let here = json!({"do": "presence", "member": TAB, "here": {"chat/a": {"x": 1}, "docs/a": 2}});
    let expected = json!({"lease_ms": 30_000, "renew_ms": 10_000, "unknown": []});
    assert_eq!(socket.ask(here).await["ok"], expected);
    assert_eq!(socket.ask(ask).await["ok"], members(&server, "chat/a").await);
    let gone = json!({"do": "presence", "member": TAB, "gone": ["*"], "here": {"docs/a": null}});
    assert_eq!(socket.ask(gone).await["ok"], expected);
    assert_eq!(names(&members(&server, "docs/a").await), [TAB], "everywhere else");
    assert_eq!(names(&members(&server, "chat/a").await), Vec::<&str>::new());
    // A socket that only sends still reads and publishes.
    socket.subscribe("chat/a", None).await;
    server.publish("chat/a", &json!(1)).await;
    assert_eq!(socket.data(1).await, [json!(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_a_topic_is_not_seen_there_and_sees_nobody() {
    let (server, _) = locked(present).await;
    let token = alice(LATER_MS);
    let writer = signed(SECRET, "bob", LATER_MS, grant(&["docs/**"], &["**"]));
    let body = json!({"member": TAB, "here": {"chat/a": 1}});
    assert_eq!(announce(&server, &token, &body).await.0, 200);
    let status = async |request: reqwest::RequestBuilder| {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        if status == 200 {
            return (status, Value::Null);
        }
        (status, response.json::<Value>().await.unwrap()["error"]["code"].clone())
    };
    let get = |path: &str, token: &str| http().get(server.at(path)).bearer_auth(token);
    for path in ["/presence/chat/a", "/sse?topic=chat/a/~presence"] {
        assert_eq!(status(get(path, &writer)).await, (403, json!("forbidden")), "{path}");
        assert_eq!(status(get(path, &token)).await, (200, Value::Null), "{path}");
        assert_eq!(status(http().get(server.at(path))).await, (401, json!("token_missing")));
    }
    let both = json!({"member": OTHER, "here": {"docs/a": 1, "chat/a": 1}});
    let (refused, answer) = announce(&server, &writer, &both).await;
    assert_eq!((refused, &answer["error"]["code"]), (403, &json!("forbidden")));
    assert!(answer["error"]["message"].as_str().unwrap().contains("`chat/a`"), "{answer}");
    let docs = get("/presence/docs/a", &writer);
    assert_eq!(said(docs).await.1["members"], json!([]), "nothing of it was done");
    let (name, value) = bearer(&writer);
    let mut socket = Socket::open_with(&server, "", &[(name, &value)]).await.unwrap();
    for command in [
        json!({"do": "subscribe", "topic": "chat/a/~presence"}),
        json!({"do": "presence", "topic": "chat/a"}),
        json!({"do": "presence", "member": OTHER, "here": {"chat/a": null}}),
    ] {
        assert_eq!(socket.ask(command.clone()).await["error"]["code"], "forbidden", "{command}");
    }
    // Nobody is anybody else: this leaves where Bob's tab of that name is, which is nowhere.
    let others = json!({"member": TAB, "gone": ["*"]});
    assert_eq!(announce(&server, &writer, &others).await.0, 200);
    let chat = said(get("/presence/chat/a", &token)).await.1;
    assert_eq!(names(&chat), [TAB]);
    // A right that ends is asked for again with each renewal.
    let fewer = signed(SECRET, "alice", LATER_MS, grant(&["docs/**"], &[]));
    let renewal = json!({"member": TAB, "here": {"chat/a": null}});
    assert_eq!(announce(&server, &fewer, &renewal).await.0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_publishes_where_the_server_tells_who_is_here() {
    let server = server(|_| {}).await;
    let mut socket = Socket::open(&server).await;
    for topic in ["chat/a/~presence", "chat/a/~base", "~tidewire/a"] {
        let response = server.post(topic, "1", &[]).await;
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["code"], "bad_topic", "{topic}");
        let batch = json!([{"topic": "chat/a", "data": 1}, {"topic": topic, "data": 1}]);
        let request = http().post(server.at("/publish")).body(batch.to_string());
        assert_eq!(said(request).await.1["error"]["code"], "bad_topic", "{topic}");
        let command = json!({"do": "publish", "topic": topic, "data": 1});
        assert_eq!(socket.ask(command).await["error"]["code"], "bad_topic", "{topic}");
    }
    for topic in ["chat/a/~base", "~tidewire/a", "chat/a/~presence/~presence"] {
        let command = json!({"do": "subscribe", "topic": topic});
        assert_eq!(socket.ask(command).await["error"]["code"], "bad_topic", "{topic}");
        for path in ["/sse", "/events"] {
            let request = http().get(server.at(&format!("{path}?topic={topic}")));
            assert_eq!(said(request).await.1["error"]["code"], "bad_topic", "{path} {topic}");
        }
    }
    let request = http().get(server.at("/events?topic=chat/a/~presence"));
    assert_eq!(said(request).await.1["error"]["code"], "no_history");
    assert_eq!(server.history("chat/a", "start").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bound_of_presence_holds_at_its_edge() {
    let server = server(|settings| {
        let limits = &mut settings.limits;
        (limits.presence_state_bytes_max, limits.presence_topics_max) = (10, 2);
        (limits.presence_members_max, limits.presence_total_max) = (2, 4);
    })
    .await;
    let refused = async |body: &Value| {
        let (status, answer) = announce(&server, "nobody", body).await;
        assert_ne!(status, 200, "{body}");
        (status, answer["error"]["code"].as_str().unwrap().to_owned())
    };
    let here = |member: &str, here: Value| json!({"member": member, "here": here});
    is_in(&server, TAB, "chat/a", json!("12345678")).await;
    let large = here(TAB, json!({"chat/a": "123456789"}));
    assert_eq!(refused(&large).await, (413, "too_large".to_owned()));
    announced(&server, here(TAB, json!({"chat/a": null, "chat/b": 1}))).await;
    let too_many = (400, "too_many_topics".to_owned());
    assert_eq!(refused(&here(TAB, json!({"chat/c": 1}))).await, too_many);
    assert_eq!(refused(&here(TAB, json!({"a": 1, "b": 1, "c": 1}))).await, too_many);
    is_in(&server, OTHER, "chat/a", json!(1)).await;
    let full = (503, "presence_full".to_owned());
    assert_eq!(refused(&here("tab-0003", json!({"chat/a": 1}))).await, full);
    is_in(&server, "tab-0003", "chat/b", json!(1)).await;
    assert_eq!(refused(&here("tab-0004", json!({"chat/d": 1}))).await, full);
    announced(&server, json!({"member": TAB, "gone": ["chat/b"]})).await;
    is_in(&server, "tab-0004", "chat/d", json!(1)).await;
    // Much more than anybody can have to say is not even read.
    let long = here(TAB, json!({"chat/a": "x".repeat(10_000)}));
    assert_eq!(refused(&long).await, (413, "too_large".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_says_goodbye_without_a_preflight() {
    let (server, _) = locked(present).await;
    let token = alice(LATER_MS);
    // What `fetch(…, { keepalive: true })` of a page sends.
    let goodbye = http()
        .post(server.at("/presence"))
        .header("origin", ORIGIN)
        .header("content-type", "text/plain;charset=UTF-8")
        .bearer_auth(&token)
        .body(json!({"member": TAB, "gone": ["*"]}).to_string());
    let response = goodbye.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["access-control-allow-origin"], ORIGIN);
    for (body, code) in [("", "bad_json"), ("\u{0}", "bad_json"), ("{}", "bad_request")] {
        let request = http().post(server.at("/presence")).bearer_auth(&token).body(body);
        let (status, answer) = said(request).await;
        assert_eq!((status, answer["error"]["code"].as_str()), (400, Some(code)));
    }
    let request = http().post(server.at("/presence")).bearer_auth(&token).body(vec![0xff]);
    assert_eq!(said(request).await.1["error"]["code"], "bad_utf8");
    assert_eq!(said(http().get(server.at("/presence"))).await.0, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_gives_a_feature_its_presence_and_takes_it_away() {
    let mut server = server(|settings| settings.limits.presence_lease = SHORT).await;
    let plan = async |server: &Server| {
        let (_, plan) = said(http().get(server.at("/plan"))).await;
        let rows = plan["features"].as_array().unwrap().clone();
        let row = rows.into_iter().find(|row| row["feature"] == "chat").unwrap();
        row["presence"].clone()
    };
    assert_eq!(plan(&server).await, true);
    is_in(&server, TAB, "chat/a", json!(1)).await;
    let mut stream = stream(&server).await;
    let with = |presence: bool| {
        let chat = Feature { presence, ..Feature::default() };
        Features::declared(BTreeMap::from([("chat".to_owned(), chat)]))
    };
    let reloaded = server.reload(|settings| settings.features = with(false)).unwrap();
    let changes: Vec<_> = reloaded.changes.iter().map(ToString::to_string).collect();
    assert!(changes.contains(&"feature.chat.presence: true → false".to_owned()), "{changes:?}");
    assert!(reloaded.is_plan_new);
    assert_eq!(plan(&server).await, false);
    let renewal = json!({"member": TAB, "here": {"chat/a": null}});
    let (status, answer) = announce(&server, "nobody", &renewal).await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("no_presence")));
    // Who was there is lost with its lease, and readers hear of it.
    loop {
        let event = stream.next().await.unwrap();
        if event.event == "leave" {
            break;
        }
        assert!(event.event.starts_with("tidewire.") || event.event == "join", "{event:?}");
    }
    server.reload(|settings| settings.features = with(true)).unwrap();
    assert_eq!(is_in(&server, TAB, "chat/a", json!(1)).await["unknown"], json!([]));
}
