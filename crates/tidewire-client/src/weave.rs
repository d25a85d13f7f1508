//! [`Weave`]: several topics on one socket become one stream in log order.
//!
//! While topics catch up, each comes at its own pace. An entry waits here until every topic that is
//! still catching up has come as far; once all are live the server sends them in log order and
//! nothing waits. Pure; knows nothing of sockets.
//!
//! Invariant: what waits is bounded; beyond the bound the weave says so and the caller catches up by
//! pages, which have one order for all topics.

use std::collections::BTreeMap;

use tidewire_proto::{Cursor, Sequence};

use crate::item::Delivery;

/// What an entry that waits costs beside its payload.
const ENTRY_BYTES: usize = 256;

#[derive(Debug)]
pub(crate) struct Weave {
    lanes: Vec<Lane>,
    // By place, then by arrival: twins stay two, for the guard to see.
    held: BTreeMap<(Sequence, u64), (usize, Delivery)>,
    arrivals: u64,
    held_bytes: usize,
    bytes_max: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    through: Sequence,
    live: bool,
}

/// More waits than may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Apart;

impl Weave {
    pub(crate) fn new(lanes: usize, bytes_max: usize) -> Self {
        Self {
            lanes: vec![Lane::default(); lanes],
            held: BTreeMap::new(),
            arrivals: 0,
            held_bytes: 0,
            bytes_max,
        }
    }

    /// A topic is complete up to this place. Without a place it is complete: it has none.
    pub(crate) fn through(&mut self, lane: usize, at: Option<Cursor>) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            match at {
                Some(at) => lane.through = lane.through.max(at.sequence),
                None => lane.live = true,
            }
        }
    }

    /// A topic has caught up.
    pub(crate) fn live(&mut self, lane: usize) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.live = true;
        }
    }

    pub(crate) fn all_live(&self) -> bool {
        self.lanes.iter().all(|lane| lane.live)
    }

    /// Takes an entry with its place.
    pub(crate) fn take(&mut self, lane: usize, at: Cursor, entry: Delivery) -> Result<(), Apart> {
        self.through(lane, Some(at));
        self.held_bytes += entry.data.bytes().len() + ENTRY_BYTES;
        self.arrivals += 1;
        self.held.insert((at.sequence, self.arrivals), (lane, entry));
        // An entry that need not wait does not count.
        if self.held_bytes > self.bytes_max && !self.is_ready() { Err(Apart) } else { Ok(()) }
    }

    /// The next entry in log order, if nothing can come before it any more.
    pub(crate) fn next(&mut self) -> Option<(usize, Delivery)> {
        if !self.is_ready() {
            return None;
        }
        let (_, (lane, entry)) = self.held.pop_first()?;
        self.held_bytes = self.held_bytes.saturating_sub(entry.data.bytes().len() + ENTRY_BYTES);
        Some((lane, entry))
    }

    fn is_ready(&self) -> bool {
        let waiting = self.lanes.iter().filter(|lane| !lane.live);
        let complete = waiting.map(|lane| lane.through).min();
        self.held.keys().next().is_some_and(|(at, _)| complete.is_none_or(|through| *at <= through))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_proto::{Data, Epoch, EventType, Topic};

    fn at(sequence: u64) -> Cursor {
        Cursor { epoch: Epoch(1), sequence: Sequence(sequence) }
    }

    fn entry(sequence: u64) -> Delivery {
        Delivery {
            item: None,
            topic: Topic::parse("t").unwrap(),
            event: EventType::message(),
            id: Some(at(sequence)),
            data: Data::Json("1".into()),
        }
    }

    fn ready(weave: &mut Weave) -> Vec<u64> {
        let next = || weave.next().and_then(|(_, entry)| entry.id).map(|id| id.sequence.0);
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn two_pasts_become_one_order() {
        let mut weave = Weave::new(2, 1 << 20);
        for sequence in [1, 4, 6] {
            weave.take(0, at(sequence), entry(sequence)).unwrap();
        }
        assert_eq!(ready(&mut weave), [0; 0], "the other topic may have older ones");
        weave.take(1, at(5), entry(5)).unwrap();
        assert_eq!(ready(&mut weave), [1, 4, 5]);
        weave.through(1, Some(at(9)));
        weave.live(1);
        assert_eq!(ready(&mut weave), [6]);
        weave.take(1, at(10), entry(10)).unwrap();
        assert_eq!(ready(&mut weave), [0; 0], "the first topic still catches up");
        weave.live(0);
        assert_eq!(ready(&mut weave), [10]);
        weave.take(0, at(11), entry(11)).unwrap();
        assert_eq!(ready(&mut weave), [11], "live: nothing waits");
    }

    #[test]
    fn a_topic_without_places_holds_nobody_up() {
        let mut weave = Weave::new(2, 1 << 20);
        weave.through(1, None);
        weave.take(0, at(1), entry(1)).unwrap();
        assert_eq!(ready(&mut weave), [1]);
    }

    #[test]
    fn twins_stay_two() {
        let mut weave = Weave::new(1, 1 << 20);
        weave.take(0, at(1), entry(1)).unwrap();
        weave.take(0, at(1), entry(1)).unwrap();
        assert_eq!(ready(&mut weave), [1, 1]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut weave = Weave::new(2, 10 * (ENTRY_BYTES + 1));
        let taken = (1..100).take_while(|&n| weave.take(0, at(n), entry(n)).is_ok()).count();
        assert_eq!(taken, 10);
        let mut alone = Weave::new(1, 0);
        assert!(alone.take(0, at(1), entry(1)).is_ok(), "what need not wait is not bounded");
    }
}
