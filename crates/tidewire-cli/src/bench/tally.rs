//! Did every subscriber get every message, once, in order? Counted exactly.
//!
//! It must not know sockets or bytes. Message `i` of a run goes to topic `i mod topics`, and so does
//! subscriber `i`: each subscriber expects every `topics`-th message, and its state is the position
//! of the next one. Every topic has a subscriber. Only who missed something costs more, in a side table. Invariant: every message
//! of every subscriber ends up as exactly one of delivered in order, delivered late, or lost;
//! anything further is a repeat or a stranger.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

/// What went wrong, over all subscribers. All zero is the only good run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Published and never delivered.
    pub(crate) lost: u64,
    /// Delivered again.
    pub(crate) repeated: u64,
    /// Delivered, but after a later one.
    pub(crate) out_of_order: u64,
    /// Delivered, but not of this run or not of this subscriber's topic.
    pub(crate) strangers: u64,
}

impl Faults {
    /// Adds another's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
        self.strangers += other.strangers;
    }

    /// For people and for other processes.
    pub(crate) fn to_json(self) -> Value {
        json!({"lost": self.lost, "repeated": self.repeated,
               "out_of_order": self.out_of_order, "strangers": self.strangers})
    }

    /// From another process.
    pub(crate) fn from_json(value: &Value) -> Self {
        let count = |name: &str| value[name].as_u64().unwrap_or(0);
        Self {
            lost: count("lost"),
            repeated: count("repeated"),
            out_of_order: count("out_of_order"),
            strangers: count("strangers"),
        }
    }
}

/// The books of one phase.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Sequence of message 0: each phase has its own, so that old messages show.
    base: u64,
    topics: u64,
    /// Subscribers of each topic.
    expected: Vec<u32>,
    published: u64,
    /// Every message below has reached everybody.
    done: u64,
    /// How many have got each message from `done` on.
    counts: VecDeque<u32>,
    /// Who missed what: (subscriber, first position) → one past the last.
    holes: BTreeMap<(u32, u64), u64>,
    delivered: u64,
    faults: Faults,
}

impl Tally {
    /// Books for messages that begin at sequence `base`, over `topics` topics.
    pub(crate) fn new(base: u64, topics: u32) -> Self {
        Self {
            base,
            topics: u64::from(topics.max(1)),
            expected: vec![0; topics.max(1) as usize],
            published: 0,
            done: 0,
            counts: VecDeque::new(),
            holes: BTreeMap::new(),
            delivered: 0,
            faults: Faults::default(),
        }
    }

    /// One more subscriber. All come before the first message.
    pub(crate) fn expect(&mut self, who: u32) {
        let topic = u64::from(who) % self.topics;
        self.expected[topic as usize] += 1;
    }

    /// The sequence of the next message, which counts as published from now on.
    pub(crate) fn publish(&mut self) -> u64 {
        self.published += 1;
        self.base + self.published - 1
    }

    /// Messages published.
    pub(crate) fn published(&self) -> u64 {
        self.published
    }

    /// For a process that only listens: messages that another one has published.
    pub(crate) fn set_published(&mut self, published: u64) {
        self.published = published;
    }

    /// Messages that have reached everybody, counted from the first without a hole.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// Deliveries, each message of each subscriber once.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// `who`, whose next position is `next`, has got `sequence`. True if it is a delivery.
    pub(crate) fn see(&mut self, who: u32, next: &mut u32, sequence: u64) -> bool {
        let index = sequence.wrapping_sub(self.base);
        if index >= self.published || index % self.topics != u64::from(who) % self.topics {
            self.faults.strangers += 1;
            return false;
        }
        let (position, wanted) = (index / self.topics, u64::from(*next));
        if position < wanted && !self.fill(who, position) {
            self.faults.repeated += 1;
            return false;
        }
        if position > wanted {
            self.holes.insert((who, wanted), position);
        }
        if position >= wanted {
            *next = u32::try_from(position + 1).unwrap_or(u32::MAX);
        }
        self.count(index);
        true
    }

