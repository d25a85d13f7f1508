//! Boards, tasks, notifications, the chat and the assistant, as a page uses them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Server, http, json as body, until};

fn events(entries: &[Value]) -> Vec<&str> {
    entries.iter().filter_map(|entry| entry["event"].as_str()).collect()
}

#[tokio::test]
async fn a_task_is_made_changed_moved_and_deleted_and_everybody_hears_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let (ann, ben) = (server.sign_in("ann").await, server.sign_in("ben").await);
    let board = ann.get("/boards/launch").await;
    let cursor = board["cursor"].as_str().unwrap().to_owned();
    assert_eq!(board["tasks"].as_array().unwrap().len(), 10);

    let task = ann.post("/boards/launch/tasks", json!({"title": "Cake", "assignee": "ben"})).await;
    let path = format!("/tasks/{}", task["id"]);
    let edit = json!({"version": 1, "title": "A cake", "due": "2026-12-01"});
    let edited = body(ann.send(Method::PATCH, &path, &edit).await, 200).await;
    assert_eq!((&edited["version"], &edited["due"]), (&json!(2), &json!("2026-12-01")));
    // Ben still looks at the first version.
    let late = json!({"version": 1, "title": "No cake"});
    let late = body(ben.send(Method::PATCH, &path, &late).await, 409).await;
    assert_eq!(late["error"]["code"], "conflict");
    assert_eq!(late["task"], edited);

    let to = json!({"version": 2, "column": "done", "before": null});
    let moved = ben.post(&format!("{path}/move"), to).await;
    assert_eq!((&moved["column"], &moved["version"]), (&json!("done"), &json!(3)));
    ben.post(&format!("{path}/comments"), json!({"text": "It was good, @ann"})).await;
    let whole = ann.get(&path).await;
    assert_eq!(whole["comments"][0]["text"], "It was good, @ann");
    let gone = ann.request(Method::DELETE, &format!("{path}?version=3")).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    let gone = ann.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(body(gone, 404).await["error"]["code"], "not_found");

    let url = format!("{}/v1/events?topic=board/launch&after={cursor}", server.url);
    let entries = until("five events", async || {
        let page: Value = http().get(&url).send().await.unwrap().json().await.unwrap();
        let entries = page["entries"].as_array().unwrap().clone();
        (entries.last()?["event"] == "task.deleted").then_some(entries)
    });
    let entries = entries.await;
    let heard = events(&entries);
    let mine: Vec<_> = heard.iter().rev().take(5).rev().copied().collect();
    assert_eq!(
        mine,
        ["task.created", "task.changed", "task.moved", "task.commented", "task.deleted"]
    );
    server.end().await;
}

#[tokio::test]
async fn notifications_come_from_the_log_and_are_seen_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let (ann, farah) = (server.sign_in("ann").await, server.sign_in("farah").await);
    let seeded = ann.entries("notifications/farah", |entries| !entries.is_empty()).await.len();
    let before = farah.get("/notifications").await;
    assert_eq!(before["unread"], seeded);
    let task = ann.post("/boards/app/tasks", json!({"title": "Try it", "assignee": "farah"})).await;
    farah.entries("notifications/farah", |entries| entries.len() == seeded + 1).await;
    let told = farah.get("/notifications?last=1").await;
    let newest = &told["entries"][0];
    assert_eq!(newest["event"], "task.assigned");
    assert_eq!(
        newest["data"]["task"],
        json!({"id": task["id"], "board": "app", "title": "Try it"})
    );
    assert_eq!(newest["data"]["by"], "ann");
    assert_eq!(told["earlier"], json!(seeded > 0));

    let seen = json!({"id": newest["id"]});
    let answer = farah.send(Method::POST, "/notifications/seen", &seen).await;
    assert_eq!(answer.status(), 204);
    assert_eq!(farah.get("/notifications").await["unread"], 0);
    server.end().await;
}

