//! Disks that are full, slow or broken.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;

use common::{
    Crash, SimDisk, append, keyed, open, page, say, sequences, settings, try_open, until,
};
use futures_util::{FutureExt, StreamExt};
use tidewire_core::{AppendError, Log};
use tidewire_disk::DiskSettings;
use tidewire_proto::{Sequence, Stored};

#[tokio::test]
async fn a_full_disk_refuses_and_readers_go_on_and_it_recovers_by_itself() {
    let disk = SimDisk::default();
    let log = open(&disk);
    append(&log, vec![keyed("chat/a", "k", "one")]).await;
    let before = disk.bytes(&disk.only(".wal"));
    for room in [0, 1, 40, 90] {
        disk.fault(|faults| faults.room = Some(room));
        let batch = vec![keyed("chat/a", "l", "two"), keyed("chat/a", "m", "three")];
        assert_eq!(log.append(batch).await, Err(AppendError::Full), "room for {room}");
        assert_eq!(disk.bytes(&disk.only(".wal")), before, "the part that fitted is taken back");
        assert_eq!(sequences(&page(&log, &["chat/a"], 0).await.entries), [1]);
        assert_eq!(log.bounds().newest, Sequence(1));
    }
    disk.fault(|faults| faults.room = None);
    let receipts = append(&log, vec![keyed("chat/a", "l", "another body")]).await;
    assert_eq!((receipts[0].sequence, receipts[0].duplicate), (Sequence(2), false));
    assert!(append(&log, vec![keyed("chat/a", "k", "one")]).await[0].duplicate);
    drop(log);
    assert_eq!(open(&disk.crash(Crash::PowerCut)).bounds().newest, Sequence(2));
}

#[tokio::test]
async fn a_full_disk_stops_sealing_and_sorting_but_loses_nothing() {
    let disk = SimDisk::default();
    let small = DiskSettings { segment_bytes: 500, ..settings() };
    let log = try_open(&disk, small.clone()).unwrap();
    let mut stored = 0;
    disk.fault(|faults| faults.room = Some(3_000));
    for number in 0..60 {
        match log.append(vec![say("chat/a", number)]).await {
            Ok(_) => stored += 1,
            Err(error) => assert_eq!(error, AppendError::Full),
        }
    }
    assert!(stored < 60, "the disk was full");
    disk.fault(|faults| faults.room = None);
    append(&log, vec![say("chat/a", "again")]).await;
    log.seal_now().await;
    assert_eq!(page(&log, &["chat/a"], 0).await.entries.len(), stored + 1);
    assert_eq!(log.stats().unsorted, 1, "and sorting has caught up");
    drop(log);
    let log = try_open(&disk.crash(Crash::PowerCut), small).unwrap();
    assert_eq!(page(&log, &["chat/a"], 0).await.entries.len(), stored + 1);
}

#[tokio::test]
async fn what_a_full_disk_left_behind_is_gone_for_good_before_the_file_is_sealed() {
    for seed in 0..40 {
        let disk = SimDisk::default();
        let log = open(&disk);
        append(&log, vec![say("chat/a", "one")]).await;
        disk.fault(|faults| faults.room = Some(60));
        assert_eq!(log.append(vec![say("chat/a", "two")]).await, Err(AppendError::Full));
        // Room for the successor's head, and none for sorting.
        disk.fault(|faults| faults.room = Some(32));
        log.seal_now().await;
        disk.fault(|faults| faults.room = None);
        append(&log, vec![say("chat/a", "two")]).await;
        let log = open(&disk.crash(Crash::Torn(seed)));
        assert_eq!(sequences(&page(&log, &["chat/a"], 0).await.entries), [1, 2], "seed {seed}");
    }
}

#[tokio::test]
async fn a_failing_sync_ends_acknowledging_for_good() {
    let disk = SimDisk::default();
    let log = open(&disk);
    append(&log, vec![say("chat/a", "one")]).await;
    disk.fault(|faults| faults.sync = true);
    let failed = log.append(vec![say("chat/a", "two")]).await;
    assert!(matches!(failed, Err(AppendError::Failed(_))), "{failed:?}");
    disk.fault(|faults| faults.sync = false);
    let syncs = disk.faults().syncs;
    for name in ["chat/a", "quick/a"] {
        let failed = log.append(vec![say(name, "three")]).await;
        assert!(matches!(failed, Err(AppendError::Failed(_))), "{failed:?}");
    }
    assert_eq!(disk.faults().syncs, syncs, "the sync is never tried again");
    assert_eq!(sequences(&page(&log, &["chat/a"], 0).await.entries), [1], "readers go on");
    let first = log.follow(Sequence::ZERO).next().await.unwrap();
    assert_eq!(first.entries.len(), 1, "and so do followers, without what is not safe");
}

