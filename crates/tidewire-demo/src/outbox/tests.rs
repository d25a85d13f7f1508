//! A process that ends between a change and its publishing, or between that and its note of it.

use std::{path::Path, sync::Arc};

use serde_json::json;
use tidewire::{
    After, Filter, Settings, Tidewire,
    clock::{SeededRandom, SystemClock},
};

use super::*;

/// One life of a process: its store, and its Tidewire.
async fn life(folder: &Path) -> (Store, Tidewire) {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SeededRandom::new(1)));
    let store = Store::open(&folder.join("w.redb"), clock, random).unwrap();
    let settings = Settings::for_dev("127.0.0.1:0".parse().unwrap(), folder.join("log"));
    (store, Tidewire::builder(settings).dev().open().await.unwrap())
}

fn change(store: &Store, number: u64) {
    let event = Event {
        topic: "board/launch".into(),
        event: "task.changed".into(),
        item: None,
        data: json!({ "number": number }),
    };
    store.write_now(|change| change.emit(&event)).unwrap();
}

async fn published(tidewire: &Tidewire) -> Vec<String> {
    let filter = Filter::from(Topic::parse("board/launch").unwrap());
    let page = tidewire.hub().history(&filter, After::Start, 100).await.unwrap();
    let texts = page.entries.iter().filter_map(|framed| framed.entry().data.as_text());
    texts.map(str::to_owned).collect()
}

fn numbers(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(|number| json!({ "number": number }).to_string()).collect()
}

#[tokio::test]
async fn what_was_committed_and_not_published_is_published_by_the_next_life() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (store, tidewire) = life(folder.path()).await;
        change(&store, 1);
        assert_eq!(drain_once(&store, tidewire.hub()).await.unwrap(), 1);
        change(&store, 2);
        change(&store, 3);
        // The end, before the drain.
        tidewire.close().await;
    }
    let (store, tidewire) = life(folder.path()).await;
    assert_eq!(published(&tidewire).await, numbers([1]));
    assert_eq!(drain_once(&store, tidewire.hub()).await.unwrap(), 2);
    assert_eq!(published(&tidewire).await, numbers([1, 2, 3]));
    assert_eq!(drain_once(&store, tidewire.hub()).await.unwrap(), 0);
}

#[tokio::test]
async fn what_was_published_and_not_taken_out_comes_once() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (store, tidewire) = life(folder.path()).await;
        (1..=3).for_each(|number| change(&store, number));
        let (name, waiting) = store.read(waiting).await.unwrap();
        for (key, event) in waiting.iter().take(2) {
            publish(tidewire.hub(), message(&name, key, event).unwrap()).await.unwrap();
        }
        // The end, before any of them is taken out.
        tidewire.close().await;
    }
    let (store, tidewire) = life(folder.path()).await;
    assert_eq!(published(&tidewire).await, numbers([1, 2]));
    assert_eq!(drain_once(&store, tidewire.hub()).await.unwrap(), 3);
    assert_eq!(published(&tidewire).await, numbers([1, 2, 3]));
}

#[tokio::test]
async fn a_closed_log_stops_the_drain_and_takes_nothing_out() {
    let folder = tempfile::tempdir().unwrap();
    let (store, tidewire) = life(folder.path()).await;
    change(&store, 1);
    tidewire.close().await;
    assert!(matches!(drain_once(&store, tidewire.hub()).await, Err(Stopped::Closed)));
    assert_eq!(store.read(waiting).await.unwrap().1.len(), 1);
}
