//! [`Board`] and [`Mark`]: how readers hear that a topic has news, without a queue and without a
//! wake-up for each of them.
//!
//! A follower sets the mark of a topic; the mark says so once on its board, however often it is set,
//! until somebody takes it off. What the news are is in the tail. Knows nothing of entries.
//!
//! Invariant: what was delivered before a mark was set is seen by whoever takes the mark off after.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use tokio::sync::Notify;

/// Where one group of readers looks for news. A group is one task, or a shard of many sockets.
#[derive(Debug, Default)]
pub struct Board {
    // At most as many as there are marks, each once.
    set: Mutex<Vec<Arc<Mark>>>,
    news: Notify,
    // Of a group that is no task.
    waker: Option<Waker>,
}

/// One topic, or whatever a group keeps apart under `slot`, on its board.
#[derive(Debug)]
pub struct Mark {
    board: Arc<Board>,
    slot: u32,
    is_set: AtomicBool,
}

impl Board {
    /// An empty board.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// An empty board of a group that does not wait for [`news`](Self::news): it is woken by this.
    #[must_use]
    pub fn waking(waker: Waker) -> Arc<Self> {
        Arc::new(Self { waker: Some(waker), ..Self::default() })
    }

    /// A mark for this board; `slot` is the group's own name for it.
    #[must_use]
    pub fn mark(self: &Arc<Self>, slot: u32) -> Arc<Mark> {
        Arc::new(Mark { board: Arc::clone(self), slot, is_set: AtomicBool::new(false) })
    }

    /// Waits until a mark is set. Cancel-safe.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Takes all set marks off and tells their slots. Look at the tails after this, not before.
    pub fn take(&self, slots: &mut Vec<u32>) {
        let set = std::mem::take(&mut *self.set.lock().unwrap_or_else(PoisonError::into_inner));
        for mark in set {
            // A read and write in one, so that it sees what was delivered before the mark was set.
            mark.is_set.swap(false, Ordering::AcqRel);
            slots.push(mark.slot);
        }
    }
}

impl Mark {
    /// Says on the board that there are news.
    pub fn set(self: &Arc<Self>) {
        if self.is_set.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut set = self.board.set.lock().unwrap_or_else(PoisonError::into_inner);
        set.push(Arc::clone(self));
        drop(set);
        match &self.board.waker {
            Some(waker) => waker.wake_by_ref(),
            None => self.board.news.notify_one(),
        }
    }

    /// The board.
    #[must_use]
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mark_is_on_the_board_once_until_it_is_taken_off() {
        let board = Board::new();
        let (first, second) = (board.mark(1), board.mark(2));
        for mark in [&first, &second, &first, &first] {
            mark.set();
        }
        board.news().await;
        let mut slots = Vec::new();
        board.take(&mut slots);
        assert_eq!(slots, [1, 2]);
        board.take(&mut slots);
        assert_eq!(slots.len(), 2, "nothing is there twice");
        first.set();
        board.news().await;
        board.take(&mut slots);
        assert_eq!(slots, [1, 2, 1], "and it can be set again");
    }

    /// Two threads, one that delivers and sets, one that takes and looks: whatever was delivered
    /// before the last mark has been seen, in every round, however the two fall between each other.
    #[test]
    fn no_interleaving_of_setting_and_taking_loses_news() {
        use std::sync::atomic::AtomicUsize;
        const ROUNDS: usize = 20_000;
        let board = Board::new();
        let mark = board.mark(0);
        let (delivered, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let taken = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    // Now ahead of the taker, now behind it.
                    for _ in 0..round % 50 {
                        std::hint::spin_loop();
                    }
                    for step in 1..=3 {
                        delivered.store(3 * round + step, Ordering::Relaxed);
                        mark.set();
                    }
                    done.store(round, Ordering::Release);
                    while taken.load(Ordering::Acquire) < round {
                        std::thread::yield_now();
                    }
                }
            });
            let mut slots = Vec::new();
            for round in 1..=ROUNDS {
                let mut seen = 0;
                loop {
                    let is_last = done.load(Ordering::Acquire) == round;
                    slots.clear();
                    board.take(&mut slots);
                    if !slots.is_empty() {
                        seen = delivered.load(Ordering::Relaxed);
                    }
                    if is_last {
                        break;
                    }
                }
                // Not an assertion at once: the other thread would wait for ever.
                taken.store(
                    if seen == 3 * round + 3 { round } else { usize::MAX },
                    Ordering::Release,
                );
                assert_eq!(seen, 3 * round + 3, "round {round}");
            }
        });
    }
}
