//! A lost tail and a restored backup never pass for continuity.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Crash, SimDisk, append, open, page, say, settings, try_open};
use tidewire_core::Log;
use tidewire_disk::{DiskSettings, OpenError, disk::Disk};
use tidewire_proto::GapReason;

#[tokio::test]
async fn a_lost_tail_is_told_as_diverged() {
    let disk = SimDisk::default();
    let log = open(&disk);
    append(&log, vec![say("chat/a", "one")]).await;
    let kept = append(&log, vec![say("quick/a", "two")]).await[0].sequence;
    append(&log, vec![say("chat/a", "synced with it")]).await;
    let lost = append(&log, vec![say("quick/a", "only written")]).await[0].sequence;
    let lineage = log.bounds().lineage;
    let (kept, lost) = (lineage.cursor_at(kept), lineage.cursor_at(lost));
    let log = open(&disk.crash(Crash::PowerCut));
    append(&log, (0..5).map(|number| say("chat/a", number)).collect()).await;
    let bounds = log.bounds();
    assert_eq!(bounds.lineage.check(kept, bounds.newest), Ok(()));
    assert_eq!(bounds.lineage.check(lost, bounds.newest), Err(GapReason::Diverged));
    assert_eq!(bounds.newest.0, 8, "the place is given again, in another life");
}

#[tokio::test]
async fn a_restored_backup_tells_those_who_saw_more() {
    let disk = SimDisk::default();
    let log = open(&disk);
    append(&log, vec![say("chat/a", "one")]).await;
    let before = log.bounds();
    let before = before.lineage.cursor_at(before.newest);
    let backup = disk.crash(Crash::Kill);
    append(&log, vec![say("chat/a", "after the backup")]).await;
    let same_life = log.bounds();
    let same_life = same_life.lineage.cursor_at(same_life.newest);
    drop(log);
    let log = open(&disk);
    append(&log, vec![say("chat/a", "in a life that the backup never knew")]).await;
    let later_life = log.bounds();
    let later_life = later_life.lineage.cursor_at(later_life.newest);
    drop(log);
    let log = open(&backup);
    append(&log, (0..5).map(|number| say("chat/a", number)).collect()).await;
    let bounds = log.bounds();
    assert_eq!(bounds.lineage.check(before, bounds.newest), Ok(()));
    assert_eq!(bounds.lineage.check(same_life, bounds.newest), Err(GapReason::Diverged));
    assert_eq!(bounds.lineage.check(later_life, bounds.newest), Err(GapReason::Foreign));
}

#[tokio::test]
async fn the_life_is_durable_before_anything_of_it_is_acknowledged() {
    let disk = SimDisk::default();
    for _ in 0..5 {
        let log = open(&disk);
        append(&log, vec![say("chat/a", "x")]).await;
        let (epoch, newest) = (log.bounds().lineage.epoch(), log.bounds().newest);
        let log = open(&disk.crash(Crash::PowerCut));
        let lineage = log.bounds().lineage;
        let cursor = lineage.cursor_at(newest);
        assert_eq!(cursor.epoch, epoch, "the crash left the life that wrote the entry");
        assert_eq!(lineage.check(cursor, log.bounds().newest), Ok(()));
    }
}

#[tokio::test]
async fn old_lives_are_forgotten_and_a_damaged_lineage_is_an_error() {
    let disk = SimDisk::default();
    let mut few = settings();
    few.limits.lives_max = 3;
    for _ in 0..6 {
        drop(try_open(&disk, few.clone()).unwrap());
    }
    assert_eq!(open(&disk).bounds().lineage.lives().len(), 4);
    let mut bytes = disk.bytes("lineage");
    bytes[20] ^= 1;
    disk.put("lineage", bytes);
    let refused = try_open(&disk, DiskSettings { ..settings() });
    assert!(matches!(refused, Err(OpenError::Corrupt { file, .. }) if file == "lineage"));
    disk.remove("lineage").unwrap();
    let log = open(&disk);
    assert_eq!(log.bounds().lineage.lives().len(), 1, "moved away: every cursor is foreign");
    assert!(page(&log, &["chat/a"], 0).await.entries.is_empty());
}
