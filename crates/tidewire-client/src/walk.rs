//! [`Walk`]: how far a subscription has come, topic by topic, and the guard of its order.
//!
//! Pure. Usually all topics stand at one place: an event stream and a page have one order for them
//! all. On a socket each topic is a subscription of its own and moves by itself, so after a loss each
//! goes on from its own place; a stream that goes on for them begins at the earliest, and what some
//! topics have had already is passed over (it was asked for, so it is no twin).
//!
//! Invariant: until a gap says that the past is another one, the sequences of a topic strictly
//! increase, whatever their epochs. What would break that is a [`Disorder`], reported and never
//! delivered.

use tidewire_proto::{After, Cursor, Gap, GapReason, Topic};

use crate::error::Disorder;

#[derive(Debug)]
pub(crate) struct Walk {
    topics: Vec<Topic>,
    begin: After,
    // Everything of the topic up to here was delivered. Nothing before the first greeting.
    places: Vec<Option<Cursor>>,
    // Where the current stream for all topics stands.
    stream: Option<Cursor>,
}

/// What to do with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Pass it on.
    Deliver,
    /// This topic has had it: the stream had to begin earlier because of another topic.
    Skip,
}

impl Walk {
    pub(crate) fn new(topics: Vec<Topic>, begin: After) -> Self {
        let place = match begin {
            After::Cursor(cursor) => Some(cursor),
            After::Now | After::Start => None,
        };
        Self { places: vec![place; topics.len()], topics, begin, stream: None }
    }

    pub(crate) fn topics(&self) -> &[Topic] {
        &self.topics
    }

    pub(crate) fn index_of(&self, topic: &Topic) -> Option<usize> {
        self.topics.iter().position(|have| have == topic)
    }

    /// Where one stream for all topics begins.
    pub(crate) fn begin_stream(&mut self) -> After {
        self.stream = self.places.iter().flatten().min_by_key(|place| place.sequence).copied();
        self.stream.map_or(self.begin, After::Cursor)
    }

    /// Where a stream for one topic begins.
    pub(crate) fn after(&self, index: usize) -> After {
        match self.places.get(index) {
            Some(Some(place)) => After::Cursor(*place),
            // The others have places, so this is a topic without any: an ephemeral one.
            _ if self.places.iter().any(Option::is_some) => After::Now,
            _ => self.begin,
        }
    }

    /// Everything up to `place` was said, of all topics.
    pub(crate) fn move_all(&mut self, place: Cursor) {
        self.stream = Some(place);
        for have in &mut self.places {
            *have = Some(later(*have, place));
        }
    }

    /// Everything up to `place` was said, of one topic.
    pub(crate) fn move_one(&mut self, index: usize, place: Cursor) {
        if let Some(have) = self.places.get_mut(index) {
            *have = Some(later(*have, place));
        }
    }

    /// Continuity ended. Unless retention did it, what was seen is no longer the past of what
    /// comes: the places begin anew. `index` is the topic; all of them if none.
    pub(crate) fn broke(&mut self, gap: &Gap, index: Option<usize>) {
        let begins_anew = gap.reason != GapReason::Trimmed;
        let from = |have| if begins_anew { gap.oldest } else { later(have, gap.oldest) };
        let concerned = |(at, _): &(usize, _)| index.is_none_or(|index| index == *at);
        for (_, place) in self.places.iter_mut().enumerate().filter(concerned) {
            *place = Some(from(*place));
        }
        if index.is_none() {
            self.stream = Some(from(self.stream));
        }
    }

    /// An entry of a stream that has one order for all topics.
    pub(crate) fn step(&mut self, topic: &Topic, got: Cursor) -> Result<Step, Disorder> {
        check(self.stream, got, topic)?;
        self.stream = Some(got);
        let had = self.index_of(topic).and_then(|index| self.places.get(index).copied().flatten());
        let step = match had {
            Some(had) if got.sequence <= had.sequence => Step::Skip,
            _ => Step::Deliver,
        };
        for have in &mut self.places {
            *have = Some(later(*have, got));
        }
        Ok(step)
    }

