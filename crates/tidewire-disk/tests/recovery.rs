//! What a crash may take, and what it may not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::{collections::BTreeSet, sync::Arc};

use common::{
    ALL, Crash, SimDisk, append, keyed, open, page, say, sequences, settings, texts, topic,
    try_open,
};
use futures_util::{StreamExt, future, stream};
use tidewire_core::{AppendError, Filter, Log};
use tidewire_disk::{DiskSettings, OpenError};
use tidewire_proto::{Sequence, Stored};

/// Longer than any test.
const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

/// Nothing here takes longer, unless it never ends.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Three batches, the last of three messages; answers the file, its bytes and where the last begins.
async fn three_batches() -> (String, Vec<u8>, usize, SimDisk) {
    let disk = SimDisk::default();
    let log = open(&disk);
    append(&log, vec![say("chat/a", "one"), say("chat/b", "two")]).await;
    append(&log, vec![keyed("chat/a", "k", "three")]).await;
    let name = disk.only(".wal");
    let before = disk.bytes(&name).len();
    append(&log, vec![say("chat/a", "four"), keyed("chat/b", "l", "five"), say("chat/a", "six")])
        .await;
    drop(log);
    (name.clone(), disk.bytes(&name), before, disk)
}

/// The first three entries are there and the batch of the other three is not.
async fn assert_last_batch_gone(disk: &SimDisk, what: &str) {
    let log = open(disk);
    assert_eq!(log.bounds().newest, Sequence(3), "{what}");
    assert_eq!(sequences(&page(&log, &["chat/a", "chat/b"], 0).await.entries), [1, 2, 3], "{what}");
    let again = append(&log, vec![keyed("chat/a", "k", "three"), keyed("chat/b", "l", "5")]).await;
    let places: Vec<_> = again.iter().map(|r| (r.sequence.0, r.duplicate)).collect();
    assert_eq!(places, [(3, true), (4, false)], "{what}: keys go with their entries");
    drop(log);
    assert_eq!(open(disk).bounds().newest, Sequence(4), "{what}: and the log goes on");
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_off_by_whole_batches() {
    let (name, bytes, before, disk) = three_batches().await;
    for cut in before..bytes.len() {
        let torn = disk.crash(Crash::Kill);
        torn.put(&name, bytes[..cut].to_vec());
        assert_last_batch_gone(&torn, &format!("cut at {cut}")).await;
        let mut zeros = bytes[..cut].to_vec();
        zeros.resize(bytes.len() + 100, 0);
        if zeros[..bytes.len()] != bytes[..] {
            torn.put(&name, zeros);
            assert_last_batch_gone(&torn, &format!("zeros from {cut}")).await;
        }
    }
}

#[tokio::test]
async fn a_bit_flipped_anywhere_in_the_last_batch_takes_that_batch_and_no_other() {
    let (name, bytes, before, disk) = three_batches().await;
    for at in before..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let torn = disk.crash(Crash::Kill);
        torn.put(&name, flipped);
        assert_last_batch_gone(&torn, &format!("bit {} of byte {at}", at % 8)).await;
    }
}

#[tokio::test]
async fn damage_in_front_of_good_batches_is_an_error_that_names_the_place() {
    let (name, bytes, before, disk) = three_batches().await;
    for at in 32..before {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        let damaged = disk.crash(Crash::Kill);
        damaged.put(&name, flipped.clone());
        match try_open(&damaged, settings()) {
            Err(OpenError::Corrupt { file, offset, .. }) => {
                assert_eq!(file, name);
                assert!(offset as usize <= at, "byte {at}, said to be at {offset}");
            }
            Err(other) => panic!("byte {at}: {other}"),
            Ok(_) => panic!("byte {at} went unnoticed"),
        }
        assert_eq!(damaged.bytes(&name), flipped, "and nothing was cut off");
    }
    for at in 0..32 {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        let damaged = disk.crash(Crash::Kill);
        damaged.put(&name, flipped);
        assert!(try_open(&damaged, settings()).is_err(), "byte {at} of the head");
    }
}