#[tokio::test]
async fn who_is_called_in_the_chat_is_told_once_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let say = async |url: &str, text: &str| {
        let said = json!({"by": "ann", "text": text});
        let answer = http().post(format!("{url}/v1/topics/chat/app")).json(&said).send().await;
        assert_eq!(answer.unwrap().status(), 201);
    };
    say(&server.url, "hello @emeka").await;
    let emeka = server.sign_in("emeka").await;
    let is_call = |entry: &Value| entry["data"]["where"] == "chat";
    let calls = |entries: &[Value]| entries.iter().filter(|entry| is_call(entry)).count();
    emeka.entries("notifications/emeka", |entries| calls(entries) == 1).await;
    server.end().await;

    let server = Server::start(folder.path()).await;
    let emeka = server.sign_in("emeka").await;
    say(&server.url, "are you there, @emeka?").await;
    let told = emeka.entries("notifications/emeka", |entries| calls(entries) >= 2).await;
    let texts: Vec<_> = told.iter().filter(|e| is_call(e)).map(|e| &e["data"]["text"]).collect();
    assert_eq!(texts, ["hello @emeka", "are you there, @emeka?"]);
    server.end().await;
}

#[tokio::test]
async fn an_answer_comes_in_pieces_and_is_stored_whole() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let ann = server.sign_in("ann").await;
    let question = json!({"question": "Summarise the board"});
    let asked = ann.post("/boards/launch/ask", question).await;
    assert_eq!(asked["state"], "writing");
    let topic = asked["topic"].as_str().unwrap();
    let entries = ann.entries(topic, |entries| events(entries).contains(&"end")).await;
    let texts = entries.iter().filter(|entry| entry["event"] == "text");
    let said: String = texts.filter_map(|entry| entry["data"].as_str()).collect();
    assert!(said.starts_with("Website launch has 10 tasks, 2 of them done."), "{said}");
    let stored = ann.get(&format!("/conversations/{}", asked["id"].as_str().unwrap())).await;
    assert_eq!((&stored["state"], &stored["text"]), (&json!("end"), &json!(said)));
    assert_eq!(ann.get("/conversations?board=launch").await["conversations"], json!([stored]));
    assert_eq!(ann.get("/conversations?board=app").await["conversations"], json!([]));
    server.end().await;
}

#[tokio::test]
async fn a_cancelled_answer_stops_and_keeps_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    // So slow that it cannot end before it is cancelled.
    let server = Server::start_with(folder.path(), Duration::from_secs(3)).await;
    let ann = server.sign_in("ann").await;
    let asked = ann.post("/boards/launch/ask", json!({"question": "what is due?"})).await;
    let topic = asked["topic"].as_str().unwrap();
    ann.entries(topic, |entries| !entries.is_empty()).await;
    let cancel = http().post(format!("{}/v1/topics/{topic}", server.url));
    let cancel = cancel.header("tidewire-event", "cancel").json(&json!({"by": "ann"}));
    assert_eq!(cancel.send().await.unwrap().status(), 201);
    let path = format!("/conversations/{}", asked["id"].as_str().unwrap());
    let stored = until("it is stored", async || {
        let found = ann.get(&path).await;
        (found["state"] != "writing").then_some(found)
    });
    let stored = stored.await;
    assert_eq!((&stored["state"], &stored["text"]), (&json!("cancel"), &json!("Already ")));
    server.end().await;
}

#[tokio::test]
async fn an_answer_that_a_restart_interrupts_is_ended_by_the_next_life() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), Duration::from_secs(60)).await;
    let ann = server.sign_in("ann").await;
    let asked = ann.post("/boards/launch/ask", json!({"question": "who has too much?"})).await;
    let topic = asked["topic"].as_str().unwrap();
    ann.entries(topic, |entries| !entries.is_empty()).await;
    server.end().await;

    let server = Server::start(folder.path()).await;
    // The session is still good.
    let ann = crate::support::Client { url: server.url.clone(), ..ann };
    assert_eq!(ann.get("/me").await["server"]["starts"], 2);
    let entries = ann.entries(topic, |entries| events(entries).contains(&"fail")).await;
    assert_eq!(events(&entries), ["text", "fail"]);
    let stored = ann.get(&format!("/conversations/{}", asked["id"].as_str().unwrap())).await;
    assert_eq!(stored["state"], "fail");
    server.end().await;
}