    /// An entry of a stream that is this topic's own.
    pub(crate) fn step_one(&mut self, index: usize, got: Cursor) -> Result<(), Disorder> {
        let (Some(place), Some(topic)) = (self.places.get_mut(index), self.topics.get(index))
        else {
            return Ok(());
        };
        check(*place, got, topic)?;
        *place = Some(got);
        Ok(())
    }
}

fn check(seen: Option<Cursor>, got: Cursor, topic: &Topic) -> Result<(), Disorder> {
    match seen {
        Some(seen) if got.sequence <= seen.sequence => {
            Err(Disorder { topic: topic.clone(), seen, got })
        }
        _ => Ok(()),
    }
}

/// The later of two places. A log has one sequence through all its epochs.
fn later(have: Option<Cursor>, said: Cursor) -> Cursor {
    match have {
        Some(have) if have.sequence > said.sequence => have,
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_proto::{Epoch, Sequence};

    fn at(epoch: u64, sequence: u64) -> Cursor {
        Cursor { epoch: Epoch(epoch), sequence: Sequence(sequence) }
    }

    fn topic(name: &str) -> Topic {
        Topic::parse(name).unwrap()
    }

    fn walk(begin: After) -> Walk {
        Walk::new(vec![topic("a"), topic("b")], begin)
    }

    #[test]
    fn it_goes_on_where_it_stopped() {
        let mut walk = walk(After::Start);
        assert_eq!(walk.begin_stream(), After::Start);
        walk.move_all(at(1, 0));
        assert_eq!(walk.step(&topic("a"), at(1, 4)), Ok(Step::Deliver));
        walk.move_all(at(1, 9));
        assert_eq!(walk.begin_stream(), After::Cursor(at(1, 9)));
        assert_eq!(walk.after(1), After::Cursor(at(1, 9)));
    }

    #[test]
    fn twins_and_steps_back_are_disorder() {
        let mut walk = walk(After::Cursor(at(1, 4)));
        walk.begin_stream();
        assert!(walk.step(&topic("a"), at(1, 4)).is_err(), "had before we began");
        walk.step(&topic("a"), at(1, 6)).unwrap();
        let disorder = walk.step(&topic("b"), at(1, 5)).unwrap_err();
        assert_eq!((disorder.seen, disorder.got), (at(1, 6), at(1, 5)));
        assert_eq!(walk.step(&topic("b"), at(2, 7)), Ok(Step::Deliver), "the next life");
    }

    #[test]
    fn topics_apart_come_together_again_without_loss_or_twin() {
        let mut walk = walk(After::Start);
        walk.step_one(0, at(1, 3)).unwrap();
        walk.step_one(1, at(2, 8)).unwrap();
        assert!(walk.step_one(0, at(1, 3)).is_err());
        assert_eq!(walk.after(0), After::Cursor(at(1, 3)));
        assert_eq!(walk.after(1), After::Cursor(at(2, 8)), "another life of the same log");
        // Now one stream goes on for both.
        assert_eq!(walk.begin_stream(), After::Cursor(at(1, 3)));
        assert_eq!(walk.step(&topic("b"), at(1, 5)), Ok(Step::Skip));
        assert_eq!(walk.step(&topic("a"), at(1, 6)), Ok(Step::Deliver));
        assert_eq!(walk.step(&topic("b"), at(2, 8)), Ok(Step::Skip));
        assert_eq!(walk.step(&topic("b"), at(2, 9)), Ok(Step::Deliver));
        assert!(walk.step(&topic("b"), at(2, 9)).is_err(), "now it would be a twin");
    }

    #[test]
    fn a_gap_forgets_what_is_no_longer_the_past() {
        let gap = |reason| Gap { reason, oldest: at(1, 5), newest: at(1, 20) };
        let mut walk = walk(After::Cursor(at(1, 100)));
        walk.begin_stream();
        walk.broke(&gap(GapReason::Ahead), None);
        assert_eq!(walk.step(&topic("a"), at(1, 6)), Ok(Step::Deliver));
        walk.broke(&gap(GapReason::Trimmed), None);
        assert!(walk.step(&topic("a"), at(1, 6)).is_err(), "retention does not excuse a twin");
    }

    #[test]
    fn an_ephemeral_topic_beside_a_kept_one_goes_on_with_now() {
        let mut walk = walk(After::Start);
        walk.move_one(0, at(1, 3));
        assert_eq!(walk.after(1), After::Now);
    }
}
