//! What a log that outlives its process promises. A log that does not is not asked.

use super::{
    ALL, Harness, Log, Sequence, Setup, append, everything, keyed, page, reading::fill_short, say,
    sequences, take,
};
use crate::AppendError;

/// Every acknowledged entry, the order, and the lives; the new life has a new epoch.
pub async fn entries_and_lineage_survive_a_restart(harness: &impl Harness) {
    let setup = Setup::default();
    let mut log = harness.fresh(&setup).await;
    let mut cursors = vec![];
    for life in 0..4_u64 {
        let receipts = append(&log, vec![say("chat/a", life), say("feed/b", life)]).await;
        let bounds = log.bounds();
        cursors.push(bounds.lineage.cursor_at(receipts[1].sequence));
        let epoch = bounds.lineage.epoch();
        let Some(next) = harness.reopen(log, &setup).await else { return };
        log = next;
        let bounds = log.bounds();
        assert_ne!(bounds.lineage.epoch(), epoch, "a new life has a new name");
        assert_eq!((bounds.oldest.0, bounds.newest.0), (0, 2 * life + 2));
        for cursor in &cursors {
            assert_eq!(bounds.lineage.check(*cursor, bounds.newest), Ok(()));
            assert_eq!(bounds.lineage.cursor_at(cursor.sequence), *cursor, "an id is for ever");
        }
    }
    assert_eq!(sequences(&everything(&log, &["chat/a"]).await), [1, 3, 5, 7]);
    let mut after = 0;
    let all = take(&mut log.follow(Sequence::ZERO), &mut after, 8).await;
    assert_eq!(sequences(&all), (1..=8).collect::<Vec<_>>());
}

/// A retry after a restart is still a retry, and a conflict still a conflict.
pub async fn keys_survive_a_restart(harness: &impl Harness) {
    let setup = Setup::default();
    let log = harness.fresh(&setup).await;
    append(&log, vec![keyed("chat/a", "early", "hi")]).await;
    harness.retain(&log).await;
    append(&log, vec![keyed("chat/a", "late", "hi")]).await;
    let Some(log) = harness.reopen(log, &setup).await else { return };
    for (key, place) in [("early", 1), ("late", 2)] {
        let again = append(&log, vec![keyed("chat/a", key, "hi")]).await;
        assert_eq!((again[0].sequence.0, again[0].duplicate), (place, true), "{key}");
        let other = log.append(vec![keyed("chat/a", key, "ho")]).await;
        assert_eq!(other, Err(AppendError::Conflict { index: 0 }), "{key}");
    }
    assert_eq!(log.bounds().newest, Sequence(2));
}

/// What was lost stays told, and is told no differently.
pub async fn losses_survive_a_restart(harness: &impl Harness) {
    let setup = Setup::default();
    let log = harness.fresh(&setup).await;
    append(&log, vec![say("short/early", "gone soon"), say("chat/a", "kept")]).await;
    fill_short(harness, &log, 60).await;
    let names = ["short/early", "short/0", "short/1", "short/2", "chat/a", "short/never"];
    let mut before = vec![];
    for name in names {
        before.push(page(&log, &[name], 0, ALL).await);
    }
    let oldest = log.bounds().oldest;
    let Some(log) = harness.reopen(log, &setup).await else { return };
    for (name, before) in names.into_iter().zip(before) {
        assert_eq!(page(&log, &[name], 0, ALL).await, before, "{name}");
    }
    assert_eq!(log.bounds().oldest, oldest);
}
