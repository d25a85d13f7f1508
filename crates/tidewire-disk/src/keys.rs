//! Which idempotency keys are remembered again when the log opens. Pure.
//!
//! A key gets a whole new window: kept longer, never shorter. "When" is measured from the newest
//! entry of the log, not from the clock of the day, so that a clock that is wrong at the start
//! forgets nothing.

use std::time::Duration;

use crate::segment::KeyAt;

/// How much further back than its window a key is remembered, if there is room: clocks differ.
const MARGIN: Duration = Duration::from_secs(3600);

/// Could a file whose newest entry is of this time hold a key that matters?
pub(crate) fn may_matter(newest_in_file_ms: u64, newest_ms: u64, window: Duration) -> bool {
    is_within(newest_in_file_ms, newest_ms, window + MARGIN)
}

/// The keys to remember, in the order of their entries: all that are within the window, and older
/// ones as long as they leave half of the room free.
pub(crate) fn choose(
    mut keys: Vec<KeyAt>,
    newest_ms: u64,
    window: Duration,
    keys_max: usize,
) -> Vec<KeyAt> {
    keys.sort_unstable_by_key(|key| std::cmp::Reverse(key.sequence));
    let mut count = 0;
    keys.retain(|key| {
        let keep = is_within(key.at_ms, newest_ms, window)
            || (count < keys_max / 2 && is_within(key.at_ms, newest_ms, window + MARGIN));
        count += usize::from(keep);
        keep
    });
    keys.reverse();
    keys
}

fn is_within(at_ms: u64, newest_ms: u64, window: Duration) -> bool {
    u128::from(newest_ms.saturating_sub(at_ms)) <= window.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::StoredKey;
    use tidewire_proto::Sequence;

    fn key(sequence: u64, at_s: u64) -> KeyAt {
        let key = StoredKey { name: [sequence as u8; 16], body: [0; 16] };
        KeyAt { sequence: Sequence(sequence), at_ms: at_s * 1_000, key }
    }

    #[test]
    fn the_window_is_whole_and_the_margin_fills_half_the_room() {
        let window = Duration::from_secs(600);
        let keys = vec![key(1, 0), key(2, 4_000), key(3, 4_100), key(4, 7_000), key(5, 7_200)];
        let chosen = choose(keys, 7_200_000, window, 6);
        let places: Vec<_> = chosen.iter().map(|key| key.sequence.0).collect();
        assert_eq!(places, [3, 4, 5], "2 would take more than half, 1 is beyond the margin");
        let keys = (1..=5).map(|at| key(at, 7_000)).collect();
        assert_eq!(
            choose(keys, 7_200_000, window, 2).len(),
            5,
            "within the window none is left out"
        );
    }
}
