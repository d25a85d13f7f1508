//! What is kept, what goes, and that every loss is told exactly.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::{Crash, SimDisk, append, page, say, sequences, settings, try_open, until};
use futures_util::StreamExt;
use tidewire_core::{
    Features, Log,
    clock::{ManualClock, SystemRandom},
};
use tidewire_disk::{DiskLog, DiskSettings};
use tidewire_proto::Sequence;

fn open_at(disk: &SimDisk, clock: &Arc<ManualClock>, settings: DiskSettings) -> DiskLog {
    let clock = Arc::clone(clock) as Arc<dyn tidewire_core::clock::Clock>;
    DiskLog::open_on(Arc::new(disk.clone()), "sim", settings, clock, &SystemRandom).unwrap()
}

/// Little memory, so that files answer.
fn forgetful() -> DiskSettings {
    let mut settings = settings();
    settings.limits.recent_bytes_max = 600;
    settings
}

#[tokio::test]
async fn features_go_by_their_own_rules_though_they_share_the_log() {
    let disk = SimDisk::default();
    let log = try_open(&disk, forgetful()).unwrap();
    let mut short = vec![];
    for number in 0..60 {
        append(&log, vec![say("chat/a", number)]).await;
        let receipts = append(&log, vec![say("short/a", "x".repeat(200))]).await;
        short.push(receipts[0].sequence.0);
        if number % 5 == 4 {
            log.seal_now().await;
        }
    }
    let chat = page(&log, &["chat/a"], 0).await;
    assert_eq!((chat.entries.len(), chat.lost), (60, None), "the patient one lost nothing");
    let held = page(&log, &["short/a"], 0).await;
    let held_places: BTreeSet<_> = sequences(&held.entries).into_iter().collect();
    let payload: usize = held.entries.iter().map(|entry| entry.data.bytes().len()).sum();
    assert!(payload < 6_000, "{payload} bytes: about what was asked and one file");
    let dropped: BTreeSet<_> =
        short.iter().filter(|place| !held_places.contains(place)).copied().collect();
    assert!(dropped.len() > 30);
    assert_eq!(held.lost.unwrap().0, *dropped.last().unwrap());
    // A follower hears of each hole by its own.
    let newest = log.bounds().newest.0;
    let (mut stream, mut after, mut holes) = (log.follow(Sequence::ZERO), 0, BTreeSet::new());
    while after < newest {
        let batch = stream.next().await.unwrap();
        holes.extend(after + 1..=batch.after.0);
        after = batch.entries.last().unwrap().sequence.0;
    }
    assert_eq!(holes, dropped);
    log.close().await;
    let again = try_open(&disk.crash(Crash::PowerCut), forgetful()).unwrap();
    assert_eq!(page(&again, &["short/a"], 0).await, held, "also after a power cut");
}

#[tokio::test]
async fn a_quiet_log_is_sealed_and_trimmed_by_time() {
    let (disk, clock) = (SimDisk::default(), common::clock());
    let log = open_at(&disk, &clock, forgetful());
    append(&log, vec![say("brief/a", "old"), say("chat/a", "kept")]).await;
    assert_eq!(log.retain_now().await.files, 0);
    assert_eq!(log.stats().segments, 0, "not ripe yet");
    clock.advance(Duration::from_secs(3600 / 8 + 1));
    log.retain_now().await;
    assert_eq!(log.stats().segments, 2, "an eighth of the shortest age has passed");
    clock.advance(Duration::from_secs(3600));
    let retained = log.retain_now().await;
    assert_eq!(retained.files, 1);
    assert_eq!(page(&log, &["brief/a"], 0).await.lost, Some(Sequence(1)));
    assert_eq!(page(&log, &["chat/a"], 0).await.entries.len(), 1);
    let bounds = log.bounds();
    assert_eq!((bounds.oldest.0, bounds.newest.0), (1, 2));
}