#[tokio::test]
async fn a_write_that_fails_is_taken_back_or_ends_acknowledging() {
    let disk = SimDisk::default();
    let log = open(&disk);
    append(&log, vec![say("chat/a", "one")]).await;
    disk.fault(|faults| faults.write = true);
    assert_eq!(log.append(vec![say("chat/a", "two")]).await, Err(AppendError::Busy));
    disk.fault(|faults| faults.write = false);
    assert_eq!(append(&log, vec![say("chat/a", "two")]).await[0].sequence, Sequence(2));
    disk.fault(|faults| (faults.write, faults.truncate) = (true, true));
    let failed = log.append(vec![say("chat/a", "three")]).await;
    assert!(matches!(failed, Err(AppendError::Failed(_))), "{failed:?}");
    disk.fault(|faults| (faults.write, faults.truncate) = (false, false));
    let failed = log.append(vec![say("chat/a", "three")]).await;
    assert!(matches!(failed, Err(AppendError::Failed(_))), "{failed:?}");
    drop(log);
    assert_eq!(open(&disk).bounds().newest, Sequence(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_answered_or_seen_before_it_is_safe_and_nothing_overtakes() {
    let disk = SimDisk::default();
    let log = Arc::new(open(&disk));
    append(&log, vec![say("chat/a", "one")]).await;
    let syncs = disk.faults().syncs;
    disk.fault(|faults| faults.hold_sync = true);
    let send = |batch| {
        let log = Arc::clone(&log);
        tokio::spawn(async move { append(&log, batch).await })
    };
    let original = send(vec![keyed("chat/a", "k", "two")]);
    until(|| disk.faults().syncs > syncs).await;
    let retry = send(vec![keyed("chat/a", "k", "two")]);
    let quick = send(vec![say("quick/a", "three")]);
    let mut stream = log.follow(Sequence(1));
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
        assert!(stream.next().now_or_never().is_none(), "a follower sees what is not safe");
        assert!(!original.is_finished() && !retry.is_finished() && !quick.is_finished());
        assert_eq!(log.bounds().newest, Sequence(1));
    }
    disk.fault(|faults| faults.hold_sync = false);
    let answers = [original.await.unwrap(), retry.await.unwrap(), quick.await.unwrap()];
    let answers =
        answers.map(|answer| (answer[0].sequence.0, answer[0].duplicate, answer[0].stored));
    assert_eq!(
        answers,
        [(2, false, Stored::Fsync), (2, true, Stored::Fsync), (3, false, Stored::Os)]
    );
    let mut seen = vec![];
    while seen.len() < 2 {
        seen.extend(sequences(&stream.next().await.unwrap().entries));
    }
    assert_eq!(seen, [2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_bounded_and_the_rest_is_refused_at_once() {
    let disk = SimDisk::default();
    let mut bounded = settings();
    bounded.limits.append_bytes_pending_max = 10_000;
    let log = try_open(&disk, bounded).unwrap();
    disk.fault(|faults| faults.hold_sync = true);
    let mut waiting = vec![];
    let refused = loop {
        assert!(waiting.len() < 20, "nothing was refused");
        let mut sent = log.append(vec![say("chat/a", "x".repeat(900))]);
        match (&mut sent).now_or_never() {
            Some(answer) => break answer,
            None => waiting.push(sent),
        }
    };
    assert_eq!(refused, Err(AppendError::Busy));
    disk.fault(|faults| faults.hold_sync = false);
    let mut stored = 0;
    for sent in waiting {
        stored += usize::from(sent.await.is_ok());
    }
    assert_eq!(page(&log, &["chat/a"], 0).await.entries.len(), stored);
    append(&log, vec![say("chat/a", "x".repeat(900))]).await;
}
