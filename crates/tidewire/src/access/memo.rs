//! [`Memos`]: answers that are still good, as many as may be; the oldest go first.
//!
//! Pure: the time is an argument. Only the hash of a question is kept: there may be a token in it.

use std::collections::{HashMap, VecDeque};

use blake3::Hash;
use tokio::time::Instant;

/// Answers by their question.
pub(super) struct Memos<T> {
    max: usize,
    by_question: HashMap<Hash, (Instant, T)>,
    // In the order in which they came. An answer that was replaced stands here twice; the end of its
    // time says which of the two is meant.
    order: VecDeque<(Hash, Instant)>,
}

impl<T: Clone> Memos<T> {
    pub(super) fn new(max: usize) -> Self {
        Self { max, by_question: HashMap::new(), order: VecDeque::new() }
    }

    /// The answer, if it is still good.
    pub(super) fn find(&self, question: &Hash, now: Instant) -> Option<T> {
        let (until, answer) = self.by_question.get(question)?;
        (now < *until).then(|| answer.clone())
    }

    /// Remembers an answer for a while.
    pub(super) fn keep(&mut self, question: Hash, until: Instant, answer: T) {
        while self.order.len() >= self.max {
            let Some((oldest, until)) = self.order.pop_front() else { return };
            if self.by_question.get(&oldest).is_some_and(|(have, _)| *have == until) {
                self.by_question.remove(&oldest);
            }
        }
        self.order.push_back((question, until));
        self.by_question.insert(question, (until, answer));
    }

    /// It is not good any more.
    pub(super) fn forget(&mut self, question: &Hash) {
        self.by_question.remove(question);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn question(number: u32) -> Hash {
        blake3::hash(&number.to_le_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_good_until_its_time() {
        let (mut memos, now) = (Memos::new(3), Instant::now());
        let until = now + Duration::from_secs(5);
        memos.keep(question(1), until, "one");
        assert_eq!(memos.find(&question(1), now), Some("one"));
        assert_eq!(memos.find(&question(1), until), None);
        assert_eq!(memos.find(&question(2), now), None);
        memos.keep(question(1), until + Duration::from_secs(5), "another");
        assert_eq!(memos.find(&question(1), until), Some("another"));
        memos.forget(&question(1));
        assert_eq!(memos.find(&question(1), now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_never_more_than_may_be() {
        let (mut memos, now) = (Memos::new(3), Instant::now());
        let until = |number: u32| now + Duration::from_secs(u64::from(number));
        for number in 1..=4 {
            memos.keep(question(number), until(number), number);
        }
        assert_eq!(memos.find(&question(1), now), None, "the oldest has gone");
        assert_eq!(memos.find(&question(4), now), Some(4));
        for round in 0..100 {
            memos.keep(question(9), until(100 + round), round);
        }
        assert_eq!(memos.find(&question(9), now), Some(99));
        assert!(memos.by_question.len() <= 3 && memos.order.len() <= 3);
    }
}