/// A log of two sorted files.
async fn sorted() -> SimDisk {
    let disk = SimDisk::default();
    let log = open(&disk);
    for number in 0..12 {
        append(&log, vec![keyed(&format!("chat/{}", number % 3), &number.to_string(), number)])
            .await;
        if number % 6 == 5 {
            log.seal_now().await;
        }
    }
    log.close().await;
    disk
}

#[tokio::test]
async fn a_bit_flipped_anywhere_in_a_sorted_file_is_never_served_as_if_whole() {
    let disk = sorted().await;
    let names = disk.names().into_iter().filter(|name| name.ends_with(".seg"));
    let name = names.min().unwrap();
    let bytes = disk.bytes(&name);
    let mut noticed = (0, 0);
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let damaged = disk.crash(Crash::Kill);
        damaged.put(&name, flipped);
        let forgetful = DiskSettings {
            limits: tidewire_core::Limits { recent_bytes_max: 0, ..settings().limits },
            ..settings()
        };
        let log = match try_open(&damaged, forgetful) {
            Ok(log) => log,
            Err(OpenError::Corrupt { .. } | OpenError::Version { .. }) => {
                noticed.0 += 1;
                continue;
            }
            Err(other) => panic!("byte {at}: {other}"),
        };
        for number in 0..3 {
            let filter = Filter::from(topic(&format!("chat/{number}")));
            match log.read(&filter, Sequence::ZERO, ALL).await {
                Ok(page) => {
                    let expected: Vec<_> = (0..12).filter(|n| n % 3 == number).collect();
                    let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
                    assert_eq!(texts(&page.entries), expected, "byte {at}");
                }
                Err(error) => {
                    assert!(error.to_string().contains(&name), "{error}");
                    noticed.1 += 1;
                }
            }
        }
    }
    assert!(noticed.0 > 100 && noticed.1 > 100, "{noticed:?}: at opening, and when read");
}