#[tokio::test]
async fn retention_runs_by_itself() {
    let (disk, clock) = (SimDisk::default(), common::clock());
    let settings = DiskSettings { retain_interval: Duration::from_millis(1), ..forgetful() };
    let log = open_at(&disk, &clock, settings);
    append(&log, vec![say("brief/a", "old")]).await;
    clock.advance(Duration::from_secs(2 * 3600));
    until(|| log.bounds().oldest == Sequence(1)).await;
    assert_eq!(page(&log, &["brief/a"], 0).await.lost, Some(Sequence(1)));
}

#[tokio::test]
async fn a_crash_between_the_losses_and_the_removal_brings_nothing_back() {
    let (disk, clock) = (SimDisk::default(), common::clock());
    let log = open_at(&disk, &clock, forgetful());
    append(&log, vec![say("brief/a", "old")]).await;
    log.seal_now().await;
    let name = disk.only(".seg");
    let bytes = disk.bytes(&name);
    clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(log.retain_now().await.files, 1);
    log.close().await;
    disk.put(&name, bytes);
    let log = open_at(&disk, &clock, forgetful());
    let read = page(&log, &["brief/a"], 0).await;
    assert_eq!((read.entries.len(), read.lost), (0, Some(Sequence(1))));
    assert!(!disk.names().contains(&name));
}

#[tokio::test]
async fn a_feature_that_changes_its_rules_keeps_its_past() {
    let disk = SimDisk::default();
    let log = try_open(&disk, forgetful()).unwrap();
    for number in 0..20 {
        append(&log, vec![say("chat/a", number), say("stranger/b", number)]).await;
    }
    log.seal_now().await;
    log.close().await;
    // Now nothing is declared; then `stranger` is and `chat` is not.
    let none = DiskSettings { features: Features::default().into(), ..forgetful() };
    let stranger = std::collections::BTreeMap::from([(
        "stranger".to_owned(),
        common::kept(tidewire_proto::Stored::Fsync, None),
    )]);
    let other = DiskSettings { features: Features::declared(stranger).into(), ..forgetful() };
    for (round, settings) in [none, other, forgetful()].into_iter().enumerate() {
        let log = try_open(&disk, settings).unwrap();
        append(&log, vec![say("chat/a", "x"), say("stranger/b", "x")]).await;
        log.seal_now().await;
        append(&log, vec![say("chat/a", "y"), say("stranger/b", "y")]).await;
        for name in ["chat/a", "stranger/b"] {
            let read = page(&log, &[name], 0).await;
            assert_eq!((read.entries.len(), read.lost), (22 + 2 * round, None), "{name} {round}");
            let places = sequences(&read.entries);
            assert!(places.is_sorted(), "{places:?}");
        }
        log.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_followers_do_not_notice_sealing_and_sorting() {
    let disk = SimDisk::default();
    let settings = DiskSettings { segment_bytes: 1_500, ..forgetful() };
    let log = Arc::new(try_open(&disk, settings).unwrap());
    let follower = {
        let mut stream = log.follow(Sequence::ZERO);
        tokio::spawn(async move {
            let mut seen = vec![];
            while seen.len() < 600 {
                seen.extend(sequences(&stream.next().await.unwrap().entries));
            }
            seen
        })
    };
    let reader = {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let mut newest = 0;
            while newest < 600 {
                newest = log.bounds().newest.0;
                let read = page(&log, &["chat/0", "chat/1", "quick/2"], 0).await;
                let places = sequences(&read.entries);
                let expected: Vec<_> = (1..=places.len() as u64).collect();
                assert_eq!(places, expected, "no hole and nothing twice");
                assert!(places.len() as u64 >= newest);
            }
        })
    };
    for number in 0..300 {
        let names = ["chat/0", "chat/1", "quick/2"];
        let batch = vec![say(names[number % 3], number), say(names[(number + 1) % 3], number)];
        append(&log, batch).await;
    }
    reader.await.unwrap();
    assert_eq!(follower.await.unwrap(), (1..=600).collect::<Vec<_>>());
    assert!(log.stats().segments + log.stats().unsorted > 5);
}