#[tokio::test]
async fn a_creating_request_with_its_key_makes_one_thing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let ann = server.sign_in("ann").await;
    let make = async |key: &str| {
        let request = ann.request(Method::POST, "/boards/app/tasks").header("idempotency-key", key);
        body(request.json(&json!({"title": "Once"})).send().await.unwrap(), 201).await
    };
    let (first, again, other) = (make("k1").await, make("k1").await, make("k2").await);
    assert_eq!(first, again);
    assert_ne!(first["id"], other["id"]);
    server.end().await;
}

#[tokio::test]
async fn the_dashboard_has_the_newest_of_each_count() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let ann = server.sign_in("ann").await;
    let total = |entries: &[Value]| {
        entries.iter().find(|entry| entry["item"] == "total").map(|entry| entry["data"].clone())
    };
    let is = |open: u64| {
        move |entries: &[Value]| total(entries).is_some_and(|data| data["open"] == open)
    };
    ann.entries("stats/launch", is(8)).await;
    ann.post("/boards/launch/tasks", json!({"title": "One more"})).await;
    let entries = ann.entries("stats/launch", is(9)).await;
    let mut items: Vec<_> = entries.iter().filter_map(|entry| entry["item"].as_str()).collect();
    let count = items.len();
    items.sort_unstable();
    items.dedup();
    assert_eq!(items.len(), count, "one entry of each item: {items:?}");
    server.end().await;
}

#[tokio::test]
async fn strangers_and_other_pages_are_turned_away() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let ann = server.sign_in("ann").await;
    let mut nobody = ann.clone();
    nobody.session = "0".repeat(32);
    let refused = nobody.request(Method::GET, "/boards").send().await.unwrap();
    assert_eq!(body(refused, 401).await["error"]["next"], "refresh_token");
    let foreign = ann.request(Method::GET, "/boards").header("origin", "http://evil.example");
    assert_eq!(body(foreign.send().await.unwrap(), 403).await["error"]["code"], "origin_refused");
    let form = ann.request(Method::POST, "/boards/app/tasks").body("{\"title\":\"x\"}");
    assert_eq!(body(form.send().await.unwrap(), 400).await["error"]["code"], "bad_request");
    let huge = json!({"title": "x".repeat(70_000)});
    assert_eq!(ann.send(Method::POST, "/boards/app/tasks", &huge).await.status(), 413);
    let rebound =
        http().get(format!("{}/app/api/people", server.url)).header("host", "evil.example");
    assert_eq!(rebound.send().await.unwrap().status(), 403);
    // Tidewire's doors know the session too.
    let publish = http().post(format!("{}/v1/topics/board/app", server.url)).json(&1);
    let publish = publish.bearer_auth(&ann.session).send().await.unwrap();
    assert_eq!(publish.status(), 403);
    server.end().await;
}

#[tokio::test]
async fn the_pages_are_in_the_binary() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let get =
        |path: &str| http().get(format!("{}{path}", server.url)).header("accept", "text/html");
    let first = get("/").send().await.unwrap();
    assert_eq!(first.headers()["content-type"], "text/html; charset=utf-8");
    assert!(
        first.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'")
    );
    let tag = first.headers()["etag"].clone();
    let page = first.text().await.unwrap();
    assert!(page.contains("Workboard"), "{page}");
    assert_eq!(get("/").header("if-none-match", tag).send().await.unwrap().status(), 304);
    assert_eq!(get("/some/board").send().await.unwrap().text().await.unwrap(), page);
    let live = get("/live").send().await.unwrap().text().await.unwrap();
    assert!(live.contains("Tidewire") && live != page);
    let program = http().get(format!("{}/nothing", server.url)).send().await.unwrap();
    assert_eq!(program.status(), 404);
    server.end().await;
}
