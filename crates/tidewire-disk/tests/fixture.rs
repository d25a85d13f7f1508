//! A directory of format 1 opens for ever and says what it always said.
//!
//! The directory was written by [`write_the_fixture`], which is run by hand and never again: when
//! the format changes, a new directory stands beside this one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::{fs, path::Path, sync::Arc};

use common::{append, clock, keyed, page, say, sequences, settings, texts};
use futures_util::StreamExt;
use tidewire_core::{
    AppendError, Log,
    clock::{Clock, SeededRandom},
};
use tidewire_disk::{DiskLog, DiskSettings};
use tidewire_proto::{Cursor, Data, Epoch, EventType, Message, Sequence};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v1");
/// The lives of the directory.
const LIVES: [(u64, u64); 2] = [(309_689_372_594_955_804, 0), (11_288_449_918_072_354_817, 14)];

fn open(dir: &Path, seed: u64) -> DiskLog {
    let clock: Arc<dyn Clock> = clock();
    DiskLog::open(dir, DiskSettings { ..settings() }, clock, &SeededRandom::new(seed)).unwrap()
}

/// Three kinds of data, two features, keys, a loss, two lives, sorted files and an active one.
#[tokio::test]
#[ignore = "writes the fixture anew: only for a new format"]
async fn write_the_fixture() {
    let dir = Path::new(FIXTURE);
    let _ = fs::remove_dir_all(dir);
    let log = open(dir, 7);
    append(&log, vec![keyed("chat/general", "first", "hello"), say("short/a", "x".repeat(1_500))])
        .await;
    log.seal_now().await;
    append(&log, (0..10).map(|number| say("chat/general", format!("line {number}"))).collect())
        .await;
    append(&log, vec![say("short/b", "y".repeat(1_500)), say("short/b", "z".repeat(1_500))]).await;
    log.seal_now().await;
    log.close().await;
    let log = open(dir, 8);
    let json = Message {
        event: EventType::parse("task.assigned").unwrap(),
        data: Data::json(&b"{\"task\": 17}"[..]).unwrap(),
        ..keyed("chat/tasks", "second", "")
    };
    let binary = Message { data: Data::binary(&[0, 1, 254, 255][..]), ..say("quick/pointers", "") };
    append(&log, vec![json, binary]).await;
    println!("{:x?}", log.bounds().lineage.lives());
    log.close().await;
    fs::remove_file(dir.join("lock")).unwrap();
}

#[tokio::test]
async fn format_1_opens_for_ever() {
    let dir = tempfile::TempDir::new().unwrap();
    for file in fs::read_dir(FIXTURE).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    let log = open(dir.path(), 9);
    let bounds = log.bounds();
    assert_eq!((bounds.oldest, bounds.newest), (Sequence::ZERO, Sequence(16)));
    let lives: Vec<_> =
        bounds.lineage.lives().iter().map(|life| (life.epoch.0, life.began.0)).collect();
    assert_eq!(lives[..2], LIVES);
    assert_eq!((lives.len(), lives[2].1), (3, 16));
    let cursor = Cursor { epoch: Epoch(LIVES[0].0), sequence: Sequence(3) };
    assert_eq!(bounds.lineage.check(cursor, bounds.newest), Ok(()));
    let general = page(&log, &["chat/general"], 0).await;
    assert_eq!(sequences(&general.entries), [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(texts(&general.entries)[..2], ["hello", "line 0"]);
    assert!(general.entries.iter().all(|entry| entry.at_ms == 1_700_000_000_000));
    let lost = page(&log, &["short/a"], 0).await;
    assert_eq!((lost.entries.len(), lost.lost), (0, Some(Sequence(2))));
    assert_eq!(sequences(&page(&log, &["short/b"], 0).await.entries), [13, 14]);
    let last = page(&log, &["chat/tasks", "quick/pointers"], 0).await.entries;
    assert_eq!(last[0].event.as_str(), "task.assigned");
    assert_eq!(last[0].data, Data::json(&b"{\"task\": 17}"[..]).unwrap());
    assert_eq!(last[1].data, Data::binary(&[0, 1, 254, 255][..]));
    let retry = append(&log, vec![keyed("chat/general", "first", "hello")]).await;
    assert_eq!((retry[0].sequence, retry[0].duplicate), (Sequence(1), true));
    let other = log.append(vec![keyed("chat/tasks", "second", "other")]).await;
    assert_eq!(other, Err(AppendError::Conflict { index: 0 }));
    let (mut stream, mut seen) = (log.follow(Sequence::ZERO), vec![]);
    while seen.len() < 15 {
        seen.extend(sequences(&stream.next().await.unwrap().entries));
    }
    assert_eq!(seen, [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
}
