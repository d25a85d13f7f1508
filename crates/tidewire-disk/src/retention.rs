//! What may go, and when the active file is sealed so that it can. Pure: plain arguments, no clock.
//!
//! Entries go in whole files of one class, oldest first. An entry may stay longer than its feature
//! asks, by up to one file; it never goes earlier.

use std::time::Duration;

use tidewire_core::{Features, History};

use crate::wal::WalIndex;

/// A class's history is cut into about so many files, by age and by bytes.
const PARTITIONS: u32 = 8;
/// But no file is sealed for being old before this.
const PARTITION_AGE_MIN: Duration = Duration::from_secs(1);
/// And none for its class's share of bytes below this.
const PARTITION_BYTES_MIN: u64 = 1024 * 1024;

/// What is decided by: one file of a class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) newest_at_ms: u64,
    pub(crate) bytes: u64,
}

/// The name of the class that keeps what no declared feature keeps.
pub(crate) const UNDECLARED: &str = "";

/// What a class keeps. A class is a declared feature, or all others together.
pub(crate) fn history(features: &Features, class: &str) -> History {
    let forever = History::Kept { age: None, bytes: None };
    features.named(class).map_or(forever, |feature| feature.history)
}

/// How many of a class's files go, from the oldest. `unsorted` bytes of it are not in files yet.
pub(crate) fn expired(held: &[Held], unsorted: u64, history: History, now_ms: u64) -> usize {
    let (age, bytes) = match history {
        // The feature kept something once and keeps nothing any more.
        History::None => return held.len(),
        History::Kept { age, bytes } => (age, bytes),
    };
    let mut rest = held.iter().map(|file| file.bytes).sum::<u64>() + unsorted;
    let mut gone = 0;
    for file in held {
        rest -= file.bytes;
        let too_old = age.is_some_and(|age| is_older(file.newest_at_ms, now_ms, age));
        // Only a file that is beyond the bound whole: its entries never go early.
        let too_much = bytes.is_some_and(|bytes| rest >= bytes);
        if !too_old && !too_much {
            break;
        }
        gone += 1;
    }
    gone
}

/// Is the active file ripe for its age: has its oldest entry been there for a partition's time?
pub(crate) fn is_ripe(index: &WalIndex, features: &Features, now_ms: u64) -> bool {
    let ages = index.classes.keys().filter_map(|class| match history(features, class) {
        History::Kept { age, .. } => age,
        History::None => Some(Duration::ZERO),
    });
    let partition = ages.min().map(|age| (age / PARTITIONS).max(PARTITION_AGE_MIN));
    partition.is_some_and(|age| is_older(index.oldest_at_ms, now_ms, age))
}

/// Does the active file hold a class's whole share of bytes?
pub(crate) fn is_full(index: &WalIndex, features: &Features, segment_bytes: u64) -> bool {
    index.classes.iter().any(|(class, held)| match history(features, class) {
        History::Kept { bytes: Some(bytes), .. } => {
            let share = (bytes / u64::from(PARTITIONS)).max(PARTITION_BYTES_MIN);
            held.bytes >= share.min(segment_bytes)
        }
        _ => false,
    })
}

fn is_older(at_ms: u64, now_ms: u64, age: Duration) -> bool {
    u128::from(now_ms.saturating_sub(at_ms)) > age.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(age_s: Option<u64>, bytes: Option<u64>) -> History {
        History::Kept { age: age_s.map(Duration::from_secs), bytes }
    }

    fn files(of: &[(u64, u64)]) -> Vec<Held> {
        of.iter().map(|&(newest_at_ms, bytes)| Held { newest_at_ms, bytes }).collect()
    }

    #[test]
    fn a_file_goes_when_its_newest_entry_is_too_old() {
        let held = files(&[(1_000, 5), (2_000, 5), (9_000, 5)]);
        assert_eq!(expired(&held, 0, kept(Some(5), None), 6_000), 0);
        assert_eq!(expired(&held, 0, kept(Some(5), None), 6_001), 1);
        assert_eq!(expired(&held, 0, kept(Some(5), None), 7_001), 2);
        assert_eq!(expired(&held, 0, kept(None, None), u64::MAX), 0);
    }

    #[test]
    fn a_clock_that_went_back_deletes_nothing() {
        let held = files(&[(9_000, 5), (1_000, 5)]);
        assert_eq!(expired(&held, 0, kept(Some(5), None), 500), 0);
        assert_eq!(
            expired(&held, 0, kept(Some(5), None), 8_000),
            0,
            "the first one holds the rest"
        );
    }

    #[test]
    fn bytes_go_only_when_a_whole_file_is_beyond_the_bound() {
        let held = files(&[(0, 10), (0, 10), (0, 10)]);
        assert_eq!(expired(&held, 0, kept(None, Some(30)), 0), 0);
        assert_eq!(expired(&held, 9, kept(None, Some(30)), 0), 0);
        assert_eq!(expired(&held, 10, kept(None, Some(30)), 0), 1);
        assert_eq!(expired(&held, 0, kept(None, Some(0)), 0), 3);
        assert_eq!(expired(&held, 0, History::None, 0), 3);
    }
}
