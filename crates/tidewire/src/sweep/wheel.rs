//! [`Wheel`]: one coarse timer for all sockets of a shard. Pure: it is told what time it is.
//!
//! Whoever waits is put into the slot of its tick; the hand passes slot by slot. Nothing is ever
//! taken out early: whoever no longer waits for that tick passes it over. What is further away than
//! the wheel is round comes early, and is put in again.

/// Milliseconds in a tick.
pub(super) const TICK_MS: u64 = 10;
const SLOTS: usize = 2_048;
const WORD_BITS: usize = 64;

/// A moment, in ticks since the shard began.
pub(super) type Tick = u64;

/// Items, each in the slot of its tick.
pub(super) struct Wheel<T> {
    slots: Vec<Vec<T>>,
    // A bit for each slot that is not empty, so that the next is found without looking at all.
    occupied: [u64; SLOTS / WORD_BITS],
    now: Tick,
}

impl<T> Wheel<T> {
    pub(super) fn new() -> Self {
        let slots = std::iter::repeat_with(Vec::new).take(SLOTS).collect();
        Self { slots, occupied: [0; SLOTS / WORD_BITS], now: 0 }
    }

    /// When something put in for `due` will come out: not before the next tick, and not later than
    /// one round.
    pub(super) fn tick_for(&self, due: Tick) -> Tick {
        due.clamp(self.now + 1, self.now + (SLOTS as Tick - 1))
    }

    /// Puts an item in; `at` is a tick that [`tick_for`](Self::tick_for) gave.
    pub(super) fn insert(&mut self, at: Tick, item: T) {
        let index = at as usize % SLOTS;
        if let Some(slot) = self.slots.get_mut(index) {
            slot.push(item);
            self.occupied[index / WORD_BITS] |= 1 << (index % WORD_BITS);
        }
    }

    /// Moves the hand and calls `out` for everything that it passes, with its tick.
    pub(super) fn advance(&mut self, to: Tick, mut out: impl FnMut(Tick, T)) {
        while let Some(next) = self.next().filter(|next| *next <= to) {
            let index = next as usize % SLOTS;
            self.occupied[index / WORD_BITS] &= !(1 << (index % WORD_BITS));
            self.now = next;
            // The slot's room goes with it: a crowd that once waited for one tick leaves none.
            let items = self.slots.get_mut(index).map(std::mem::take).unwrap_or_default();
            items.into_iter().for_each(|item| out(next, item));
        }
        self.now = self.now.max(to);
    }

    /// The next tick at which something comes out.
    pub(super) fn next(&self) -> Option<Tick> {
        let start = self.now as usize + 1;
        let mut offset = 0;
        while offset < SLOTS {
            let index = (start + offset) % SLOTS;
            let bit = index % WORD_BITS;
            let rest = self.occupied[index / WORD_BITS] >> bit;
            if rest != 0 {
                let found = offset + rest.trailing_zeros() as usize;
                return (found < SLOTS).then(|| (start + found) as Tick);
            }
            offset += WORD_BITS - bit;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_put_in_comes_out_at_its_tick() {
        let mut wheel = Wheel::new();
        assert_eq!(wheel.next(), None);
        for (due, item) in [(5, 'a'), (5, 'b'), (0, 'c'), (2_047, 'd'), (9_999, 'e')] {
            let at = wheel.tick_for(due);
            wheel.insert(at, item);
        }
        assert_eq!(wheel.next(), Some(1), "what is due comes with the next tick");
        let mut out = Vec::new();
        wheel.advance(4, |tick, item| out.push((tick, item)));
        assert_eq!((out.as_slice(), wheel.next()), ([(1, 'c')].as_slice(), Some(5)));
        wheel.advance(5_000, |tick, item| out.push((tick, item)));
        assert_eq!(out[1..], [(5, 'a'), (5, 'b'), (2_047, 'd'), (2_047, 'e')], "e comes early");
        assert_eq!((wheel.next(), wheel.now), (None, 5_000));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_comes_late(
            steps in prop::collection::vec((0_u64..3_000, 0_u64..700), 1..200),
        ) {
            let mut wheel = Wheel::new();
            let (mut waiting, mut number) = (Vec::<(Tick, usize)>::new(), 0);
            for (wait, passed) in steps {
                let at = wheel.tick_for(wheel.now + wait);
                prop_assert!(at > wheel.now);
                wheel.insert(at, number);
                waiting.push((at, number));
                number += 1;
                prop_assert_eq!(wheel.next(), waiting.iter().map(|(at, _)| *at).min());
                let to = wheel.now + passed;
                let mut out = Vec::new();
                wheel.advance(to, |tick, item| out.push((tick, item)));
                let mut due: Vec<_> = waiting.extract_if(.., |(at, _)| *at <= to).collect();
                due.sort_unstable();
                let in_order = out.is_sorted_by_key(|(tick, _)| *tick);
                out.sort_unstable();
                prop_assert!(in_order);
                prop_assert_eq!(out, due);
            }
        }
    }
}
