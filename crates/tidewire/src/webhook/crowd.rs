//! [`Crowd`]: when a topic counts as occupied, and when as vacated.
//!
//! A reader who comes back within a few seconds has not been away, and one who only fetched a page
//! was never there. Pure: the time is an argument.
//!
//! Invariant: of each topic `occupied` and `vacated` take turns.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tidewire_proto::Topic;
use tokio::time::Instant;

use crate::config::Happening;

/// How long somebody reads a topic until it is occupied: a page takes less.
pub(super) const ARRIVAL: Duration = Duration::from_millis(200);
/// How long nobody reads it until it is vacated: a reconnect takes less.
pub(super) const DEPARTURE: Duration = Duration::from_secs(5);
/// The same after a start of the server: everybody has to come back first.
pub(super) const RETURN: Duration = Duration::from_secs(30);

/// What was said of topics, and what may soon be.
#[derive(Default)]
pub(super) struct Crowd {
    occupied: HashSet<Topic>,
    // What will be so at a time if nothing comes between.
    turning: HashMap<Topic, Instant>,
}

impl Crowd {
    /// What the log says was said last.
    pub(super) fn was_said(&mut self, happening: Happening, topic: Topic) {
        match happening {
            Happening::Occupied => drop(self.occupied.insert(topic)),
            Happening::Vacated => drop(self.occupied.remove(&topic)),
            Happening::Published => {}
        }
    }

    /// Whoever was said to be there comes back soon, or has gone.
    pub(super) fn has_begun(&mut self, now: Instant) {
        for topic in &self.occupied {
            self.turning.insert(topic.clone(), now + RETURN);
        }
    }

    /// Is the topic read now?
    pub(super) fn see(&mut self, topic: Topic, is_read: bool, now: Instant) {
        if is_read == self.occupied.contains(&topic) {
            self.turning.remove(&topic);
        } else {
            let after = if is_read { ARRIVAL } else { DEPARTURE };
            self.turning.entry(topic).or_insert(now + after);
        }
    }

    /// These are all that are read now.
    pub(super) fn see_all(&mut self, read: HashSet<Topic>, now: Instant) {
        let known: HashSet<Topic> =
            self.occupied.iter().chain(self.turning.keys()).cloned().collect();
        for topic in known.difference(&read) {
            self.see(topic.clone(), false, now);
        }
        for topic in read {
            self.see(topic, true, now);
        }
    }

    /// When something is so next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.turning.values().min().copied()
    }

    /// What is so by now, and is to be said. It counts as said.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Happening, Topic)> {
        let is_due = |(_, at): &(&Topic, &Instant)| **at <= now;
        let due: Vec<Topic> =
            self.turning.iter().filter(is_due).map(|(topic, _)| topic.clone()).collect();
        let turn = |topic: Topic| {
            self.turning.remove(&topic);
            let happening = if self.occupied.contains(&topic) {
                Happening::Vacated
            } else {
                Happening::Occupied
            };
            self.was_said(happening, topic.clone());
            (happening, topic)
        };
        due.into_iter().map(turn).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> Topic {
        Topic::parse("chat/a").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_back_soon_has_not_been_away() {
        let (mut crowd, now) = (Crowd::default(), Instant::now());
        crowd.see(topic(), true, now);
        assert_eq!(crowd.due(now), []);
        let came = now + ARRIVAL;
        assert_eq!(crowd.next(), Some(came));
        assert_eq!(crowd.due(came), [(Happening::Occupied, topic())]);
        crowd.see(topic(), false, came);
        crowd.see(topic(), true, came + DEPARTURE / 2);
        assert_eq!(crowd.next(), None);
        let left = came + DEPARTURE;
        crowd.see(topic(), false, left);
        assert_eq!(crowd.due(left + DEPARTURE / 2), []);
        assert_eq!(crowd.due(left + DEPARTURE), [(Happening::Vacated, topic())]);
        assert_eq!(crowd.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_only_fetches_a_page_was_never_there() {
        let (mut crowd, now) = (Crowd::default(), Instant::now());
        crowd.see(topic(), true, now);
        crowd.see(topic(), false, now + ARRIVAL / 2);
        assert_eq!(crowd.due(now + DEPARTURE), []);
        crowd.see(topic(), false, now);
        assert_eq!(crowd.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_start_everybody_has_a_while_to_come_back() {
        let (mut crowd, now) = (Crowd::default(), Instant::now());
        let other = Topic::parse("chat/b").unwrap();
        for topic in [topic(), other.clone()] {
            crowd.was_said(Happening::Occupied, topic);
        }
        crowd.has_begun(now);
        crowd.see(topic(), true, now + RETURN / 2);
        assert_eq!(crowd.due(now + RETURN - Duration::from_millis(1)), []);
        assert_eq!(crowd.due(now + RETURN), [(Happening::Vacated, other)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_at_all_of_them_finds_who_came_and_who_left() {
        let (mut crowd, now) = (Crowd::default(), Instant::now());
        crowd.was_said(Happening::Occupied, topic());
        let other = Topic::parse("chat/b").unwrap();
        crowd.see_all(HashSet::from([other.clone()]), now);
        assert_eq!(crowd.due(now + ARRIVAL), [(Happening::Occupied, other)]);
        assert_eq!(crowd.due(now + DEPARTURE), [(Happening::Vacated, topic())]);
    }
}