    /// A hole is filled late. False if there was none there: a repeat.
    fn fill(&mut self, who: u32, position: u64) -> bool {
        let before = self.holes.range(..=(who, position)).next_back();
        let Some((&(owner, from), &to)) = before else { return false };
        if owner != who || position >= to {
            return false;
        }
        self.holes.remove(&(owner, from));
        if from < position {
            self.holes.insert((who, from), position);
        }
        if position + 1 < to {
            self.holes.insert((who, position + 1), to);
        }
        self.faults.out_of_order += 1;
        true
    }

    fn count(&mut self, index: u64) {
        self.delivered += 1;
        let Some(at) = index.checked_sub(self.done) else { return };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
        while let Some(first) = self.counts.front() {
            if *first < self.expected[(self.done % self.topics) as usize] {
                break;
            }
            self.counts.pop_front();
            self.done += 1;
        }
    }

    /// The end: `positions` yields each subscriber and its next position.
    pub(crate) fn close(&self, positions: impl Iterator<Item = (u32, u32)>) -> Faults {
        self.close_with(positions, |topic| (self.published + self.topics - 1 - topic) / self.topics)
    }

    /// The same, when `published` tells how many messages each topic has.
    pub(crate) fn close_with(
        &self,
        positions: impl Iterator<Item = (u32, u32)>,
        published: impl Fn(u64) -> u64,
    ) -> Faults {
        let mut faults = self.faults;
        faults.lost += self.holes.iter().map(|(&(_, from), to)| to - from).sum::<u64>();
        for (who, next) in positions {
            let all = published(u64::from(who) % self.topics);
            faults.lost += all.saturating_sub(u64::from(next));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two subscribers of one topic, five messages; each gets what is listed.
    fn run(one: &[u64], two: &[u64]) -> (Faults, Tally) {
        let mut tally = Tally::new(100, 1);
        let mut next = [0, 0];
        tally.expect(0);
        tally.expect(1);
        (0..5).for_each(|_| {
            tally.publish();
        });
        for (who, got) in [one, two].iter().enumerate() {
            for sequence in *got {
                tally.see(who as u32, &mut next[who], *sequence);
            }
        }
        let positions = [(0, next[0]), (1, next[1])];
        (tally.close(positions.into_iter()), tally)
    }

    const ALL: [u64; 5] = [100, 101, 102, 103, 104];

    #[test]
    fn a_good_run_has_no_faults() {
        let (faults, tally) = run(&ALL, &ALL);
        assert!(faults == Faults::default());
        assert_eq!(tally.done(), 5);
        assert_eq!((tally.delivered(), tally.done()), (10, 5));
    }

    #[test]
    fn what_is_lost_is_counted_wherever_it_is_lost() {
        for lost in 0..5 {
            let got: Vec<_> = ALL.into_iter().filter(|sequence| sequence - 100 != lost).collect();
            let (faults, tally) = run(&ALL, &got);
            assert_eq!(faults, Faults { lost: 1, ..Faults::default() }, "{lost}");
            assert_eq!(tally.done(), lost);
        }
        assert_eq!(run(&ALL, &[]).0.lost, 5);
        assert_eq!(run(&[102], &[104]).0.lost, 8);
    }

    #[test]
    fn repeats_are_counted() {
        let (faults, tally) = run(&ALL, &[100, 100, 101, 102, 103, 104, 100, 104]);
        assert_eq!(faults, Faults { repeated: 3, ..Faults::default() });
        assert_eq!(tally.done(), 5);
    }

    #[test]
    fn what_comes_late_is_out_of_order_and_not_lost() {
        let (faults, tally) = run(&ALL, &[100, 104, 102, 101, 103, 102]);
        assert_eq!(faults, Faults { out_of_order: 3, repeated: 1, ..Faults::default() });
        assert_eq!(tally.done(), 5);
        assert_eq!(
            run(&ALL, &[104, 100]).0,
            Faults { out_of_order: 1, lost: 3, ..Faults::default() }
        );
    }

    #[test]
    fn strangers_are_counted() {
        assert_eq!(run(&ALL, &[99, 100, 101, 102, 103, 104, 105]).0.strangers, 2);
        let mut tally = Tally::new(0, 2);
        tally.expect(0);
        tally.publish();
        tally.publish();
        assert!(!tally.see(0, &mut 0, 1), "message 1 is the other topic's");
    }
}
