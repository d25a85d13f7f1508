//! The table of features is replaced while the log runs.

mod common;

use std::collections::BTreeMap;

use common::{Crash, SimDisk, append, kept, keyed, page, say, settings, try_open};
use tidewire_core::{Features, Log};
use tidewire_disk::DiskSettings;
use tidewire_proto::Stored;

/// The usual table, but for the level of `quick`.
fn quick_asks_for(stored: Stored) -> Features {
    let usual = settings()
        .features
        .load()
        .iter()
        .map(|(name, have)| (name.to_owned(), have.clone()))
        .collect();
    let mut features: BTreeMap<_, _> = usual;
    features.insert("quick".to_owned(), kept(stored, None));
    Features::declared(features)
}

/// What is answered goes by the table in force; and the level that is named was reached.
#[tokio::test]
async fn a_publish_is_as_safe_as_its_feature_asks_now() {
    let (disk, settings) = (SimDisk::default(), settings());
    let features = settings.features.clone();
    let log = try_open(&disk, settings).unwrap();
    assert_eq!(append(&log, vec![say("quick/a", 1)]).await[0].stored, Stored::Os);
    features.replace(quick_asks_for(Stored::Fsync));
    let syncs = disk.faults().syncs;
    assert_eq!(append(&log, vec![say("quick/a", 2)]).await[0].stored, Stored::Fsync);
    assert!(disk.faults().syncs > syncs);
    features.replace(quick_asks_for(Stored::Os));
    assert_eq!(append(&log, vec![say("quick/a", 3)]).await[0].stored, Stored::Os);
}

/// Its entry was stored when less was asked, and nothing has synced it since.
#[tokio::test]
async fn a_retry_that_is_told_fsync_has_its_entry_on_the_disk() {
    let (disk, settings) = (SimDisk::default(), settings());
    let features = settings.features.clone();
    let log = try_open(&disk, settings).unwrap();
    let message = || vec![keyed("quick/a", "key", "once")];
    assert_eq!(append(&log, message()).await[0].stored, Stored::Os);
    features.replace(quick_asks_for(Stored::Fsync));
    let retried = append(&log, message()).await;
    assert_eq!((retried[0].duplicate, retried[0].stored), (true, Stored::Fsync));
    let after = try_open(&disk.crash(Crash::PowerCut), common::settings()).unwrap();
    assert_eq!(page(&after, &["quick/a"], 0).await.entries.len(), 1);
}

/// A file knows a feature as declared or as not, so one that comes begins a new file; and a table
/// with the same names does not.
#[tokio::test]
async fn a_feature_that_comes_begins_a_new_file_and_no_other_change_does() {
    let disk = SimDisk::default();
    let only_quick = Features::declared([("quick".to_owned(), kept(Stored::Os, None))].into());
    let settings = DiskSettings { features: only_quick.into(), ..settings() };
    let features = settings.features.clone();
    let log = try_open(&disk, settings).unwrap();
    append(&log, vec![say("chat/a", 1), say("quick/a", 2)]).await;
    let stricter = kept(Stored::Fsync, Some(1_000_000));
    features.replace(Features::declared([("quick".to_owned(), stricter)].into()));
    append(&log, vec![say("chat/a", 3)]).await;
    log.retain_now().await;
    assert_eq!(log.stats().segments, 0, "nothing was sealed");
    features.replace(quick_asks_for(Stored::Os));
    append(&log, vec![say("chat/a", 4)]).await;
    log.retain_now().await;
    assert_eq!(log.stats().segments, 2, "what was there: of `quick`, and of none");
    assert_eq!(page(&log, &["chat/a"], 0).await.entries.len(), 3);
    assert_eq!(log.bounds().newest.0, 4);
}
