//! `tidewire dev` with Workboard, from outside: the restart is one, with the same id and port.

#![cfg(feature = "demo")]
#![allow(clippy::disallowed_methods)] // Real processes take real time.

mod support;

use std::time::Instant;

use serde_json::{Value, json};
use support::{PATIENCE, Process, tidewire};

struct Window {
    url: String,
    client: reqwest::Client,
    session: String,
}

impl Window {
    async fn open(url: &str, person: &str) -> Self {
        let (url, client) = (url.trim_end_matches('/').to_owned(), reqwest::Client::new());
        let asked = client.post(format!("{url}/app/api/session")).json(&json!({"person": person}));
        let answer: Value = asked.send().await.unwrap().json().await.unwrap();
        let session = answer["session"].as_str().expect("a session").to_owned();
        Self { url, client, session }
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let asked = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.session);
        asked.send().await.ok()?.json().await.ok()
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let asked = self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.session);
        let answer = asked.json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

async fn starts(window: &Window) -> Option<u64> {
    window.get("/app/api/me").await?["server"]["starts"].as_u64()
}

async fn until_started(window: &Window, times: u64) {
    let deadline = Instant::now() + PATIENCE;
    while starts(window).await != Some(times) {
        assert!(Instant::now() < deadline, "the server has not started {times} times");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_restart_button_drains_the_server_and_starts_it_anew_on_its_port() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::dev(folder.path());
    let ann = Window::open(&process.url, "ann").await;
    until_started(&ann, 1).await;
    let stream = format!("{}/v1/sse?topic=board/launch", ann.url);
    let mut stream = ann.client.get(stream).send().await.unwrap();
    let (status, task) = ann.post("/app/api/boards/launch/tasks", &json!({"title": "Kept"})).await;
    assert_eq!(status, 201);
    let mut heard = String::new();
    while !heard.contains("Kept") {
        heard += &String::from_utf8_lossy(&stream.chunk().await.unwrap().expect("an event"));
    }
    let life =
        |page: &Value| page["cursor"].as_str().unwrap().split('.').next().unwrap().to_owned();
    let events = "/v1/events?topic=board/launch&after=start";
    let before = life(&ann.get(events).await.unwrap());

    let (status, answer) = ann.post("/app/api/hurt/restart", &json!({})).await;
    assert_eq!((status, answer), (202, json!({"starts": 1})));
    while let Some(chunk) = stream.chunk().await.unwrap() {
        heard += &String::from_utf8_lossy(&chunk);
    }
    assert!(heard.contains("tidewire.bye") && heard.contains("restarting"), "{heard}");
    until_started(&ann, 2).await;
    let task = ann.get(&format!("/app/api/tasks/{}", task["id"])).await.unwrap();
    assert_eq!(task["task"]["title"], "Kept");
    ann.post("/app/api/boards/launch/tasks", &json!({"title": "New"})).await;
    let deadline = Instant::now() + PATIENCE;
    let page = loop {
        let page = ann.get(events).await.unwrap();
        if page.to_string().contains("\"New\"") {
            break page;
        }
        assert!(Instant::now() < deadline, "{page}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_ne!(life(&page), before, "the log has begun another life");
    let kept = page["entries"].as_array().unwrap().iter();
    assert_eq!(kept.filter(|entry| entry["data"]["title"] == "Kept").count(), 1);
    // And once more: what was started anew starts anew.
    ann.post("/app/api/hurt/restart", &json!({})).await;
    until_started(&ann, 3).await;
    // The process that was started is the one that ends.
    process.stop();
}

#[tokio::test]
async fn without_workboard_there_is_the_live_page_and_no_database() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tidewire();
    command.args(["dev", "--no-demo", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path());
    let process = Process::start(&mut command);
    let first = reqwest::get(&process.url).await.unwrap();
    assert!(first.url().path() == "/live", "{}", first.url());
    let people = reqwest::get(format!("{}app/api/people", process.url)).await.unwrap();
    assert_eq!(people.status(), 404);
    assert!(!folder.path().join("workboard.redb").exists());
    process.stop();
}
