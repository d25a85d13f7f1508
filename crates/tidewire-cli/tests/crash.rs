//! Kills the server in mid-write, many times, under load; then looks whether every acknowledged
//! publish is there, once, and whether readers who resumed saw exactly the log.
//!
//! `TIDEWIRE_CRASH_ROUNDS` sets the number of kills (12 unless told otherwise). The moments of the
//! kills come from `TIDEWIRE_CRASH_SEED`; the seed in use is printed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use support::{PATIENCE, Process};
use tidewire::clock::{Random, SeededRandom};

mod support;

const PUBLISHERS: u64 = 8;
const READERS: usize = 3;
const TOPICS: [&str; 3] = ["chat/a", "notifications/b", "board/c"];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct World {
    url: RwLock<String>,
    client: reqwest::Client,
    done: AtomicBool,
    next: AtomicU64,
    // Number of the message → the id that was acknowledged.
    acknowledged: Mutex<HashMap<u64, String>>,
    retried: AtomicU64,
}

impl World {
    fn url(&self, path: &str) -> String {
        format!("{}v1{path}", self.url.read().unwrap())
    }

    /// Publishes one message after the other, each until it is acknowledged, under one key.
    async fn publish(self: Arc<Self>) {
        while !self.done.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let topic = TOPICS[number as usize % TOPICS.len()];
            loop {
                match self.try_publish(topic, number).await {
                    Some(id) => {
                        self.acknowledged.lock().unwrap().insert(number, id);
                        break;
                    }
                    // No answer means unknown: the same again, with the key.
                    None => {
                        self.retried.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(3)).await;
                    }
                }
            }
        }
    }

    async fn try_publish(&self, topic: &str, number: u64) -> Option<String> {
        let request = self
            .client
            .post(self.url(&format!("/topics/{topic}")))
            .header("content-type", "application/json")
            .header("idempotency-key", format!("m{number}"))
            .body(number.to_string());
        let response = request.send().await.ok()?;
        let status = response.status();
        let answer: Value = response.json().await.ok()?;
        assert_eq!(status, 201, "{answer}");
        assert_eq!(answer["stored"], "fsync");
        Some(answer["id"].as_str()?.to_owned())
    }

    /// Reads all topics by long-poll from the beginning, through every crash.
    async fn read(self: Arc<Self>, until: Arc<AtomicU64>) -> Vec<(String, u64)> {
        let topics: Vec<_> = TOPICS.iter().map(|topic| format!("topic={topic}")).collect();
        let query = topics.join("&");
        let (mut after, mut heard) = ("start".to_owned(), Vec::new());
        loop {
            let url = self.url(&format!("/events?{query}&after={after}&limit=200&wait=1"));
            let Ok(response) = self.client.get(url).send().await else {
                tokio::time::sleep(Duration::from_millis(3)).await;
                continue;
            };
            assert_eq!(response.status(), 200);
            let Ok(page) = response.json::<Value>().await else { continue };
            assert_ne!(page["continuity"], "gap", "{page}");
            for entry in page["entries"].as_array().unwrap() {
                let id = entry["id"].as_str().unwrap().to_owned();
                heard.push((id, entry["data"].as_u64().unwrap()));
            }
            after = page["cursor"].as_str().unwrap().to_owned();
            let end = until.load(Ordering::Relaxed);
            if end > 0 && sequence(&after) >= end {
                return heard;
            }
        }
    }
}

fn sequence(id: &str) -> u64 {
    id.split_once('.').unwrap().1.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_publish_survives_every_kill() {
    let rounds = setting("TIDEWIRE_CRASH_ROUNDS", 12);
    let seed = setting("TIDEWIRE_CRASH_SEED", u64::from(std::process::id()));
    println!("seed {seed}: set TIDEWIRE_CRASH_SEED={seed} to kill at the same moments again");
    let random = SeededRandom::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut server = Process::dev(folder.path());
    let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
    let world = Arc::new(World {
        url: RwLock::new(server.url.clone()),
        client,
        done: AtomicBool::new(false),
        next: AtomicU64::new(0),
        acknowledged: Mutex::default(),
        retried: AtomicU64::new(0),
    });
    let until = Arc::new(AtomicU64::new(0));
    let publishers: Vec<_> =
        (0..PUBLISHERS).map(|_| tokio::spawn(Arc::clone(&world).publish())).collect();
    let readers: Vec<_> =
        (0..READERS).map(|_| tokio::spawn(Arc::clone(&world).read(Arc::clone(&until)))).collect();

    for _ in 0..rounds {
        tokio::time::sleep(random.up_to(Duration::from_millis(300))).await;
        server.kill();
        server = Process::dev(folder.path());
        *world.url.write().unwrap() = server.url.clone();
    }
    world.done.store(true, Ordering::Relaxed);
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let acknowledged = world.acknowledged.lock().unwrap().clone();
    let last = acknowledged.values().map(|id| sequence(id)).max().unwrap();
    until.store(last, Ordering::Relaxed);

    let log = whole_log(&world).await;
    let retried = world.retried.load(Ordering::Relaxed);
    println!(
        "{rounds} kills, {} acknowledged, {} stored, {retried} retried",
        acknowledged.len(),
        log.len()
    );
    assert!(acknowledged.len() as u64 > rounds, "hardly anything was published");
    check_log(&acknowledged, &log);
    let expected: Vec<_> = log.into_iter().collect();
    for reader in readers {
        let heard: Vec<_> = reader
            .await
            .unwrap()
            .into_iter()
            .map(|(id, number)| (sequence(&id), (id, number)))
            .collect();
        assert_eq!(heard, expected, "a reader saw another log");
    }
}

/// Sequence → id and number, of everything that is stored.
async fn whole_log(world: &World) -> BTreeMap<u64, (String, u64)> {
    let mut log = BTreeMap::new();
    for topic in TOPICS {
        let mut after = "start".to_owned();
        loop {
            let url = world.url(&format!("/events?topic={topic}&after={after}&limit=1000"));
            let page: Value = world.client.get(url).send().await.unwrap().json().await.unwrap();
            for entry in page["entries"].as_array().unwrap() {
                let id = entry["id"].as_str().unwrap().to_owned();
                let stored = (id.clone(), entry["data"].as_u64().unwrap());
                assert!(log.insert(sequence(&id), stored).is_none(), "{id} names two entries");
            }
            if page["more"] == json!(false) {
                break;
            }
            after = page["cursor"].as_str().unwrap().to_owned();
        }
    }
    log
}

fn check_log(acknowledged: &HashMap<u64, String>, log: &BTreeMap<u64, (String, u64)>) {
    for (number, id) in acknowledged {
        let stored = log.get(&sequence(id));
        assert_eq!(stored, Some(&(id.clone(), *number)), "acknowledged, but not there");
    }
    let mut numbers: Vec<_> = log.values().map(|(_, number)| *number).collect();
    numbers.sort_unstable();
    let stored = numbers.len();
    numbers.dedup();
    assert_eq!(numbers.len(), stored, "a retry was stored twice");
}