#[tokio::test]
async fn a_sorted_file_that_is_missing_is_told_to_readers() {
    let disk = sorted().await;
    let names: Vec<_> = disk.names().into_iter().filter(|name| name.ends_with(".seg")).collect();
    use tidewire_disk::disk::Disk;
    disk.remove(&names[0]).unwrap();
    for _ in 0..2 {
        let log = open(&disk);
        let read = page(&log, &["chat/1"], 0).await;
        assert_eq!((read.entries.len(), read.lost), (2, Some(Sequence(6))));
        assert_eq!(page(&log, &["chat/1"], 6).await.lost, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_moment_keeps_every_acknowledged_entry_and_no_part_of_a_batch() {
    for seed in 0..60 {
        let disk = SimDisk::default();
        let small = DiskSettings { segment_bytes: 2_000, ..settings() };
        let log = Arc::new(try_open(&disk, small.clone()).unwrap());
        let acknowledged = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
        let writers = (0..4).map(|writer| {
            let (log, acknowledged) = (Arc::clone(&log), Arc::clone(&acknowledged));
            async move {
                for step in 0..20_u64 {
                    let feature = if (writer + step) % 3 == 0 { "quick" } else { "chat" };
                    let name = format!("{feature}/{writer}");
                    let batch: Vec<_> = (0..=step % 4)
                        .map(|part| say(&name, format!("{writer}.{step}.{part}.{}", step % 4)))
                        .collect();
                    let receipts = append(&log, batch).await;
                    if receipts[0].stored == Stored::Fsync {
                        let mut held = acknowledged.lock().unwrap();
                        held.extend(receipts.iter().map(|receipt| receipt.sequence.0));
                    }
                }
            }
        });
        let crash = async {
            // After some of it; the seed says how much.
            let wanted = seed % 20 * 8;
            common::until(|| log.bounds().newest.0 >= wanted).await;
            let held = acknowledged.lock().unwrap().clone();
            (held, disk.crash(Crash::Torn(seed)))
        };
        let (_, (held, left)) = future::join(future::join_all(writers), crash).await;
        let log = try_open(&left, small).unwrap();
        let newest = log.bounds().newest.0;
        let batches: Vec<_> = log.follow(Sequence::ZERO).take_until_newest(newest).await;
        assert_eq!(batches.len() as u64, newest, "seed {seed}: no hole");
        assert!(held.iter().all(|place| *place <= newest), "seed {seed}: {newest} of {held:?}");
        assert_whole(&batches, seed);
    }
}

/// Every batch has all its parts: the body says `writer.step.part.last`.
fn assert_whole(texts: &[String], seed: u64) {
    let parts: BTreeSet<_> = texts.iter().cloned().collect();
    for text in texts {
        let mut words = text.rsplitn(3, '.');
        let (last, _) = (words.next().unwrap(), words.next());
        let batch = words.next().unwrap();
        let last_number: u64 = last.parse().unwrap();
        for part in 0..=last_number {
            assert!(parts.contains(&format!("{batch}.{part}.{last}")), "seed {seed}: {text}");
        }
    }
}

trait TakeUntil {
    async fn take_until_newest(self, newest: u64) -> Vec<String>;
}

impl TakeUntil for stream::BoxStream<'static, tidewire_core::Batch> {
    async fn take_until_newest(mut self, newest: u64) -> Vec<String> {
        let (mut out, mut after) = (vec![], 0);
        while after < newest {
            let next = tokio::time::timeout(PATIENCE, self.next()).await;
            let batch = next.unwrap_or_else(|_| panic!("stands still at {after} of {newest}"));
            let batch = batch.unwrap();
            after = batch.entries.last().unwrap().sequence.0;
            out.extend(texts(&batch.entries));
        }
        out
    }
}

#[tokio::test]
async fn what_the_system_had_survives_a_kill_and_only_what_was_synced_a_power_cut() {
    let disk = SimDisk::default();
    let log = open(&disk);
    let first = append(&log, vec![say("chat/a", "synced")]).await;
    let second = append(&log, vec![say("quick/a", "written")]).await;
    assert_eq!((first[0].stored, second[0].stored), (Stored::Fsync, Stored::Os));
    for (crash, newest) in [(Crash::Kill, 2), (Crash::PowerCut, 1)] {
        let left = disk.crash(crash);
        let log = open(&left);
        assert_eq!(log.bounds().newest, Sequence(newest), "{crash:?}");
        // What was found counts as stored from now on, so it must be.
        drop(log);
        assert_eq!(open(&left.crash(Crash::PowerCut)).bounds().newest, Sequence(newest));
    }
}

#[tokio::test]
async fn a_tail_that_a_failed_sync_left_in_memory_is_written_again_before_it_counts() {
    let disk = SimDisk::default();
    let log = open(&disk);
    append(&log, vec![say("chat/a", "good")]).await;
    disk.fault(|faults| faults.sync = true);
    let lost = log.append(vec![say("chat/a", "doubtful")]).await;
    assert!(matches!(lost, Err(AppendError::Failed(_))));
    drop(log);
    disk.fault(|faults| faults.sync = false);
    let log = open(&disk);
    let newest = log.bounds().newest;
    assert_eq!(newest, Sequence(2), "the system still has it in memory");
    let log = open(&disk.crash(Crash::PowerCut));
    assert_eq!(log.bounds().newest, newest, "and now the disk has it too");
    assert_eq!(page(&log, &["chat/a"], 0).await.entries.len(), 2);
}

#[tokio::test]
async fn a_successor_without_an_entry_gives_the_file_before_it_back() {
    let disk = SimDisk::default();
    let log = open(&disk);
    append(&log, vec![say("chat/a", "one"), say("chat/a", "two")]).await;
    drop(log);
    let next = format!("{:020}.wal", 3);
    for bytes in [vec![], vec![0; 10], vec![0; 32]] {
        disk.put(&next, bytes);
        let log = open(&disk);
        assert_eq!(log.bounds().newest, Sequence(2));
        drop(log);
        assert!(!disk.names().contains(&next));
    }
}

#[tokio::test]
async fn a_crash_while_sorting_sorts_again() {
    let disk = SimDisk::default();
    let log = open(&disk);
    append(&log, vec![say("chat/a", "one"), say("quick/b", "two")]).await;
    let (name, wal) = (disk.only(".wal"), disk.bytes(&disk.only(".wal")));
    log.seal_now().await;
    log.close().await;
    // As if the sorted files were there and the removal of what they were made from was lost.
    disk.put(&name, wal);
    disk.put("00000000000000000001-00000000000000000002-0000.seg.tmp", vec![1, 2, 3]);
    let log = open(&disk);
    log.seal_now().await;
    assert_eq!(sequences(&page(&log, &["chat/a", "quick/b"], 0).await.entries), [1, 2]);
    assert!(!disk.names().iter().any(|file| *file == name || file.ends_with(".tmp")));
}

#[tokio::test]
async fn sealed_files_of_an_earlier_life_are_sorted_without_being_asked() {
    let (disk, left) = (SimDisk::default(), SimDisk::default());
    let log = open(&disk);
    for number in 0..4 {
        append(&log, vec![say("chat/a", number)]).await;
        // As the file is before it is sealed and sorted.
        left.put(&disk.only(".wal"), disk.bytes(&disk.only(".wal")));
        log.seal_now().await;
    }
    left.put("lineage", disk.bytes("lineage"));
    let small = DiskSettings { segment_bytes: 1, retain_interval: HOUR, ..settings() };
    let log = try_open(&left, small).unwrap();
    append(&log, vec![say("chat/a", 4)]).await;
    let next = tokio::time::timeout(PATIENCE, append(&log, vec![say("chat/a", 5)]));
    assert_eq!(next.await.expect("the writer is not held up")[0].sequence, Sequence(6));
    common::until(|| log.stats().unsorted == 1).await;
    assert_eq!(page(&log, &["chat/a"], 0).await.entries.len(), 6);
}

#[tokio::test]
async fn a_follower_reads_sorted_files_behind_an_empty_active_one() {
    let disk = sorted().await;
    let log = open(&disk);
    assert_eq!(log.stats().unsorted, 1);
    assert_eq!(log.follow(Sequence::ZERO).take_until_newest(12).await.len(), 12);
}

#[tokio::test]
async fn a_second_opener_is_told_that_the_directory_is_taken() {
    let dir = tempfile::TempDir::new().unwrap();
    let open = || {
        tidewire_disk::DiskLog::open(
            dir.path(),
            settings(),
            common::clock(),
            &tidewire_core::clock::SystemRandom,
        )
    };
    let log = open().unwrap();
    assert!(matches!(open(), Err(OpenError::Locked { .. })));
    log.close().await;
    let second = open().unwrap();
    drop(second);
    let third = open().unwrap();
    assert_eq!(log.append(vec![say("chat/a", "x")]).await, Err(AppendError::Closed));
    drop(third);
}

#[tokio::test]
async fn closing_stores_what_was_accepted_and_ends_the_streams() {
    let disk = SimDisk::default();
    let log = open(&disk);
    let mut stream = log.follow(Sequence::ZERO);
    append(&log, vec![say("quick/a", "x")]).await;
    log.close().await;
    assert_eq!(stream.next().await.unwrap().entries.len(), 1);
    assert!(stream.next().await.is_none());
    assert_eq!(open(&disk.crash(Crash::PowerCut)).bounds().newest, Sequence(1));
}
